"""The sound of a file, decoded once from end to end and cut by sample numbers, so that chunk borders are inaudible."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from streamfx.media.chunk_writer import SoundPiece
from streamfx.media.downmix import gains_of, storable, widened
from streamfx.media.sound import SampleCounter, at_rate, join, raw_samples, to_int16
from streamfx.media.sound_track import LOOK_S, SoundChoice, described, pick_sound, sound_tracks
from streamfx.media.video_file import open_video
from streamfx.records import MICROSECONDS

log = logging.getLogger(__name__)

Run = tuple[int, npt.NDArray[np.int16]]


class SoundTrack:
    """Decoded sound with up to 8 channels. It holds little more than the piece that was requested last.

    `frames` are a sound track's frames in order. An iterator of live frames may raise StopIteration and have more
    frames later. `shift_us` is added to the file's clock to give the stream's clock. Sample n of the stream is at the
    time n / rate, in seconds.
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

        Pieces must be requested in order. Gaps in the sound become silence; nothing is returned for the time before
        its first sample or after its last one.
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
        # A track may change its layout, but a piece has only one.
        runs = [run for run in self._runs if run[0] < end and run[0] + run[1].shape[-1] > first]
        channels = max(len(samples) for _, samples in runs)
        samples = join([(number, widened(run, channels)) for number, run in runs], first, end, np.int16)
        latest = self._runs[-1]
        self._runs = [run for run in self._runs if run is latest or run[0] + run[1].shape[-1] > high]
        return SoundPiece(first, self._rate, samples)

    @property
    def _end(self) -> int:
        """The number after the last sample read."""
        return self._counter.next or 0 if self._counter else 0

    def _read(self) -> bool:
        """Add one more frame to the runs; False at the end of the sound."""
        frame = next(self._frames, None)
        if frame is None:
            return False
        if self._counter is None:
            self._rate = frame.sample_rate
            self._counter = SampleCounter(self._rate)
        time_s = None if frame.pts is None else Fraction(frame.pts) * frame.time_base + self._shift_s
        pieces = [to_int16(raw_samples(piece)) for piece in at_rate(frame, self._rate)]
        samples = storable(np.concatenate(pieces, axis=1), gains_of(frame.layout))
        number = self._counter.place(time_s, samples.shape[-1])
        self._first = number if self._first is None else self._first
        self._runs.append((number, samples))
        return True


def chosen_sound(path: Path, wanted: SoundChoice = "auto") -> int | None:
    """The index, among all tracks of a file, of the sound track to use; None where the file has no sound."""
    with open_video(path) as container:
        streams = container.streams.audio
        tracks = sound_tracks(streams, wanted)
        chosen = pick_sound([track.index for track in tracks], lambda index: _beginning(path, index))
        if chosen is not None and len(streams) > 1:
            log.info(
                "%s: sound %s is used; `media.sound_track` (--sound-track) chooses another",
                path, described(container.streams[chosen], streams),
            )  # fmt: skip
        return chosen


def sound_frames(path: Path, index: int | None) -> Iterator[Any]:
    """The frames of the sound track with this index among the file's tracks; no frames if it is None.

    Packets that cannot be decoded are skipped.
    """
    if index is None:
        return
    with open_video(path) as container:
        for packet in container.demux(container.streams[index]):
            try:
                yield from packet.decode()
            except av.FFmpegError:
                continue


def _beginning(path: Path, index: int) -> Iterator[npt.NDArray[Any]]:
    """The first LOOK_S seconds of a track's sound, counted from its first sample."""
    seconds = 0.0
    for frame in sound_frames(path, index):
        yield raw_samples(frame)
        seconds += frame.samples / (frame.sample_rate or 1)
        if seconds > LOOK_S:
            return
