"""DFEW and MAFW in their users' layouts, on made-up folders."""

from __future__ import annotations

import csv
import pickle
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamfx.errors import ConfigError
from streamfx.media.audio import log_mel, missing_sound
from streamfx.nets.mma_dfer import LABELS_11
from streamfx.train.folders import ClipBoxes, open_dfew, open_mafw, segment_frame
from streamfx.train.recipe import Folders

RATE = 22_050


def frames_in(folder: Path, count: int, size: tuple[int, int] = (40, 40)) -> None:
    """Pictures 1.jpg, 2.jpg, …; frame n (from 0) is grey of brightness 5 n."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (5 * number,) * 3).save(folder / f"{folder.name}_{number + 1}.jpg", quality=95)


def write_wav(path: Path, sound: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    """Sound [samples, channels] in -1..1 as 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(sound.shape[1])
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


@pytest.fixture
def dfew(tmp_path: Path) -> Folders:
    frames_in(tmp_path / "Clip/clip_224x224/00001", 40)
    frames_in(tmp_path / "Clip/clip_224x224/00023", 5)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2)).astype(np.float32)
    write_wav(tmp_path / "wav/00001.wav", noise)
    folder = tmp_path / "EmoLabel_DataSplit/train(single-labeled)"
    folder.mkdir(parents=True)
    with (folder / "set_1.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["video_name", "label"], ["1", "4"], ["23", "7"]])
    return Folders(root=tmp_path, train=Path("EmoLabel_DataSplit/train(single-labeled)/set_1.csv"))


def shown(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[int]:
    """The number of the frame in each picture, from its brightness."""
    return [round(float(one.mean()) / 5) for one in frames]


def test_dfew_labels_map_to_the_order_of_labels_7(dfew: Folders) -> None:
    examples = open_dfew(dfew, dfew.train, 32)
    assert [examples.labels[t] for t in examples.targets] == ["anger", "fear"]


def test_dfew_frames_at_test_time_are_the_segments_middles(dfew: Folders) -> None:
    examples = open_dfew(dfew, dfew.train, 32)
    frames = examples.frames(0, range(16), None)
    assert frames.shape == (16, 32, 32, 3)
    assert shown(frames) == [int(40 / 32 + i * 40 / 16) for i in range(16)]


def test_dfew_frames_in_training_are_drawn_from_their_segments(dfew: Folders) -> None:
    examples = open_dfew(dfew, dfew.train, 32)
    drawn = [shown(examples.frames(0, range(16), np.random.default_rng(seed))) for seed in range(6)]
    assert all(2 * i <= one[i] < 2 * i + 2 for one in drawn for i in range(16))
    assert len({tuple(one) for one in drawn}) > 1


def test_short_clips_repeat_their_last_frame(dfew: Folders) -> None:
    examples = open_dfew(dfew, dfew.train, 32)
    for rng in (None, np.random.default_rng(0)):
        assert shown(examples.frames(1, range(16), rng)) == [0, 1, 2, 3] + [4] * 12


@given(st.integers(1, 2000), st.integers(0, 15), st.integers(0, 5))
def test_a_segment_s_frame_is_in_the_clip(frames: int, segment: int, seed: int) -> None:
    for rng in (None, np.random.default_rng(seed)):
        assert 0 <= segment_frame(frames, segment, rng) < frames


def test_sound_keeps_its_rate_and_loses_the_mean_of_all_channels(dfew: Folders) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2)).astype(np.float32)
    as_stored = (noise * 32767).astype("<i2").astype(np.float32).T / 32768
    np.testing.assert_allclose(open_dfew(dfew, dfew.train, 32).sound(0), log_mel(as_stored, RATE), atol=1e-4)


def test_a_clip_without_a_wav_is_silent(dfew: Folders) -> None:
    assert np.array_equal(open_dfew(dfew, dfew.train, 32).sound(1), missing_sound())


def test_folders_without_frames_are_counted_and_named(dfew: Folders) -> None:
    (dfew.root / dfew.train).write_text("video_name,label\n1,4\n99,1\n")
    with pytest.raises(ConfigError, match=r"1 of 2 clips.*'00099'"):
        open_dfew(dfew, dfew.train, 32)


@pytest.mark.parametrize(
    "text",
    [
        "video_name,label\n1,8\n",
        "name;emotion\n1;2\n",
        "video_name,label\n",
        "video_name,label\n1\n",
        f'video_name,label\n"{"1" * 200_000}",4\n',
        "\xff" * 100_000,
    ],
    ids=["label", "columns", "empty", "short", "long field", "binary"],
)
def test_wrong_fold_lists_are_refused(dfew: Folders, text: str) -> None:
    (dfew.root / dfew.train).write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"set_1\.csv") as refused:
        open_dfew(dfew, dfew.train, 32)
    assert len(str(refused.value)) < 500


def test_fold_lists_may_have_endings_spaces_and_windows_marks(dfew: Folders, mafw: Folders) -> None:
    (dfew.root / dfew.train).write_bytes(b"\xef\xbb\xbfvideo_name, label\r\n00001.mp4, 4\r\n")
    examples = open_dfew(dfew, dfew.train, 32)
    assert (examples.names, list(examples.targets)) == (["00001"], [3])
    (mafw.root / mafw.train).write_bytes(b"\xef\xbb\xbf00001.mp4 Contempt\r\n")
    examples = open_mafw(mafw, mafw.train, 32)
    assert (examples.names, list(examples.targets)) == (["00001"], [7])


def test_hidden_files_of_macos_are_ignored(dfew: Folders) -> None:
    (dfew.root / "Clip/clip_224x224/00023/._00023_1.jpg").write_bytes(b"\0\5\x16\7")
    assert shown(open_dfew(dfew, dfew.train, 32).frames(1, range(16), None)) == [0, 1, 2, 3] + [4] * 12


@pytest.mark.parametrize("bomb", [False, True])
def test_an_unreadable_frame_is_named(dfew: Folders, bomb: bool) -> None:
    file = dfew.root / "Clip/clip_224x224/00023/00023_1.jpg"
    if bomb:
        Image.new("1", (20_000, 20_000)).save(file, "PNG")
    else:
        file.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"00023_1\.jpg: not a readable picture: .*; replace it"):
        open_dfew(dfew, dfew.train, 32).frames(1, [0], None)


def test_another_layout_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Clip/clip_224x224 or clip_224x224"):
        open_dfew(Folders(root=tmp_path, train=Path("list.csv")), Path("list.csv"), 32)


@pytest.fixture
def mafw(tmp_path: Path) -> Folders:
    frames_in(tmp_path / "frames/00001", 20, (60, 40))
    frames_in(tmp_path / "frames/00002", 20, (60, 40))
    (tmp_path / "train.txt").write_text("data/00001.mp4 7\nframes/00002 20 disappointment\n")
    return Folders(root=tmp_path, train=Path("train.txt"), cache=tmp_path / "boxes")


def test_mafw_lists_name_clips_by_path_and_label_by_number_or_word(mafw: Folders) -> None:
    examples = open_mafw(mafw, mafw.train, 32)
    assert examples.names == ["00001", "00002"]
    assert [LABELS_11[t] for t in examples.targets] == ["contempt", "disappointment"]


def test_mafw_without_a_face_takes_the_middle_of_the_frame(mafw: Folders) -> None:
    """The crop is half of the short side, so the dark border around the middle must not be in it."""
    for file in (mafw.root / "frames/00001").iterdir():
        picture = np.zeros((40, 60, 3), np.uint8)
        picture[10:30, 20:40] = 200
        Image.fromarray(picture).save(file, quality=100, subsampling=0)
    frames = open_mafw(mafw, mafw.train, 32).frames(0, [0, 15], None)
    assert frames.shape == (2, 32, 32, 3) and frames.min() > 170


def test_mafw_crops_are_the_square_around_all_detections(mafw: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three detections at distant times give the square around their union. The operator's tests cover the detector."""
    found = iter([[(20.0, 20.0, 10.0)], [(36.0, 20.0, 10.0)], []])
    monkeypatch.setattr(ClipBoxes, "_look", lambda self, picture: next(found, []))
    files = sorted((mafw.root / "frames/00001").iterdir())
    assert ClipBoxes(mafw.root / "boxes").of(mafw.root / "frames/00001", files) == (28.0, 20.0, 26.0)


def test_mafw_faces_are_detected_once(mafw: Folders) -> None:
    files = sorted((mafw.root / "frames/00002").iterdir())
    boxes = ClipBoxes(mafw.root / "boxes")
    square = boxes.of(mafw.root / "frames/00002", files)
    assert ClipBoxes(mafw.root / "boxes").of(mafw.root / "frames/00002", []) == square
    assert pickle.loads(pickle.dumps(boxes)).of(mafw.root / "frames/00002", []) == square


@pytest.mark.parametrize("kept", ["5", "{}", "[NaN, 1, 1]", "[1, 1, 0]", "[1, 1"])
def test_a_broken_cached_box_is_computed_again(mafw: Folders, kept: str) -> None:
    (mafw.root / "boxes").mkdir()
    (mafw.root / "boxes/00001.json").write_text(kept)
    files = sorted((mafw.root / "frames/00001").iterdir())
    assert ClipBoxes(mafw.root / "boxes").of(mafw.root / "frames/00001", files) == (30.0, 20.0, 20.0)


def test_an_unwritable_cache_is_named(mafw: Folders) -> None:
    (mafw.root / "file").touch()
    files = sorted((mafw.root / "frames/00001").iterdir())
    with pytest.raises(ConfigError, match=r"file/boxes: .*data\.mafw\.cache"):
        ClipBoxes(mafw.root / "file/boxes").of(mafw.root / "frames/00001", files)


def test_single_frames_of_real_data_have_no_labels(dfew: Folders) -> None:
    with pytest.raises(ConfigError, match=r"data\.synthetic"):
        open_dfew(dfew, dfew.train, 32).truth(0, [0])
