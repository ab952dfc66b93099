"""Sound at the rate that a model learned from."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

_PAD_S = 0.05
"""Stillness behind the sound, so that its end does not ring into its beginning: the transform takes it for periodic."""
_LARGEST = 1000
"""Rates are taken as a ratio of numbers up to this: off by less than a sample in any window, and quick for odd rates too."""


def resampled(
    waveform: npt.NDArray[np.float32], rate: int, wanted_hz: int | None
) -> tuple[npt.NDArray[np.float32], int]:
    """The waveform [samples] and its rate (Hz), at `wanted_hz` where that is another; None keeps the rate.

    It depends on these samples alone, so a window's sound is the same wherever its chunks were cut. All frequencies that both
    rates can hold are kept, up to half of the lower one. Sound of a lower rate is not made richer: its upper bands stay empty.
    """
    if wanted_hz is None or wanted_hz == rate or waveform.size == 0:
        return waveform, rate if wanted_hz is None else wanted_hz
    # Loaded when it is needed: sound of the wanted rate does without.
    from scipy.signal import resample

    ratio = Fraction(wanted_hz, rate).limit_denominator(_LARGEST)
    blocks = -(-(waveform.size + round(_PAD_S * rate)) // ratio.denominator)
    mean = float(waveform.mean(dtype=np.float64))
    padded = np.zeros(blocks * ratio.denominator)
    padded[: waveform.size] = waveform - mean
    count = round(waveform.size * wanted_hz / rate)
    heard = resample(padded, blocks * ratio.numerator)[:count] + mean
    return np.asarray(heard, np.float32), wanted_hz
