"""What a worker measures of its load: the age of what waits, how much waits and arrives, and how much it gets
through."""

from __future__ import annotations

import math
import time
from collections import deque

from streamfx.runtime.scaling import PartitionLoad

QUIET_S = 10.0
"""A partition that is read and has brought nothing for so long holds nothing that can be read, whatever its end
offset."""
SMOOTH_S = 30.0


class PartitionMeter:
    """The load of one partition. `polled` belongs to the polling thread, `took` and `measure` to that of the lines;
    `load` and `lag_s` may be called from any."""

    def __init__(self) -> None:
        self._stamps_ms: deque[int] = deque()
        self._last_ms: int | None = None
        self._chunks = 0
        self._media_s = 0.0
        self._behind = 0
        self._arriving = 0.0
        self._measured: tuple[float, float] | None = None
        self._heard = time.monotonic()

    def polled(self, timestamp_ms: int) -> None:
        """A record came, with its append time (UTC ms)."""
        self._heard = time.monotonic()
        self._stamps_ms.append(timestamp_ms)

    def dropped(self) -> None:
        """The oldest record that waited is not processed here."""
        self._stamps_ms.popleft()

    def took(self, media_s: float) -> None:
        """The oldest record that waited was processed; it held so many seconds of media."""
        self._last_ms = self._stamps_ms.popleft()
        self._chunks += 1
        self._media_s += media_s
        self._behind = max(0, self._behind - 1)

    def measure(self, behind: int) -> None:
        """Note how many records the partition holds after those processed, by its end offset; call it every few
        seconds."""
        now = time.monotonic()
        self._behind = 0 if not self._stamps_ms and now - self._heard > QUIET_S else behind
        seen_s = self._media_s + self._waiting_s()
        if self._measured is not None and self._chunks:
            then, seen_then_s = self._measured
            rate = max(0.0, seen_s - seen_then_s) / max(1e-3, now - then)
            self._arriving += (rate - self._arriving) * (1 - math.exp(-(now - then) / SMOOTH_S))
        # Before a chunk was seen, what waits has no length, and must not look like an arrival later.
        self._measured = (now, seen_s) if self._chunks else None

    def lag_s(self) -> float:
        """Age of the oldest record that is not processed, by its append time; 0 where none waits."""
        try:
            oldest_ms = self._stamps_ms[0]
        except IndexError:
            if not self._behind or self._last_ms is None:
                return 0.0
            oldest_ms = self._last_ms
        return max(0.0, time.time() - oldest_ms / 1000)

    def load(self, shared: bool) -> PartitionLoad:
        """What the partition asks for now."""
        return PartitionLoad(self.lag_s(), self._waiting_s(), self._arriving, shared)

    def _waiting_s(self) -> float:
        return self._behind * self._media_s / self._chunks if self._chunks else 0.0


class Pace:
    """Seconds of media that a worker gets through in a second of work, over the last minutes of work, and the part of
    that work in which it waited for room at the model."""

    def __init__(self) -> None:
        self._media_s = 0.0
        self._busy_s = 0.0
        self._waited_s = 0.0

    def note(self, media_s: float, busy_s: float, waited_s: float = 0.0) -> None:
        """`media_s` of media took `busy_s` of work, of which `waited_s` was waiting for room at the model."""
        fade = math.exp(-busy_s / SMOOTH_S)
        self._media_s = self._media_s * fade + media_s
        self._busy_s = self._busy_s * fade + busy_s
        self._waited_s = self._waited_s * fade + waited_s

    @property
    def sustains(self) -> float | None:
        """Seconds of media a second; None before any was done."""
        return self._media_s / self._busy_s if self._media_s and self._busy_s else None

    @property
    def waits(self) -> float:
        """Part of the work that was waiting, 0 to 1; 0 before any was done."""
        return self._waited_s / self._busy_s if self._busy_s else 0.0
