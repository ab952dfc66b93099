"""High dynamic range (PQ and HLG) brought to the standard range that detectors and nets have learnt from.

Light of the display by ITU-R BT.2100-2 (PQ: the EOTF of table 4; HLG: the inverse OETF and the OOTF of table 5 for a
display of 1000 cd/m2), tone-mapped by the EETF of ITU-R BT.2390-10, section 5.4.1, from 1000 cd/m2 to 203 cd/m2 (BT.2408's
reference white) on each of R, G and B; from BT.2020's primaries to BT.709's by the matrix of ITU-R BT.2087; and coded with
the gamma of 2.4 that a display has by ITU-R BT.1886. So light up to about 90 cd/m2, in which faces are, is kept as it is,
what is brighter is compressed, and what is over 1000 cd/m2 is white.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

PQ, HLG = 16, 18
HDR_TRANSFERS = frozenset((PQ, HLG))
"""The transfer functions that are brought to the standard range, by their numbers in FFmpeg and ITU-T H.273."""
SOURCE_PEAK, SCREEN_PEAK = 1000.0, 203.0
"""cd/m2: of the pictures' brightest white, and of the white that is made of it."""

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
    """A picture of PQ- or HLG-coded R, G and B ([H, W, 3], the full range of 16 bits) as 8 bits with BT.709's colours.

    `transfer` and `primaries` are the numbers of H.273; primaries other than BT.709's are taken for BT.2020's.
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
    """cd/m2 of PQ signals in [0, 1]."""
    root = signal ** (1 / _M2)
    return 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def pq_signal(light: Floats) -> Floats:
    """The PQ signals of cd/m2."""
    power = (light / 10_000) ** _M1
    signal: Floats = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def hlg_scene(signal: Floats) -> Floats:
    """Light of the scene in [0, 1] of HLG signals in [0, 1]."""
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)


def tone_mapped(light: Floats) -> Floats:
    """cd/m2 of the source as parts of the screen's white."""
    peak = pq_signal(np.array(SOURCE_PEAK))
    most = pq_signal(np.array(SCREEN_PEAK)) / peak
    knee = 1.5 * most - 0.5
    signal = np.minimum(pq_signal(light) / peak, 1)
    t = np.maximum(signal - knee, 0) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return pq_light(np.where(signal <= knee, signal, bent) * peak) / SCREEN_PEAK


@cache
def _pq_table() -> npt.NDArray[np.float32]:
    """Parts of the screen's white for each 16-bit PQ signal."""
    return tone_mapped(pq_light(np.arange(1 << 16) / 65535)).astype(np.float32)


@cache
def _hlg_table() -> npt.NDArray[np.float32]:
    return hlg_scene(np.arange(1 << 16) / 65535).astype(np.float32)


@cache
def _tone_table() -> npt.NDArray[np.float32]:
    """Parts of the screen's white for each `_STEPS`th of the root of the source's peak."""
    return tone_mapped(SOURCE_PEAK * (np.arange(_STEPS + 1) / _STEPS) ** 2).astype(np.float32)


def _hlg_light(rows: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    scene = _hlg_table()[rows]
    # The OOTF, as parts of the source's peak: the system gamma of 1.2 on the scene's luminance.
    light = scene * (scene @ _LUMINANCE_2020)[..., None] ** np.float32(0.2)
    steps = np.rint(np.sqrt(np.clip(light, 0, 1)) * _STEPS).astype(np.int32)
    mapped: npt.NDArray[np.float32] = _tone_table()[steps]
    return mapped
