"""What stands behind a face: plain walls, rooms, places outdoors and screens of a studio, out of focus as lenses show them."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter
from scipy.signal import fftconvolve

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

BACKGROUNDS = {"wall": 0.34, "room": 0.34, "outdoors": 0.22, "studio": 0.10}
"""Kinds of backgrounds, and how often each is seen."""


def draw_background(kind: str, size: int, brightness: float, defocus_px: float, rng: np.random.Generator) -> Pixels:
    """A background of a kind, uint8 RGB [1.25 size, 1.25 size, 3]; `brightness` 0..1 follows the light.

    A point of it is smeared to a disc of radius `defocus_px`.
    """
    side = int(size * 1.25)
    draw = {"wall": _wall, "room": _room, "outdoors": _outdoors, "studio": _studio}[kind]
    pixels = np.asarray(draw(side, rng), np.float32)
    texture = rng.normal(0, rng.uniform(0, 3), (side, side, 1)).astype(np.float32)
    lit = (pixels + texture) * (0.30 + 0.70 * brightness) * _falloff(side, rng)
    return _defocused(np.clip(lit, 0, 255), defocus_px)


def _colour(
    rng: np.random.Generator, grey: float, dark: float, light: float, hue: float | None = None
) -> tuple[int, int, int]:
    """A random sRGB colour of saturation 0..`grey` and value `dark`..`light`."""
    hue = float(rng.uniform()) if hue is None else hue
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, float(rng.uniform(0, grey)), float(rng.uniform(dark, light)))
    return round(255 * red), round(255 * green), round(255 * blue)


def _falloff(side: int, rng: np.random.Generator) -> Floats:
    """Light that grows toward one side, [side, side, 1]."""
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    x, y = np.meshgrid(ramp, ramp)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35)
    return np.asarray(1 + strength * (np.cos(angle) * x + np.sin(angle) * y), np.float32)[..., None]


def _wall(side: int, rng: np.random.Generator) -> Image.Image:
    """A painted wall, perhaps with a corner, a door, a picture or a socket rail."""
    wall = _colour(rng, 0.22, 0.35, 0.95, float(rng.choice([0.08, 0.12, 0.55, 0.3, rng.uniform()])))
    picture = Image.new("RGB", (side, side), wall)
    pen = ImageDraw.Draw(picture)
    if rng.random() < 0.3:
        edge, shade = rng.uniform(0.1, 0.9) * side, rng.uniform(0.7, 0.92)
        pen.rectangle([edge, 0, side, side], fill=tuple(int(value * shade) for value in wall))
    if rng.random() < 0.35:
        x, y, w, h = rng.uniform([0, 0, 0.12, 0.12], [0.9, 0.4, 0.35, 0.4]) * side
        frame = _colour(rng, 0.4, 0.05, 0.9, 0.08)
        pen.rectangle([x, y, x + w, y + h], fill=frame)
        inner = 0.06 * w
        pen.rectangle([x + inner, y + inner, x + w - inner, y + h - inner], fill=_colour(rng, 0.5, 0.2, 0.9))
    if rng.random() < 0.25:
        x, w = float(rng.uniform(-0.1, 0.9)) * side, float(rng.uniform(0.25, 0.4)) * side
        pen.rectangle([x, 0.05 * side, x + w, side], fill=_colour(rng, 0.45, 0.3, 0.9, 0.08))
    return picture


def _room(side: int, rng: np.random.Generator) -> Image.Image:
    """A wall with shelves, a window, curtains, a plant, a lamp or the back of a chair."""
    picture = _wall(side, rng)
    pen = ImageDraw.Draw(picture)
    if rng.random() < 0.45:
        x, y, w, h = rng.uniform([-0.1, -0.1, 0.25, 0.35], [0.8, 0.2, 0.5, 0.7]) * side
        pen.rectangle([x - 4, y - 4, x + w + 4, y + h + 4], fill=_colour(rng, 0.1, 0.75, 1.0))
        pen.rectangle([x, y, x + w, y + h], fill=_colour(rng, 0.15, 0.85, 1.0, 0.58))
        pen.line([x + w / 2, y, x + w / 2, y + h], fill=(235, 235, 230), width=max(1, side // 60))
        if rng.random() < 0.5:
            cloth = _colour(rng, 0.35, 0.4, 0.9)
            for fold in range(6):
                shade = 0.8 + 0.2 * (fold % 2)
                left = x - 0.16 * side + fold * 0.03 * side
                pen.rectangle(
                    [left, y - 6, left + 0.03 * side, side], fill=tuple(int(value * shade) for value in cloth)
                )
    if rng.random() < 0.45:
        x, w = float(rng.uniform(-0.2, 0.8)) * side, float(rng.uniform(0.3, 0.6)) * side
        board = _colour(rng, 0.5, 0.15, 0.75, 0.08)
        for level in np.arange(rng.uniform(0, 0.15), 1, rng.uniform(0.16, 0.24)):
            y = float(level) * side
            pen.rectangle([x, y, x + w, y + side / 50], fill=board)
            place = x
            while place < x + w - 0.05 * side:
                thick, high = rng.uniform(0.012, 0.04) * side, rng.uniform(0.07, 0.14) * side
                if rng.random() < 0.8:
                    pen.rectangle([place, y - high, place + thick, y], fill=_colour(rng, 0.55, 0.15, 0.85))
                place += thick + 1
    if rng.random() < 0.3:
        x, y = rng.uniform([0, 0.3], [1, 0.8]) * side
        for _ in range(40):
            (dx, dy), r = rng.normal(0, 0.07, 2), float(rng.uniform(0.01, 0.035))
            spot = [x + dx * side, y + dy * side]
            pen.ellipse(
                [spot[0] - r * side, spot[1] - r * side, spot[0] + r * side, spot[1] + r * side],
                fill=_colour(rng, 0.6, 0.15, 0.5, 0.3),
            )
    if rng.random() < 0.25:
        x, y, r = rng.uniform([0, 0, 0.02], [1, 0.5, 0.06]) * side
        pen.ellipse([x - r, y - r, x + r, y + r], fill=(255, 240, 205))
    if rng.random() < 0.3:
        w = float(rng.uniform(0.4, 0.7)) * side
        x = float(rng.uniform(0.1, 0.5)) * side
        pen.rounded_rectangle(
            [x, 0.72 * side, x + w, 1.2 * side], radius=0.06 * side, fill=_colour(rng, 0.35, 0.08, 0.6)
        )
    return picture


def _outdoors(side: int, rng: np.random.Generator) -> Image.Image:
    """Sky over trees or houses over ground."""
    high, low = _colour(rng, 0.4, 0.6, 0.95, 0.58), _colour(rng, 0.12, 0.8, 1.0, 0.58)
    ramp = np.linspace(0, 1, side)[:, None, None]
    sky = np.array(high) * (1 - ramp) + np.array(low) * ramp + np.zeros((side, side, 3))
    picture = Image.fromarray(sky.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    horizon = float(rng.uniform(0.35, 0.8)) * side
    pen.rectangle([0, horizon, side, side], fill=_colour(rng, 0.4, 0.25, 0.6, float(rng.choice([0.28, 0.1, 0.6]))))
    if rng.random() < 0.5:
        x = -0.1 * side
        while x < side:
            w, h = rng.uniform(0.12, 0.35) * side, rng.uniform(0.2, 0.8) * horizon
            house = _colour(rng, 0.3, 0.3, 0.85, float(rng.choice([0.05, 0.1, 0.6])))
            pen.rectangle([x, horizon - h, x + w, horizon + 0.05 * side], fill=house)
            for row in np.arange(horizon - h + 0.03 * side, horizon - 0.04 * side, 0.08 * side):
                for column in np.arange(x + 0.02 * side, x + w - 0.04 * side, 0.07 * side):
                    pen.rectangle([column, row, column + 0.03 * side, row + 0.04 * side], fill=(60, 66, 74))
            x += w + rng.uniform(0, 0.1) * side
    if rng.random() < 0.75:
        for _ in range(int(rng.integers(60, 260))):
            x, y = float(rng.uniform(0, side)), horizon - abs(float(rng.normal(0, 0.22))) * side * rng.uniform(0.2, 1.4)
            r = float(rng.uniform(0.015, 0.06)) * side
            pen.ellipse([x - r, y - r, x + r, y + r], fill=_colour(rng, 0.6, 0.12, 0.62, float(rng.uniform(0.2, 0.36))))
    return picture.filter(ImageFilter.GaussianBlur(0.6))


def _studio(side: int, rng: np.random.Generator) -> Image.Image:
    """A screen that is brighter around its middle."""
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    x, y = np.meshgrid(ramp - rng.uniform(-0.3, 0.3), ramp)
    glow = 0.55 + 0.45 * np.exp(-(x**2 + y**2) / rng.uniform(0.4, 1.5))
    screen = np.array(_colour(rng, 0.3, 0.15, 1.0), np.float32)
    return Image.fromarray(np.clip(glow[..., None] * screen, 0, 255).astype(np.uint8))


def _defocused(pixels: Floats, radius: float) -> Pixels:
    """Each point becomes a disc, in linear light, so that lamps stay bright."""
    if radius < 0.6:
        return pixels.astype(np.uint8)
    reach = int(np.ceil(radius))
    axis = np.arange(-reach, reach + 1)
    disc = np.clip(radius + 0.5 - np.hypot(axis[:, None], axis[None]), 0, 1).astype(np.float32)
    padded = np.pad((pixels / 255) ** 2, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    spread = fftconvolve(padded, (disc / disc.sum())[..., None], mode="valid", axes=(0, 1))
    return np.asarray(np.sqrt(np.clip(spread, 0, 1)) * 255, np.uint8)
