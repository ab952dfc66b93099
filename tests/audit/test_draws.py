"""Lift over chance, and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from streamfx.audit.draws import intervals, lift_of_windows

LABEL = np.repeat(np.arange(6), 20)
GROUP = LABEL // 3
TRACKS = np.arange(120) // 5


def lift(named: np.ndarray, label: np.ndarray = LABEL) -> float:
    return float(lift_of_windows(named, label, GROUP, TRACKS).mean())


def test_lift_is_accuracy_above_that_of_the_same_answers_dealt_at_random() -> None:
    assert lift(LABEL) == pytest.approx(1 - 1 / 3)
    random = np.random.default_rng(0)
    named = np.where(random.random(120) < 0.5, LABEL, GROUP * 3)
    chance = np.mean([(named[at][:, None] == LABEL[at]).mean() for at in (slice(60), slice(60, None))])
    assert lift(named) == pytest.approx((named == LABEL).mean() - chance)


def test_always_the_same_answer_has_no_lift_whatever_is_drawn() -> None:
    found = intervals({"same": lift_of_windows(GROUP * 3, LABEL, GROUP, TRACKS)}, TRACKS)["same"]
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_an_interval_over_tracks_is_wider_than_one_that_takes_windows_for_independent() -> None:
    right = (TRACKS % 2).astype(float)  # whole tracks are right or wrong
    over_tracks = intervals({"x": right}, TRACKS)["x"]
    over_windows = intervals({"x": right}, np.arange(120))["x"]
    assert over_tracks.value == over_windows.value == 0.5
    assert over_tracks.high - over_tracks.low > 1.8 * (over_windows.high - over_windows.low)


def test_without_a_leak_most_intervals_hold_zero() -> None:
    hits = 0
    for seed in range(100):
        named = GROUP * 3 + np.random.default_rng(seed).integers(0, 3, 120)
        found = intervals({"x": lift_of_windows(named, LABEL, GROUP, TRACKS)}, TRACKS)["x"]
        hits += found.low <= 0 <= found.high
    assert 87 <= hits <= 99
