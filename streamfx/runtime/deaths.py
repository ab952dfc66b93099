"""Counts the workers that died within an hour: a run that loses one now and then goes on, one whose workers keep dying
ends."""

from __future__ import annotations

from collections import deque

WINDOW_S = 3600.0
"""Seconds after which a death no longer counts."""


class Deaths:
    """Deaths of workers within the last WINDOW_S seconds, by a clock that only goes forward."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def note(self, now: float) -> int:
        """Count a death at `now`, in seconds; how many there have been in the window that ends there."""
        self._times.append(now)
        while self._times[0] <= now - WINDOW_S:
            self._times.popleft()
        return len(self._times)
