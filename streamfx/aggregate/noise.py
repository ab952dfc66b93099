"""Laplace or Gaussian noise for the cells of a release, by OpenDP, and what a release spends.

The unit that is protected is one track within one salt period: two datasets are neighbours if one has all of the windows of
one such track more. Three numbers are released of each cell, with a third of the charge each: tracks, milliseconds of faces,
and milliseconds weighted by the value that the mean is of (as a share of its largest). They are whole numbers, and so is
the noise, which OpenDP draws exactly: noise in floating point would tell of the number that it was added to.

Which cells are released depends on no row. What is shown of them does, but only through the noise: those of which the noisy
number of tracks is so high that less than k would be so with the probability `below_k` at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from streamfx.config.aggregate import Noise
from streamfx.errors import MissingComponent, PrivacyRefusal

_NUMBERS = 3
_ABOVE = 1 + 1e-9
"""Noise is made wider by this factor, so that OpenDP's own account, which rounds up, stays below the charge."""
_Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Noise of one kind. One track counts at most 1 in each of `cells` cells, and `ms` milliseconds."""

    kind: str
    charge: Decimal
    cells: int
    ms: int

    @classmethod
    def of(cls, noise: Noise) -> Mechanism:
        """What the configuration says."""
        return cls(noise.kind, noise.charge, noise.track_cells, max(1, round(noise.track_seconds * 1000)))

    @property
    def tracks_scale(self) -> float:
        """Scale of Laplace noise, or standard deviation of Gaussian noise, in the numbers of tracks."""
        return self._scale(1)

    @property
    def ms_scale(self) -> float:
        """The same in milliseconds."""
        return self._scale(self.ms)

    def sd(self, scale: float) -> float:
        """Standard deviation of noise of this scale."""
        return scale * math.sqrt(2) if self.kind == "laplace" else scale

    def at_least(self, k: int, below_k: float) -> int:
        """The noisy number of tracks that fewer than `k` tracks reach with this probability at most.

        Laplace on whole numbers: P(noise >= t) = a^t / (1 + a) with a = exp(-1/scale). Gaussian on whole numbers: at most
        what the normal distribution has above t - 1 (Canonne, Kamath, Steinke, The Discrete Gaussian, 2020).
        """
        scale = self.tracks_scale
        if self.kind == "laplace":
            above = -scale * math.log(below_k * (1 + math.exp(-1 / scale)))
        else:
            above = float(norm.isf(below_k)) * scale + 1
        return k - 1 + max(1, math.ceil(above))

    def add(self, tracks: _Whole, ms: _Whole, weighted: _Whole) -> tuple[_Whole, _Whole, _Whole]:
        """The three numbers of all cells with noise. It may be called once for each release."""
        scales = (self.tracks_scale, self.ms_scale, self.ms_scale)
        noisy = [
            self._noisy(values, scale, most)
            for values, scale, most in zip((tracks, ms, weighted), scales, (1, self.ms, self.ms), strict=True)
        ]
        return noisy[0], noisy[1], noisy[2]

    def _scale(self, most: int) -> float:
        share = float(self.charge) / _NUMBERS
        if self.kind == "laplace":
            return most * self.cells / share * _ABOVE
        return most * math.sqrt(self.cells) / math.sqrt(2 * share) * _ABOVE

    def _noisy(self, values: _Whole, scale: float, most: int) -> _Whole:
        dp = _opendp()
        domain = dp.vector_domain(dp.atom_domain(T=int))
        if self.kind == "laplace":
            made = dp.m.make_laplace(domain, dp.l1_distance(T=int), scale=scale)
            spent = made.map(most * self.cells)
        else:
            made = dp.m.make_gaussian(domain, dp.l2_distance(T=float), scale=scale)
            spent = made.map(most * math.sqrt(self.cells))
        if not spent * _NUMBERS <= float(self.charge):
            raise PrivacyRefusal(
                f"OpenDP accounts {spent} for a third of the charge {self.charge}; nothing is released"
            )
        return np.array(made([int(value) for value in values]), np.int64)


def bounded(parts: pd.DataFrame, mechanism: Mechanism) -> pd.DataFrame:
    """What may count of contributions (`aggregate.cells.contributions`): of each track the cells in which it was seen longest,
    and in each at most `mechanism.ms`; depends for each track on that track alone.

    `share` is the mean's value of a track in a cell, from 0 to 1.
    """
    order = ["track", "ms", "bin", "group", "measure", "value"]
    ranked = parts.sort_values(order, ascending=[True, False, True, True, True, True], kind="stable")
    kept = ranked[ranked.groupby("track").cumcount() < mechanism.cells]
    return kept.assign(ms=kept["ms"].clip(upper=mechanism.ms))


def sums(kept: pd.DataFrame, cells: Sequence[tuple[Any, ...]], most: Sequence[float]) -> tuple[_Whole, _Whole, _Whole]:
    """Tracks, milliseconds and weighted milliseconds of each of `cells` (bin, group, measure, value), in their order.

    `most` is the largest value of each cell's mean.
    """
    at = {cell: number for number, cell in enumerate(cells)}
    found = [np.zeros(len(cells), np.int64) for _ in range(_NUMBERS)]
    columns = ("bin", "group", "measure", "value", "ms", "weighted", "weighted_ms")
    for *cell, ms, weighted, weighted_ms in zip(*(kept[name] for name in columns), strict=True):
        number = at[tuple(cell)]
        share = weighted / weighted_ms / most[number] if weighted_ms else 0.0
        found[0][number] += 1
        found[1][number] += ms
        found[2][number] += min(int(ms), max(0, int(share * ms)))
    return found[0], found[1], found[2]


def _opendp() -> Any:
    try:
        import opendp.prelude as dp
    except ImportError as error:
        raise MissingComponent("aggregate.noise needs OpenDP: pip install 'streamfx[dp]'") from error
    # Its mechanisms for which no external reviewer has signed a proof are an own feature there.
    dp.enable_features("contrib")
    return dp
