"""CelebA and LFWA in the layouts of their users."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from streamfx.errors import ConfigError
from streamfx.models.celeba import CELEBA
from streamfx.train.attribute_evaluation import folder_windows
from streamfx.train.attribute_folders import open_celeba, open_lfwa


def picture(path: Path, colour: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (89, 109), (colour, 120, 120)).save(path)


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    rows = [[1 if (row + column) % 3 else -1 for column in range(40)] for row in range(4)]
    for row in range(4):
        picture(tmp_path / "Img" / "img_align_celeba" / f"{row + 1:06d}.jpg")
    (tmp_path / "Anno").mkdir()
    (tmp_path / "Eval").mkdir()
    lines = [f"{row + 1:06d}.jpg  {'  '.join(map(str, values))}" for row, values in enumerate(rows)]
    (tmp_path / "Anno" / "list_attr_celeba.txt").write_text("\n".join(["4", " ".join(CELEBA), *lines]) + "\n")
    people, parts = (2880, 2937, 2880, 5), (0, 2, 1, 2)
    (tmp_path / "Anno" / "identity_CelebA.txt").write_text(
        "".join(f"{row + 1:06d}.jpg {who}\n" for row, who in enumerate(people))
    )
    (tmp_path / "Eval" / "list_eval_partition.txt").write_text(
        "".join(f"{row + 1:06d}.jpg {part}\n" for row, part in enumerate(parts))
    )
    return tmp_path


def test_celeba_s_parts_labels_and_people(celeba: Path) -> None:
    found = open_celeba(celeba)
    assert [file.name for file in found.files] == ["000002.jpg", "000004.jpg"]
    assert found.people == ("2937", "5")
    assert found.labels.tolist()[0] == [int((1 + column) % 3 > 0) for column in range(40)]
    assert len(open_celeba(celeba, "train").files) == 1


def test_a_picture_becomes_a_window_cut_as_in_the_line(celeba: Path) -> None:
    one = next(iter(folder_windows(open_celeba(celeba))))
    assert one.window.frames.shape[0] == 16 and (one.window.frames == one.window.frames[:1]).all()
    assert one.labels.shape == (40,) and one.person == "2937"


def test_what_is_wrong_with_celeba_is_named(celeba: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of the parts train, validation, test, got 'all'"):
        open_celeba(celeba, "all")
    (celeba / "Img" / "img_align_celeba" / "000004.jpg").unlink()
    with pytest.raises(ConfigError, match=r"1 of 2 pictures are missing, such as .*000004.jpg"):
        open_celeba(celeba)
    listed = celeba / "Anno" / "list_attr_celeba.txt"
    listed.write_text(listed.read_text().replace("Young", "Youth"))
    with pytest.raises(ConfigError, match="expected the forty names in CelebA's order"):
        open_celeba(celeba)
    listed.unlink()
    with pytest.raises(ConfigError, match="found neither"):
        open_celeba(celeba)


def test_lfwa_s_parts_labels_and_people_in_celeba_s_order(tmp_path: Path) -> None:
    names = ["Ann_Lee\\Ann_Lee_0001.jpg", "Ann_Lee\\Ann_Lee_0002.jpg", "Bo_Day\\Bo_Day_0001.jpg"]
    for name in names:
        picture(tmp_path / "lfw" / name.replace("\\", "/"))
    order = list(reversed([name.replace("_", " ") for name in CELEBA]))
    labels = np.zeros((3, 40))
    labels[:, order.index("Smiling")] = [0, 1, 1]
    cells = {key: np.array(values, object) for key, values in (("AttrName", order), ("name", names))}
    scipy.io.savemat(tmp_path / "lfw_att_40.mat", {**cells, "label": labels})
    scipy.io.savemat(
        tmp_path / "indices_train_test.mat", {"indices_img_train": np.array([1]), "indices_img_test": np.array([2, 3])}
    )
    found = open_lfwa(tmp_path)
    assert found.people == ("Ann_Lee", "Bo_Day")
    assert found.labels[:, CELEBA.index("Smiling")].tolist() == [1, 1] and found.labels.sum() == 2
    with pytest.raises(ConfigError, match="expected the part train or test"):
        open_lfwa(tmp_path, "validation")
