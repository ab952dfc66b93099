"""A synthetic person's skin as paint on the front view of the head at rest: pigment, blood, hair, make-up and dirt."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from streamfx.synth.patches import bump, grid, linear, noise, step_up
from streamfx.synth.traits import Traits

Floats = npt.NDArray[np.floating]

PAINT = 512
"""Side of the paint, pixels."""


def paint_skin(
    base: Floats, brow: Floats, lip: Floats, sex: str, age: int, traits: Traits, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Paint [PAINT, PAINT, 4]: square roots of linear RGB and how shiny the skin is (128: as everywhere); and where hair
    grows in the face [PAINT, PAINT], 0..1.

    `base` is the skin's linear RGB, `brow` that of brows and beard, `lip` that of the lips.
    """
    x, y = grid(PAINT)
    dark = 1 - float(base.mean())
    skin = _uneven(np.broadcast_to(base, (PAINT, PAINT, 3)).astype(np.float32), x, y, age, rng)
    skin = _blood(skin, x, y, traits, dark, rng)
    skin = _spots(skin, x, y, traits, rng)
    skin = _hollows(skin, x, y, traits, rng)
    if sex == "male" and age > 17:
        # Shaved cheeks are a little bluish.
        shaved = float(rng.uniform(0.02, 0.12)) * _beard_area(x, y)[..., None]
        skin = np.asarray(skin * (1 - shaved * np.array([0.9, 0.7, 0.45], np.float32)), np.float32)
    hairs = np.clip(_brows(x, y, traits.brow_thickness, rng), 0, 1)
    face_hair = _beard(x, y, traits, rng)
    cover = np.clip(face_hair * 0.92, 0, 1)[..., None]
    strands = np.clip(1 + 0.35 * noise(rng, PAINT, 0.9), 0.3, 1.9)[..., None]
    skin = skin * (1 - cover) + cover * brow * strands
    skin = _make_up(skin, x, y, traits, lip, rng)
    skin = skin * (1 - hairs[..., None]) + hairs[..., None] * brow
    # Below, the paint is stretched over throat and shoulders.
    kept = step_up(y, 6.04, 0.015)[..., None]
    skin = skin * kept + base * (1 - kept)
    oily = bump(x, y, 0.0, 7.7, 0.3, 0.16) + bump(x, y, 0.0, 7.05, 0.10, 0.25) + 0.5 * bump(x, y, 0.42, 6.98, 0.14, 0.1)
    gloss = (
        (0.55 + 0.75 * oily)
        * np.clip(1 + 0.25 * noise(rng, PAINT, 1.3), 0.2, 2)
        * (1 - 0.8 * np.maximum(hairs, cover[..., 0]))
    )
    out = np.empty((PAINT, PAINT, 4), np.uint8)
    out[..., :3] = np.sqrt(np.clip(skin, 0, 1)) * 255
    out[..., 3] = np.clip(gloss * 128, 0, 255)
    return out, np.maximum(face_hair, 0.7 * hairs).astype(np.float32)  # fmt: skip


def _uneven(skin: Floats, x: Floats, y: Floats, age: int, rng: np.random.Generator) -> Floats:
    """Pigment: slow blotches, pores, and for old skin large spots."""
    rough = 0.035 + age / 1600
    slow, fine = noise(rng, PAINT, 9), noise(rng, PAINT, 1.4)
    brown = rough * (0.9 * slow + 0.6 * fine)
    skin = skin * (1 + brown[..., None] * np.array([0.75, 1.0, 1.15], np.float32))
    if age > 50:
        aged = gaussian_filter((noise(rng, PAINT, 4) > 2.1).astype(np.float32), 1.5)
        skin = skin * (1 - (age - 50) / 80 * aged[..., None] * np.array([0.35, 0.5, 0.6], np.float32))
    pale = 0.05 * bump(x, y, 0, 7.72, 0.4, 0.2)
    return np.asarray(skin * (1 + pale[..., None] * np.array([1.0, 1.0, 0.6], np.float32)), np.float32)


def _blood(skin: Floats, x: Floats, y: Floats, traits: Traits, dark: float, rng: np.random.Generator) -> Floats:
    """Redder cheeks, nose, chin and ears; it shows less on dark skin."""
    where = (
        bump(x, y, 0.42, 6.93, 0.20, 0.17) + 0.9 * bump(x, y, 0, 6.93, 0.11, 0.10) + 0.35 * bump(x, y, 0, 6.3, 0.16, 0.1)
        + 0.35 * bump(x, y, 0.78, 7.1, 0.1, 0.25)
    )  # fmt: skip
    patchy = np.clip(1 + 0.35 * noise(rng, PAINT, 6), 0, 2)
    red = np.clip((0.06 + 0.36 * traits.redness) * where * patchy, 0, 0.6) * (1 - 0.45 * dark)
    return np.asarray(skin * (1 - red[..., None] * np.array([0.08, 0.75, 0.62], np.float32)), np.float32)


def _spots(skin: Floats, x: Floats, y: Floats, traits: Traits, rng: np.random.Generator) -> Floats:
    """Freckles, pimples and a few moles."""
    sprinkled, places = noise(rng, PAINT, 1.5), rng.uniform(0, 1, (14, 4))
    if traits.freckles:
        area = bump(x, y, 0.26, 7.0, 0.36, 0.22) + 0.35 * bump(x, y, 0, 7.65, 0.4, 0.2)
        covered = np.clip((sprinkled - 1.65 + 1.0 * area * traits.freckles) / 0.5, 0, 1) * np.clip(1.3 * area, 0, 1)
        skin = skin * (1 - 0.6 * covered[..., None] * np.array([0.5, 0.75, 0.9], np.float32))
    for across, up, big, kind in places[: 2 + round(12 * traits.blemishes)]:
        mole = kind < 0.25
        if not (mole or traits.blemishes):
            continue
        px, py = (across - 0.5) * 1.2, 6.25 + 1.55 * up
        radius = (0.010 + 0.012 * big) if mole else 0.014 + 0.02 * big
        spot = np.exp(-(((x - px) ** 2 + (y - py) ** 2) / radius**2))[..., None]
        tint = np.array([0.6, 0.7, 0.75] if mole else [0.12, 0.5, 0.45], np.float32)
        skin = skin * (1 - spot * tint * (0.9 if mole else 0.4 + 0.6 * traits.blemishes))
    return np.asarray(skin, np.float32)


def _hollows(skin: Floats, x: Floats, y: Floats, traits: Traits, rng: np.random.Generator) -> Floats:
    """What little light reaches: eye sockets, the sides of the nose, nostrils, under the lip; and bags under the eyes."""
    deep = (
        rng.uniform(0.10, 0.28) * bump(x, y, 0.31, 7.33, 0.19, 0.07) + 0.25 * bump(x, y, 0.155, 7.31, 0.05, 0.08)
        + 0.20 * bump(x, y, 0.17, 6.90, 0.03, 0.07) + 0.85 * bump(x, y, 0.065, 6.845, 0.035, 0.022)
        + 0.20 * bump(x, y, 0, 6.44, 0.13, 0.03) + 0.12 * bump(x, y, 0.0, 6.80, 0.03, 0.05)
        + 0.15 * bump(x, y, 0.27, 6.60, 0.025, 0.03)
    )  # fmt: skip
    skin = skin * (1 - np.clip(deep, 0, 0.9)[..., None] * np.array([0.62, 0.72, 0.74], np.float32))
    below = bump(x, y, 0.29, 7.12, 0.13, 0.035) + 0.6 * bump(x, y, 0.2, 7.16, 0.06, 0.05)
    bags = (0.05 + 0.42 * traits.eye_bags) * below
    return np.asarray(skin * (1 - bags[..., None] * np.array([0.6, 0.75, 0.6], np.float32)), np.float32)


def _make_up(skin: Floats, x: Floats, y: Floats, traits: Traits, lip: Floats, rng: np.random.Generator) -> Floats:
    """Colour on the lids, a line at the lashes and blush; the lips themselves are drawn with the mesh."""
    colour = linear(str(rng.choice(["3a2434", "4a3424", "2a3450", "5a4a44", "6a3a3a", "2a4440"])))
    if traits.make_up_eyes:
        lid = bump(x, y, 0.32, 7.37, 0.16, 0.045)
        liner = np.exp(-(((np.hypot((np.abs(x) - 0.31) / 0.145, (y - 7.275) / 0.062) - 1.08) / 0.13) ** 2))
        shade = np.clip(traits.make_up_eyes * (0.75 * lid), 0, 0.85)[..., None]
        skin = skin * (1 - shade) + shade * colour
        drawn = np.clip(traits.make_up_eyes * 0.9 * liner * (0.45 + 0.55 * step_up(y, 7.28, 0.02)), 0, 0.9)[..., None]
        skin = skin * (1 - drawn) + drawn * 0.01
    blush = 0.22 * max(traits.make_up_lips, traits.make_up_eyes) * bump(x, y, 0.46, 6.98, 0.15, 0.10)
    return np.asarray(skin * (1 - blush[..., None]) + blush[..., None] * (0.6 * skin + 0.4 * lip * 1.2), np.float32)


def _brows(x: Floats, y: Floats, thickness: float, rng: np.random.Generator) -> Floats:
    """How much of the skin the eyebrows cover."""
    inner, outer = rng.normal(0.13, 0.015), rng.normal(0.56, 0.025)
    height, arch = rng.normal(7.45, 0.015), rng.uniform(0.01, 0.07)
    along = (np.abs(x) - inner) / (outer - inner)
    middle = height + arch * np.sin(np.clip(along, 0, 1) * math.pi * 0.8) - 0.05 * np.clip(along, 0, 1) ** 3
    width = (0.024 + 0.036 * thickness) * np.clip(1.15 - 0.75 * along, 0.1, 1.2)
    inside = np.clip((along + 0.04) / 0.1, 0, 1) * np.clip((1.04 - along) / 0.12, 0, 1)
    cover = np.exp(-(((y - middle) / width) ** 4)) * inside * (0.74 + 0.25 * thickness)
    strokes = np.clip(0.88 + 0.16 * noise(rng, PAINT, (0.8, 2.5)) + 0.10 * noise(rng, PAINT, 2.0), 0, 1.1)
    covered: Floats = np.clip(cover * strokes, 0, 1).astype(np.float32)
    return covered


def _beard_area(x: Floats, y: Floats) -> Floats:
    """Where a full beard grows: cheeks below the ears, jaw, chin and throat, not the lips."""
    lower = (1 - step_up(y - 0.36 * np.abs(x) ** 1.5, 6.56, 0.045)) * step_up(y, 6.1, 0.03)
    grown: Floats = lower * (1 - np.clip(bump(x, y, 0, 6.6, 0.24, 0.085) * 1.6, 0, 1))
    return grown


def _beard(x: Floats, y: Floats, traits: Traits, rng: np.random.Generator) -> Floats:
    """How much of the skin beard and moustache cover."""
    fine, slow = noise(rng, PAINT, 0.8), noise(rng, PAINT, 7)
    cover = np.zeros_like(x)
    if traits.beard != "none":
        area = _beard_area(x, y)
        if traits.beard == "goatee":
            area = area * (1 - step_up(np.abs(x), 0.19, 0.03)) * (1 - step_up(y, 6.62, 0.03))
        if traits.beard == "stubble":
            cover = area * traits.beard_strength * np.clip(0.34 + 0.42 * fine + 0.08 * slow, 0, 0.85)
        else:
            cover = area * np.clip((0.25 + 0.85 * traits.beard_strength) * (1 + 0.16 * fine + 0.14 * slow), 0, 1)
    if traits.moustache:
        strip = step_up(y + 0.25 * np.abs(x), 6.745, 0.012) * (1 - step_up(y + 0.12 * np.abs(x), 6.835, 0.018))
        strip = strip * (1 - step_up(np.abs(x), 0.24, 0.025)) * (0.55 + 0.45 * step_up(np.abs(x), 0.018, 0.012))
        thick = 0.6 if traits.beard == "stubble" else 1.0
        cover = np.maximum(cover, strip * traits.moustache * thick * np.clip(0.9 + 0.2 * fine, 0, 1))
    covered: Floats = np.clip(cover, 0, 1).astype(np.float32)
    return covered
