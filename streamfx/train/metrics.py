"""Measures of classification: WAR, UAR, recall by class, the confusion matrix, calibration; and intervals over people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15
"""Number of equally wide bins of the reliability curve and of ECE, as in Guo et al."""
DRAWS = 1000
"""Draws of people for an interval."""
LEAST_PEOPLE = 5
"""With fewer people no interval is told: draws of one person are all alike, and would look like certainty."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def confusion_matrix(truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], classes: int) -> Counts:
    """int64 [classes, classes] from class numbers [n]: row = true class, column = predicted class, values =
    examples."""
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth and predicted: expected one [n] each, got {truth.shape} and {predicted.shape}")
    if truth.size and not (0 <= min(truth.min(), predicted.min()) <= max(truth.max(), predicted.max()) < classes):
        raise ValueError(f"truth and predicted: expected class numbers in 0..{classes - 1}, got others")
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def recalls(confusion: Counts) -> Floats:
    """float64 [classes]: the share of each true class that was recognised; NaN for a class without examples."""
    of_class = confusion.sum(axis=1)
    return np.where(of_class > 0, np.diag(confusion) / np.maximum(of_class, 1), np.nan)


def war(confusion: Counts) -> float:
    """Weighted average recall: recall weighted by the classes' frequencies, which is accuracy. NaN without examples."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def uar(confusion: Counts) -> float:
    """Unweighted average recall: the mean recall of the classes that have examples. NaN without examples."""
    return mean(recalls(confusion))


@dataclass(frozen=True)
class Reliability:
    """How often predictions of a given confidence are right, in equal bins over 0..1 that exclude their lower bound.

    `counts` int64 [bins]; `confidence` and `accuracy` float64 [bins], the means in each bin, NaN where it is empty.
    """

    counts: Counts
    confidence: Floats
    accuracy: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean of |accuracy - confidence| over the bins, weighted by their counts.

        Guo et al., On Calibration of Modern Neural Networks (ICML 2017, arXiv 1706.04599), equation 3. NaN without
        examples.
        """
        filled = self.counts > 0
        if not filled.any():
            return float("nan")
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(np.average(gaps, weights=self.counts[filled]))


def reliability(probabilities: Floats, truth: npt.NDArray[np.int64], bins: int = BINS) -> Reliability:
    """Reliability of `probabilities` [n, classes], given true class numbers [n]; the highest one is the confidence."""
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities and truth: expected [n, classes] and [n], got {probabilities.shape} and {truth.shape}"
        )
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    at = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(at, minlength=bins)
    sums = (np.bincount(at, weights=values, minlength=bins) for values in (confidence, right))
    means = [np.where(counts > 0, total / np.maximum(counts, 1), np.nan) for total in sums]
    return Reliability(counts, means[0], means[1])


def mean(values: Floats) -> float:
    """The mean of those that are numbers; NaN where none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


@dataclass(frozen=True)
class Interval:
    """A measure with the 95 % of its values that draws of other people would give; NaN where it is undefined."""

    value: float
    low: float
    high: float

    def as_json(self) -> list[float]:
        """`[value, low, high]`."""
        return [self.value, self.low, self.high]


@dataclass(frozen=True)
class Resampled:
    """Measures by class or unit: `whole` float64 [k] of all examples, `draws` [DRAWS, k] of draws of people. NaN where
    one is undefined."""

    whole: Floats
    draws: Floats

    def mean(self, which: npt.NDArray[np.bool_] | None = None) -> Interval:
        """The mean over `which` bool [k], by default over all, with its percentiles 2.5 and 97.5."""
        kept = np.ones(len(self.whole), bool) if which is None else which
        means = np.array([mean(draw) for draw in self.draws[:, kept]])
        known = means[~np.isnan(means)]
        low, high = np.quantile(known, (0.025, 0.975)) if known.size else (np.nan, np.nan)
        return Interval(mean(self.whole[kept]), float(low), float(high))


def over_people(
    people: Sequence[Any] | npt.NDArray[np.str_], measures: Callable[[npt.NDArray[np.int64]], Floats], seed: int = 0
) -> Resampled:
    """`measures` (float64 [k]) of all examples and of DRAWS draws of people, for bootstrap intervals.

    `people` says who is seen in each example; a draw takes as many people as there are, with replacement, with all
    their examples, because examples of one person are no independent evidence. `measures` gets numbers of examples.
    With fewer than LEAST_PEOPLE the draws are NaN.
    """
    names, at = np.unique(np.asarray(people), return_inverse=True)
    whole = measures(np.arange(len(at)))
    if len(names) < LEAST_PEOPLE:
        return Resampled(whole, np.full((1, len(whole)), np.nan))
    examples = [np.flatnonzero(at == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    draws = [
        measures(np.concatenate([examples[number] for number in rng.integers(0, len(names), len(names))]))
        for _ in range(DRAWS)
    ]
    return Resampled(whole, np.stack(draws))
