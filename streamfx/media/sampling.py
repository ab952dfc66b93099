"""Chooses the frames to analyse: those shown at the points of a grid in event time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

MAX_SHOWN_US = 500_000
"""A frame counts as shown for at most this long, so that a frozen picture does not fill all the time it is frozen."""


def shown_us(times_us: Sequence[int], last_us: int) -> list[int]:
    """How long each frame is shown, in microseconds: until the next frame, and the last frame for `last_us`.

    No frame is shown for longer than MAX_SHOWN_US. `times_us` must be ascending.
    """
    spans = [after - before for before, after in pairwise(times_us)]
    return [max(0, min(span, MAX_SHOWN_US)) for span in [*spans, last_us]] if times_us else []


def sample_points(time_us: int, duration_us: int, period_us: int) -> range:
    """The points p of the sampling grid with `time_us` <= p < `time_us + duration_us`.

    The grid is p = g * period_us + period_us // 2 for all integers g, which are the middles of equal intervals of UTC.
    """
    half = period_us // 2
    first = -((half - time_us) // period_us)
    end = -((half - time_us - duration_us) // period_us)
    return range(first * period_us + half, end * period_us + half, period_us)


def choose(times_us: Sequence[int], durations_us: Sequence[int], period_us: int) -> Iterator[tuple[int, range]]:
    """The frames that cover at least one point of the grid, as (index, points), in order."""
    for index, (time_us, duration_us) in enumerate(zip(times_us, durations_us, strict=True)):
        points = sample_points(time_us, duration_us, period_us)
        if points:
            yield index, points
