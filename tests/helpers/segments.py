"""Streams made for tests, cut into decoded chunks at any frame, like those that a decoder returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from helpers.lacking import lacks

from streamfx.config.privacy import PrivacySection
from streamfx.media.sampling import choose
from streamfx.operator import FaceOperator, OperatorContext, WindowOperator
from streamfx.privacy.pictures import Pictures
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.records import MICROSECONDS, Frame, Segment, Sound, TrackedFrame, Window

START_US = 1_700_000_000_123_456
PERIOD_US = 125_000
Pixels = npt.NDArray[np.uint8]


def context(period_us: int = PERIOD_US) -> OperatorContext:
    """The engine's context for an operator that uses no model."""

    def no_model(name: str) -> None:
        raise AssertionError("faces and windows must not use a model")

    section = PrivacySection(purpose="p", deployment_context="research")
    pseudonyms = Pseudonyms(section.salt_period_s, b"k" * 32)
    return OperatorContext(no_model, pseudonyms, Pictures(section), 1, period_us)  # type: ignore[arg-type]


@dataclass
class Stream:
    """A stream before it is cut. Frame n begins at `start_us` + n / fps, and `picture(n)` makes its pixels."""

    frames: int
    picture: Callable[[int], Pixels]
    fps: int = 25
    start_us: int = START_US
    period_us: int = PERIOD_US
    rate: int = 16_000
    sound: npt.NDArray[np.float32] | None = None
    _made: dict[int, Pixels] = field(default_factory=dict)

    def time_us(self, number: int) -> int:
        """Event time of a frame."""
        return self.start_us + round(Fraction(number * MICROSECONDS, self.fps))

    def cut(self, borders: Sequence[int] = (), overlap: int = 0) -> list[Segment]:
        """Segments that begin at frame 0 and at each of `borders`; each repeats `overlap` frames and their sound."""
        edges = [0, *sorted({b for b in borders if 0 < b < self.frames}), self.frames]
        return [self._segment(max(0, a - overlap), b) for a, b in pairwise(edges)]

    def _segment(self, first: int, end: int) -> Segment:
        times = [self.time_us(n) for n in range(first, end + 1)]
        durations = [b - a for a, b in pairwise(times)]
        frames = [
            Frame(times[i], durations[i], point, self._pixels(first + i))
            for i, points in choose(times[:-1], durations, self.period_us)
            for point in points
        ]
        return Segment(times[0], times[-1], frames, self._sound(times[0], times[-1]), end - first)

    def _pixels(self, number: int) -> Pixels:
        if number not in self._made:
            self._made[number] = self.picture(number)
        return self._made[number]

    def _sound(self, start_us: int, end_us: int) -> Sound | None:
        if self.sound is None:
            return None
        low, high = (-(-(t - self.start_us) * self.rate // MICROSECONDS) for t in (start_us, end_us))
        return Sound(self.start_us, low, self.rate, self.sound[low:high])


def noise(frames: int, fps: int = 25, rate: int = 16_000) -> npt.NDArray[np.float32]:
    """Noise as long as a stream, without repetition."""
    return np.random.default_rng(7).uniform(-0.5, 0.5, -(-frames * rate // fps)).astype(np.float32)


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
    """A stream of the given pictures, with sound."""
    return Stream(len(frames), lambda n: frames[n], fps=fps, sound=noise(len(frames), fps))


Tracked = list[tuple[int, list[Any], Any]]


def comparable(tracked: Sequence[TrackedFrame]) -> Tracked:
    """All results about frames without their pixels and offsets."""
    return [(t.frame.sample_us, t.faces, t.regions) for t in tracked]


def run_faces(operator: FaceOperator, segments: Sequence[Segment]) -> list[TrackedFrame]:
    """All tracked frames of the segments, which get the offsets 0, 1, ..."""
    return [t for offset, segment in enumerate(segments) for t in operator.track("s", offset, segment)]


def through_json(snapshot: Mapping[str, Any] | None) -> Any:
    """A snapshot after a commit log has stored and read it."""
    return json.loads(json.dumps(snapshot))


def assert_same_windows(got: Sequence[Window], wanted: Sequence[Window]) -> None:
    """Assert that both have the same windows to the bit, wherever the chunks' borders were."""
    assert [_facts(w) for w in got] == [_facts(w) for w in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.present, other.present)
        assert np.array_equal(one.fbank, other.fbank)


def _facts(w: Window) -> tuple[object, ...]:
    return w.start_us, w.end_us, w.birth_us, w.birth_index, w.audio_present, w.face_score, w.face_height_px


def run_line(faces: FaceOperator, windows: WindowOperator, segments: Sequence[Segment]) -> list[Window]:
    """All windows of a whole stream, its end included."""
    closed: list[Window] = []
    for offset, segment in enumerate(segments):
        closed += windows.add("s", offset, segment, faces.track("s", offset, segment))
    faces.end_stream("s")
    return closed + windows.end_stream("s", len(segments))
