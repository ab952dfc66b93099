"""Label sets, folds and layouts of BP4D, BP4D+ and DISFA, as data and as their users have them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamfx.errors import ConfigError
from streamfx.train.au_sets import AU_SETS, coded_frames


def write_set(root: Path, rows: list[tuple[str, list[int]]]) -> Path:
    for number, (path, _) in enumerate(rows):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 50), (number * 40, 0, 0)).save(root / path)
    (root / "labels.json").write_text("".join(json.dumps({"img_path": p, "AUs": u}) + "\n" for p, u in rows))
    return root


@pytest.mark.parametrize(("kind", "units", "people", "folds"), [
    ("bp4d", 12, 41, 3), ("bp4d_plus", 12, 140, 4), ("disfa", 8, 27, 3),
])  # fmt: skip
def test_every_person_is_held_out_in_one_fold(kind: str, units: int, people: int, folds: int) -> None:
    about = AU_SETS[kind]
    assert (len(about.units), len(about.people), len(about.folds)) == (units, people, folds)
    assert len(set(about.people)) == people


def test_folds_part_people_and_units_come_in_the_authors_order(tmp_path: Path) -> None:
    root = write_set(tmp_path, [
        ("F001/T1/10.jpg", [6, 12, 999]), ("F003/T2/1.jpg", []), ("M01_T8/3.jpg", [1]), ("F003/T2/2.jpg", [24, 5]),
    ])  # fmt: skip
    held = coded_frames("bp4d", root, Path("labels.json"), 1, True, 32)
    learned = coded_frames("bp4d", root, Path("labels.json"), 1, False, 32)
    assert held.people.tolist() == ["F001", "M001"]
    assert [[unit for unit, on in zip(held.units, row, strict=True) if on] for row in held.present] == [
        ["au_06", "au_12"], ["au_01"],
    ]  # fmt: skip
    assert learned.people.tolist() == ["F003", "F003"]
    assert learned.present.tolist()[1] == [unit == "au_24" for unit in learned.units]
    assert learned.clips.tolist() == [str(root / "F003/T2")] * 2
    pixels = held.stored([1, 0])
    assert (pixels.shape, pixels.dtype) == ((2, 32, 32, 3), np.uint8)
    assert pixels[0, 0, 0, 0] > pixels[1, 0, 0, 0] + 50
    assert held.intensity is None


def test_disfas_people_are_read_from_names_of_videos(tmp_path: Path) -> None:
    root = write_set(tmp_path, [("RightVideoSN001/frame_3.jpg", [25]), ("RightVideoSN003/frame_3.jpg", [26])])
    assert coded_frames("disfa", root, Path("labels.json"), 1, True, 32).people.tolist() == ["SN001"]


@pytest.mark.parametrize(("line", "said"), [
    ("{", r"labels.json, line 1: expected JSON such as"),
    ('{"img_path": "F001/1.jpg"}', r"line 1: expected JSON such as"),
    ('{"img_path": "F001/1.jpg", "AUs": ["6"]}', r"line 1: expected JSON such as"),
    ('{"img_path": "F099/1.jpg", "AUs": []}', r"line 1: expected a person of the set, such as F001, in the path"),
    ('{"img_path": "F001/1.jpg", "AUs": []}', r"expected the picture .*F001/1.jpg, found none"),
    ('{"img_path": "F003/1.jpg", "AUs": []}', r"expected frames of people held out in fold 1, found none"),
])  # fmt: skip
def test_what_is_wrong_with_a_list_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "labels.json").write_text(line + "\n")
    with pytest.raises(ConfigError, match=said):
        coded_frames("bp4d", tmp_path, Path("labels.json"), 1, True, 32)


def test_a_missing_list_and_a_fold_too_many_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.disfa.labels: cannot read"):
        coded_frames("disfa", tmp_path, Path("no.json"), 1, True, 32)
    with pytest.raises(ConfigError, match=r"data.disfa.fold: expected 1 to 3, got 4"):
        coded_frames("disfa", tmp_path, Path("no.json"), 4, True, 32)
