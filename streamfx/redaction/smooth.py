"""Means over time that have no lag: weighted by a Gaussian to both sides of a moment."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

REACH = 4.0
"""Standard deviations beyond which nothing counts."""


def around(times_s: Sequence[float], time_s: float, sigma_s: float) -> tuple[slice, npt.NDArray[np.float64]]:
    """Which of at least one ascending time count at `time_s`, and how much: weights that sum to 1, of a Gaussian with this
    standard deviation in seconds. Where all are far, the nearest counts alone."""
    first = bisect_left(times_s, time_s - REACH * sigma_s)
    end = bisect_right(times_s, time_s + REACH * sigma_s)
    if first == end:
        place = nearest(times_s, time_s)
        return slice(place, place + 1), np.ones(1)
    weights = np.exp(-((np.array(times_s[first:end]) - time_s) ** 2) / (2 * sigma_s**2))
    return slice(first, end), weights / weights.sum()


def nearest(times_s: Sequence[float], time_s: float) -> int:
    """The number of the nearest of at least one ascending time."""
    after = bisect_left(times_s, time_s)
    both = [place for place in (after - 1, after) if 0 <= place < len(times_s)]
    return min(both, key=lambda place: abs(times_s[place] - time_s))


def away_s(times_s: Sequence[float], time_s: float) -> float:
    """Seconds to the nearest of at least one ascending time."""
    return abs(times_s[nearest(times_s, time_s)] - time_s)
