"""What can be said and asked of a face: facts with a few values each, and what a drawn set knows of them.

A fact's value is text: one of its values, `hidden` where the picture cannot show it, or "" where nobody knows it or it
lies between two values. Nothing here tells who somebody is, or their ethnicity, religion, health or orientation, and
nothing judges their looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.models.celeba import CELEBA
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.train.attribute_truth import NO, YES, Rule, truth_of

Texts = npt.NDArray[np.object_]
Facts = Mapping[str, Texts]
"""Name of a fact -> its value in each picture."""
UNKNOWN, HIDDEN = "", "hidden"
UNITS = tuple(f"au_{unit:02d}" for unit in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26))
"""The twelve action units of DISFA, all of which are drawn as well."""
STRENGTHS = ("none", "slight", "clear", "strong")
PRESENT = "present"
"""An action unit of unknown strength."""
AGES = ("child", "young", "middle", "old")
AGE_BANDS: Mapping[str, tuple[int, int]] = {"child": (0, 14), "young": (15, 34), "middle": (35, 59), "old": (60, 120)}
"""First and last year of each; those of drawn sets (`synth/looks.py`), open to both sides."""
TURNED_DEG = 60.0
"""From this yaw on, what both halves of a face are needed for cannot be seen."""


@dataclass(frozen=True)
class Attribute:
    """Something that a face has or has not.

    `celeba`: CelebA's name of it, with `-` before the name of its opposite; "" if CelebA has none. `hidden`: when a
    drawn picture cannot show it, as in `attribute_truth.Rule`. `truth`: the rule where `attribute_truth.TABLE` has none.
    """

    celeba: str
    hidden: str = "False"
    truth: Rule | None = None
    task: str = "attributes"


_COVERED = "occluded"
_EYES = f"sunglasses or occluded or abs(yaw_deg) >= {TURNED_DEG}"
_HAT = 'hat != "none"'
ATTRIBUTES: Mapping[str, Attribute] = {
    "smiling": Attribute("Smiling", _COVERED),
    "mouth_open": Attribute("Mouth_Slightly_Open", _COVERED),
    "eyes_closed": Attribute("", _EYES, Rule("blink >= 0.8 or au_45 >= 4", "blink < 0.2 and au_45 < 1")),
    "beard": Attribute("-No_Beard", _COVERED),
    "moustache": Attribute("Mustache", _COVERED),
    "stubble": Attribute("5_o_Clock_Shadow", _COVERED),
    "goatee": Attribute("Goatee", _COVERED),
    "bald": Attribute("Bald", _HAT),
    "black_hair": Attribute("Black_Hair", _HAT),
    "blond_hair": Attribute("Blond_Hair", _HAT),
    "brown_hair": Attribute("Brown_Hair", _HAT),
    "grey_hair": Attribute("Gray_Hair", _HAT),
    "long_hair": Attribute(
        "", _HAT, Rule('hair_style == "long"', 'hair_style == "buzz" or hair_style == "short" or hair_style == "bald"')
    ),
    "receding_hairline": Attribute("Receding_Hairline", _HAT),
    "bushy_eyebrows": Attribute("Bushy_Eyebrows", _EYES),
    "bags_under_eyes": Attribute("Bags_Under_Eyes", _EYES),
    "rosy_cheeks": Attribute("Rosy_Cheeks", _COVERED),
    "covered": Attribute("", truth=Rule("occluded", "not occluded")),
    "lipstick": Attribute("Wearing_Lipstick", _COVERED, task="worn"),
    "eye_make_up": Attribute("", _EYES, Rule("make_up_eyes >= 0.5", "make_up_eyes < 0.1"), task="worn"),
    "glasses": Attribute("Eyeglasses", _COVERED, task="worn"),
    "hat": Attribute("Wearing_Hat", task="worn"),
    "wavy_hair": Attribute("Wavy_Hair", _HAT),
    "bangs": Attribute("Bangs", _HAT),
}
HELD_OUT = ("glasses", "hat", "wavy_hair", "bangs")
"""Attributes that occur neither in questions nor in captions of training, so that asking for them is zero-shot."""
HELD_OUT_WORDS = (
    r"(eye|sun)?glass(es)?|spectacles?|shades|hats?|caps?|beanies?|headwear|headgear|brims?|helmets?|hoods?"
    r"|curl(s|y|ed|ing)?|wav(e|es|y)|frizzy|ringlets?|bangs|fringes?|fringed"
)
"""A regular expression of the words for them."""
FACTS: Mapping[str, tuple[str, ...]] = {
    "sex": ("female", "male"),
    "age": AGES,
    "expression": LABELS_7,
    **dict.fromkeys(UNITS, STRENGTHS),
    "pose": ("frontal", "half", "profile"),
    "side": ("left", "right"),
    "pitch": ("up", "level", "down"),
    "light": ("bright", "normal", "dim", "side"),
    **dict.fromkeys(ATTRIBUTES, ("yes", "no")),
}
"""Every fact and its values. `side` is that of the picture to which the face is turned; it is known of turned faces."""


def drawn_facts(frames: pd.DataFrame) -> dict[str, Texts]:
    """The facts of frames of a drawn set that have the columns of both of its tables.

    What covers a face is recorded, but not which part of it: so all parts of a covered face count as hidden.
    """
    facts = {"sex": _texts(frames["sex"]), "age": age_bands(frames["age_years"].to_numpy())}
    covered, yaw = frames["occluded"].to_numpy(bool), frames["yaw_deg"].to_numpy(float)
    turned = np.abs(yaw) >= TURNED_DEG
    seen = ~covered & ~turned
    strength = frames["expression_intensity"].to_numpy(float)
    label = _texts(frames["expression"])
    facts["expression"] = np.where(strength >= 0.5, label, np.where(strength <= 0.1, "neutral", UNKNOWN))
    facts["expression"] = np.where(seen, np.where(label == "neutral", label, facts["expression"]), UNKNOWN)
    speaking = ~frames["viseme"].isin(["rest", "PP"]).to_numpy()
    for unit in UNITS:
        said = strengths(frames[unit].to_numpy(float))
        # Speech moves lips and jaw as these units do, but is not recorded as one of them.
        unsure = speaking & (said == "none") if unit in ("au_25", "au_26") else np.zeros(len(said), bool)
        facts[unit] = np.where(seen, np.where(unsure, UNKNOWN, said), HIDDEN)
    away = np.abs(yaw)
    facts["pose"] = _banded(away, [(0, 12, "frontal"), (18, 37, "half"), (43, 181, "profile")])
    facts["side"] = np.where(away >= 18, np.where(yaw > 0, "right", "left"), UNKNOWN)
    tilt = frames["pitch_deg"].to_numpy(float)
    facts["pitch"] = np.where(away < 37, _banded(tilt, [(-91, -8, "down"), (-3, 3, "level"), (8, 91, "up")]), UNKNOWN)
    facts["light"] = _texts(frames["light"])
    known = truth_of(frames)
    for name, about in ATTRIBUTES.items():
        facts[name] = _attribute(frames, about, known)
    return {name: facts[name].astype(object) for name in FACTS}


def age_bands(years: npt.NDArray[np.number]) -> Texts:
    """The age group of each age in years; UNKNOWN for negative ones."""
    bands = [(first, last + 0.999, name) for name, (first, last) in AGE_BANDS.items()]
    return _banded(years.astype(float), bands)


def strengths(intensity: npt.NDArray[np.floating]) -> Texts:
    """Words for FACS intensities of 0..5. Between none (below 0.5) and slight (from 1) lies what is not asked for."""
    return _banded(intensity, [(0, 0.499, "none"), (1, 1.999, "slight"), (2, 3.499, "clear"), (3.5, 5.001, "strong")])


def _attribute(frames: pd.DataFrame, about: Attribute, known: npt.NDArray[np.int8]) -> Texts:
    if about.truth is None:
        column = known[:, CELEBA.index(about.celeba.lstrip("-"))]
        yes, no = column == YES, column == NO
        if about.celeba.startswith("-"):
            yes, no = no, yes
    else:
        yes, no = _holds(frames, about.truth.yes), _holds(frames, about.truth.no)
    said = np.where(yes, "yes", np.where(no, "no", UNKNOWN))
    return np.where(_holds(frames, about.hidden), HIDDEN, said)


def _holds(frames: pd.DataFrame, condition: str) -> npt.NDArray[np.bool_]:
    return np.broadcast_to(np.asarray(frames.eval(condition, engine="python"), bool), len(frames))


def _banded(values: npt.NDArray[np.floating], bands: Sequence[tuple[float, float, str]]) -> Texts:
    """The name of the band, ends included, in which each value lies; UNKNOWN between bands."""
    found = np.full(len(values), UNKNOWN, object)
    for low, high, name in bands:
        found[(values >= low) & (values <= high)] = name
    return found


def _texts(column: pd.Series) -> Texts:
    return column.fillna(UNKNOWN).astype(object).to_numpy()
