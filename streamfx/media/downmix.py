"""Mixes several channels of sound into one, and decides which channels a chunk's FLAC keeps.

The gains are those of the downmix to stereo of ITU-R BS.775, followed by the mean of the two channels:

    mono = (L + R) / 2  +  0.707 C  +  0.354 (each surround)          the low-frequency channel is left out

So mono is unchanged, and stereo becomes the mean. A channel that is silent compared with the others is left out. Where
the gains of the remaining channels add up to less than one, they are scaled to a sum of one, so that a person who
speaks in only one channel is as loud as in a mono file. Where they add up to more, the mix may exceed full scale; it
is in floating point, so nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from streamfx.media.sound import SILENT

Gains = tuple[float, ...]
MONO: Gains = (1.0,)
MAX_CHANNELS = 8
"""Most channels that FLAC can hold."""
QUIET = 1e-3
"""A channel is left out of the mix if its root mean square is below this fraction (-60 dB) of the loudest
channel's."""
FLAC_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
"""The layouts that FLAC defines for 1 to 8 channels."""

_FRONT, _CENTRE, _SURROUND = 0.5, 0.5**0.5, 0.5**1.5
_SURROUNDS = frozenset(("BL", "BR", "BC", "SL", "SR", "FLC", "FRC", "WL", "WR", "SDL", "SDR"))
_HEIGHTS = frozenset(("TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR", "TSL", "TSR", "BFC", "BFL", "BFR"))
_LOW = frozenset(("LFE", "LFE2"))
_PLACES = frozenset(("FL", "FR", "FC")) | _SURROUNDS | _HEIGHTS | _LOW


def gains_of(layout: Any) -> Gains:
    """The gain of each channel of a PyAV layout.

    For channels without a speaker position, the usual layout of that number of channels is assumed, as players do.
    More than eight of them, such as the microphones of a field recorder, have equal gains.
    """
    names = tuple(channel.name for channel in layout.channels)
    if len(names) <= MAX_CHANNELS and not _PLACES.issuperset(names):
        return flac_gains(len(names))
    return _gains(names)


def mix(samples: npt.NDArray[np.float32], gains: Gains) -> npt.NDArray[np.float32]:
    """Mix float32 [channels, samples] to float32 [samples]. A single channel is returned unchanged."""
    if len(samples) == 1:
        first: npt.NDArray[np.float32] = samples[0]
        return first
    loudness = np.sqrt(np.mean(samples.astype(np.float64) ** 2, axis=1)) if samples.size else np.zeros(len(samples))
    loudness[np.array(gains) == 0] = 0
    taken = np.flatnonzero((loudness > loudness.max() * QUIET) & (np.abs(samples).max(axis=1, initial=0) >= SILENT))
    chosen = np.array(gains)[taken]
    mixed = (chosen / min(1.0, chosen.sum() or 1.0)) @ samples[taken].astype(np.float64)
    return np.asarray(mixed, np.float32)


def storable(samples: npt.NDArray[np.int16], gains: Gains) -> npt.NDArray[np.int16]:
    """The int16 samples [channels, samples] in a layout that FLAC can represent.

    Layouts that FLAC does not define become two channels: the first channel unchanged, and the mean of the others.
    """
    count = len(samples)
    if count <= MAX_CHANNELS and gains == flac_gains(count):
        return samples
    others = [channel for channel in range(1, count) if gains[channel] > 0]
    if not others:
        return samples[:1]
    return np.stack([samples[0], np.rint(samples[others].mean(axis=0)).astype(samples.dtype)])


def flac_gains(channels: int) -> Gains:
    """The gains of the layout that FLAC defines for this number of channels."""
    return gains_of(av.AudioLayout(FLAC_LAYOUTS[channels - 1]))


def widened(samples: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """The same sound with more channels and the same mix, for a track whose layout changes."""
    if len(samples) == channels:
        return samples
    if len(samples) == 1:
        samples = np.repeat(samples, 2, axis=0)
    elif len(samples) > 2:
        samples = np.stack([samples[0], samples[1:].mean(axis=0).astype(samples.dtype)])
    wide = np.zeros((channels, samples.shape[1]), samples.dtype)
    wide[:2] = samples
    return wide


def _gains(names: Sequence[str]) -> Gains:
    if len(names) == 1:
        return MONO
    if not _PLACES.issuperset(names) or not {"FL", "FR", "FC"}.intersection(names):
        return (1 / len(names),) * len(names)
    return tuple(
        _FRONT if name in ("FL", "FR") else _CENTRE if name == "FC" else 0.0 if name in _LOW else _SURROUND
        for name in names
    )
