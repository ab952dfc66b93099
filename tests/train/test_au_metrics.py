"""Measures of action units against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from streamfx.train.au_metrics import best_single_threshold, best_thresholds, f1, icc_3_1
from streamfx.train.metrics import mean


def test_f1_by_unit() -> None:
    """Unit 0: 2 hits, 1 false alarm, 1 miss: 4/6. Unit 1: nothing true, nothing named. Unit 2: only misses."""
    truth = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0], [0, 0, 0]], bool)
    named = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]], bool)
    found = f1(truth, named)
    assert found[0] == pytest.approx(4 / 6) and np.isnan(found[1]) and found[2] == 0.0
    assert mean(found) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match=r"expected the same \[n, units\]"):
        f1(truth, named[:2])


def test_the_best_single_threshold_is_the_lowest_of_those_with_the_best_mean() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 0]], bool)
    scores = np.array([[0.30, 0.10], [0.60, 0.28], [0.20, 0.205]])
    threshold, by_unit = best_single_threshold(truth, scores)
    assert threshold == 0.21
    np.testing.assert_allclose(by_unit, [1.0, 1.0])


def test_thresholds_by_unit_are_in_the_middle_of_the_best_and_missing_for_a_unit_that_never_acts() -> None:
    truth = np.array([[1, 0], [1, 0], [0, 0]], bool)
    scores = np.array([[0.80, 0.1], [0.60, 0.1], [0.405, 0.1]])
    assert best_thresholds(truth, scores) == [pytest.approx(0.505, abs=0.011), None]


def test_icc_3_1_of_a_worked_example() -> None:
    """Two raters of four: rows 1, 2, 3, 4 and 2, 3, 4, 5 agree but for a shift, which consistency forgives. With
    2, 2, 4, 5 in their place, MS_rows = 11.375/3 and MS_error = 0.375/3, so ICC = 11/11.75."""
    one = np.array([1.0, 2.0, 3.0, 4.0])
    truth = np.stack((one, one, one, np.zeros(4)), axis=1)
    said = np.stack((one + 1, np.array([2.0, 2.0, 4.0, 5.0]), 5 - one, np.zeros(4)), axis=1)
    found = icc_3_1(truth, said)
    assert found[0] == pytest.approx(1.0)
    assert found[1] == pytest.approx(11 / 11.75)
    assert found[2] == pytest.approx(-1.0)
    assert np.isnan(found[3])
