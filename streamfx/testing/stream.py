"""Streams made for tests, cut into decoded chunks at any frame, and faces that are where a script says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from streamfx.media.sampling import choose
from streamfx.operator import FaceOperator, OperatorConfig
from streamfx.records import MICROSECONDS, CropBox, FaceInFrame, Frame, Segment, Snapshot, Sound, TrackedFrame
from streamfx.testing.builders import SAMPLE_PERIOD_US, START_US, make_context

Pixels = npt.NDArray[np.uint8]


@dataclass
class Stream:
    """A stream before it is cut: frame n is shown from `start_us` + n / fps, and `picture(n)` makes its pixels.

    By default it begins between two points of the sampling grid, as real streams do. `sound` is float32 [samples] at
    `rate` (Hz) and begins with the first frame; `noise` makes some.
    """

    frames: int
    picture: Callable[[int], Pixels]
    fps: int = 25
    start_us: int = START_US + 123_456
    period_us: int = SAMPLE_PERIOD_US
    rate: int = 16_000
    sound: npt.NDArray[np.float32] | None = None
    _made: dict[int, Pixels] = field(default_factory=dict, init=False, repr=False)

    def time_us(self, number: int) -> int:
        """Event time of a frame."""
        return self.start_us + round(Fraction(number * MICROSECONDS, self.fps))

    def cut(self, borders: Sequence[int] = (), overlap: int = 0) -> list[Segment]:
        """Segments that begin at frame 0 and at each of `borders`, each with `overlap` frames and their sound twice."""
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
    """Sound as long as a stream of so many frames, different everywhere and always the same."""
    return np.random.default_rng(7).uniform(-0.5, 0.5, -(-frames * rate // fps)).astype(np.float32)


class ScriptedFaces(FaceOperator):
    """A `FaceOperator` that detects nothing: track k is in those samples that `there[k]` accepts.

    It is called with the sample's number on the grid, event time divided by the sampling period. The box is near the
    middle of the frame and changes from sample to sample. The operator serves one stream.
    """

    name = "scripted"
    Config = OperatorConfig

    def __init__(self, *there: Callable[[int], bool], period_us: int = SAMPLE_PERIOD_US):
        super().__init__(OperatorConfig(), make_context(sample_period_us=period_us))
        self._there = there
        self._last_us = -1

    def track(self, stream_id: str, offset: int, segment: Segment) -> list[TrackedFrame]:
        """The new sampled frames, with the faces that the script has for them."""
        new = [frame for frame in segment.frames if frame.sample_us > self._last_us]
        if new:
            self._last_us = new[-1].sample_us
        return [TrackedFrame(offset, frame, self._faces(frame), [], True) for frame in new]

    def end_stream(self, stream_id: str) -> None:
        """There is nothing to forget: the script goes by event time."""

    def snapshot(self, stream_id: str) -> Snapshot:
        """The last sample that was seen."""
        return {"last_us": self._last_us}

    def restore(self, stream_id: str, snapshot: Snapshot) -> None:
        """Go on after the last sample that was seen."""
        self._last_us = snapshot["last_us"]

    def _faces(self, frame: Frame) -> list[FaceInFrame]:
        number = frame.sample_us // self.context.sample_period_us
        middle_x, middle_y, side = frame.width / 2, frame.height / 2 - 0.5, 0.375 * frame.width + number % 3
        return [
            FaceInFrame(
                birth_us=START_US,
                birth_index=k,
                box=CropBox(middle_x + k, middle_y, side, 4.0 * k, frame.width, frame.height),
                score=0.9 - k / 10,
                height_px=50.0 + k,
                detected=True,
            )
            for k, there in enumerate(self._there)
            if there(number)
        ]
