"""Resamples sound to the rate that a model was trained on."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

_PAD_S = 0.05
"""Silence added after the sound. The transform treats the sound as periodic, so its end would ring into its
beginning."""
_LARGEST = 1000
"""The largest denominator of the ratio of the rates. It keeps odd rates fast, and the error in a window stays below
one sample."""


def resampled(
    waveform: npt.NDArray[np.float32], rate: int, wanted_hz: int | None
) -> tuple[npt.NDArray[np.float32], int]:
    """The waveform [samples] resampled to `wanted_hz`, and its rate (Hz). None keeps the rate.

    The result depends only on these samples, so a window's sound is the same wherever its chunks were cut. Frequencies
    up to half of the lower rate are kept. Resampling to a higher rate adds no content: the upper bands stay empty.
    """
    if wanted_hz is None or wanted_hz == rate or waveform.size == 0:
        return waveform, rate if wanted_hz is None else wanted_hz
    # Imported only here, because sound at the right rate does not need it.
    from scipy.signal import resample

    ratio = Fraction(wanted_hz, rate).limit_denominator(_LARGEST)
    blocks = -(-(waveform.size + round(_PAD_S * rate)) // ratio.denominator)
    mean = float(waveform.mean(dtype=np.float64))
    padded = np.zeros(blocks * ratio.denominator)
    padded[: waveform.size] = waveform - mean
    count = round(waveform.size * wanted_hz / rate)
    heard = resample(padded, blocks * ratio.numerator)[:count] + mean
    return np.asarray(heard, np.float32), wanted_hz
