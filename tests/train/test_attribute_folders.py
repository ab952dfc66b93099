"""CelebA and LFWA in the layouts of their users."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from streamfx.errors import ConfigError, MissingComponent
from streamfx.models.celeba import CELEBA
from streamfx.train.attribute_evaluation import folder_windows
from streamfx.train.attribute_folders import open_celeba, open_lfwa


def picture(path: Path, colour: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (89, 109), (colour, 120, 120)).save(path)


ATTRIBUTES, PEOPLE, PARTS = "Anno/list_attr_celeba.txt", "Anno/identity_CelebA.txt", "Eval/list_eval_partition.txt"


def lists() -> dict[str, list[str]]:
    """The lines of CelebA's three lists, of four pictures."""
    rows = [[1 if (row + column) % 3 else -1 for column in range(40)] for row in range(4)]
    values = [f"{row + 1:06d}.jpg  {'  '.join(map(str, values))}" for row, values in enumerate(rows)]
    return {
        ATTRIBUTES: ["4", " ".join(CELEBA), *values],
        PEOPLE: [f"{row + 1:06d}.jpg {who}" for row, who in enumerate((2880, 2937, 2880, 5))],
        PARTS: [f"{row + 1:06d}.jpg {part}" for row, part in enumerate((0, 2, 1, 2))],
    }


def write_celeba(root: Path) -> Path:
    for row in range(4):
        picture(root / "Img" / "img_align_celeba" / f"{row + 1:06d}.jpg")
    for name, lines in lists().items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    return write_celeba(tmp_path)


@pytest.fixture(scope="module")
def shared_celeba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_celeba(tmp_path_factory.mktemp("celeba"))


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


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        (ATTRIBUTES, 0, None, "expected the number of pictures alone in its first line"),
        (ATTRIBUTES, 0, "many", "expected the number of pictures alone in its first line, got 'many'"),
        (ATTRIBUTES, 0, "5", "expected '5' pictures, as its first line says, got 4"),
        (ATTRIBUTES, 3, "000002.jpg 1 -1", "line 4: expected the name of a picture and forty of 1 and -1, got"),
        (ATTRIBUTES, 3, f"000002.jpg{' 1' * 41}", "line 4: expected .* forty of 1 and -1, got .*, 42 words"),
        (ATTRIBUTES, 3, f"000002.jpg{' x' * 40}", "line 4: expected the name of a picture and forty"),
        (ATTRIBUTES, 3, f"000001.jpg{' 1' * 40}", "line 4: expected each picture once, got '000001.jpg' again"),
        (ATTRIBUTES, 3, f"../2.jpg{' 1' * 40}", "line 4: expected the name of a picture"),
        (PARTS, 1, "000002.jpg", "line 2: expected the name of a picture and one of 0, 1 and 2, got '000002.jpg'"),
        (PARTS, 1, "000002.jpg test", "line 2: expected .* one of 0, 1 and 2"),
        (
            PARTS,
            1,
            None,
            "list_eval_partition.txt: expected all pictures of list_attr_celeba.txt, 1 are missing, such as",
        ),
        (PEOPLE, 1, "000002.jpg Ann", "line 2: expected .* the number of a person"),
        (PEOPLE, 1, None, "identity_CelebA.txt: expected all pictures of list_attr_celeba.txt"),
    ],
)
def test_a_malformed_list_is_named_with_its_line(
    celeba: Path, name: str, line: int, text: str | None, message: str
) -> None:
    lines: list[str | None] = list(lists()[name])
    lines[line] = text
    (celeba / name).write_text("\n".join(one for one in lines if one is not None))
    with pytest.raises(ConfigError, match=message):
        open_celeba(celeba)


def test_a_list_that_is_no_text_is_named(celeba: Path) -> None:
    (celeba / PARTS).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"list_eval_partition.txt: expected a list as text in UTF-8"):
        open_celeba(celeba)


@st.composite
def almost_right(draw: st.DrawFn, lines: list[str]) -> str:
    """A list with one line that is another text, or cut, or with one word that is another."""
    lines, at = list(lines), draw(st.integers(0, len(lines) - 1))
    words = lines[at].split()
    word = draw(st.integers(0, len(words) - 1))
    other = draw(st.one_of(st.text(max_size=20), st.sampled_from(["0", "1", "-1", "2", "x.jpg", "\0", "a" * 300])))
    lines[at] = draw(
        st.sampled_from([other, " ".join(words[:word]), " ".join([*words[:word], other, *words[word + 1 :]])])
    )
    return "\n".join(lines)


@pytest.mark.parametrize("name", [ATTRIBUTES, PEOPLE, PARTS])
@settings(deadline=None)
@given(st.data())
def test_any_text_is_a_table_or_one_clear_error(shared_celeba: Path, name: str, data: st.DataObject) -> None:
    right = lists()[name]
    text = data.draw(st.one_of(st.text(), almost_right(right)))
    (shared_celeba / name).write_bytes(text.encode())
    try:
        found = open_celeba(shared_celeba)
        assert found.labels.shape == (len(found.files), 40) and len(found.people) == len(found.files) > 0
    except ConfigError as error:
        assert str(shared_celeba) in str(error)
    finally:
        (shared_celeba / name).write_text("\n".join(right))


def write_lfwa(root: Path, **changes: Any) -> list[str]:
    """LFWA's two files of three pictures, of two people; `changes` are other values of their variables."""
    names = ["Ann_Lee\\Ann_Lee_0001.jpg", "Ann_Lee\\Ann_Lee_0002.jpg", "Bo_Day\\Bo_Day_0001.jpg"]
    for name in names:
        picture(root / "lfw" / name.replace("\\", "/"))
    order = list(reversed([name.replace("_", " ") for name in CELEBA]))
    labels = np.zeros((3, 40))
    labels[:, order.index("Smiling")] = [0, 1, 1]
    cells = {key: np.array(values, object) for key, values in (("AttrName", order), ("name", names))}
    parts = {"indices_img_train": np.array([1]), "indices_img_test": np.array([2, 3])}
    scipy.io.savemat(root / "lfw_att_40.mat", {**cells, "label": labels} | changes)
    scipy.io.savemat(root / "indices_train_test.mat", parts | changes)
    return names


def test_lfwa_s_parts_labels_and_people_in_celeba_s_order(tmp_path: Path) -> None:
    write_lfwa(tmp_path)
    found = open_lfwa(tmp_path)
    assert found.people == ("Ann_Lee", "Bo_Day")
    assert found.labels[:, CELEBA.index("Smiling")].tolist() == [1, 1] and found.labels.sum() == 2
    with pytest.raises(ConfigError, match="expected the part train or test"):
        open_lfwa(tmp_path, "validation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.zeros((3, 39))}, "label: expected 0 and 1 for 3 names and 40 attributes, got 3 x 39 numbers"),
        ({"label": np.full((3, 40), 2.0)}, "label: expected 0 and 1 .*, of them 0 that are 0 or 1"),
        ({"label": np.array(["a", "b"], object)}, "label: expected numbers"),
        ({"AttrName": np.array(["Bald", "Young"], object)}, "AttrName: expected CelebA's forty attributes, without:"),
        ({"indices_img_test": np.array([0, 4])}, "indices_img_test: expected whole numbers from 1 to 3"),
        ({"indices_img_test": np.array([1.5])}, "indices_img_test: expected whole numbers from 1 to 3"),
        ({"indices_img_test": np.array("all", object)}, "indices_img_test: expected numbers"),
    ],
)
def test_what_is_wrong_in_lfwa_s_files_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_lfwa(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message):
        open_lfwa(tmp_path)


@settings(deadline=None, max_examples=20)
@given(st.binary(max_size=400), st.integers(0, 600))
# Each of these ends a process in which scipy reads it.
@example(b"\x01", 233)
@example(b"\xff\x02\x01\x00", 368)
@example(b"\xff", 512)
def test_any_bytes_for_a_matlab_file_are_one_clear_error(data: bytes, at: int) -> None:
    """Also in the middle of a file that is right else."""
    with tempfile.TemporaryDirectory() as folder:
        write_lfwa(Path(folder))
        file = Path(folder) / "lfw_att_40.mat"
        right = file.read_bytes()
        for damaged in (data, right[:at] + data, right[:at] + data + right[at + len(data) :]):
            file.write_bytes(damaged)
            with contextlib.suppress(ConfigError, MissingComponent):
                assert len(open_lfwa(Path(folder)).files) == 2


@pytest.mark.skipif(importlib.util.find_spec("h5py") is not None, reason="h5py is here")
def test_a_matlab_file_of_version_7_3_says_what_to_do(tmp_path: Path) -> None:
    write_lfwa(tmp_path)
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    (tmp_path / "lfw_att_40.mat").write_bytes(head.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(
        MissingComponent, match=r"lfw_att_40.mat is .* version 7.3.*: pip install h5py, or save it again"
    ):
        open_lfwa(tmp_path)
