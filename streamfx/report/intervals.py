"""Shares and means with intervals that know that the windows of a track are not independent: a bootstrap over tracks.

Whole tracks are drawn with replacement (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; Field and
Welsh, Bootstrapping clustered data, 2007), and a share is the ratio of the drawn tracks' sums. The interval is that of the
2.5th to the 97.5th percentile of DRAWS draws with a fixed seed, so a page is the same each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streamfx.report.series import Floats, Sums

TRACKS_MIN = 20
"""A percentile interval over fewer clusters covers less than it says; below this there is no number."""
SHOWING_MIN = 5
"""A share of what fewer tracks show hangs on single faces; below this there is no number either."""
DRAWS = 500
_SEED = 19


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Drawn:
    """The sums of one group of tracks, and of DRAWS draws of as many from it."""

    def __init__(self, sums: Sums):
        """`sums` is float32 [tracks, channels]."""
        self.tracks = len(sums)
        self._sums = sums
        self.total: Floats = sums.sum(axis=0, dtype=np.float64)
        self._draws: Floats | None = None

    @property
    def enough(self) -> bool:
        """Whether there are tracks enough for numbers."""
        return self.tracks >= TRACKS_MIN

    def estimate(self, of: Callable[[Floats], Floats], showing: int | None = None) -> Estimate | None:
        """`of` makes the number of sums [..., channels]. None for too few tracks, or where too few of them, `showing`, show
        what is counted, or where the number is not defined."""
        if not self.enough or (showing is not None and showing < SHOWING_MIN):
            return None
        return _estimate(of(self.total), of(self._drawn()))

    def difference(self, other: Drawn, of: Callable[[Floats], Floats]) -> Estimate | None:
        """The number of `other` less this one's, drawn independently."""
        if not (self.enough and other.enough):
            return None
        return _estimate(of(other.total) - of(self.total), of(other._drawn()) - of(self._drawn()))

    def _drawn(self) -> Floats:
        if self._draws is None:
            rng = np.random.default_rng((_SEED, self.tracks, int(self.total[0] * 1000)))
            drawn = (
                np.bincount(rng.integers(self.tracks, size=self.tracks), minlength=self.tracks) for _ in range(DRAWS)
            )
            self._draws = np.stack([weights.astype(self._sums.dtype) @ self._sums for weights in drawn]).astype(
                np.float64
            )
        return self._draws


def _estimate(value: Floats, draws: Floats) -> Estimate | None:
    known = draws[~np.isnan(draws)]
    if np.isnan(value) or len(known) < len(draws):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))
