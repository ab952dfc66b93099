"""The log-mel filter bank of the audio-visual models: Kaldi's, with 128 bins and one row every 10 ms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from streamfx.media.kaldi import load_torchaudio_kaldi

ROWS = 512
"""Number of rows (10 ms each) that a window's filter bank is cut or padded to."""
MEL_BINS = 128
"""Triangular mel bands."""
FRAME_MS = 25.0
"""Length of the Hanning window, milliseconds."""
SHIFT_MS = 10.0
"""Step from row to row, milliseconds."""
MEAN, DEVIATION = -4.2677393, 4.5689974
"""Mean and standard deviation of the log-mel values that the encoder was pre-trained on. Each value x is normalised to
(x - MEAN) / (2 * DEVIATION)."""


def log_mel(waveform: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    """The normalised log-mel filter bank, float32 [512, 128], of float32 sound in [-1, 1] sampled at `rate` (Hz).

    `waveform` is [samples] or [channels, samples]. The mean over all channels and samples is subtracted. Then the
    filter bank of channel 0 is computed (HTK-compatible, no energy, no dither), cut or zero-padded at the end to 512
    rows, and only then normalised, so padding becomes a constant. Sound shorter than one 25 ms frame gives the same
    result as `missing_sound`.
    """
    sound = torch.from_numpy(np.atleast_2d(np.ascontiguousarray(waveform, dtype=np.float32)))
    rows = torch.zeros(ROWS, MEL_BINS)
    if sound.shape[1] >= int(rate * FRAME_MS / 1000):
        bank = load_torchaudio_kaldi().fbank(
            sound - sound.mean(),
            htk_compat=True,
            sample_frequency=rate,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=MEL_BINS,
            dither=0.0,
            frame_length=FRAME_MS,
            frame_shift=SHIFT_MS,
        )[:ROWS]
        rows[: len(bank)] = bank
    return ((rows - MEAN) / (2 * DEVIATION)).numpy()


def missing_sound() -> npt.NDArray[np.float32]:
    """float32 [512, 128], filled with the constant (about 0.467) that stands for missing sound."""
    return np.full((ROWS, MEL_BINS), -MEAN / (2 * DEVIATION), np.float32)
