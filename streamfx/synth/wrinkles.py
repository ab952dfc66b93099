"""Wrinkles that come with action units: where each pattern of them lies on a face, and how high its skin stands there.

A pattern is a map of heights over the front view of the head at rest, 1 for a bulge and -1 for a furrow. Slopes taken
from it turn the skin's normals, so that a wrinkle is lit like one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from streamfx.synth.actions import AUS
from streamfx.synth.patches import PAINT_SIDE, bump, grid, noise

Floats = npt.NDArray[np.floating]

_FOLLOWS: dict[str, dict[str, float]] = {
    "frown": {"au_04": 1.0},
    "forehead_middle": {"au_01": 1.0, "au_02": 0.4},
    "forehead_sides": {"au_02": 1.0, "au_01": 0.2},
    "nose": {"au_09": 1.0, "au_10": 0.15},
    "folds": {"au_12": 0.75, "au_10": 1.0, "au_09": 0.7, "au_20": 0.3, "au_15": 0.15},
    "crows_feet": {"au_06": 1.0, "au_07": 0.35, "au_09": 0.2},
    "under_eye": {"au_06": 0.7, "au_07": 0.6, "au_09": 0.6},
    "chin": {"au_17": 1.0, "au_15": 0.3, "au_24": 0.3},
}
PATTERNS = tuple(_FOLLOWS)
"""Patterns of wrinkles, in the order of every array of them."""
SIDE = 256
"""Side of the maps, pixels."""
LEVELS = (256, 128, 64)
"""Sides in which a relief is kept."""
SLOPE_LIMIT = 2.5
"""Steepest slope that a relief can hold."""
_HEIGHT_DM = 0.022
"""How high a bulge of 1 stands."""


def creases(intensities: Floats) -> tuple[float, ...]:
    """How strongly each of PATTERNS shows, 0..1, given action units [len(AUS)] in 0..5."""
    return tuple(
        float(min(1.0, sum(weight * intensities[AUS.index(unit)] / 5 for unit, weight in units.items())))
        for units in _FOLLOWS.values()
    )


def at_rest(age: int, rng: np.random.Generator) -> tuple[float, ...]:
    """How strongly each of PATTERNS shows on a face at rest, 0..1: hardly before 30, more and more later."""
    aged = np.clip((age - 28) / 55, 0, 1)
    drawn = np.clip(aged * rng.uniform(0.15, 0.75, len(PATTERNS)), 0, 0.7)
    # Folds beside the nose and under the eyes show on most grown faces.
    if age > 17:
        for name, least in (("folds", 0.06), ("under_eye", 0.05)):
            drawn[PATTERNS.index(name)] += least + float(rng.uniform(0, 0.12))
    drawn[PATTERNS.index("nose")] *= 0.3
    return tuple(float(value) for value in drawn)


def draw_wrinkles(rng: np.random.Generator) -> Floats:
    """One person's patterns, [len(PATTERNS), SIDE, SIDE]; no two people's lines run alike."""
    x, y = grid(SIDE)
    wave = 0.010 * noise(rng, SIDE, 7)
    across = np.abs(x) + wave
    frown = _furrow(across - rng.uniform(0.045, 0.075) - 0.15 * (y - 7.5), 0.020, bump(x, y, 0.06, 7.52, 0.07, 0.12))
    if rng.random() < 0.35:
        frown += 0.7 * _furrow(x + wave, 0.016, bump(x, y, 0, 7.53, 0.05, 0.09))
    frown += 0.7 * _furrow(y - 7.37 + wave, 0.018, bump(x, y, 0, 7.37, 0.10, 0.06))
    # Corrugated skin bulges over the inner brows.
    frown += 0.8 * bump(x, y, 0.14, 7.50, 0.055, 0.045)
    # The inner corners of the eyes lie deep under lowered brows.
    frown -= 1.1 * bump(x, y, 0.165, 7.375, 0.06, 0.045)
    lines = np.linspace(7.60, rng.uniform(7.76, 7.86), int(rng.integers(2, 5)))
    arch = rng.uniform(0.02, 0.09)
    middle, sides = np.zeros_like(x), np.zeros_like(x)
    for level in lines:
        drawn = rng.uniform(0.6, 1.0)
        run = y - level + wave - arch * (np.cos(2.5 * x) - 0.6)
        middle += drawn * _furrow(run, 0.020, bump(x, y, 0, level, 0.24, 0.14))
        sides += drawn * _furrow(run, 0.020, bump(x, y, 0.36, level, 0.20, 0.14))
    nose = sum(
        _furrow(y - level - 0.45 * np.abs(x) + wave, 0.016, bump(x, y, 0.075, level + 0.03, 0.075, 0.045))
        for level in (7.10, 7.17, 7.25)
    )
    nose = nose + 0.8 * _furrow(across - 0.155 + 0.5 * (y - 7.05), 0.020, bump(x, y, 0.155, 7.05, 0.07, 0.10))
    fold_x = 0.165 + rng.uniform(0.36, 0.5) * np.clip(6.97 - y, 0, 0.5)
    band = 1 / (1 + np.exp((y - 6.93) / 0.03)) / (1 + np.exp((rng.uniform(6.48, 6.62) - y) / 0.04))
    folds = 1.25 * _furrow(across - fold_x, 0.030, band)
    # The cheek hangs over its fold.
    folds += 0.9 * np.exp(-(((across - fold_x - 0.075) / 0.06) ** 2)) * band
    crow = np.zeros_like(x)
    for slope in np.array([-0.6, -0.2, 0.25, 0.65]) + rng.uniform(-0.1, 0.1, 4):
        crow += _furrow(y - 7.25 - slope * (np.abs(x) - 0.44) + wave, 0.015, bump(x, y, 0.60, 7.25, 0.10, 0.13))
    under = 0.9 * _furrow(y - 7.125 + 0.25 * (x**2 - 0.1) + wave, 0.020, bump(x, y, 0.30, 7.13, 0.16, 0.05))
    under += 0.6 * _furrow(y - 7.07 + 0.35 * (np.abs(x) - 0.25) + wave, 0.022, bump(x, y, 0.25, 7.06, 0.14, 0.05))
    under += 0.7 * bump(x, y, 0.31, 7.165, 0.14, 0.025)
    dimples = noise(rng, SIDE, 2.6)
    chin = 0.8 * np.clip(dimples, -1.5, 1) * bump(x, y, 0, 6.32, 0.15, 0.10)
    chin += _furrow(y - 6.425 + 0.5 * x**2 + wave, 0.022, bump(x, y, 0, 6.43, 0.16, 0.06))
    maps = np.stack([frown, middle, sides, np.asarray(nose), folds, crow, under, chin])
    return np.clip(maps, -1.6, 1.6).astype(np.float32)


def _furrow(distance: Floats, width: float, where: Floats) -> Floats:
    """A valley along distance 0 with the skin raised on both of its sides."""
    valley = np.exp(-((distance / width) ** 2))
    rims = np.exp(-(((np.abs(distance) - 2.1 * width) / (1.3 * width)) ** 2))
    drawn: Floats = ((0.5 * rims - valley) * where).astype(np.float32)
    return drawn


@dataclass(frozen=True)
class Relief:
    """Heights and slopes of one person's skin, in several sizes, ready to be mixed for a moment.

    `levels` holds, by side, [1 + len(PATTERNS), 3, side * side]: the skin itself, then the patterns; height, slope
    toward the person's left, slope upward.
    """

    levels: dict[int, Floats]

    @staticmethod
    def of(skin: Floats, wrinkles: Floats) -> Relief:
        """The relief of `skin` [SIDE, SIDE] and of the patterns [len(PATTERNS), SIDE, SIDE]."""
        heights = np.concatenate([skin[None], wrinkles]).astype(np.float32)
        levels = {}
        for side in LEVELS:
            step = SIDE // side
            small = heights.reshape(len(heights), side, step, side, step).mean((2, 4))
            up, left = np.gradient(small * _HEIGHT_DM, PAINT_SIDE / side, axis=(1, 2))
            levels[side] = np.stack([small, left, up], 1).reshape(len(heights), 3, -1).astype(np.float32)
        return Relief(levels)

    def mixed(self, weights: Floats, pixels_per_dm: float) -> npt.NDArray[np.uint8]:
        """Slopes and height [side, side, 4] as bytes, 128 for none, no finer than a picture of that scale can show."""
        side = next((side for side in reversed(LEVELS) if side / PAINT_SIDE >= 0.8 * pixels_per_dm), LEVELS[0])
        mixed = self.levels[side][0].copy()
        for number in np.flatnonzero(weights > 0.01):
            mixed += weights[number] * self.levels[side][1 + number]
        out = np.full((side * side, 4), 255, np.uint8)
        scale = np.array([[127.0], [127 / SLOPE_LIMIT], [127 / SLOPE_LIMIT]], np.float32)
        out[:, :3] = np.clip(mixed * scale + 128, 0, 255).astype(np.uint8)[[1, 2, 0]].T
        return out.reshape(side, side, 4)


def draw_pores(rough: float, rng: np.random.Generator) -> Floats:
    """Heights of the skin itself [SIDE, SIDE]: pores, and slow unevenness."""
    fine, slow = noise(rng, SIDE, 0.7), noise(rng, SIDE, 5)
    uneven: Floats = (rough * (0.10 * fine + 0.14 * slow)).astype(np.float32)
    softened: Floats = gaussian_filter(uneven, 0.4)
    return softened
