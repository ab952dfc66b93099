"""Converts high dynamic range (PQ and HLG) to the standard range, on which detectors and networks were trained.

The signal is converted to display light by ITU-R BT.2100-2 (PQ: the EOTF of table 4; HLG: the inverse OETF and the
OOTF of table 5 for a display of 1000 cd/m2). R, G and B are tone-mapped from 1000 cd/m2 to 203 cd/m2 (the reference
white of BT.2408) by the EETF of ITU-R BT.2390-10, section 5.4.1. The primaries are converted from BT.2020 to BT.709 by
the matrix of ITU-R BT.2087. The result is encoded with a gamma of 2.4, that of a display by ITU-R BT.1886. So light up
to about 90 cd/m2, which is the range of faces, is unchanged, brighter light is compressed, and light above 1000 cd/m2
is white.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

PQ, HLG = 16, 18
HDR_TRANSFERS = frozenset((PQ, HLG))
"""The transfer functions that are converted to the standard range, by their numbers in FFmpeg and ITU-T H.273."""
SOURCE_PEAK, SCREEN_PEAK = 1000.0, 203.0
"""Luminance in cd/m2 of the source's brightest white, and of the white that it is mapped to."""

_BT709 = 1
_GAMMA = 2.4
_STEPS = 4096
_ROWS_AT_ONCE = 128
_LUMINANCE_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
_2020_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A = 0.17883277
_B, _C = 1 - 4 * _A, 0.5 - _A * np.log(4 * _A)

Floats = npt.NDArray[np.float64]


def to_sdr(coded: npt.NDArray[np.uint16], transfer: int, primaries: int) -> npt.NDArray[np.uint8]:
    """Convert a picture [H, W, 3] of PQ- or HLG-coded RGB (full range, 16 bits) to 8 bits with BT.709's primaries.

    `transfer` and `primaries` are the numbers of H.273. Primaries other than those of BT.709 are treated as BT.2020.
    """
    made = np.empty(coded.shape, np.uint8)
    for top in range(0, len(coded), _ROWS_AT_ONCE):
        rows = coded[top : top + _ROWS_AT_ONCE]
        light = _pq_table()[rows] if transfer == PQ else _hlg_light(rows)
        if primaries != _BT709:
            light = light @ _2020_TO_709.T
        made[top : top + len(rows)] = np.rint(255 * np.clip(light, 0, 1) ** np.float32(1 / _GAMMA))
    return made


def pq_light(signal: Floats) -> Floats:
    """The luminance (cd/m2) of PQ signals in [0, 1]."""
    root = signal ** (1 / _M2)
    return 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def pq_signal(light: Floats) -> Floats:
    """The PQ signals in [0, 1] of luminances in cd/m2."""
    power = (light / 10_000) ** _M1
    signal: Floats = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def hlg_scene(signal: Floats) -> Floats:
    """The scene light in [0, 1] of HLG signals in [0, 1]."""
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)


def tone_mapped(light: Floats) -> Floats:
    """The source's luminance (cd/m2), tone-mapped, as a fraction of the screen's white."""
    peak = pq_signal(np.array(SOURCE_PEAK))
    most = pq_signal(np.array(SCREEN_PEAK)) / peak
    knee = 1.5 * most - 0.5
    signal = np.minimum(pq_signal(light) / peak, 1)
    t = np.maximum(signal - knee, 0) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return pq_light(np.where(signal <= knee, signal, bent) * peak) / SCREEN_PEAK


@cache
def _pq_table() -> npt.NDArray[np.float32]:
    """The fraction of the screen's white for each 16-bit PQ signal."""
    return tone_mapped(pq_light(np.arange(1 << 16) / 65535)).astype(np.float32)


@cache
def _hlg_table() -> npt.NDArray[np.float32]:
    return hlg_scene(np.arange(1 << 16) / 65535).astype(np.float32)


@cache
def _tone_table() -> npt.NDArray[np.float32]:
    """The fraction of the screen's white for `_STEPS` steps of the square root of the light (source's peak = 1)."""
    return tone_mapped(SOURCE_PEAK * (np.arange(_STEPS + 1) / _STEPS) ** 2).astype(np.float32)


def _hlg_light(rows: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    scene = _hlg_table()[rows]
    # The OOTF as a fraction of the source's peak, with the system gamma of 1.2 applied to the scene's luminance.
    light = scene * (scene @ _LUMINANCE_2020)[..., None] ** np.float32(0.2)
    steps = np.rint(np.sqrt(np.clip(light, 0, 1)) * _STEPS).astype(np.int32)
    mapped: npt.NDArray[np.float32] = _tone_table()[steps]
    return mapped
