"""Real clips as streams, and what must be alike however a stream was cut."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from helpers.lacking import lacks

from streamfx.records import TrackedFrame, Window
from streamfx.testing import Stream, noise

Pixels = npt.NDArray[np.uint8]


def clip_path(name: str) -> Path:
    """A real clip from the folder beside the checkout; the test is skipped where it is missing."""
    path = Path(__file__).parents[3] / "shared" / "data" / "clips" / name
    if not path.exists():
        lacks("the real clips", "the development folder's shared/data/clips beside the checkout")
    return path


def clip_frames(name: str) -> list[Pixels]:
    """All frames of a real clip, RGB."""
    with av.open(str(clip_path(name))) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def clip_stream(frames: Sequence[Pixels], fps: int = 25) -> Stream:
    """A stream of given pictures, with sound."""
    return Stream(len(frames), lambda n: frames[n], fps=fps, sound=noise(len(frames), fps))


Tracked = list[tuple[int, list[Any], Any]]


def comparable(tracked: Sequence[TrackedFrame]) -> Tracked:
    """Everything that was decided about frames, without their pixels and offsets."""
    return [(t.frame.sample_us, t.faces, t.regions) for t in tracked]


def through_json(snapshot: Mapping[str, Any] | None) -> Any:
    """A snapshot after a commit log has stored and read it."""
    return json.loads(json.dumps(snapshot))


def assert_same_windows(got: Sequence[Window], wanted: Sequence[Window]) -> None:
    """The same windows to the bit, wherever the chunks' borders were."""
    assert [_facts(w) for w in got] == [_facts(w) for w in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.present, other.present)
        assert np.array_equal(one.fbank, other.fbank)


def _facts(w: Window) -> tuple[object, ...]:
    return w.start_us, w.end_us, w.birth_us, w.birth_index, w.audio_present, w.face_score, w.face_height_px
