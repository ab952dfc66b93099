"""Measures of action units: F1 at a threshold, the best thresholds, and ICC(3,1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamfx.train.metrics import Floats, mean

Flags = npt.NDArray[np.bool_]

HALF = 0.5
"""The threshold that needs no calibration."""
THRESHOLDS = np.arange(1, 100) / 100
"""Thresholds that are tried; the authors' evaluator tries the same."""


def f1(truth: Flags, named: Flags) -> Floats:
    """float64 [units]: F1 = 2 TP / (2 TP + FP + FN) by unit, of bool [n, units]; NaN where nothing is true and nothing
    is named."""
    if truth.shape != named.shape or truth.ndim != 2:
        raise ValueError(f"truth and named: expected the same [n, units], got {truth.shape} and {named.shape}")
    hits, all_ = (truth & named).sum(axis=0), truth.sum(axis=0) + named.sum(axis=0)
    return np.where(all_ > 0, 2 * hits / np.maximum(all_, 1), np.nan)


def best_single_threshold(truth: Flags, scores: Floats) -> tuple[float, Floats]:
    """The one threshold for all units at which the mean F1 is highest, the lowest of several, and F1 by unit there.

    `scores` are probabilities [n, units]. On the set that is then reported this flatters: see `f1` at HALF beside it.
    """
    found = [f1(truth, scores >= threshold) for threshold in THRESHOLDS]
    means = [mean(one) for one in found]
    best = int(np.argmax(np.nan_to_num(means, nan=-1.0)))
    return float(THRESHOLDS[best]), found[best]


def best_thresholds(truth: Flags, scores: Floats) -> list[float | None]:
    """For each unit the threshold with the highest F1, the middle of several; None for a unit that never acts."""
    chosen: list[float | None] = []
    for unit in range(truth.shape[1]):
        one = slice(unit, unit + 1)
        if not truth[:, unit].any():
            chosen.append(None)
            continue
        found = np.array([f1(truth[:, one], scores[:, one] >= threshold)[0] for threshold in THRESHOLDS])
        chosen.append(float(np.median(THRESHOLDS[found >= np.nanmax(found) - 1e-12]).round(2)))
    return chosen


def icc_3_1(truth: Floats, said: Floats) -> Floats:
    """float64 [units]: ICC(3,1) of [n, units], two raters in a two-way mixed model, consistency (Shrout and Fleiss,
    Psychological Bulletin 1979): (MS_rows - MS_error) / (MS_rows + MS_error). NaN where neither varies."""
    if truth.shape != said.shape or truth.ndim != 2 or len(truth) < 2:
        raise ValueError(f"truth and said: expected the same [n, units], n > 1, got {truth.shape} and {said.shape}")
    both = np.stack((truth, said))
    rows, raters, whole = both.mean(axis=0), both.mean(axis=1), both.mean(axis=(0, 1))
    n = len(truth)
    of_rows = 2 * ((rows - whole) ** 2).sum(axis=0) / (n - 1)
    apart = both - rows - raters[:, None] + whole
    of_error = (apart**2).sum(axis=(0, 1)) / (n - 1)
    spread = of_rows + of_error
    return np.where(spread > 1e-12, (of_rows - of_error) / np.maximum(spread, 1e-12), np.nan)
