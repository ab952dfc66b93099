"""Synthetic people: every group occurs, equal generators give equal people, and all heads have human sizes."""

from __future__ import annotations

from functools import cache

import numpy as np
from helpers.synth import head, needs_head

from streamfx.synth.actions import AUS
from streamfx.synth.looks import AGE_GROUPS, MONK_SCALE, Identity, draw_identity
from streamfx.synth.paint import PAINT
from streamfx.synth.patches import hexed, linear

PEOPLE = 40


@cache
def people() -> tuple[Identity, ...]:
    return tuple(draw_identity(head(), f"p{k}", np.random.default_rng([1, k])) for k in range(PEOPLE))


def skin_brightness(person: Identity) -> float:
    """Brightness of the middle of the cheeks, 0..255."""
    y, x = round((6.95 - 5.95) / 2.6 * PAINT), round((0.42 + 1.3) / 2.6 * PAINT)
    return float(person.look.paint[y - 10 : y + 10, x - 10 : x + 10, :3].mean())


@needs_head
def test_every_group_of_people_occurs() -> None:
    assert {person.sex for person in people()} == {"female", "male"}
    assert {person.age_group for person in people()} == {group for group, _, _ in AGE_GROUPS}
    assert len({person.skin_tone for person in people()}) >= 8
    assert len({person.look.traits.hair_style for person in people()}) >= 6
    assert 0 < sum(person.look.traits.glasses != "none" for person in people()) < PEOPLE / 2


@needs_head
def test_the_age_group_matches_the_age() -> None:
    years = {group: range(first, last + 1) for group, first, last in AGE_GROUPS}
    assert all(person.age_years in years[person.age_group] for person in people())
    assert all(1 <= person.skin_tone <= len(MONK_SCALE) for person in people())


@needs_head
def test_a_higher_skin_tone_is_a_darker_skin() -> None:
    tones = np.array([person.skin_tone for person in people()])
    seen = np.array([skin_brightness(person) for person in people()])
    assert np.corrcoef(tones, seen)[0, 1] < -0.85


@needs_head
def test_heads_have_human_sizes_and_differ() -> None:
    widths = []
    eyes = (head().left_eye, head().right_eye)
    for person in people():
        shape = head().shaped(person.weights)
        face = shape[head().face > 0.5]
        height, between = np.ptp(face[:, 1]), shape[eyes[0]].mean(0) - shape[eyes[1]].mean(0)
        assert 1.2 < height < 3.2, (person.name, height)
        assert 0.4 < np.linalg.norm(between) < 0.9, person.name
        assert 0.08 < np.ptp(shape[eyes[0], 1]) / 2 < 0.2, "an eyeball's radius"
        widths.append(float(np.ptp(face[:, 0]) / height))
    assert np.std(widths) > 0.01


@needs_head
def test_everyone_moves_every_unit_with_a_strength_of_about_one() -> None:
    for person in people():
        assert set(person.expressivity) == set(AUS)
        assert all(0.6 <= strength <= 1.4 for strength in person.expressivity.values())


@needs_head
def test_equal_generators_give_equal_people_and_others_give_others() -> None:
    again = draw_identity(head(), "p3", np.random.default_rng([1, 3]))
    assert again.weights == people()[3].weights and again.look.hair == people()[3].look.hair
    assert np.array_equal(again.look.paint, people()[3].look.paint)
    assert np.array_equal(again.look.wrinkles, people()[3].look.wrinkles)
    assert people()[3].weights != people()[4].weights


def test_colours_become_linear() -> None:
    assert np.allclose(linear("00ff00"), [0, 1, 0])
    assert np.allclose(linear("808080"), (128 / 255) ** 2.2)
    assert hexed(linear("3a7f02")) == "3a7f02"
