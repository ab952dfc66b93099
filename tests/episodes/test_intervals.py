"""Intervals that know that the windows of a track are not independent, and no number where there are too few tracks."""

from __future__ import annotations

import numpy as np
import pytest

from streamfx.episodes.intervals import SHOWING_MIN, TRACKS_MIN, Drawn, Floats, lacking


def share(sums: Floats) -> Floats:
    return np.asarray(sums[..., 1] / sums[..., 0])


def tracks(shares: Floats, seconds: float = 30.0) -> Drawn:
    """One track for each share, all of the same length."""
    return Drawn(np.column_stack([np.full(len(shares), seconds), shares * seconds]).astype(np.float32))


def test_too_few_tracks_give_no_number() -> None:
    ones = np.full(TRACKS_MIN, 0.5)
    assert tracks(ones[1:]).estimate(share) is None
    assert tracks(ones).estimate(share) is not None


def test_what_too_few_tracks_show_has_no_number() -> None:
    group = tracks(np.full(100, 0.5))
    assert group.estimate(share, SHOWING_MIN - 1) is None and group.estimate(share, SHOWING_MIN) is not None


def test_what_is_lacking_is_said() -> None:
    assert lacking(1) == "not enough data: 1 track, 20 are needed"
    assert lacking(100, 4) == "not enough data: 4 tracks show it, 5 are needed"
    assert lacking(TRACKS_MIN) is None and lacking(TRACKS_MIN, SHOWING_MIN) is None


def test_the_interval_is_that_of_tracks_and_not_of_windows() -> None:
    """Each of 100 tracks of 1,000 s shows one thing all the time: there are 100 observations, and not 100,000."""
    rng = np.random.default_rng(0)
    found = tracks((rng.random(100) < 0.3).astype(float), 1000.0).estimate(share)
    assert found is not None
    expected = 2 * 1.96 * np.sqrt(found.value * (1 - found.value) / 100)
    assert found.high - found.low == pytest.approx(expected, rel=0.2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        found = tracks(rng.beta(2, 3, 60)).estimate(share)
        assert found is not None
        hits += found.low <= 0.4 <= found.high
    assert 0.89 <= hits / 200 <= 0.99


def test_a_difference_of_equal_groups_includes_nought_and_of_different_ones_does_not() -> None:
    rng = np.random.default_rng(2)
    low, also_low, high = tracks(rng.beta(2, 8, 80)), tracks(rng.beta(2, 8, 90)), tracks(rng.beta(8, 2, 80))
    same, other = low.difference(also_low, share), low.difference(high, share)
    assert same is not None and same.low < 0 < same.high
    assert other is not None and 0.4 < other.low < other.value < other.high < 0.8


def test_the_same_tracks_give_the_same_interval() -> None:
    shares = np.linspace(0, 1, 50)
    assert tracks(shares).estimate(share) == tracks(shares).estimate(share)


def test_what_is_defined_for_no_track_has_no_number() -> None:
    nothing = Drawn(np.zeros((50, 2), np.float32))
    with np.errstate(invalid="ignore"):
        assert nothing.estimate(share) is None
