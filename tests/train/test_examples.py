"""Synthetic sets become examples by the line's own crop and sound, each clip once, despite interruptions."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.training import COLOURS, FACE, write_set

from streamfx.errors import ConfigError, SynthError
from streamfx.media.audio import log_mel
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.train.datasets import open_examples
from streamfx.train.examples import Joined
from streamfx.train.recipe import Data
from streamfx.train.synthetic import MARGIN, PreparedSet, prepare


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "small", 9)


@pytest.fixture(scope="module")
def prepared(small_set: Path) -> PreparedSet:
    return prepare(small_set, small_set.parent / "cache", 48)


def test_labelled_clips_are_examples_and_empty_ones_are_not(prepared: PreparedSet) -> None:
    assert len(prepared) == 9
    assert [LABELS_7[t] for t in prepared.targets] == [LABELS_7[i % 7] for i in range(9)]
    assert list(prepared.groups["clip"]) == [f"s1-{i:06d}" for i in range(9)]


def test_frames_are_cut_around_the_face_with_a_margin(prepared: PreparedSet) -> None:
    """The face takes 48 of the crop's 57.6 pixels, and the stored frame is a quarter larger than the crop."""
    frames = prepared.frames(0, range(16), None)
    assert frames.shape == (16, 60, 60, 3) and frames.dtype == np.uint8
    red = (frames[..., 0] > 160) & (frames[..., 1] < 90)
    scale = 60 / (48 * 1.2 * MARGIN)
    for rows, columns in (np.nonzero(one) for one in red):
        assert abs(np.ptp(rows) + 1 - (FACE[3] - FACE[1]) * scale) <= 2
        assert abs(np.ptp(columns) + 1 - (FACE[2] - FACE[0]) * scale) <= 2
        # Cut by the box of its own frame, a moving face stays in the middle.
        assert abs(rows.mean() - 29.5) <= 1 and abs(columns.mean() - 29.5) <= 1


def test_each_expression_shows_its_own_colour(prepared: PreparedSet) -> None:
    shown = np.stack([prepared.frames(i, [8], None)[0, 30, 30] for i in range(7)])
    assert np.abs(shown.astype(int) - np.array(COLOURS)).max() < 25


def test_a_clip_of_16_frames_gives_each_once_with_its_labels(prepared: PreparedSet) -> None:
    units = prepared.truth(0, range(16)).action_units
    np.testing.assert_allclose(units[:, 0], np.arange(16) / 100, atol=1e-6)


def test_a_frame_without_the_face_repeats_the_one_before_with_its_labels(prepared: PreparedSet) -> None:
    frames, truth = prepared.frames(1, range(16), None), prepared.truth(1, range(16))
    assert np.array_equal(frames[3], frames[2]) and not np.array_equal(frames[4], frames[3])
    np.testing.assert_allclose(truth.action_units[[2, 3, 4], 0], [0.52, 0.52, 0.54], atol=1e-6)


def test_a_partial_expression_leaves_the_rest_to_neutral(prepared: PreparedSet) -> None:
    shares = prepared.truth(3, [0]).expression[0]
    assert shares[LABELS_7.index("anger")] == pytest.approx(0.75)
    assert shares[LABELS_7.index("neutral")] == pytest.approx(0.25)
    assert prepared.truth(2, [0]).expression[0, LABELS_7.index("neutral")] == pytest.approx(1.0)


def test_the_sound_is_the_lines_filter_bank(small_set: Path, prepared: PreparedSet) -> None:
    with av.open(str(small_set / "clips/s1-000004.mp4")) as container:
        pieces = [frame.to_ndarray()[0] for frame in container.decode(audio=0) if frame.pts >= 0]
    expected = log_mel(np.concatenate(pieces)[: 2 * 16_000], 16_000)
    np.testing.assert_allclose(prepared.sound(4), expected, atol=1e-4)


def test_longer_clips_are_cut_around_the_apex(tmp_path: Path) -> None:
    """The window is 2 of the clip's 4 s at 25 frames/s, with its middle within 0.25 s of the apex."""
    long = prepare(write_set(tmp_path / "long", 7, fps=25, seconds=4.0), tmp_path / "cache", 32)
    first = [long.truth(i, [0]).action_units[0, 0] * 100 - LABELS_7.index(LABELS_7[i]) * 50 for i in range(7)]
    starts_s = np.array(first) / 25
    assert (np.abs(starts_s - 1.0) <= 0.25 + 0.0625 + 0.04).all()
    assert np.ptp(starts_s) > 0.1


def test_preparing_resumes_where_it_was_killed(small_set: Path, prepared: PreparedSet, tmp_path: Path) -> None:
    prepare(small_set, tmp_path, 48)
    (folder,) = tmp_path.iterdir()
    whole = {name: np.load(folder / f"{name}.npy") for name in ("state", "frames", "sound", "truth")}
    for name, value in whole.items():
        np.save(
            folder / f"{name}.npy", np.where(np.arange(len(value)).reshape(-1, *[1] * (value.ndim - 1)) < 5, value, 0)
        )
    clip = small_set / "clips/s1-000002.mp4"
    content = clip.read_bytes()
    clip.write_bytes(b"not read again")
    try:
        prepare(small_set, tmp_path, 48)
    finally:
        clip.write_bytes(content)
    for name, value in whole.items():
        assert np.array_equal(np.load(folder / f"{name}.npy"), value), name


@pytest.mark.slow
def test_several_processes_cut_equal_examples(small_set: Path, prepared: PreparedSet, tmp_path: Path) -> None:
    again = prepare(small_set, tmp_path, 48, processes=2)
    for i in range(len(prepared)):
        assert np.array_equal(again.frames(i, range(16), None), prepared.frames(i, range(16), None))


def test_a_broken_clip_is_named(tmp_path: Path) -> None:
    broken = write_set(tmp_path / "broken", 3)
    (broken / "clips/s1-000001.mp4").write_bytes(b"no video")
    with pytest.raises(SynthError, match=r"s1-000001\.mp4"):
        prepare(broken, tmp_path / "cache", 32)


def test_a_folder_without_a_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="streamfx synth"):
        prepare(tmp_path, tmp_path / "cache", 32)


def test_people_who_are_trained_on_cannot_be_held_out(small_set: Path, tmp_path: Path) -> None:
    sets = {"train": [small_set], "held_out": [small_set], "cache": small_set.parent / "cache"}
    with pytest.raises(ConfigError, match="held_out: expected people who are in no other set, got 4 who are"):
        open_examples(Data.model_validate({"image_size": 48, "synthetic": sets}))


def test_joined_sets_number_their_examples_consecutively(
    small_set: Path, prepared: PreparedSet, tmp_path: Path
) -> None:
    other = prepare(write_set(tmp_path / "other", 3, seed=5), tmp_path / "cache", 48)
    both = Joined([prepared, other])
    assert len(both) == 12 and list(both.targets) == [*prepared.targets, *other.targets]
    assert np.array_equal(both.frames(9, [0], None), other.frames(0, [0], None))
    assert np.array_equal(both.sound(8), prepared.sound(8))
    assert json.dumps(both.truth(11, [0]).expression.tolist()) == json.dumps(other.truth(2, [0]).expression.tolist())
