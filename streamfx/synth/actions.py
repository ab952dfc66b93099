"""Maps expressions, FACS action units and visemes to the units that move the mesh.

Prototypes follow the emotion table of the FACS Investigator's Guide (Ekman, Friesen, Hager, 2002) and the combinations
of EMFACS; each draw varies which units take part and how strongly. Intensities are 0..5 (FACS A-E).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from streamfx.synth.head import Head

Floats = npt.NDArray[np.float32]

AUS = ("au_01", "au_02", "au_04", "au_05", "au_06", "au_07", "au_09", "au_10", "au_12", "au_14", "au_15", "au_17",
       "au_20", "au_23", "au_24", "au_25", "au_26", "au_27", "au_45")  # fmt: skip
"""Action units that are drawn and recorded."""
_UNITS: dict[str, dict[str, float]] = {
    "au_01": {"browInnerUp": 2.10},
    "au_02": {"browOuterUp*": 1.56, "browInnerUp": 0.36},
    "au_04": {"browDown*": 1.45, "browKnit*": 1.2},
    "au_05": {"eyeWide*": 1.8, "eyeBlink*": -0.4},
    "au_06": {"cheekSquint*": 1.2, "eyeSquint*": 0.60, "cheekRaise*": 0.8},
    "au_07": {"eyeSquint*": 1.44},
    "au_09": {"noseSneer*": 0.15, "noseWrinkle*": 1.65, "mouthUpperUp*": 0.4, "cheekRaise*": 0.5},
    "au_10": {"mouthUpperUp*": 1.2, "lipRaise*": 1.2, "noseSneer*": 0.3},
    "au_12": {"mouthSmile*": 1.68, "cheekRaise*": 0.25},
    "au_14": {"mouthDimple*": 1.20},
    "au_15": {"mouthFrown*": 2.3},
    "au_17": {"mouthShrugLower": 1.1, "mouthShrugUpper": 0.4, "chinRaise*": 1.0},
    "au_20": {"mouthStretch*": 1.5, "lipStretch*": 1.1},
    "au_23": {"mouthPress*": 0.3, "mouthPucker": 0.2, "mouthRollLower": 0.6, "mouthFrown*": 0.4, "lipTight*": 1.0},
    "au_24": {"mouthPress*": 0.36, "mouthRollUpper": 0.8, "mouthRollLower": 0.8, "mouthFrown*": 0.3, "lipTight*": 0.9},
    "au_25": {"mouthLowerDown*": 0.95, "mouthUpperUp*": 0.55, "jawOpen": 0.11},
    "au_26": {"jawOpen": 0.50},
    "au_27": {"jawOpen": 1.02, "mouthFunnel": 0.18},
    "au_45": {"eyeBlink*": 0.85},
}
"""Units of the mesh that each action unit moves at full intensity; `*` stands for both sides."""
_TOGETHER: dict[tuple[str, str], dict[str, float]] = {
    ("au_01", "au_04"): {"browDown*": -0.85, "browKnit*": -0.3, "browGather*": 1.1},
    ("au_02", "au_04"): {"browDown*": -0.35, "browGather*": 0.3},
    ("au_04", "au_05"): {"lidLift*": 0.8},
    ("au_10", "au_25"): {"lipBare*": 0.6},
    ("au_12", "au_25"): {"lipBare*": 0.55},
    ("au_10", "au_17"): {"mouthShrugLower": 0.45, "chinRaise*": 0.3},
    ("au_09", "au_17"): {"mouthShrugLower": 0.25},
}
"""What two action units add where both act, in proportion to the weaker one: pairs do not simply add up."""
_AT_REST = {"eyeBlink*": 0.15}
"""Upper lids cover the top of the irises (the mesh by itself looks surprised); AU 45 closes what is left, AU 5 lifts
it."""
_PROTOTYPES: dict[str, tuple[dict[str, tuple[float, float, float]], ...]] = {
    "happiness": (
        {"au_06": (1, 2, 5), "au_12": (1, 3, 5), "au_25": (0.8, 2, 5), "au_10": (0.6, 1, 3), "au_26": (0.4, 1, 3)},
        {"au_06": (1, 2, 5), "au_12": (1, 4, 5), "au_25": (1, 3, 5), "au_10": (1, 1, 3), "au_26": (0.3, 1, 2)},
        {"au_06": (0.6, 1, 4), "au_12": (1, 3, 5), "au_14": (0.2, 1, 2)},
    ),
    "sadness": (
        {"au_01": (1, 4, 5), "au_04": (1, 1, 4), "au_15": (1, 4, 5), "au_17": (0.7, 1, 3), "au_07": (0.6, 1, 3)},
        {"au_01": (1, 4, 5), "au_04": (1, 2, 5), "au_15": (1, 4, 5), "au_20": (0.3, 1, 2), "au_17": (0.5, 1, 3),
         "au_07": (0.5, 1, 3)},
    ),
    "neutral": ({},),
    # Lips pressed together over a raised chin; lips square over bared teeth; a shout. The glare is AU 5 against AU 7.
    "anger": (
        {"au_04": (1, 4, 5), "au_05": (1, 2, 4), "au_07": (1, 1, 3), "au_23": (1, 3, 5), "au_17": (0.85, 2, 4),
         "au_24": (0.6, 3, 5)},
        {"au_04": (1, 4, 5), "au_05": (1, 2, 4), "au_07": (1, 1, 3), "au_24": (1, 3, 5), "au_17": (1, 2, 4),
         "au_10": (0.2, 1, 2)},
        {"au_04": (1, 4, 5), "au_05": (1, 2, 4), "au_07": (1, 2, 4), "au_10": (1, 3, 5), "au_25": (1, 3, 5),
         "au_26": (1, 2, 5), "au_09": (0.3, 1, 2), "au_23": (0.3, 1, 2)},
        {"au_04": (1, 4, 5), "au_05": (1, 2, 4), "au_07": (1, 1, 3), "au_25": (1, 3, 5), "au_27": (1, 2, 4),
         "au_10": (0.9, 2, 4)},
    ),
    "surprise": (
        {"au_01": (1, 3, 5), "au_02": (1, 4, 5), "au_05": (1, 2, 4), "au_26": (1, 3, 5), "au_25": (0.8, 1, 2)},
        {"au_01": (1, 3, 5), "au_02": (1, 4, 5), "au_05": (1, 2, 5), "au_27": (1, 2, 5), "au_25": (0.5, 1, 2)},
    ),
    # A wrinkled nose over a raised chin, over parted lips, and a raised upper lip.
    "disgust": (
        {"au_09": (1, 4, 5), "au_10": (1, 1, 3), "au_17": (1, 3, 5), "au_07": (1, 2, 4), "au_06": (0.7, 2, 4),
         "au_15": (0.15, 1, 2), "au_24": (0.2, 1, 2)},
        {"au_09": (1, 4, 5), "au_10": (1, 1, 4), "au_06": (0.9, 2, 4), "au_07": (0.9, 2, 4), "au_25": (1, 1, 2),
         "au_26": (0.4, 1, 2)},
        {"au_09": (1, 3, 5), "au_10": (1, 3, 5), "au_17": (1, 3, 5), "au_06": (0.8, 2, 4), "au_07": (0.9, 2, 4),
         "au_15": (0.3, 1, 2)},
    ),
    "fear": (
        {"au_01": (1, 4, 5), "au_02": (0.8, 1, 3), "au_04": (1, 3, 5), "au_05": (1, 4, 5), "au_20": (1, 4, 5),
         "au_25": (1, 3, 5), "au_26": (0.9, 1, 3)},
        {"au_01": (1, 4, 5), "au_02": (0.8, 1, 3), "au_04": (1, 4, 5), "au_05": (1, 4, 5), "au_20": (1, 4, 5),
         "au_25": (1, 2, 4)},
    ),
}  # fmt: skip
"""Variants of each expression: each action unit's probability of taking part, least and greatest intensity."""
_VISEMES: dict[str, dict[str, float]] = {
    "rest": {},
    "PP": {"mouthPress*": 0.5, "mouthRollLower": 0.25, "mouthRollUpper": 0.2},
    "FF": {"mouthRollLower": 0.55, "mouthUpperUp*": 0.2, "jawOpen": 0.04},
    "TH": {"jawOpen": 0.12, "tongueOut": 0.12, "mouthLowerDown*": 0.15},
    "DD": {"jawOpen": 0.1, "mouthLowerDown*": 0.15},
    "SS": {"mouthStretch*": 0.2, "mouthLowerDown*": 0.25, "jawOpen": 0.03},
    "SH": {"mouthFunnel": 0.5, "mouthPucker": 0.2, "jawOpen": 0.05},
    "KK": {"jawOpen": 0.15, "mouthLowerDown*": 0.1},
    "RR": {"mouthFunnel": 0.3, "jawOpen": 0.1},
    "AA": {"jawOpen": 0.42, "mouthLowerDown*": 0.15},
    "EH": {"jawOpen": 0.25, "mouthStretch*": 0.15, "mouthLowerDown*": 0.15},
    "IH": {"jawOpen": 0.12, "mouthStretch*": 0.2, "mouthLowerDown*": 0.2},
    "OO": {"jawOpen": 0.25, "mouthFunnel": 0.45, "mouthPucker": 0.2},
    "UU": {"jawOpen": 0.1, "mouthPucker": 0.6, "mouthFunnel": 0.2},
}
"""Face units of each mouth shape of speech (`visemes.VISEMES`)."""


def draw_expression(label: str, rng: np.random.Generator) -> dict[str, float]:
    """Draw the action units of an expression at full intensity, each 0..5; `neutral` has none."""
    variants = _PROTOTYPES[label]
    variant = variants[int(rng.integers(len(variants)))]
    return {
        unit: float(rng.uniform(least, most)) for unit, (often, least, most) in variant.items() if rng.random() < often
    }


def typical(label: str) -> Floats:
    """Action units [len(AUS)] in 0..5 of an expression as it mostly looks at full intensity: of its first variant, each unit
    by how often it takes part."""
    out = np.zeros(len(AUS), np.float32)
    for unit, (often, least, most) in _PROTOTYPES[label][0].items():
        out[AUS.index(unit)] = often * (least + most) / 2
    return out


def unit_matrix(head: Head, moves: Mapping[str, Mapping[str, float]], left: float = 1.0, right: float = 1.0) -> Floats:
    """Face units moved by each of `moves`, [len(moves), units]; `left` and `right` weigh the two sides."""
    place = {name: i for i, name in enumerate(head.unit_names)}
    out = np.zeros((len(moves), len(place)), np.float32)
    for row, (_, units) in enumerate(moves.items()):
        for name, weight in units.items():
            if name.endswith("*"):
                out[row, place[name[:-1] + "Left"]] += weight * left
                out[row, place[name[:-1] + "Right"]] += weight * right
            else:
                out[row, place[name]] += weight
    return out


def action_matrix(head: Head, left: float = 1.0, right: float = 1.0) -> Floats:
    """Face units that each action unit moves at full intensity (5), [len(AUS), units]."""
    return unit_matrix(head, {unit: _UNITS[unit] for unit in AUS}, left, right)


def moved_by(head: Head, actions: Floats, left: float = 1.0, right: float = 1.0) -> Floats:
    """Units of the mesh [T, units] that action units [T, len(AUS)] in 0..5 move, their combinations included."""
    moved = actions / 5 @ action_matrix(head, left, right)
    pairs = unit_matrix(head, {f"{a} {b}": units for (a, b), units in _TOGETHER.items()}, left, right)
    both = np.stack([np.minimum(actions[:, AUS.index(a)], actions[:, AUS.index(b)]) / 5 for a, b in _TOGETHER], 1)
    together: Floats = (moved + both @ pairs).astype(np.float32)
    return together


def at_rest(head: Head) -> Floats:
    """Face units of a face at rest, [units]; all movement is added to them."""
    rest: Floats = unit_matrix(head, {"rest": _AT_REST})[0]
    return rest


def viseme_matrix(head: Head, names: tuple[str, ...]) -> Floats:
    """Face units of the named mouth shapes, [len(names), units]."""
    return unit_matrix(head, {name: _VISEMES[name] for name in names})
