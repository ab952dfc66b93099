"""Sound at the rate that a model learned from."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_CROSSINGS = 48
"""Zero crossings of the low-pass filter to each side: it closes within the last 12 % below half the lower rate."""
_BETA = 9.0
"""Of its Kaiser window: what does not belong is 90 dB down."""
_LARGEST = 1000
"""Rates are taken as a ratio of numbers up to this: off by less than a sample in any window, with a filter that stays small."""


def resampled(
    waveform: npt.NDArray[np.float32], rate: int, wanted_hz: int | None
) -> tuple[npt.NDArray[np.float32], int]:
    """The waveform [samples] and its rate (Hz), at `wanted_hz` where that is another; None keeps the rate.

    It depends on these samples alone, so a window's sound is the same wherever its chunks were cut. Beyond both ends the
    sound is taken to stay at its mean. Sound of a lower rate is not made richer: its upper bands stay empty.
    """
    if wanted_hz is None or wanted_hz == rate or waveform.size == 0:
        return waveform, rate if wanted_hz is None else wanted_hz
    # Loaded when it is needed: most sound of the line's own sets has the wanted rate already.
    from scipy.signal import resample_poly

    ratio = Fraction(wanted_hz, rate).limit_denominator(_LARGEST)
    up, down = ratio.numerator, ratio.denominator
    wide = resample_poly(waveform.astype(np.float64), up, down, window=_filter(up, down), padtype="mean")
    count = round(waveform.size * wanted_hz / rate)
    placed = np.zeros(count, np.float32)
    placed[: min(count, wide.size)] = wide[:count]
    return placed, wanted_hz


@lru_cache(maxsize=16)
def _filter(up: int, down: int) -> npt.NDArray[np.float64]:
    from scipy.signal import firwin

    most = max(up, down)
    # The cutoff lies so far below half the lower rate that the filter has closed there.
    taps: npt.NDArray[np.float64] = firwin(2 * _CROSSINGS * most + 1, 0.94 / most, window=("kaiser", _BETA))
    return taps
