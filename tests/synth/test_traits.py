"""Traits: they are what is drawn, go with sex, age and skin only as in life, and stand in the ground truth."""

from __future__ import annotations

from dataclasses import asdict, fields
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from helpers.synth import head, maker, needs_head, needs_renderer

from streamfx.synth.looks import draw_identity
from streamfx.synth.output import CLIP_COLUMNS
from streamfx.synth.paint import PAINT, paint_skin
from streamfx.synth.patches import linear
from streamfx.synth.props import Skull, worn_by
from streamfx.synth.traits import (
    BEARDS,
    CLOTH_COLOURS,
    FRAME_COLOURS,
    FRINGES,
    GLASSES,
    HAIR_COLOURS,
    HAIR_STYLES,
    HAIRLINES,
    HATS,
    IRIS_COLOURS,
    NECKLINES,
    PATTERNS_OF_CLOTH,
    Traits,
    draw_traits,
)

NAMES = {
    "hair_style": HAIR_STYLES, "hair_colour": tuple(HAIR_COLOURS), "hairline": HAIRLINES, "fringe": FRINGES, "hat": HATS,
    "hat_colour": ("none", *CLOTH_COLOURS), "glasses": GLASSES, "frame_colour": ("none", *FRAME_COLOURS), "beard": BEARDS,
    "iris_colour": tuple(IRIS_COLOURS), "clothes_colour": tuple(CLOTH_COLOURS), "clothes_pattern": PATTERNS_OF_CLOTH,
    "clothes_second_colour": ("none", *CLOTH_COLOURS), "neckline": NECKLINES,
}  # fmt: skip


@cache
def crowd() -> tuple[tuple[str, int, int, Traits], ...]:
    """Sex, age, skin tone and traits of many."""
    rng = np.random.default_rng(3)
    out = []
    for _ in range(3000):
        sex, age, tone = str(rng.choice(["female", "male"])), int(rng.integers(8, 86)), int(rng.integers(1, 11))
        out.append((sex, age, tone, draw_traits(sex, age, tone, rng)))
    return tuple(out)


def share(of: list[bool]) -> float:
    return float(np.mean(of))


def test_every_name_occurs_and_no_other() -> None:
    for trait, names in NAMES.items():
        assert {getattr(traits, trait) for *_, traits in crowd()} == set(names), trait
    texts = {field.name for field in fields(Traits) if field.type == "str"}
    assert texts == set(NAMES)


def test_strengths_lie_between_0_and_1() -> None:
    for field in fields(Traits):
        if field.type == "float" and field.name not in ("parting", "hair_thickness"):
            values = [getattr(traits, field.name) for *_, traits in crowd()]
            assert min(values) >= 0 and max(values) <= 1 and np.std(values) > 0.03, field.name


def test_only_grown_men_have_beards_and_few_but_women_wear_make_up() -> None:
    bearded = [(sex, age) for sex, age, _, traits in crowd() if traits.beard != "none" or traits.moustache]
    assert bearded and all(sex == "male" and age > 17 for sex, age in bearded)
    women, men = (
        [t.make_up_lips > 0 for s, age, _, t in crowd() if s == sex and age > 14] for sex in ("female", "male")
    )
    assert share(women) > 0.3 and share(men) < 0.05


def test_what_one_wears_says_nothing_about_sex_or_skin() -> None:
    for worn in ("hat", "glasses", "clothes_pattern"):
        plain = "plain" if worn == "clothes_pattern" else "none"
        for group in (lambda row: row[0] == "male", lambda row: row[2] >= 6):
            inside, outside = ([getattr(row[3], worn) != plain for row in crowd() if bool(group(row)) is is_in]
                               for is_in in (True, False))  # fmt: skip
            assert abs(share(inside) - share(outside)) < 0.06, worn


def test_traits_that_need_each_other_agree() -> None:
    for *_, traits in crowd():
        assert (traits.hat == "none") == (traits.hat_colour == "none")
        assert (traits.glasses == "none") == (traits.frame_colour == "none") and not (
            traits.sunglasses and traits.glasses == "none"
        )
        assert (traits.clothes_pattern == "plain") == (traits.clothes_second_colour == "none")
        assert (traits.beard == "none") == (traits.beard_strength == 0)
        assert (traits.hair_style in ("bald", "buzz")) == (traits.hair_thickness == 0)


def painted(**changes: object) -> npt.NDArray[np.float32]:
    """Paint of one pale man of 30 with a face without marks, and with `changes`."""
    base = draw_traits("male", 30, 3, np.random.default_rng(0))
    plain = {"beard": "none", "beard_strength": 0.0, "moustache": 0.0, "make_up_eyes": 0.0, "make_up_lips": 0.0,
             "freckles": 0.0, "blemishes": 0.0, "redness": 0.0, "eye_bags": 0.0}  # fmt: skip
    traits = Traits(**(asdict(base) | plain | changes))  # type: ignore[arg-type]
    skin, hair, lip = linear("d7bd96"), linear("2b1b12"), linear("b07070")
    return paint_skin(skin, hair, lip, "male", 30, traits, np.random.default_rng(1))[0].astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "place"),
    [({"beard": "full", "beard_strength": 1.0}, (0.35, 6.45)), ({"beard": "goatee", "beard_strength": 1.0}, (0.0, 6.35)),
     ({"beard": "stubble", "beard_strength": 0.8}, (0.35, 6.45)), ({"moustache": 1.0}, (0.1, 6.78)),
     ({"make_up_eyes": 1.0}, (0.32, 7.37)), ({"eye_bags": 1.0}, (0.29, 7.12)), ({"redness": 1.0}, (0.42, 6.93)),
     ({"freckles": 1.0}, (0.28, 7.0))],
)  # fmt: skip
def test_a_trait_darkens_the_paint_where_it_belongs(changes: dict[str, object], place: tuple[float, float]) -> None:
    row, column = (round((at - low) / 2.6 * PAINT) for at, low in ((place[1], 5.95), (place[0], -1.3)))
    spot = np.s_[row - 12 : row + 12, column - 12 : column + 12, 1]
    assert painted(**changes)[spot].mean() < painted()[spot].mean() - 2
    forehead = np.s_[round(1.72 / 2.6 * PAINT), PAINT // 2 - 20 : PAINT // 2 + 20, 1]
    assert painted(**changes)[forehead].mean() == pytest.approx(painted()[forehead].mean(), abs=4)


@needs_head
def test_glasses_sit_before_the_eyes_of_any_head_in_any_pose() -> None:
    skull = Skull(head())
    for seed in range(6):
        person = draw_identity(head(), "p", np.random.default_rng(seed))
        shape = head().shaped(person.weights)
        turn = np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]], np.float32)
        pose = skull.pose((shape @ turn.T).astype(np.float32))
        assert np.allclose(pose.turn @ pose.turn.T, np.eye(3), atol=1e-4)
        assert pose.turn[:, 2] @ turn[:, 2] > 0.97, "the skull faces where the head faces"
        assert np.all((pose.scale > 0.6) & (pose.scale < 1.6))
    worn = [worn_by(draw_identity(head(), "p", np.random.default_rng(seed)).look) for seed in range(40)]
    assert any(len(one.lenses) for one in worn) and not all(len(one.lenses) for one in worn)


@needs_renderer
def test_the_ground_truth_of_a_clip_holds_the_traits_that_are_drawn() -> None:
    one = maker()
    clip = one.make(1)
    number = int(clip.row["identity"].rsplit("i", 1)[1])
    traits = one.identity(number)[0].look.traits
    assert {name: clip.row[name] for name in asdict(traits)} == asdict(traits)
    assert len(clip.row["lip_colour"]) == 6
    columns = {column.name: column for column in CLIP_COLUMNS}
    assert all(columns[field.name].nullable == (field.type == "str") for field in fields(Traits))
