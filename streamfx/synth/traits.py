"""What a synthetic person wears and looks like, by name and strength: drawn first, painted afterwards, and recorded.

Odds follow life where traits depend on sex, age or skin; all else is drawn independently, so that a net cannot read one
trait off another more than in life.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HAIR_STYLES = ("bald", "buzz", "short", "full", "curly", "bob", "long", "tied", "bun")
HAIR_COLOURS = {
    "black": ("0d0a09", "1a1210"),
    "dark_brown": ("2b1b12", "3b2417"),
    "brown": ("5a3a22", "6b4526"),
    "blond": ("a9773f", "c9a26b"),
    "red": ("8a3b1c", "7a2f14"),
    "grey": ("6f6d6a", "9a9a98"),
    "white": ("c8c6c0", "dedcd6"),
    "dyed": ("6a2a6a", "2a5a8a"),
}
"""The two sRGB colours between which hair of each name lies."""
IRIS_COLOURS = {
    "dark": ("20140c", "2a1a10"),
    "brown": ("3d2614", "5b3a1c"),
    "hazel": ("6b5a2a", "6b6a3a"),
    "green": ("4f6b4a", "5d7a58"),
    "blue": ("5f7f9c", "7fa3c4"),
    "grey": ("6d767c", "868e92"),
}
CLOTH_COLOURS = {
    "black": ("0c0c0e", "1e1e20"),
    "grey": ("50504e", "8c8c8a"),
    "white": ("d6d4ce", "f0eeea"),
    "blue": ("1c2c4c", "5a7aa8"),
    "green": ("24402c", "6a8a5a"),
    "red": ("7a1c1c", "b04434"),
    "brown": ("4a3624", "8a6a48"),
    "yellow": ("b08a2c", "d4b860"),
    "pink": ("b87888", "dcb0b4"),
}
FRAME_COLOURS = {
    "black": ("060607", "1c1c1e"),
    "brown": ("2c1a0e", "5a3a20"),
    "silver": ("6a6c70", "9a9ca0"),
    "gold": ("8a6a34", "a88a4c"),
    "blue": ("1a2440", "3a4a70"),
    "red": ("5a1a22", "7a2a34"),
}
HAIRLINES = ("straight", "round", "peaked", "receding")
FRINGES = ("none", "straight", "side")
HATS = ("none", "cap", "beanie", "brim")
GLASSES = ("none", "round", "square", "thin")
BEARDS = ("none", "stubble", "goatee", "full")
NECKLINES = ("round", "v", "high")
PATTERNS_OF_CLOTH = ("plain", "stripes", "checks")


_THICKNESS = {
    "bald": (0.0, 0.0), "buzz": (0.0, 0.0), "short": (0.03, 0.08), "full": (0.1, 0.24), "curly": (0.16, 0.42),
    "bob": (0.07, 0.16), "long": (0.05, 0.14), "tied": (0.025, 0.06), "bun": (0.025, 0.06),
}  # fmt: skip


@dataclass(frozen=True)
class Traits:
    """One person's looks; strengths are 0..1, where 0 means that there is none of it. The fields are columns."""

    hair_style: str
    hair_colour: str
    hair_thickness: float
    """How far the hair stands off the scalp, decimetres."""
    parting: float
    """Where the hair is parted, decimetres from the middle toward the person's left."""
    hairline: str
    fringe: str
    hat: str
    hat_colour: str
    """A name of CLOTH_COLOURS, or `none`."""
    glasses: str
    """The shape of the frame; sunglasses have one too."""
    frame_colour: str
    """A name of FRAME_COLOURS, or `none`."""
    sunglasses: bool
    beard: str
    beard_strength: float
    moustache: float
    brow_thickness: float
    make_up_lips: float
    make_up_eyes: float
    iris_colour: str
    wrinkle_depth: float
    """How deep wrinkles are, whether they show at rest or only with their action units."""
    freckles: float
    blemishes: float
    redness: float
    eye_bags: float
    shine: float
    clothes_colour: str
    clothes_pattern: str
    clothes_second_colour: str
    """The other colour of stripes and checks, or `none`."""
    neckline: str
    teeth_white: float
    teeth_gaps: float


def draw_traits(sex: str, age: int, tone: int, rng: np.random.Generator) -> Traits:
    """Random traits of a person of `sex`, `age` in years and skin `tone` on the Monk scale."""
    man, grown = sex == "male", age > 17
    style = _pick(rng, HAIR_STYLES, _style_odds(man, age, tone))
    glasses = rng.random() < 0.10 + 0.25 * max(0, age - 35) / 50
    dark = rng.random() < 0.025
    beard = _pick(rng, BEARDS, [0.42, 0.22, 0.12, 0.24]) if man and grown else "none"
    moustache = 0.0
    if man and grown:
        with_it = {"none": 0.08, "stubble": 0.6, "goatee": 0.75, "full": 0.95}[beard]
        moustache = float(rng.uniform(0.4, 1.0)) if rng.random() < with_it else 0.0
    hat = _pick(rng, HATS, [0.88, 0.06, 0.04, 0.02])
    wears = not man and age > 14
    pattern = _pick(rng, PATTERNS_OF_CLOTH, [0.76, 0.14, 0.10])
    return Traits(
        hair_style=style,
        hair_colour=_hair_colour(age, tone, rng),
        hair_thickness=float(rng.uniform(*_THICKNESS[style])),
        parting=float(rng.normal(0, 0.2)),
        hairline="receding" if man and rng.random() < max(0.0, (age - 25) / 80) else _pick(rng, HAIRLINES[:3]),
        fringe=_pick(rng, FRINGES, _fringe_odds(style, man, age)),
        hat=hat,
        hat_colour="none" if hat == "none" else _pick(rng, tuple(CLOTH_COLOURS)),
        glasses=_pick(rng, GLASSES[1:]) if glasses or dark else "none",
        frame_colour=_pick(rng, tuple(FRAME_COLOURS), [0.45, 0.2, 0.14, 0.1, 0.06, 0.05]) if glasses or dark else "none",
        sunglasses=dark,
        beard=beard,
        beard_strength=0.0 if beard == "none" else float(rng.uniform(0.3, 0.8) if beard == "stubble" else rng.uniform(0.5, 1)),
        moustache=moustache,
        brow_thickness=float(np.clip(rng.normal(0.68 if man else 0.52, 0.17), 0.1, 1)),
        make_up_lips=_some(rng, 0.42 if wears else 0.01, 0.25),
        make_up_eyes=_some(rng, 0.42 if wears else 0.01, 0.25),
        iris_colour=_iris(tone, rng),
        wrinkle_depth=float(np.clip(0.42 + max(0, age - 20) / 110 + rng.normal(0, 0.10) - 0.015 * tone, 0.2, 1.0)),
        freckles=_some(rng, 0.24 if tone <= 4 else 0.05, 0.2),
        blemishes=_some(rng, 0.35 if 11 < age < 26 else 0.14, 0.15),
        redness=float(rng.beta(1.6, 2.6)),
        eye_bags=float(np.clip(rng.beta(1.3, 3.5) + max(0, age - 35) / 130, 0, 1)),
        shine=float(rng.beta(1.8, 2.5)),
        clothes_colour=_pick(rng, tuple(CLOTH_COLOURS), [0.2, 0.17, 0.15, 0.2, 0.07, 0.07, 0.06, 0.03, 0.05]),
        clothes_pattern=pattern,
        clothes_second_colour="none" if pattern == "plain" else _pick(rng, tuple(CLOTH_COLOURS)),
        neckline=_pick(rng, NECKLINES, [0.55, 0.25, 0.20]),
        teeth_white=float(rng.uniform(0.6, 1.0)),
        teeth_gaps=float(rng.beta(1.5, 3)),
    )  # fmt: skip


def _pick(rng: np.random.Generator, names: tuple[str, ...], odds: list[float] | None = None) -> str:
    return names[int(rng.choice(len(names), p=odds))]


def _some(rng: np.random.Generator, share: float, least: float) -> float:
    """0 for most people, and for `share` of them a strength of at least `least`."""
    strength = float(rng.uniform(least, 1))
    return strength if rng.random() < share else 0.0


def _style_odds(man: bool, age: int, tone: int) -> list[float]:
    curly = 0.20 if tone >= 6 else 0.08
    if man:
        bald = 0.05 + (0.17 if age > 45 else 0.0)
        odds = [bald, 0.14, 0.42, 0.14, curly, 0.02, 0.05, 0.03, 0.01]
    else:
        odds = [0.01, 0.02, 0.10, 0.12, curly, 0.19, 0.32, 0.12, 0.06]
    if age < 15:
        odds[0] = 0.0
    return [value / sum(odds) for value in odds]


def _fringe_odds(style: str, man: bool, age: int) -> list[float]:
    if style in ("bald", "buzz") or (man and age > 55):
        return [1.0, 0.0, 0.0]
    if style in ("curly", "tied", "bun"):
        return [0.84, 0.08, 0.08]
    return [0.62, 0.19, 0.19]


def _hair_colour(age: int, tone: int, rng: np.random.Generator) -> str:
    if rng.random() < (age - 38) / 38:
        return "white" if rng.random() < (age - 45) / 50 else "grey"
    if rng.random() < 0.025 and age > 15:
        return "dyed"
    odds = [0.72, 0.22, 0.05, 0.01, 0.0] if tone >= 6 else [0.20, 0.28, 0.24, 0.19, 0.09]
    return _pick(rng, tuple(HAIR_COLOURS)[:5], odds)


def _iris(tone: int, rng: np.random.Generator) -> str:
    odds = [0.5, 0.42, 0.06, 0.01, 0.005, 0.005] if tone >= 5 else [0.10, 0.30, 0.15, 0.13, 0.22, 0.10]
    return _pick(rng, tuple(IRIS_COLOURS), odds)
