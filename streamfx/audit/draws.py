"""Lift over chance, and intervals over draws of whole tracks: windows of one track are no independent evidence.

A draw takes as many tracks as there are, with replacement, with all their windows. There may be tens of thousands, so a
draw says how often each is in it, and copies no windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from streamfx.train.metrics import DRAWS, Interval

_AT_ONCE = 50
Numbers = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


def lift_of_windows(named: Numbers, label: Numbers, group: Numbers, tracks: Numbers) -> Shares:
    """float64 [windows], of which the mean is the lift: how much more often the answers `named` are right than by chance.

    Chance is how often the same answers would be right, were they dealt to the windows of each group at random: with
    equally frequent classes, one in their number. So always the same answer has no lift.

    The values are the lift's linear expansion in what a window adds to both frequencies, of answers and of classes:
    right - share of windows of the class named - share of answers that name the true class + chance in the group. With
    it a draw that happens to hold more windows of one class makes no lift, and takes none away. A window's own track is
    among those that the frequencies come from, which hides a part of the spread where a group has few tracks: so the
    distance from the mean grows by sqrt(n / (n - 1)), n tracks, as for a sample's variance.
    """
    shape = (int(group.max()) + 1, int(max(named.max(), label.max())) + 1)
    windows = np.bincount(group, minlength=shape[0])[:, None]
    answers, classes = _counted(group, named, shape) / windows, _counted(group, label, shape) / windows
    chance = (answers * classes).sum(axis=1)
    values = (named == label) - classes[group, named] - answers[group, label] + chance[group]
    of_group = np.bincount(group[np.unique(tracks, return_index=True)[1]], minlength=shape[0])
    away = (values - values.mean()) * np.sqrt(of_group / np.maximum(of_group - 1, 1))[group]
    lift: Shares = values.mean() + away - away.mean()
    return lift


def intervals(values: Mapping[str, Shares], tracks: Numbers) -> dict[str, Interval]:
    """The mean of each measure over windows [windows], whose `tracks` [windows] are counted from 0."""
    stacked = np.stack(list(values.values()), axis=1)
    windows = np.bincount(tracks).astype(np.float64)
    sums = np.stack([np.bincount(tracks, weights=one) for one in stacked.T], axis=1)
    drawn = np.concatenate([(times @ sums) / (times @ windows)[:, None] for times in _draws(len(windows))])
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return {
        name: Interval(float(mean), float(low[at]), float(high[at]))
        for at, (name, mean) in enumerate(zip(values, stacked.mean(axis=0), strict=True))
    }


def _counted(group: Numbers, classes: Numbers, shape: tuple[int, int]) -> Shares:
    return np.bincount(group * shape[1] + classes, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _draws(tracks: int) -> Iterator[Shares]:
    """How often each track is in each draw [draws, tracks], some draws at a time; always the same ones."""
    random, even = np.random.default_rng(0), np.full(tracks, 1 / tracks)
    for _ in range(DRAWS // _AT_ONCE):
        yield random.multinomial(tracks, even, _AT_ONCE).astype(np.float64)
