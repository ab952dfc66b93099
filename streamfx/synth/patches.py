"""Where paint lies on a face: a front view of the head at rest, and soft shapes and noise on it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Floats = npt.NDArray[np.floating]

PAINT_LEFT, PAINT_LOW, PAINT_SIDE = -1.3, 5.95, 2.6
"""Where the paint lies over the head at rest, decimetres."""


def grid(side: int) -> tuple[Floats, Floats]:
    """Rest x and y of every pixel of a square map, decimetres."""
    step = (np.arange(side, dtype=np.float32) + 0.5) / side * PAINT_SIDE
    x, y = np.meshgrid(PAINT_LEFT + step, PAINT_LOW + step)
    return x.astype(np.float32), y.astype(np.float32)


def noise(rng: np.random.Generator, side: int, sigma: float | tuple[float, float]) -> Floats:
    """Noise of unit standard deviation over a map, smooth over `sigma` pixels, or over so many up and across."""
    field = gaussian_filter(rng.standard_normal((side, side), np.float32), sigma, mode="wrap", truncate=3)
    scaled: Floats = (field / max(float(field.std()), 1e-9)).astype(np.float32)
    return scaled


def bump(x: Floats, y: Floats, cx: float, cy: float, rx: float, ry: float) -> Floats:
    """A soft ellipse, 1 in its middle, on both sides of the face."""
    shape: Floats = np.exp(-(((np.abs(x) - cx) / rx) ** 2) - ((y - cy) / ry) ** 2).astype(np.float32)
    return shape


def step_up(value: Floats, edge: float, width: float) -> Floats:
    """0 well under `edge`, 1 well over it, smooth within about `width`."""
    risen: Floats = (1 / (1 + np.exp(np.clip((edge - value) / width, -30, 30)))).astype(np.float32)
    return risen


def linear(colour: str) -> Floats:
    """Linear RGB of an sRGB hex colour."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)], np.float32) / 255
    return (srgb**2.2).astype(np.float32)


def hexed(colour: npt.NDArray[np.floating] | tuple[float, ...]) -> str:
    """sRGB hex colour of linear RGB."""
    srgb = np.clip(np.asarray(colour, np.float64), 0, 1) ** (1 / 2.2) * 255
    return "".join(f"{round(float(value)):02x}" for value in srgb)
