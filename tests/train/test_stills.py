"""Folders of stills: the expression of each folder, the window of each picture, and the treatment of odd files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps
from skimage import data

from streamfx.errors import EvaluationError
from streamfx.media.audio import missing_sound
from streamfx.nets.mma_dfer import LABELS_7, LABELS_11
from streamfx.train.stills import SYNONYMS, WHOLE_PX, StillCutter, _squared, read_picture, read_still_folder

Pixels = npt.NDArray[np.uint8]
FACE = (slice(62, 178), slice(165, 281))
"""The astronaut's face, from the forehead to the chin."""


@pytest.fixture(scope="module")
def cutter() -> Iterator[StillCutter]:
    with StillCutter() as made:
        yield made


def tight_grey(side: int = 48) -> Pixels:
    """A crop of a face as in small data sets: grey, small, and tight."""
    grey = Image.fromarray(data.astronaut()[FACE]).convert("L").resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(grey.convert("RGB"))


def lay_out(root: Path, *names: str) -> Path:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(file)
    return root


# --- folders ---


@pytest.mark.parametrize("label", LABELS_11)
def test_a_folder_may_be_called_by_the_label_or_by_a_word_for_it(tmp_path: Path, label: str) -> None:
    words = [label, *SYNONYMS[label].split()]
    lay_out(tmp_path, *(f"{word.title()}/a.png" for word in words), f"{label.upper()}/b.jpg")
    found = read_still_folder(tmp_path, LABELS_11)
    assert [name for _, name in found.pictures] == [label] * (len(words) + 1)
    assert found.skipped == {}


@pytest.mark.parametrize("name", ["0_angry", "03 Anger", "1-ANGRY", "4.anger", "angry_", "angry (2)", " Angry "])
def test_numbers_and_signs_around_the_word_are_ignored(tmp_path: Path, name: str) -> None:
    assert read_still_folder(lay_out(tmp_path, f"{name}/a.png"), LABELS_7).pictures[0][1] == "anger"


def test_only_pictures_are_listed_and_in_order(tmp_path: Path) -> None:
    lay_out(tmp_path, "sad/2.png", "sad/1.JPG", "joy/3.webp", ".hidden/1.png", "sad/._1.JPG")
    (tmp_path / "sad" / "Thumbs.db").write_bytes(b"no picture")
    (tmp_path / "readme.txt").write_text("about")
    found = read_still_folder(tmp_path, LABELS_7)
    assert [(file.name, label) for file, label in found.pictures] == [
        ("3.webp", "happiness"),
        ("1.JPG", "sadness"),
        ("2.png", "sadness"),
    ]


def test_an_unknown_folder_is_refused_with_the_known_names(tmp_path: Path) -> None:
    lay_out(tmp_path, "happy/1.png", "bored/1.png", "train/1.png")
    with pytest.raises(
        EvaluationError, match=r"found 'bored', 'train'; known are: happiness \(happy, .*fear \(fearful"
    ):
        read_still_folder(tmp_path, LABELS_7)


def test_an_expression_that_the_model_does_not_know_is_left_out_and_counted(tmp_path: Path) -> None:
    lay_out(tmp_path, "happy/1.png", "contempt/1.png", "contempt/2.png")
    found = read_still_folder(tmp_path, LABELS_7)
    assert [label for _, label in found.pictures] == ["happiness"]
    assert found.skipped == {"contempt": 2}
    assert read_still_folder(tmp_path, LABELS_11).skipped == {}


@pytest.mark.parametrize("names", [(), ("contempt/1.png",)])
def test_a_folder_without_pictures_is_an_error(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(EvaluationError, match="expected"):
        read_still_folder(lay_out(tmp_path, *names), LABELS_7)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="found no folder"):
        read_still_folder(tmp_path / "none", LABELS_7)


# --- pictures ---


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK"])
def test_any_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.fromarray(tight_grey()).convert(mode).save(file)
    picture = read_picture(file)
    assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
    assert abs(float(picture.mean()) - float(tight_grey().mean())) < 12


def test_sixteen_bits_of_grey_keep_their_shades(tmp_path: Path) -> None:
    grey = tight_grey()[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png") == grey[..., None]).all()


def test_a_picture_is_turned_upright(tmp_path: Path) -> None:
    sideways = Image.fromarray(data.astronaut()).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "a.png", exif=exif)
    assert (read_picture(tmp_path / "a.png") == data.astronaut()).all()


@pytest.mark.parametrize("orientation", range(10))
def test_every_exif_orientation_is_turned_as_by_pillow(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(data.astronaut()[:300]).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as held:
        assert (read_picture(tmp_path / "a.png") == np.asarray(ImageOps.exif_transpose(held))).all()


def test_a_wrong_tag_beside_the_orientation_is_ignored(tmp_path: Path) -> None:
    sub_folder_as_bytes = b"II*\0\x08\0\0\0" + b"\x02\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    sub_folder_as_bytes += b"\x4a\x01\x01\0\x01\0\0\0\x07\0\0\0" + b"\0\0\0\0"
    Image.fromarray(data.astronaut()[:300]).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + sub_folder_as_bytes)
    assert read_picture(tmp_path / "a.jpg").shape == (512, 300, 3)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(EvaluationError, match=r"a\.png: not a readable picture"):
        read_picture(tmp_path / "a.png")


def test_a_truncated_picture_is_named(tmp_path: Path) -> None:
    Image.fromarray(data.astronaut()).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EvaluationError, match=r"a\.jpg: not a readable picture"):
        read_picture(tmp_path / "a.jpg")


# --- windows ---


def test_a_still_is_sixteen_equal_frames_without_sound(cutter: StillCutter) -> None:
    window = cutter.cut(data.astronaut()).window
    assert window.frames.shape == (16, 224, 224, 3) and window.frames.dtype == np.uint8
    assert (window.frames == window.frames[0]).all()
    assert (window.fbank == missing_sound()).all() and not window.audio_present


def test_a_face_in_a_photograph_is_cut_out(cutter: StillCutter) -> None:
    cut = cutter.cut(data.astronaut())
    assert cut.face_found and not cut.whole
    again = cutter.cut(cut.window.frames[0])
    assert again.face_found
    assert 130 < again.window.face_height_px <= 224


def test_the_largest_face_is_cut_out(cutter: StillCutter) -> None:
    astronaut = Image.fromarray(data.astronaut())
    both = Image.new("RGB", (768, 512))
    both.paste(astronaut, (256, 0))
    both.paste(astronaut.resize((256, 256)), (0, 0))
    alone = cutter.cut(data.astronaut()).window.face_height_px
    assert cutter.cut(np.asarray(both)).window.face_height_px == pytest.approx(alone, rel=0.15)


@pytest.mark.parametrize("side", [48, 64, 120])
def test_a_tight_grey_crop_is_found_and_used_whole(cutter: StillCutter, side: int) -> None:
    picture = tight_grey(side)
    cut = cutter.cut(picture)
    assert cut.face_found and cut.whole
    shrunk = Image.fromarray(cut.window.frames[0]).resize((side, side), Image.Resampling.BOX)
    assert np.abs(np.asarray(shrunk).astype(int) - picture).mean() < 5


@pytest.mark.parametrize("shape", [(48, 48), (300, 200), (20, 70), (1, 1)])
def test_without_a_face_all_of_the_picture_is_used(cutter: StillCutter, shape: tuple[int, int]) -> None:
    rows = np.linspace(0, 255, shape[0], dtype=np.uint8)
    picture = np.broadcast_to(rows[:, None, None], (*shape, 3)).copy()
    cut = cutter.cut(picture)
    assert not cut.face_found and cut.whole
    shown = cut.window.frames[0]
    assert abs(int(shown[0].mean()) - int(picture[0].mean())) <= 4
    assert abs(int(shown[-1].mean()) - int(picture[-1].mean())) <= 4


def test_a_long_thin_picture_is_shrunk_before_it_is_made_square(cutter: StillCutter) -> None:
    square = _squared(np.full((20_000, 1, 3), 77, np.uint8))
    assert square.shape == (WHOLE_PX, WHOLE_PX, 3) and (square == 77).all()
    assert (cutter.cut(np.full((1, 5000, 3), 77, np.uint8)).window.frames == 77).all()


def test_no_border_is_added(cutter: StillCutter) -> None:
    white = np.full((40, 90, 3), 255, np.uint8)
    assert (cutter.cut(white).window.frames == 255).all()


def test_stills_do_not_affect_one_another(cutter: StillCutter) -> None:
    first = cutter.cut(tight_grey()).window.frames
    cutter.cut(data.astronaut())
    assert (cutter.cut(tight_grey()).window.frames == first).all()
