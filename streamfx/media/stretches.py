"""Helpers for the parts of a file between backward jumps of its clock: their sound, and their last frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import av

from streamfx.media.video_file import JUMP_BACK_US
from streamfx.records import MICROSECONDS


class Counted:
    """Passes packets on and counts them."""

    def __init__(self, packets: Iterable[Any]):
        self._packets = packets
        self.taken = 0

    def __iter__(self) -> Iterator[Any]:
        for packet in self._packets:
            self.taken += 1
            yield packet


class SoundByRun:
    """A sound track's frames by run, which ends where the sound's clock jumps back. Request runs in order."""

    def __init__(self, frames: Iterator[Any]):
        self._frames = frames
        self._run = 0
        self._last_us: float | None = None
        self._next: Any = None

    def frames(self, runs: Sequence[int]) -> Iterator[Any]:
        """The frames of these runs. Frames of earlier runs that were not requested are skipped."""
        while runs and self._peek() is not None and self._run <= max(runs):
            frame, self._next = self._next, None
            if self._run in runs:
                yield frame

    def _peek(self) -> Any:
        """The next frame, without consuming it; None at the end."""
        if self._next is None:
            self._next = next(self._frames, None)
            if self._next is not None and self._next.pts is not None:
                time_us = float(self._next.pts * self._next.time_base) * MICROSECONDS
                if self._last_us is not None and time_us < self._last_us - JUMP_BACK_US:
                    self._run += 1
                self._last_us = time_us
        return self._next


def flush_of(video: Any) -> Iterator[Any]:
    """The empty packet that flushes a track's decoder, so that it returns the frames that it still holds."""
    packet: Any = av.Packet()
    packet.stream, packet.time_base = video, video.time_base
    yield packet
