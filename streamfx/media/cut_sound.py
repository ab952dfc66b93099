"""The sound of a file, decoded once from end to end and handed out by sample numbers, so that no chunk border is heard."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from streamfx.media.chunk_writer import SoundPiece
from streamfx.media.sound import SampleCounter, at_rate, join, raw_samples, to_int16
from streamfx.media.video_file import open_video, sound_of
from streamfx.records import MICROSECONDS

Run = tuple[int, npt.NDArray[np.int16]]


class SoundTrack:
    """Decoded sound, its first one or two channels. Holds little more than the piece asked for last.

    `frames` are a sound track's frames in order; where it has none just now, it may have some when it is asked again.
    `shift_us` is added to the file's clock to give the stream's clock; sample n of the stream is at n / rate seconds.
    """

    def __init__(self, frames: Iterator[Any], shift_us: int):
        self._frames = frames
        self._shift_s = Fraction(shift_us, MICROSECONDS)
        self._counter: SampleCounter | None = None
        self._rate = 0
        self._first: int | None = None
        self._runs: list[Run] = []

    def piece(self, start_us: int, end_us: int) -> SoundPiece | None:
        """The samples at times `start_us` <= t < `end_us` on the stream's clock; None where there are none.

        Pieces must be asked for in order. Holes in the sound are silence; before its first sample and after its last
        there is nothing.
        """
        while not self._runs and self._first is None:
            if not self._read():
                return None
        low, high = (-(-time_us * self._rate // MICROSECONDS) for time_us in (start_us, end_us))
        while self._end < high and self._read():
            pass
        first, end = max(low, self._first or 0), min(high, self._end)
        if first >= end:
            return None
        samples = join(self._runs, first, end, np.int16)
        latest = self._runs[-1]
        self._runs = [run for run in self._runs if run is latest or run[0] + run[1].shape[-1] > high]
        return SoundPiece(first, self._rate, samples)

    @property
    def _end(self) -> int:
        """The number after the last sample read."""
        return self._counter.next or 0 if self._counter else 0

    def _read(self) -> bool:
        """Take one more frame into the runs; False at the end of the sound."""
        frame = next(self._frames, None)
        if frame is None:
            return False
        if self._counter is None:
            self._rate = frame.sample_rate
            self._counter = SampleCounter(self._rate)
        time_s = None if frame.pts is None else Fraction(frame.pts) * frame.time_base + self._shift_s
        pieces = [to_int16(raw_samples(piece)[:2]) for piece in at_rate(frame, self._rate)]
        samples = _with_channels(np.concatenate(pieces, axis=1), self._runs)
        number = self._counter.place(time_s, samples.shape[-1])
        self._first = number if self._first is None else self._first
        self._runs.append((number, samples))
        return True


def _with_channels(samples: npt.NDArray[np.int16], runs: list[Run]) -> npt.NDArray[np.int16]:
    """As many channels as the runs before, where the file changes its mind on the way."""
    channels = len(runs[-1][1]) if runs else len(samples)
    return samples if len(samples) == channels else np.repeat(samples[:1], channels, axis=0)


def sound_frames(path: Path) -> Iterator[Any]:
    """Frames of a file's first sound track; packets that cannot be decoded are left out."""
    with open_video(path) as container:
        sound = sound_of(container)
        if sound is None:
            return
        for packet in container.demux(sound):
            try:
                yield from packet.decode()
            except av.FFmpegError:
                continue
