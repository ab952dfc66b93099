"""What the ground truth of drawn faces says of CelebA's attributes: one table, from columns of a set to yes, no or
unknown.

Between a clear yes and a clear no of something gradual lies what nobody could tell from a picture; it is unknown, as is
what a hat hides. Attributes that are not in the table are unknown in every picture: they are not drawn, or drawn without
being recorded.
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
_OPEN = "au_25 >= 2 or au_26 >= 1 or au_27 >= 1"
_SHUT = "au_25 < 0.5 and au_26 < 0.5 and au_27 < 0.5"


def _either(column: str, *values: str, unless: str = "False") -> Rule:
    """The attribute is there where a column has one of the values, and else not."""
    condition = " or ".join(f'{column} == "{value}"' for value in values)
    return Rule(condition, f"not ({condition})", unless)


TABLE: Mapping[str, Rule] = {
    "5_o_Clock_Shadow": _either("beard", "stubble"),
    "Bags_Under_Eyes": Rule("eye_bags >= 0.45", "eye_bags <= 0.15", "sunglasses"),
    "Bald": _either("hair_style", "bald", unless=_HIDDEN),
    "Bangs": _either("fringe", "straight", "side", unless=_HIDDEN),
    "Black_Hair": _either("hair_colour", "black", unless=f"{_HIDDEN} or {_BARE}"),
    "Blond_Hair": _either("hair_colour", "blond", unless=f"{_HIDDEN} or {_BARE}"),
    "Brown_Hair": _either("hair_colour", "brown", "dark_brown", unless=f"{_HIDDEN} or {_BARE}"),
    "Bushy_Eyebrows": Rule("brow_thickness >= 0.75", "brow_thickness <= 0.5", "sunglasses"),
    "Eyeglasses": Rule('glasses != "none"', 'glasses == "none"'),
    "Goatee": _either("beard", "goatee"),
    "Gray_Hair": _either("hair_colour", "grey", "white", unless=f"{_HIDDEN} or {_BARE}"),
    "Heavy_Makeup": Rule("make_up_lips >= 0.25 and make_up_eyes >= 0.4", "make_up_lips < 0.25 and make_up_eyes < 0.25"),
    "Male": _either("sex", "male"),
    "Mouth_Slightly_Open": Rule(
        f'{_OPEN} or viseme == "AA" or viseme == "EH" or viseme == "OO"',
        f'{_SHUT} and (viseme == "rest" or viseme == "PP")',
    ),
    "Mustache": Rule("moustache >= 0.4", "moustache < 0.1"),
    "Narrow_Eyes": Rule("au_07 >= 2 or blink >= 0.5", "au_07 < 0.5 and blink < 0.1", "sunglasses"),
    "No_Beard": _either("beard", "none"),
    "Pale_Skin": Rule("skin_tone <= 2", "skin_tone >= 4"),
    "Receding_Hairline": _either("hairline", "receding", unless=f"{_HIDDEN} or {_BARE} or fringe != 'none'"),
    "Rosy_Cheeks": Rule("redness >= 0.55", "redness <= 0.25"),
    "Smiling": Rule("au_12 >= 2", "au_12 < 0.5"),
    "Straight_Hair": _either("hair_style", "short", "full", "bob", "long", unless=f"{_HIDDEN} or {_BARE}"),
    "Wavy_Hair": _either("hair_style", "curly", unless=f"{_HIDDEN} or {_BARE}"),
    "Wearing_Hat": Rule('hat != "none"', 'hat == "none"'),
    "Wearing_Lipstick": Rule("make_up_lips >= 0.25", "make_up_lips < 0.1"),
    "Young": Rule("age_years <= 38", "age_years >= 52"),
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
