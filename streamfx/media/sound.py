"""Places decoded sound on a grid of samples by counting them, so that rounded timestamps cause no gaps."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

SILENT = 0.5 / 32768
"""Samples (full scale is 1) below this are digital silence, because 16 bits cannot distinguish them from zero."""
JUMP_S = 0.05
"""Where timestamps differ from the count of samples by more than this, sound is missing or doubled, and the count is
set to the timestamp."""


class SampleCounter:
    """Numbers each run of decoded samples on the grid whose sample 0 is at time 0 of the container."""

    def __init__(self, rate: int):
        self._rate = rate
        self._tolerance = round(JUMP_S * rate)
        self.next: int | None = None

    def place(self, time_s: Fraction | None, samples: int) -> int:
        """The number of the run's first sample, which follows the last run's unless the timestamp jumps.

        `time_s` is the run's timestamp in the container, None if it has none.
        """
        timed = None if time_s is None else round(time_s * self._rate)
        if self.next is None:
            first = timed or 0
        elif timed is not None and abs(timed - self.next) > self._tolerance:
            first = timed
        else:
            first = self.next
        self.next = first + samples
        return first


def raw_samples(frame: Any) -> npt.NDArray[Any]:
    """The samples [channels, samples] of a PyAV audio frame, in its own number format."""
    array: npt.NDArray[Any] = frame.to_ndarray()
    return array if frame.format.is_planar else array.reshape(-1, len(frame.layout.channels)).T


def to_float32(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert samples of any number format that FFmpeg decodes to, to float32 in [-1, 1]."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if samples.dtype.kind == "i":
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    floats: npt.NDArray[np.float32] = np.nan_to_num(np.clip(samples, -1.0, 1.0)).astype(np.float32)
    return floats


def to_int16(samples: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Convert samples of any number format that FFmpeg decodes to, to int16, as `ffmpeg out.wav` does."""
    if samples.dtype == np.int16:
        return samples
    scaled = np.rint(to_float32(samples).astype(np.float64) * 32768.0)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def at_rate(frame: Any, rate: int) -> list[Any]:
    """The frame unchanged, or resampled if the stream's rate has changed."""
    if frame.sample_rate == rate:
        return [frame]
    resampler = av.AudioResampler(format=frame.format, layout=frame.layout, rate=rate)
    return [*resampler.resample(frame), *resampler.resample(None)]


def join(runs: Iterable[tuple[int, npt.NDArray[Any]]], first: int, end: int, dtype: type) -> npt.NDArray[Any]:
    """Join numbered runs of samples (on the last axis) to one array [..., end - first], with silence in the gaps."""
    pieces = list(runs)
    leading = pieces[0][1].shape[:-1] if pieces else ()
    joined = np.zeros((*leading, max(0, end - first)), dtype)
    for number, samples in pieces:
        low, high = max(number, first), min(number + samples.shape[-1], end)
        if low < high:
            joined[..., low - first : high - first] = samples[..., low - number : high - number]
    return joined
