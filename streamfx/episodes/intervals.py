"""The one rule of numbers for readers: shares and means with intervals that know that the windows of a track are not
independent, or no number at all.

Whole tracks are drawn with replacement (the cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their Application,
1997, 3.8; Field and Welsh, Bootstrapping clustered data, 2007), and a share is the ratio of the drawn tracks' sums. The
interval is that of the 2.5th to the 97.5th percentile of DRAWS draws with a fixed seed, so the same rows give the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Sums = npt.NDArray[np.floating[Any]]
"""Sums of each track, of which there may be many."""

TRACKS_MIN = 20
"""A percentile interval over fewer clusters covers less than it says; below this there is no number."""
SHOWING_MIN = 5
"""A share of what fewer tracks show hangs on single faces; below this there is no number either."""
DRAWS = 1000
NOT_ENOUGH = "not enough data"
_SEED = 19


def lacking(tracks: int, showing: int | None = None) -> str | None:
    """Why there is no number of so many tracks, of which `showing` show what is counted; None where there is one."""
    if tracks < TRACKS_MIN:
        return f"{NOT_ENOUGH}: {tracks} track{'' if tracks == 1 else 's'}, {TRACKS_MIN} are needed"
    if showing is not None and showing < SHOWING_MIN:
        return f"{NOT_ENOUGH}: {showing} track{' shows' if showing == 1 else 's show'} it, {SHOWING_MIN} are needed"
    return None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Drawn:
    """The sums of one group of tracks, and of DRAWS draws of as many from it."""

    def __init__(self, sums: Sums):
        """`sums` is float [tracks, channels]."""
        self.tracks = len(sums)
        self._sums = sums
        self.total: Floats = sums.sum(axis=0, dtype=np.float64)
        self._draws: dict[int, Floats] = {}

    def estimate(self, of: Callable[[Floats], Floats], showing: int | None = None) -> Estimate | None:
        """`of` makes the number of sums [..., channels]. None where tracks are `lacking`, or the number is not defined."""
        if lacking(self.tracks, showing):
            return None
        return _estimate(of(self.total), of(self._drawn(0)))

    def difference(self, other: Drawn, of: Callable[[Floats], Floats]) -> Estimate | None:
        """The number of `other` less this one's, drawn independently."""
        if lacking(self.tracks) or lacking(other.tracks):
            return None
        return _estimate(of(other.total) - of(self.total), of(other._drawn(1)) - of(self._drawn(0)))

    def _drawn(self, number: int) -> Floats:
        """The sums of draws, float64 [DRAWS, channels]; those of another number are independent."""
        if number not in self._draws:
            rng = np.random.default_rng((_SEED, number, self.tracks))
            drawn = (
                np.bincount(rng.integers(self.tracks, size=self.tracks), minlength=self.tracks) for _ in range(DRAWS)
            )
            sums = [weights.astype(self._sums.dtype) @ self._sums for weights in drawn]
            self._draws[number] = np.stack(sums).astype(np.float64)
        return self._draws[number]


def _estimate(value: Floats, draws: Floats) -> Estimate | None:
    if np.isnan(value) or np.isnan(draws).any():
        return None
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))
