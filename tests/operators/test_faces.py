"""Faces: who is in each sampled frame, the same however the stream was cut, and nothing shown where it failed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from helpers.segments import Pixels, assert_same_windows, clip_frames, clip_stream, comparable, through_json
from PIL import Image
from pydantic import ValidationError
from skimage import data
from streamfx_operators.faces import Faces, FacesConfig
from streamfx_operators.windows import Windows, WindowsConfig

from streamfx.records import Frame, Segment, TrackedFrame
from streamfx.testing import SAMPLE_PERIOD_US as PERIOD_US
from streamfx.testing import Stream, make_context, run_faces, run_windows

GRID = ("bbaf2n.mpg", "brbk7n.mpg", "lbax4n.mpg", "lwbsza.mpg", "sbia1a.mpg")


def faces(**config: Any) -> Faces:
    return Faces(FacesConfig(**config), make_context())


@cache
def clip(name: str) -> list[Pixels]:
    return clip_frames(name)


def names(tracked: Sequence[TrackedFrame]) -> list[list[tuple[int, int]]]:
    return [[(f.birth_us, f.birth_index) for f in t.faces] for t in tracked]


def side_by_side(left: str, right: str, hidden: range = range(0)) -> list[Pixels]:
    """Two clips as one picture; in the frames `hidden`, a grey patch covers the left one's face."""
    pictures = [np.hstack(pair) for pair in zip(clip(left), clip(right), strict=False)]
    for n in hidden:
        pictures[n][20:280, 60:300] = 127
    return pictures


def on_canvas(picture: Pixels, width: int, height: int, side: int) -> Pixels:
    canvas = np.full((height, width, 3), 60, np.uint8)
    canvas[:side, :side] = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR))
    return canvas


def astronaut_stream(frames: int = 25, width: int = 512, height: int = 512, side: int = 512, **changes: Any) -> Stream:
    """The astronaut, drifting slowly."""
    picture = data.astronaut()
    return Stream(
        frames, lambda n: on_canvas(np.roll(picture, (n // 4, n // 2), (0, 1)), width, height, side), **changes
    )


# --- real clips ---


@pytest.mark.parametrize("name", GRID)
def test_a_talker_is_one_track_in_every_sample(name: str) -> None:
    tracked = run_faces(faces(), clip_stream(clip(name)).cut([30]))
    assert len(tracked) == 24
    assert {tuple(n) for n in names(tracked)} == {((tracked[0].frame.sample_us, 0),)}
    for frame in tracked:
        box = frame.faces[0].box
        assert 100 < box.center_x < 260 and 80 < box.center_y < 220 and 110 < box.side < 230
        assert abs(box.roll_deg) < 12 and frame.faces[0].score > 0.5


def test_a_talkers_clip_gives_windows() -> None:
    closed = run_windows(
        faces(), Windows(WindowsConfig(crop_px=64), make_context()), clip_stream(clip(GRID[0])).cut([25, 50])
    )
    assert len({(w.birth_us, w.birth_index) for w in closed}) == 1 and len(closed) >= 3
    assert all(w.present.sum() >= 8 and w.frames.std() > 20 for w in closed)


def test_two_talkers_side_by_side_are_two_tracks_without_a_switch() -> None:
    tracked = run_faces(faces(), clip_stream(side_by_side(GRID[0], GRID[2])).cut([20, 50]))
    born_us = tracked[0].frame.sample_us
    assert all(n == [(born_us, 0), (born_us, 1)] for n in names(tracked))
    for frame in tracked:
        assert frame.faces[0].box.center_x < 360 < frame.faces[1].box.center_x


def test_a_face_covered_for_a_second_comes_back_under_its_name_and_the_other_never_takes_it() -> None:
    tracked = run_faces(faces(), clip_stream(side_by_side(GRID[0], GRID[2], range(25, 50))).cut([33]))
    left, right = ((tracked[0].frame.sample_us, k) for k in (0, 1))
    detection_us = 2 * PERIOD_US
    for frame, shown in zip(tracked, names(tracked), strict=True):
        since_us = frame.frame.sample_us - Stream.start_us
        assert right in shown and set(shown) <= {left, right}
        if 1_000_000 + detection_us <= since_us < 2_000_000:
            assert left not in shown
            assert frame.regions is not None
            assert any(x0 < 180 < x1 and y0 < 150 < y1 for x0, y0, x1, y1 in frame.regions), "it stays masked"
        elif since_us < 1_000_000 or since_us >= 2_000_000 + detection_us:
            assert left in shown


# --- the schedule ---


def test_detection_falls_on_fixed_points_of_event_time() -> None:
    tracked = run_faces(faces(detect_every=3), astronaut_stream(50).cut())
    grid = [t.frame.sample_us // PERIOD_US for t in tracked]
    wanted = [True] + [b // 3 > a // 3 for a, b in pairwise(grid)]
    assert [t.faces[0].detected for t in tracked] == wanted and not all(wanted)


@pytest.mark.parametrize(("borders", "overlap"), [([25, 50], 0), ([1, 2, 3, 40, 41], 0), ([10, 30, 60], 6)])
def test_tracks_do_not_depend_on_the_chunks(borders: list[int], overlap: int) -> None:
    stream = clip_stream(side_by_side(GRID[0], GRID[3], range(20, 35)))
    whole = run_faces(faces(), stream.cut())
    pieces = run_faces(faces(), stream.cut(borders, overlap))
    assert comparable(pieces) == comparable(whole)


def test_the_line_gives_the_same_windows_for_all_cuts_and_across_restarts() -> None:
    stream = clip_stream(side_by_side(GRID[1], GRID[4], range(20, 35)))
    config = WindowsConfig(crop_px=64)
    wanted = run_windows(faces(), Windows(config, make_context()), stream.cut())
    assert {w.birth_index for w in wanted} == {0, 1}
    segments = stream.cut([13, 26, 50, 63], overlap=2)
    tracker, windows, closed = faces(), Windows(config, make_context()), []
    for offset, segment in enumerate(segments):
        closed += windows.add("s", offset, segment, tracker.track("s", offset, segment))
        states = through_json(tracker.snapshot("s")), through_json(windows.snapshot("s"))
        tracker, windows = faces(), Windows(config, make_context())
        tracker.restore("s", states[0])
        assert windows.restore("s", states[1], {n: segments[n] for n in windows.offsets_needed(states[1])}) == 0
    assert_same_windows(closed + windows.end_stream("s", 9), wanted)


def test_frames_that_were_seen_are_dropped() -> None:
    operator, (segment,) = faces(), astronaut_stream().cut()
    assert len(operator.track("s", 0, segment)) == 8
    assert operator.track("s", 1, segment) == []


def test_streams_do_not_know_each_other_and_an_ended_one_is_forgotten() -> None:
    operator, (segment,) = faces(), astronaut_stream().cut()
    first, other = (operator.track(name, 0, segment) for name in ("a", "b"))
    assert comparable(first) == comparable(other)
    operator.end_stream("a")
    assert operator.snapshot("a") is None and operator.snapshot("b") is not None
    assert comparable(operator.track("a", 0, segment)) == comparable(first)


def test_a_snapshot_is_small_and_holds_numbers_only() -> None:
    operator = faces()
    run_faces(operator, clip_stream(side_by_side(GRID[0], GRID[2])[:25]).cut())
    snapshot = through_json(operator.snapshot("camera"))
    assert len(snapshot["tracks"]) == 2 and len(str(snapshot)) < 1000


# --- sizes, masks and failures ---


def test_a_stream_that_changes_its_size_keeps_its_track() -> None:
    stream = astronaut_stream(50, 640, 640, 512)
    half = [np.asarray(Image.fromarray(stream.picture(n)).resize((320, 320))) for n in range(50)]
    mixed = Stream(50, lambda n: half[n] if 20 <= n < 35 else stream.picture(n))
    tracked = run_faces(faces(), mixed.cut([20, 35]))
    assert {tuple(n) for n in names(tracked)} == {((tracked[0].frame.sample_us, 0),)}
    for frame in tracked:
        box = frame.faces[0].box
        assert (box.frame_width, box.frame_height) == (frame.frame.width, frame.frame.height)
        assert box.center_x / frame.frame.width == pytest.approx(0.37, abs=0.04)


@pytest.mark.parametrize(
    ("width", "height", "side"), [(1920, 1080, 1000), (512, 512, 512), (160, 120, 120), (300, 900, 300)]
)
def test_a_face_is_found_in_pictures_of_many_sizes(width: int, height: int, side: int) -> None:
    tracked = run_faces(faces(), astronaut_stream(9, width, height, side).cut())
    assert all(len(t.faces) == 1 for t in tracked)
    for frame in tracked:
        assert frame.faces[0].box.center_x == pytest.approx(side * 0.44, abs=side * 0.04)
        assert frame.faces[0].height_px == pytest.approx(side * 0.26, rel=0.25)


def test_a_smaller_face_than_is_followed_is_masked_all_the_same() -> None:
    (frame, *_) = run_faces(faces(min_face_px=400), astronaut_stream(9).cut())
    assert frame.faces == [] and frame.regions is not None
    assert any(x0 < 225 < x1 and y0 < 125 < y1 for x0, y0, x1, y1 in frame.regions)


def test_no_more_tracks_than_allowed_and_the_rest_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tracked = run_faces(faces(max_faces=1), clip_stream(side_by_side(GRID[0], GRID[2])[:25]).cut())
    assert all(len(t.faces) == 1 and t.regions is not None and len(t.regions) >= 2 for t in tracked)
    assert [r.getMessage() for r in caplog.records] == ["more faces than faces.max_faces = 1: 1 are not followed"]


def test_where_the_detector_fails_no_face_and_no_region_is_given(caplog: pytest.LogCaptureFixture) -> None:
    (good,) = astronaut_stream(50).cut()
    broken = list(good.frames)
    for n in range(6, 10):
        frame = broken[n]
        broken[n] = Frame(frame.time_us, frame.duration_us, frame.sample_us, frame.pixels.astype(np.complex64))  # type: ignore[union-attr]
    segment = Segment(good.start_us, good.end_us, broken, None, good.frames_decoded)
    with caplog.at_level(logging.ERROR):
        tracked = run_faces(faces(detect_every=1), [segment])
    assert [t.regions is None for t in tracked] == [6 <= n < 10 for n in range(16)]
    assert all((t.faces == []) == (t.regions is None) for t in tracked)
    assert len({tuple(n) for n in names(tracked) if n}) == 1, "the track goes on when the detector works again"
    assert caplog.records and all("TypeError" in r.getMessage() for r in caplog.records)


def test_a_frame_on_a_device_gives_nearly_what_one_in_memory_gives() -> None:
    (segment,) = astronaut_stream(9, 900, 700, 600).cut()
    moved = [Frame(f.time_us, f.duration_us, f.sample_us, torch.from_numpy(np.array(f.pixels))) for f in segment.frames]
    on_device = run_faces(faces(), [Segment(segment.start_us, segment.end_us, moved, None, 9)])
    for one, other in zip(on_device, run_faces(faces(), [segment]), strict=True):
        assert one.faces[0].box.center_x == pytest.approx(other.faces[0].box.center_x, abs=2)
        assert one.faces[0].box.side == pytest.approx(other.faces[0].box.side, rel=0.03)


def test_align_off_gives_upright_crops() -> None:
    tilted = np.asarray(Image.fromarray(data.astronaut()).rotate(20, center=(224, 125)))
    stream = Stream(9, lambda n: tilted)
    rolls = [run_faces(faces(align=align), stream.cut())[0].faces[0].box.roll_deg for align in (True, False)]
    assert rolls[0] == pytest.approx(-20, abs=8) and rolls[1] == 0


@pytest.mark.parametrize(
    "wrong", [{"detect_every": 0}, {"detect_px": 8}, {"threshold": 1.5}, {"margin": 0.5}, {"max_faces": 0}, {"fps": 3}]
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FacesConfig(**wrong)
