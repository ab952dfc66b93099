"""Sums over time that grow coarser: nothing is lost, whatever comes in which order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamfx.records import MICROSECONDS
from streamfx.report.series import LADDER_S, Series

STRETCHES = st.lists(
    st.tuples(st.integers(0, 10**14), st.integers(0, 10**10), st.floats(0, 100)), min_size=1, max_size=30
)


def added(series: Series, *stretches: tuple[int, int, float]) -> Series:
    start, length, values = (np.array(column) for column in zip(*stretches, strict=True))
    series.add(start.astype(np.int64), (start + length).astype(np.int64), values.astype(float)[:, None])
    return series


def test_each_length_of_a_bin_is_a_multiple_of_the_one_before() -> None:
    assert all(after % before == 0 for before, after in pairwise(LADDER_S))


@given(STRETCHES, st.integers(1, 50))
def test_the_total_is_kept_and_the_bins_are_few(stretches: list[tuple[int, int, float]], most: int) -> None:
    series = Series(most)
    for stretch in stretches:
        added(series, stretch)
    total = sum(value for _, length, value in stretches if length)
    assert len(series.bins) <= most or series.every_s == LADDER_S[-1]
    assert (np.diff(series.bins) > 0).all()
    assert np.isclose(series.sums.sum(), total)


@given(STRETCHES)
def test_all_at_once_and_one_by_one_give_the_same(stretches: list[tuple[int, int, float]]) -> None:
    together, one_by_one = added(Series(20), *stretches), Series(20)
    for stretch in stretches:
        added(one_by_one, stretch)
    assert together.every_s == one_by_one.every_s and together.bins.tolist() == one_by_one.bins.tolist()
    assert np.allclose(together.sums, one_by_one.sums)


def test_a_stretch_over_bins_is_divided_by_time() -> None:
    series = added(Series(10), (MICROSECONDS // 2, 2 * MICROSECONDS, 8.0))
    assert (series.every_s, series.bins.tolist(), series.sums[:, 0].tolist()) == (1, [0, 1, 2], [2.0, 4.0, 2.0])


def test_what_has_no_length_counts_nothing() -> None:
    assert len(added(Series(10), (5, 0, 1.0)).bins) == 0


def test_counts_are_sums_of_ones() -> None:
    counted, added = Series(3), Series(3)
    at_us, channel = np.array([0, 1, 1, 9]) * MICROSECONDS, np.array([2, 0, 2, 1])
    counted.count(at_us, channel, 3)
    added.add(at_us, at_us + 1, np.eye(3)[channel])
    assert np.array_equal(counted.bins, added.bins) and np.array_equal(counted.sums, added.sums)
