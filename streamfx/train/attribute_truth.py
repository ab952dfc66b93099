"""What the ground truth of drawn faces says of CelebA's attributes: one table, from columns of a set to yes, no or
unknown.

Between a clear yes and a clear no of something gradual lies what nobody could tell from a picture; it is unknown, as is
what a hat, sunglasses or a hand hides. Attributes that are not in the table are unknown in every picture: they are not
drawn, or drawn without being recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.models.celeba import CELEBA

Truth = npt.NDArray[np.int8]
"""1 yes, 0 no, -1 unknown."""
YES, NO, UNKNOWN = 1, 0, -1


@dataclass(frozen=True)
class Rule:
    """When an attribute is there and when it is not, as conditions on the columns of `clips.parquet` and
    `frames.parquet` in the syntax of `pandas.DataFrame.eval`; where neither holds, or `unless` does, it is unknown."""

    yes: str
    no: str
    unless: str = "False"


_BARE = 'hair_style == "bald"'
_HIDDEN = 'hat != "none"'
_COVERED = "occluded"
_NO_EYES = "sunglasses or occluded"
_OPEN = "au_25 >= 2 or au_26 >= 1 or au_27 >= 1"
_SHUT = "au_25 < 0.5 and au_26 < 0.5 and au_27 < 0.5"


def _either(column: str, *values: str, unless: str = "False") -> Rule:
    """The attribute is there where a column has one of the values, and else not."""
    condition = " or ".join(f'{column} == "{value}"' for value in values)
    return Rule(condition, f"not ({condition})", unless)


TABLE: Mapping[str, Rule] = {
    "5_o_Clock_Shadow": Rule('beard == "stubble" and beard_strength >= 0.5', 'beard != "stubble"', _COVERED),
    "Bags_Under_Eyes": Rule("eye_bags >= 0.6", "eye_bags <= 0.12", _NO_EYES),
    "Bald": _either("hair_style", "bald", unless=_HIDDEN),
    "Bangs": _either("fringe", "straight", "side", unless=_HIDDEN),
    "Black_Hair": _either("hair_colour", "black", unless=f'{_HIDDEN} or {_BARE} or hair_colour == "dark_brown"'),
    "Blond_Hair": _either("hair_colour", "blond", unless=f"{_HIDDEN} or {_BARE}"),
    "Brown_Hair": _either(
        "hair_colour", "brown", unless=f'{_HIDDEN} or {_BARE} or hair_colour == "dark_brown" or hair_colour == "red"'
    ),
    "Bushy_Eyebrows": Rule("brow_thickness >= 0.8", "brow_thickness <= 0.4", _NO_EYES),
    "Eyeglasses": Rule('glasses != "none"', 'glasses == "none"', _COVERED),
    "Goatee": _either("beard", "goatee", unless=_COVERED),
    "Gray_Hair": _either("hair_colour", "grey", "white", unless=f"{_HIDDEN} or {_BARE}"),
    "Heavy_Makeup": Rule(
        "make_up_lips >= 0.25 and make_up_eyes >= 0.4", "make_up_lips < 0.25 and make_up_eyes < 0.25", _NO_EYES
    ),
    "Male": _either("sex", "male"),
    "Mouth_Slightly_Open": Rule(
        f'{_OPEN} or viseme == "AA" or viseme == "EH" or viseme == "OO"',
        f'{_SHUT} and (viseme == "rest" or viseme == "PP")',
        _COVERED,
    ),
    "Mustache": Rule("moustache >= 0.6", "moustache < 0.1", _COVERED),
    "Narrow_Eyes": Rule("au_07 >= 2 or blink >= 0.5", "au_07 < 0.5 and au_06 < 1 and blink < 0.1", _NO_EYES),
    "No_Beard": Rule('beard == "none" and moustache < 0.1', "beard_strength >= 0.5", _COVERED),
    "Pale_Skin": Rule("skin_tone <= 2", "skin_tone >= 5"),
    "Receding_Hairline": _either("hairline", "receding", unless=f"{_HIDDEN} or {_BARE} or fringe != 'none'"),
    "Rosy_Cheeks": Rule(
        "redness >= 0.6", "redness <= 0.2", f"{_COVERED} or skin_tone >= 7 or make_up_lips > 0 or make_up_eyes > 0"
    ),
    "Smiling": Rule("au_12 >= 2", "au_12 < 0.5", _COVERED),
    "Straight_Hair": Rule(
        'hair_style == "short" or hair_style == "full" or hair_style == "bob" or hair_style == "long"',
        'hair_style == "curly"',
        _HIDDEN,
    ),
    "Wavy_Hair": _either("hair_style", "curly", unless=f"{_HIDDEN} or {_BARE}"),
    "Wearing_Hat": Rule('hat != "none"', 'hat == "none"'),
    "Wearing_Lipstick": Rule("make_up_lips >= 0.5", "make_up_lips < 0.1", _COVERED),
    "Young": Rule("age_years <= 35", "age_years >= 55"),
}
"""Attribute -> when the drawings show it. `docs/attributes.md` has the same table."""
KNOWN = tuple(name for name in CELEBA if name in TABLE)
"""The attributes that drawings tell of, in CelebA's order."""


def truth_of(frames: pd.DataFrame) -> Truth:
    """int8 [frames, 40]: CelebA's attributes of frames that have the columns of both tables of a set; 1, 0, or -1 for
    what is unknown. KeyError names a column that is missing."""
    found = np.full((len(frames), len(CELEBA)), UNKNOWN, np.int8)
    for name, rule in TABLE.items():
        yes, no, hidden = (_holds(frames, condition) for condition in (rule.yes, rule.no, rule.unless))
        found[:, CELEBA.index(name)] = np.where(hidden, UNKNOWN, np.where(yes, YES, np.where(no, NO, UNKNOWN)))
    return found


def _holds(frames: pd.DataFrame, condition: str) -> npt.NDArray[np.bool_]:
    try:
        values = frames.eval(condition, engine="python")
    except pd.errors.UndefinedVariableError as error:
        raise KeyError(f"attributes: {error}; expected frames with the columns of a synthetic set") from error
    return np.broadcast_to(np.asarray(values, bool), len(frames))
