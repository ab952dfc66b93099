"""What drawings say of CelebA's attributes: the map, and what is unknown."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streamfx.models.celeba import CELEBA, SENSITIVE
from streamfx.synth.output import CLIP_COLUMNS, FRAME_COLUMNS
from streamfx.synth.traits import Traits, draw_traits
from streamfx.train.attribute_truth import KNOWN, NO, TABLE, UNKNOWN, YES, truth_of

AUS = [column.name for column in FRAME_COLUMNS if column.name.startswith("au_")]


def frames(**changes: Any) -> pd.DataFrame:
    """One frame of a plain grown man, with `changes`."""
    row: dict[str, Any] = {
        "sex": "male", "age_years": 45, "skin_tone": 3, "hair_style": "short", "hair_colour": "brown", "fringe": "none",
        "hairline": "straight", "hat": "none", "glasses": "none", "sunglasses": False, "occluded": False,
        "beard": "none", "beard_strength": 0.0, "moustache": 0.0, "brow_thickness": 0.6, "make_up_lips": 0.0,
        "make_up_eyes": 0.0, "redness": 0.4, "eye_bags": 0.3, "viseme": "rest", "blink": 0.0,
        **dict.fromkeys(AUS, 0.0),
    }  # fmt: skip
    return pd.DataFrame([row | changes])


def of(name: str, **changes: Any) -> int:
    return int(truth_of(frames(**changes))[0, CELEBA.index(name)])


def test_at_least_twenty_attributes_are_known_and_the_others_never() -> None:
    assert len(KNOWN) >= 20
    unknown = [CELEBA.index(name) for name in CELEBA if name not in TABLE]
    assert (truth_of(frames())[:, unknown] == UNKNOWN).all()


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("Smiling", {"au_12": 2.5}, {"au_12": 0.0}),
        ("Mouth_Slightly_Open", {"viseme": "AA"}, {"viseme": "PP"}),
        ("Eyeglasses", {"glasses": "round"}, {"glasses": "none"}),
        ("Wearing_Hat", {"hat": "cap"}, {"hat": "none"}),
        ("Bald", {"hair_style": "bald"}, {"hair_style": "buzz"}),
        ("Brown_Hair", {"hair_colour": "brown"}, {"hair_colour": "blond"}),
        ("Gray_Hair", {"hair_colour": "white"}, {"hair_colour": "black"}),
        ("Wavy_Hair", {"hair_style": "curly"}, {"hair_style": "bob"}),
        ("Straight_Hair", {"hair_style": "bob"}, {"hair_style": "curly"}),
        ("5_o_Clock_Shadow", {"beard": "stubble", "beard_strength": 0.7}, {"beard": "full", "beard_strength": 0.7}),
        ("Young", {"age_years": 20}, {"age_years": 70}),
        ("No_Beard", {"beard": "none"}, {"beard": "full", "beard_strength": 0.8}),
        ("Narrow_Eyes", {"au_07": 3.0}, {"au_07": 0.0}),
        ("Receding_Hairline", {"hairline": "receding"}, {"hairline": "peaked"}),
    ],
)
def test_yes_and_no(name: str, yes: dict[str, Any], no: dict[str, Any]) -> None:
    assert (of(name, **yes), of(name, **no)) == (YES, NO)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Smiling", {"au_12": 1.0}),
        ("Young", {"age_years": 45}),
        ("Mouth_Slightly_Open", {"viseme": "DD"}),
        ("Black_Hair", {"hat": "beanie", "hair_colour": "black"}),
        ("Black_Hair", {"hair_style": "bald"}),
        ("Black_Hair", {"hair_colour": "dark_brown"}),
        ("Brown_Hair", {"hair_colour": "dark_brown"}),
        ("Straight_Hair", {"hair_style": "tied"}),
        ("5_o_Clock_Shadow", {"beard": "stubble", "beard_strength": 0.4}),
        ("No_Beard", {"beard": "stubble", "beard_strength": 0.4}),
        ("No_Beard", {"beard": "none", "moustache": 0.8}),
        ("Narrow_Eyes", {"au_06": 3.0}),
        ("Rosy_Cheeks", {"redness": 0.9, "make_up_eyes": 0.5}),
        ("Smiling", {"au_12": 3.0, "occluded": True}),
        ("Bags_Under_Eyes", {"sunglasses": True, "eye_bags": 1.0}),
        ("Receding_Hairline", {"fringe": "side", "hairline": "receding"}),
    ],
)
def test_between_yes_and_no_and_under_a_hat_nothing_is_known(name: str, changes: dict[str, Any]) -> None:
    assert of(name, **changes) == UNKNOWN


def test_the_map_reads_columns_that_sets_have() -> None:
    drawn = draw_traits("female", 30, 4, np.random.default_rng(0))
    traits = {field.name: getattr(drawn, field.name) for field in fields(Traits)}
    have = {column.name for column in (*CLIP_COLUMNS, *FRAME_COLUMNS)}
    assert set(frames().columns) <= have and set(traits) <= have
    assert truth_of(frames(**traits, sex="female", age_years=30)).shape == (1, 40)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(KeyError, match="skin_tone"):
        truth_of(frames().drop(columns="skin_tone"))


def test_the_page_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "attributes.md").read_text()
    for name, rule in TABLE.items():
        yes, no, unless = (
            f"`{part}`".replace('"', "'") if part != "False" else "" for part in (rule.yes, rule.no, rule.unless)
        )
        assert f"| `{name}` | {SENSITIVE.get(name, '')} | {yes} | {no} | {unless} |" in page
