"""Sums over even bins of time that grow coarser as a series grows longer, so that each fits in little memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamfx.records import MICROSECONDS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float32]
"""Sums of each track, of which there may be many."""

LADDER_S = (1, 5, 15, 60, 300, 900, 3600, 10_800, 21_600, 86_400, 604_800)
"""Lengths of bins, seconds; each is a multiple of the one before, so that bins can be joined."""


@dataclass(slots=True)
class Series:
    """Sums of some channels in each bin of UTC time that has any; at most `most` bins, as short as that allows.

    `bins` [k] are the numbers of the bins, ascending: bin b covers the seconds from b * `every_s` since 1970. `sums` is
    float64 [k, channels].
    """

    most: int
    rung: int = 0
    bins: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    sums: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def every_s(self) -> int:
        """Length of a bin, seconds."""
        return LADDER_S[self.rung]

    @property
    def total(self) -> Floats:
        """The sum of each channel over all bins, float64 [channels]."""
        return np.asarray(self.sums.sum(axis=0))

    def add(self, start_us: Ints, end_us: Ints, values: Floats) -> None:
        """Add `values`, float64 [n, channels], of the stretches from `start_us` to `end_us` (UTC microseconds, [n]); what
        reaches over bins is divided by time, and what has no length is left out."""
        long = end_us > start_us
        if not long.any():
            return
        if not long.all():
            start_us, end_us, values = start_us[long], end_us[long], values[long]
        # Whole numbers alone tell most of how coarse the bins must be, before any sums are divided and joined.
        while self.rung + 1 < len(LADDER_S) and self._count(start_us, end_us) > self.most:
            self._coarsen()
        self._join(*self._divided(start_us, end_us, values))

    def count(self, at_us: Ints, channel: Ints, channels: int) -> None:
        """Count moments (UTC microseconds, [n]), each in its `channel` [n], 0 to channels - 1."""
        if not len(at_us):
            return
        while self.rung + 1 < len(LADDER_S) and self._count(at_us, at_us + 1) > self.most:
            self._coarsen()
        bins, of = np.unique(at_us // (self.every_s * MICROSECONDS), return_inverse=True)
        counts = np.bincount(of * channels + channel, minlength=len(bins) * channels)
        self._join(bins, counts.reshape(-1, channels).astype(np.float64))

    def _join(self, bins: Ints, values: Floats) -> None:
        own = self.sums if len(self.bins) else np.zeros((0, values.shape[1]))
        self.bins, self.sums = _joined(np.concatenate([self.bins, bins]), np.concatenate([own, values]))
        while self.rung + 1 < len(LADDER_S) and len(self.bins) > self.most:
            self._coarsen()

    def coarser(self, rung: int) -> Series:
        """The same sums in the bins of a rung of LADDER_S that is not below its own."""
        if rung == self.rung or not len(self.bins):
            return Series(self.most, rung, self.bins, self.sums)
        factor = LADDER_S[rung] // self.every_s
        return Series(self.most, rung, *_joined(self.bins // factor, self.sums))

    def _count(self, start_us: Ints, end_us: Ints) -> int:
        """How many bins there would be at least with these stretches."""
        width = self.every_s * MICROSECONDS
        begun = len(np.unique(np.concatenate([self.bins, start_us // width])))
        return max(begun, int(((end_us - 1) // width - start_us // width).max()) + 1)

    def _coarsen(self) -> None:
        coarser = self.coarser(self.rung + 1)
        self.rung, self.bins, self.sums = coarser.rung, coarser.bins, coarser.sums

    def _divided(self, start_us: Ints, end_us: Ints, values: Floats) -> tuple[Ints, Floats]:
        """The bin of each part of each stretch, and its part of the values."""
        width = self.every_s * MICROSECONDS
        first = start_us // width
        number = (end_us - 1) // width - first + 1
        if number.max() == 1:
            return first, values
        of = np.repeat(np.arange(len(first)), number)
        bins = first[of] + np.arange(len(of)) - np.repeat(np.cumsum(number) - number, number)
        inside = np.minimum(end_us[of], (bins + 1) * width) - np.maximum(start_us[of], bins * width)
        return bins, values[of] * (inside / (end_us - start_us)[of])[:, None]


def _joined(bins: Ints, sums: Floats) -> tuple[Ints, Floats]:
    """Rows of one bin become one row; ascending."""
    if (np.diff(bins) < 0).any():
        order = np.argsort(bins, kind="stable")
        bins, sums = bins[order], sums[order]
    starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
    return bins[starts], np.add.reduceat(sums, starts, axis=0)
