"""Wrinkles: they follow their action units, in the picture too, and deepen with a person's age and depth of wrinkles."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from helpers.synth import head, needs_renderer

from streamfx.synth.actions import AUS
from streamfx.synth.looks import draw_identity
from streamfx.synth.patches import grid
from streamfx.synth.render import Drawn, Light, Renderer
from streamfx.synth.wrinkles import LEVELS, PATTERNS, SIDE, Relief, at_rest, creases, draw_pores, draw_wrinkles

SIZE, FOCAL, DISTANCE = 256, 16.0, 20.0
UNIT_OF = {"frown": "au_04", "forehead_middle": "au_01", "forehead_sides": "au_02", "nose": "au_09", "folds": "au_10",
           "crows_feet": "au_06", "under_eye": "au_06", "chin": "au_17"}  # fmt: skip
PLACE_OF = {"frown": (0.0, 7.5), "forehead_middle": (0.0, 7.7), "forehead_sides": (0.36, 7.7), "nose": (0.06, 7.17),
            "folds": (0.27, 6.75), "crows_feet": (0.56, 7.25), "under_eye": (0.3, 7.12), "chin": (0.0, 6.35)}  # fmt: skip
"""Rest x and y of the middle of each pattern on the person's left side."""


def showing(**intensities: float) -> tuple[float, ...]:
    actions = np.zeros(len(AUS), np.float32)
    for unit, amount in intensities.items():
        actions[AUS.index(unit)] = amount
    return creases(actions)


def test_every_pattern_follows_its_action_unit_and_a_face_at_rest_shows_none() -> None:
    assert showing() == (0,) * len(PATTERNS)
    for pattern, unit in UNIT_OF.items():
        half, full = (showing(**{unit: amount})[PATTERNS.index(pattern)] for amount in (2.5, 5))
        assert 0.5 < full <= 1 and half == pytest.approx(full / 2)
    assert showing(au_04=5)[0] == 1 and not any(showing(au_04=5)[1:])
    assert max(creases(np.full(len(AUS), 5, np.float32))) <= 1


def test_the_old_show_wrinkles_at_rest_and_children_hardly_any() -> None:
    def shown(age: int) -> float:
        return float(np.mean([at_rest(age, np.random.default_rng(seed)) for seed in range(40)]))

    assert shown(10) < 0.02 < shown(30) < shown(50) < shown(75) < 0.8


def test_patterns_lie_at_their_places_and_differ_between_people() -> None:
    first, second = (draw_wrinkles(np.random.default_rng(seed)) for seed in (1, 2))
    assert first.shape == (len(PATTERNS), SIDE, SIDE) and np.abs(first).max() <= 1.6
    x, y = grid(SIDE)
    for pattern, one, other in zip(PATTERNS, first, second, strict=True):
        assert one.min() < -0.4 < 0.1 < one.max(), pattern
        assert np.abs(one - other).max() > 0.2, pattern
        px, py = PLACE_OF[pattern]
        near = np.hypot(np.abs(x) - px, y - py) < 0.3
        assert np.abs(one[near]).sum() > 0.8 * np.abs(one).sum(), pattern


def test_a_relief_is_as_fine_as_the_picture_and_its_slopes_are_those_of_its_heights() -> None:
    rng = np.random.default_rng(0)
    relief = Relief.of(draw_pores(0.5, rng), draw_wrinkles(rng))
    flat, deep = np.zeros(len(PATTERNS), np.float32), np.ones(len(PATTERNS), np.float32)
    assert [len(relief.mixed(flat, scale)) for scale in (10.0, 45.0, 500.0)] == sorted(LEVELS)
    still, folded = (relief.mixed(weights, 500.0)[..., :2].astype(float) - 128 for weights in (flat, deep))
    assert np.abs(folded).mean() > 1.2 * np.abs(still).mean()
    assert np.array_equal(relief.mixed(deep, 45.0), relief.mixed(deep, 45.0))


@cache
def drawn_with(pattern: str | None, seed: int = 7) -> npt.NDArray[np.int64]:
    """A person lit from the upper left, who moves nothing but one pattern of wrinkles."""
    person = draw_identity(head(), "p", np.random.default_rng(seed))
    rest = head().rest
    placed = (rest - [0, 7.0, DISTANCE]).astype(np.float32)
    crease = tuple(float(name == pattern) for name in PATTERNS)
    toward = np.array([-0.5, 0.6, 0.6]) / np.linalg.norm([-0.5, 0.6, 0.6])
    lit = Light(tuple(toward), (0.9,) * 3, (0.0, 0.0, 1.0), (0.1,) * 3, (0.2,) * 3, (0.1,) * 3)
    return (
        _renderer()
        .draw([Drawn(placed, head().normals(placed), person.look, crease, (0, 0), 0)], lit, FOCAL)
        .astype(int)
    )


@cache
def _renderer() -> Renderer:
    return Renderer(head(), SIZE)


@needs_renderer
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_changes_the_picture_at_its_place_and_hardly_elsewhere(pattern: str) -> None:
    changed = np.abs(drawn_with(pattern) - drawn_with(None))[..., :3].max(2)
    px, py = PLACE_OF[pattern]
    # The faces' front lies at z of about 1.4.
    scale = FOCAL * SIZE / 2 / (DISTANCE - 1.4)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x, y = (columns - SIZE / 2) / scale, 7.0 - (rows - SIZE / 2) / scale
    near = np.hypot(np.abs(x) - px, y - py) < 0.25
    assert changed[near].max() > 20
    assert changed[near].mean() > 8 * changed[~near].mean()


@needs_renderer
def test_relief_is_lit_brighter_on_one_side_and_darker_on_the_other() -> None:
    """Paint alone would only darken."""
    difference = (drawn_with("folds") - drawn_with(None))[..., :3].mean(2)
    assert difference.min() < -8 and difference.max() > 5
