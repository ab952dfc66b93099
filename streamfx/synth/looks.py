"""A synthetic person's identity: the mixture of shapes, the strength of their expressions, and their looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfx.synth.head import DETAILS, Head
from streamfx.synth.paint import PAINT, paint_skin
from streamfx.synth.patches import linear, noise
from streamfx.synth.traits import CLOTH_COLOURS, FRAME_COLOURS, HAIR_COLOURS, IRIS_COLOURS, Traits, draw_traits
from streamfx.synth.wrinkles import PATTERNS, SIDE, Relief, at_rest, draw_pores, draw_wrinkles

Floats = npt.NDArray[np.floating]

MONK_SCALE = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")
"""The ten skin tones of the Monk scale, sRGB, lightest first."""
AGE_GROUPS = (("child", 8, 14), ("young", 15, 34), ("middle", 35, 59), ("old", 60, 85))
"""Age groups with their first and last year."""


@dataclass(frozen=True)
class Look:
    """One person's traits, and what is drawn of them: paint, relief and colours (linear RGB in 0..1)."""

    traits: Traits
    paint: npt.NDArray[np.uint8]
    """[PAINT, PAINT, 4], of `paint_skin`."""
    pores: npt.NDArray[np.float32]
    """Heights of the skin itself [SIDE, SIDE]."""
    wrinkles: npt.NDArray[np.float32]
    """Heights of each of `wrinkles.PATTERNS` [patterns, SIDE, SIDE]."""
    rest: tuple[float, ...]
    """How strongly each pattern shows at rest, 0..1."""
    lip: tuple[float, float, float]
    iris: tuple[float, float, float]
    hair: tuple[float, float, float]
    cloth: tuple[float, float, float]
    second: tuple[float, float, float]
    """The second colour of patterned clothes."""
    hat: tuple[float, float, float]
    frame: tuple[float, float, float]
    hairline: float
    """Rest height of the hair over the forehead, decimetres."""

    @property
    def brightness(self) -> float:
        """Brightness of the cheeks' skin, linear, 0..1."""
        half = self.paint[int(0.34 * PAINT) : int(0.42 * PAINT), int(0.3 * PAINT) : int(0.7 * PAINT), :3]
        return float(np.square(half / 255).mean())

    def relief(self) -> Relief:
        """The skin's heights and slopes."""
        return Relief.of(self.pores, self.wrinkles)

    def weights(self, active: tuple[float, ...]) -> npt.NDArray[np.float32]:
        """How deep each pattern of wrinkles shows while action units draw it as strongly as `active`, each 0..1."""
        moved = np.asarray(active, np.float32)
        return (
            self.traits.wrinkle_depth * (2.1 * moved + np.asarray(self.rest, np.float32) * (1 - 0.4 * moved))
        ).astype(np.float32)


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


_LESS = ("head", "mouth", "nose", "l-eye", "r-eye", "eye-")
"""Targets that change a face so much that they are drawn smaller."""


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
            spread = 0.08 if target.startswith("asym") else 0.22 if target.startswith(_LESS) else 0.3
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


def _look(sex: str, age: int, tone: int, rng: np.random.Generator) -> Look:
    traits = draw_traits(sex, age, tone, rng)
    swatch = np.array([int(MONK_SCALE[tone - 1][i : i + 2], 16) for i in (0, 2, 4)], np.float32)
    # The scale shows paper swatches; living skin is more saturated.
    saturated = 1 + np.array([0.0, -0.10, -0.17]) * rng.uniform(0.5, 1.2)
    skin = (np.clip(swatch * saturated * rng.uniform(0.93, 1.04), 0, 255) / 255) ** 2.2 * 0.94 + np.array(
        [0.022, 0.013, 0.009]
    )
    hair = _between_colours(HAIR_COLOURS[traits.hair_colour], rng)
    brow_name = (
        traits.hair_colour if traits.hair_colour not in ("white", "dyed") else "grey" if age > 50 else "dark_brown"
    )
    brow = _between_colours(HAIR_COLOURS[brow_name], rng) * rng.uniform(0.18, 0.55)
    lip = skin * np.array([0.88, 0.55, 0.55]) * rng.uniform(0.75, 1.05)
    painted = linear(str(rng.choice(["8c1c2c", "b03848", "c0606c", "7a2438", "a4503c"])))
    strength = 0.8 * traits.make_up_lips
    lip = lip * (1 - strength) + painted * (0.25 + 0.75 * min(1.0, float(skin.mean()) / 0.3)) * strength
    paint, face_hair = paint_skin(
        skin.astype(np.float32), brow.astype(np.float32), lip.astype(np.float32), sex, age, traits, rng
    )
    rough = (0.4 + age / 250 + 0.3 * traits.blemishes) * (1 - 0.04 * tone)
    small = face_hair.reshape(SIDE, PAINT // SIDE, SIDE, PAINT // SIDE).mean((1, 3))
    pores = draw_pores(rough, rng) + small * (0.25 + 0.45 * noise(rng, SIDE, 0.7))
    rest = at_rest(age, rng)
    bags = PATTERNS.index("under_eye")
    rest = (*rest[:bags], min(1.0, rest[bags] + 0.5 * traits.eye_bags), *rest[bags + 1 :])
    return Look(
        traits=traits,
        paint=paint,
        pores=pores.astype(np.float32),
        wrinkles=draw_wrinkles(rng),
        rest=rest,
        lip=_rgb(lip),
        iris=_rgb(_between_colours(IRIS_COLOURS[traits.iris_colour], rng)),
        hair=_rgb(hair + 0.002),
        cloth=_named(CLOTH_COLOURS, traits.clothes_colour, rng),
        second=_named(CLOTH_COLOURS, traits.clothes_second_colour, rng),
        hat=_named(CLOTH_COLOURS, traits.hat_colour, rng),
        frame=_named(FRAME_COLOURS, traits.frame_colour, rng),
        hairline=float(rng.normal(7.93, 0.06)),
    )


def _between_colours(pair: tuple[str, str], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    share = rng.uniform()
    return linear(pair[0]) * (1 - share) + linear(pair[1]) * share


def _named(colours: dict[str, tuple[str, str]], name: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour of that name; of `none`, black."""
    return _rgb(_between_colours(colours.get(name, ("000000", "000000")), rng))


def _rgb(colour: npt.NDArray[np.floating]) -> tuple[float, float, float]:
    red, green, blue = (float(np.clip(value, 0, 1)) for value in colour)
    return red, green, blue
