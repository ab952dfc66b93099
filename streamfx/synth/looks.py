"""A synthetic person's identity: the mixture of shapes, and the skin's paint (tone, brows, lips, beard, wrinkles).

Paint lies on a front view of the head at rest, so that it follows every identity and every movement of the mesh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from streamfx.synth.head import DETAILS, Head

Floats = npt.NDArray[np.floating]

MONK_SCALE = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")
"""The ten skin tones of the Monk scale, sRGB, lightest first."""
AGE_GROUPS = (("child", 8, 14), ("young", 15, 34), ("middle", 35, 59), ("old", 60, 85))
"""Age groups with their first and last year."""
PAINT = 512
"""Side of the paint, pixels."""
PAINT_LEFT, PAINT_LOW, PAINT_SIDE = -1.3, 5.95, 2.6
"""Where the paint lies over the head at rest, decimetres."""
HAIR_COLOURS = (
    "0d0a09",
    "1a1210",
    "2b1b12",
    "3b2417",
    "5a3a22",
    "7a4e2a",
    "a9773f",
    "c9a26b",
    "8a3b1c",
    "9a9a98",
    "d8d6d0",
)
IRIS_COLOURS = ("2a1a10", "3d2614", "5b3a1c", "6b6a3a", "4f6b4a", "5f7f9c", "7fa3c4", "6d767c")


@dataclass(frozen=True)
class Look:
    """One person's skin, eyes, hair, clothes and glasses; colours are linear RGB in 0..1."""

    paint: npt.NDArray[np.uint8]
    """[PAINT, PAINT, 3] sRGB skin with lips, brows and beard."""
    wrinkles: npt.NDArray[np.uint8]
    """[PAINT, PAINT, 4]: furrows that deepen with the brows, the forehead, the smile folds, the nose and eye corners;
    128 is smooth."""
    lip: tuple[float, float, float]
    iris: tuple[float, float, float]
    hair: tuple[float, float, float]
    cloth: tuple[float, float, float]
    hair_style: str
    """`bald` | `short` | `full` | `long` | `cap`."""
    hair_thickness: float
    """Thickness of the hair, decimetres."""
    hairline: float
    """Rest height of the hair over the forehead, decimetres."""
    shine: float
    crease: float
    """How deep wrinkles show, 0..1."""
    teeth: float
    glasses: float
    """Darkness of the glasses' frame, 0..1; 0 means no glasses."""


@dataclass(frozen=True)
class Identity:
    """One person, the same in every clip but for light and clothes."""

    name: str
    sex: str
    age_years: int
    age_group: str
    skin_tone: int
    weights: dict[str, float]
    expressivity: dict[str, float]
    """How strongly this person moves each action unit, about 1."""
    look: Look


def draw_identity(head: Head, name: str, rng: np.random.Generator) -> Identity:
    """A random person; equal generators give equal people."""
    sex = str(rng.choice(["female", "male"]))
    group, first, last = AGE_GROUPS[int(rng.choice(4, p=[0.12, 0.4, 0.3, 0.18]))]
    age = int(rng.integers(first, last + 1))
    ancestry = rng.dirichlet([0.35, 0.35, 0.35])
    weights = _macro(sex, age, ancestry, rng) | _details(head, rng)
    tone = _skin_tone(ancestry, rng)
    return Identity(name, sex, age, group, tone, weights, _expressivity(rng), _look(sex, age, tone, rng))


def _macro(sex: str, age: int, ancestry: Floats, rng: np.random.Generator) -> dict[str, float]:
    """Weights of the targets that set sex, age, ancestry and build; they mix the sexes and ages."""
    male = float(np.clip(rng.normal(0.85 if sex == "male" else 0.15, 0.12), 0, 1))
    ages = _between(age, [("child", 11.0), ("young", 25.0), ("old", 90.0)])
    muscle = _between(float(np.clip(rng.normal(0.5, 0.2), 0, 1)), [("min", 0.0), ("average", 0.5), ("max", 1.0)])
    fat = _between(float(np.clip(rng.normal(0.5, 0.22), 0, 1)), [("min", 0.0), ("average", 0.5), ("max", 1.0)])
    out: dict[str, float] = {}
    for gender, share in (("male", male), ("female", 1 - male)):
        for stage, part in ages.items():
            for race, mixed in zip(("african", "asian", "caucasian"), ancestry, strict=True):
                out[f"{race}-{gender}-{stage}"] = share * part * float(mixed)
            for m, much in muscle.items():
                for w, heavy in fat.items():
                    out[f"universal-{gender}-{stage}-{m}muscle-{w}weight"] = share * part * much * heavy
    return {target: weight for target, weight in out.items() if weight > 1e-4}


def _between(value: float, anchors: list[tuple[str, float]]) -> dict[str, float]:
    """Linear weights of the two anchors around `value`; they sum to 1."""
    places = [place for _, place in anchors]
    return {name: float(np.interp(value, places, np.eye(len(anchors))[i])) for i, (name, _) in enumerate(anchors)}


def _details(head: Head, rng: np.random.Generator) -> dict[str, float]:
    """Small random weights of local targets; asymmetries smaller still."""
    opposite = {"decr": "incr", "down": "up", "in": "out", "backward": "forward", "concave": "convex"}
    out: dict[str, float] = {}
    prefixes = ("cheek", "chin", "eyebrows", "eye", "forehead", "head", "mouth", "neck", "nose", "l-", "r-", "asym")
    assert len(DETAILS) <= len(prefixes)
    drawn: dict[str, float] = {}
    for target in head.identity_names:
        if not target.startswith(prefixes) or "scale-depth" in target or target.startswith("neck-circ"):
            continue
        stem = target[2:] if target.startswith(("l-", "r-")) else target
        pair = next((stem.removesuffix(low) for low in opposite if stem.endswith(low)), None)
        pair = pair or next((stem.removesuffix(high) for high in opposite.values() if stem.endswith(high)), stem)
        if pair not in drawn:
            spread = (
                0.08 if target.startswith("asym") else 0.22 if target.startswith(("head", "mouth", "nose")) else 0.3
            )
            drawn[pair] = float(np.clip(rng.normal(0, spread), -0.7, 0.7)) if rng.random() < 0.6 else 0.0
        value = drawn[pair] if any(stem.endswith(high) for high in opposite.values()) else -drawn[pair]
        if value > 0.02:
            out[target] = value
    return out


def _skin_tone(ancestry: Floats, rng: np.random.Generator) -> int:
    african, asian, caucasian = (float(share) for share in ancestry)
    middle = 8.0 * african + 4.2 * asian + 2.6 * caucasian
    return int(np.clip(round(rng.normal(middle, 1.3)), 1, 10))


def _expressivity(rng: np.random.Generator) -> dict[str, float]:
    units = ("au_01", "au_02", "au_04", "au_05", "au_06", "au_07", "au_09", "au_10", "au_12", "au_14", "au_15", "au_17",
             "au_20", "au_23", "au_24", "au_25", "au_26", "au_27", "au_45")  # fmt: skip
    return {unit: float(np.clip(rng.normal(1, 0.15), 0.6, 1.4)) for unit in units}


def linear(colour: str) -> Floats:
    """Linear RGB of an sRGB hex colour."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)], np.float32) / 255
    return (srgb**2.2).astype(np.float32)


def _look(sex: str, age: int, tone: int, rng: np.random.Generator) -> Look:
    skin = np.array([int(MONK_SCALE[tone - 1][i : i + 2], 16) for i in (0, 2, 4)], np.float32)
    # The scale shows paper swatches; living skin is more saturated.
    skin = np.clip(skin * (1 + np.array([0.0, -0.10, -0.17]) * rng.uniform(0.5, 1.2)) * rng.uniform(0.93, 1.04), 0, 255)
    darkness = tone / 10
    hair_index = int(rng.integers(0, 4)) if tone >= 6 else int(rng.integers(0, 9))
    if age > 50 and rng.random() < (age - 45) / 40:
        hair_index = int(rng.integers(9, 11))
    hair = HAIR_COLOURS[hair_index]
    style = str(rng.choice(["bald", "short", "full", "long", "cap"], p=_hair_odds(sex, age)))
    brow = linear(HAIR_COLOURS[max(0, min(hair_index, 8) - 1)]) * rng.uniform(0.5, 1.0)
    lip = (skin / 255) ** 2.2 * np.array([0.85, 0.55, 0.55]) * rng.uniform(0.7, 1.05)
    made_up = sex == "female" and age > 14 and rng.random() < 0.4
    if made_up:
        lip = lip * np.array([1.0, 0.45, 0.5])
    beard = float(rng.uniform(0.2, 1)) if sex == "male" and age > 17 and rng.random() < 0.45 else 0.0
    paint = _paint(skin, brow, beard, age, made_up, rng)
    iris = IRIS_COLOURS[int(rng.integers(0, 3)) if tone >= 5 else int(rng.integers(0, len(IRIS_COLOURS)))]
    return Look(
        paint=paint,
        wrinkles=_wrinkles(rng),
        lip=_rgb(lip),
        iris=_rgb(linear(iris) * rng.uniform(0.8, 1.3)),
        hair=_rgb(linear(hair) * rng.uniform(0.8, 1.3) + 0.002),
        cloth=_rgb(rng.uniform(0.01, 0.8, 3) ** 1.5),
        hair_style=style,
        hair_thickness=float(
            {
                "bald": 0.0,
                "short": rng.uniform(0.03, 0.09),
                "full": rng.uniform(0.1, 0.3),
                "long": rng.uniform(0.06, 0.16),
                "cap": 0.1,
            }[style]
        ),
        hairline=float(rng.normal(7.93, 0.07)),
        shine=float(rng.uniform(0.05, 0.35)),
        crease=float(np.clip(0.35 + age / 110 + rng.normal(0, 0.1) - 0.1 * darkness, 0.25, 1.0)),
        teeth=float(rng.uniform(0.6, 1.0)),
        glasses=float(rng.uniform(0.3, 1)) if rng.random() < 0.12 else 0.0,
    )


def _hair_odds(sex: str, age: int) -> list[float]:
    if sex == "female":
        return [0.02, 0.13, 0.30, 0.48, 0.07]
    return [0.12 + (0.15 if age > 45 else 0), 0.45, 0.23 - (0.15 if age > 45 else 0), 0.08, 0.12]


def _rgb(colour: npt.NDArray[np.floating]) -> tuple[float, float, float]:
    red, green, blue = (float(np.clip(value, 0, 1)) for value in colour)
    return red, green, blue


def _grid() -> tuple[Floats, Floats]:
    """Rest x and y of every pixel of the paint."""
    step = (np.arange(PAINT, dtype=np.float32) + 0.5) / PAINT * PAINT_SIDE
    x, y = np.meshgrid(PAINT_LEFT + step, PAINT_LOW + step)
    return x, y


def _noise(rng: np.random.Generator, sigma: float) -> Floats:
    """Smooth noise of unit standard deviation over the paint."""
    field = gaussian_filter(rng.standard_normal((PAINT, PAINT)).astype(np.float32), sigma, mode="wrap")
    scaled: Floats = field / max(float(field.std()), 1e-9)
    return scaled


def _bump(x: Floats, y: Floats, cx: float, cy: float, rx: float, ry: float) -> Floats:
    """A soft ellipse, 1 in its middle, on both sides of the face."""
    return np.exp(-(((np.abs(x) - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)


def _paint(
    skin: Floats, brow: Floats, beard: float, age: int, made_up: bool, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Skin with blotches, redder cheeks and nose, shaded sockets, brows and beard, sRGB."""
    x, y = _grid()
    base = (skin / 255) ** 2.2
    out: Floats = np.broadcast_to(base, (PAINT, PAINT, 3)).astype(np.float32).copy()
    rough = 0.03 + age / 1500
    out *= 1 + rough * (_noise(rng, 6) + 0.8 * _noise(rng, 1.2))[..., None]
    red = rng.uniform(0.05, 0.25) * (_bump(x, y, 0.42, 6.95, 0.22, 0.18) + 0.7 * _bump(x, y, 0, 6.95, 0.12, 0.12))
    out *= 1 - red[..., None] * np.array([0.0, 0.75, 0.65])
    socket = rng.uniform(0.1, 0.4) * _bump(x, y, 0.31, 7.2, 0.2, 0.09) + 0.2 * _bump(x, y, 0.16, 7.3, 0.06, 0.1)
    out *= 1 - socket[..., None] * np.array([0.55, 0.7, 0.6])
    if made_up:
        shade = rng.uniform(0.2, 0.7) * _bump(x, y, 0.33, 7.36, 0.17, 0.05)
        out = out * (1 - shade[..., None]) + shade[..., None] * linear(str(rng.choice(["2a1a2a", "3a2a1a", "1a2a4a"])))
    if rng.random() < 0.15:
        spots = (_noise(rng, 1.6) > 2.2) * _bump(x, y, 0.25, 7.0, 0.4, 0.3)
        out *= 1 - 0.5 * gaussian_filter(spots.astype(np.float32), 0.8)[..., None]
    if beard:
        # The beard covers the cheeks below the ears, the chin and the upper lip, but not the lips themselves.
        lower = 1 / (1 + np.exp((y - (6.55 + 0.55 * np.abs(x) ** 1.5)) / 0.05)) / (1 + np.exp((6.1 - y) / 0.03))
        moustache = _bump(x, y, 0.1, 6.78, 0.2, 0.05)
        mask = np.clip(np.maximum(lower, moustache) * (0.9 + 0.2 * _noise(rng, 0.6)), 0, 1) * beard * 0.8
        mask *= 1 - np.clip(_bump(x, y, 0, 6.6, 0.24, 0.085) * 1.6, 0, 1)
        out = out * (1 - mask[..., None]) + mask[..., None] * brow
    hairs = _brows(x, y, rng)[..., None]
    out = out * (1 - hairs) + hairs * brow
    return (np.clip(out, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def _brows(x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """How much of the skin the eyebrows cover."""
    inner, outer = rng.normal(0.13, 0.015), rng.normal(0.56, 0.025)
    height, arch = rng.normal(7.45, 0.015), rng.uniform(0.01, 0.07)
    thick = rng.uniform(0.026, 0.055)
    along = (np.abs(x) - inner) / (outer - inner)
    middle = height + arch * np.sin(np.clip(along, 0, 1) * math.pi * 0.8) - 0.05 * np.clip(along, 0, 1) ** 3
    width = thick * np.clip(1.15 - 0.75 * along, 0.1, 1.2)
    inside = np.clip((along + 0.04) / 0.1, 0, 1) * np.clip((1.04 - along) / 0.12, 0, 1)
    strength = rng.uniform(0.65, 1.0)
    cover = np.exp(-(((y - middle) / width) ** 4)) * inside * strength
    strokes = np.clip(0.8 + 0.25 * _noise(rng, 0.8), 0, 1)
    covered: Floats = np.clip(cover * strokes, 0, 1)
    return covered


def _wrinkles(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Four patterns of furrows, 128 where smooth, darker in a furrow and lighter on its rim."""
    x, y = _grid()
    wave = 0.012 * _noise(rng, 14)

    def line(distance: Floats, width: float, where: Floats) -> Floats:
        valley = np.exp(-((distance / width) ** 2))
        rim = np.exp(-(((np.abs(distance) - 2.2 * width) / (1.2 * width)) ** 2))
        drawn: Floats = (valley - 0.4 * rim) * where
        return drawn

    side = np.abs(x) + wave
    frown = line(side - 0.06 - 0.02 * (y - 7.5), 0.014, _bump(x, y, 0.06, 7.52, 0.06, 0.11))
    frown += 0.6 * line(y - 7.40 + wave, 0.014, _bump(x, y, 0, 7.40, 0.10, 0.05))
    forehead = sum(
        line(y - level + wave - 0.05 * np.cos(2.5 * x), 0.014, _bump(x, y, 0, level, 0.42, 0.1))
        for level in (7.62, 7.71, 7.80)
    )
    fold_x = 0.17 + 0.42 * np.clip(6.98 - y, 0, 0.5)
    smile = line(side - fold_x, 0.022, 1 / (1 + np.exp((y - 6.95) / 0.03)) * 1 / (1 + np.exp((6.52 - y) / 0.03)))
    smile += 0.5 * line(y - 7.13 + 0.12 * np.abs(np.abs(x) - 0.31) + wave, 0.015, _bump(x, y, 0.31, 7.13, 0.16, 0.05))
    corner = np.zeros_like(x)
    for slope in (-0.55, 0.0, 0.5):
        corner += line(y - 7.26 - slope * (np.abs(x) - 0.5) + wave, 0.012, _bump(x, y, 0.6, 7.26, 0.09, 0.12))
    corner += line(y - 7.20 - 0.5 * np.abs(x) + wave, 0.014, _bump(x, y, 0.05, 7.22, 0.09, 0.06))
    corner += line(y - 7.12 - 0.5 * np.abs(x) + wave, 0.014, _bump(x, y, 0.05, 7.14, 0.09, 0.06))
    stacked = np.stack([frown, np.asarray(forehead), smile, corner], -1)
    grey: npt.NDArray[np.uint8] = np.clip(128 - 80 * stacked, 0, 255).astype(np.uint8)
    return grey
