"""The painter of drawn faces: whose face it is follows from the seed, and how it looks from numbers, to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.lacking import needs

from streamfx.privacy.pictures import fill_regions
from streamfx.privacy.surrogates import Controls, Painter, Surrogate, find_painter
from streamfx.synth.surrogate import DrawnPainter

pytestmark = [needs("anny", "OpenGL"), pytest.mark.slow]

STILL = Controls(
    middle_x=80.0, middle_y=90.0, height=100.0, roll_deg=0.0, yaw_deg=0.0, light=0.5, units_count=1.0,
    expressions={"neutral": 1.0}, action_units={},
)  # fmt: skip


@pytest.fixture(scope="module")
def painter() -> Painter:
    return find_painter()


def painted(painter: Painter, seed: int = 1, **more: Any) -> np.ndarray:
    return painter.paint(replace(STILL, **more), seed, 160, 180)


def differs(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of colours where both show a face."""
    both = (one[..., 3] > 200) & (other[..., 3] > 200)
    return float(np.abs(one[both].astype(int) - other[both].astype(int)).mean())


def test_it_is_the_one_that_comes_with_streamfx(painter: Painter) -> None:
    assert isinstance(painter, DrawnPainter)


def test_two_people_get_the_same_face_to_the_bit_for_the_same_numbers_and_seed(painter: Painter) -> None:
    people = [np.random.default_rng(who).integers(0, 256, (200, 200, 3), np.uint8) for who in (1, 2)]
    face = Surrogate(painter, STILL, 5, 0)
    one, other = (fill_regions(who, [(20, 10, 180, 190)], surrogates=[face]).pixels[10:190, 20:180] for who in people)
    assert np.array_equal(one, other) and one.any()


def test_another_seed_is_another_person_and_the_same_one_comes_again(painter: Painter) -> None:
    first = painted(painter)
    assert differs(first, painted(painter, seed=2)) > 5
    assert np.array_equal(first, painted(painter))


def test_a_face_lies_where_the_numbers_say(painter: Painter) -> None:
    for middle_x, height in ((60.0, 60.0), (100.0, 90.0)):
        alpha = painted(painter, middle_x=middle_x, height=height)[..., 3] > 128
        columns = np.flatnonzero(alpha[90])
        assert abs((columns[0] + columns[-1]) / 2 - middle_x) < 0.15 * height
        assert 0.6 * height < columns[-1] - columns[0] < 1.9 * height


@pytest.mark.parametrize(
    "more",
    [
        {"action_units": {"au_12": 5.0, "au_25": 4.0}}, {"yaw_deg": 30.0}, {"roll_deg": 25.0}, {"light": 0.1},
        {"units_count": 0.0, "expressions": {"surprise": 1.0}},
    ],
)  # fmt: skip
def test_each_number_is_seen(painter: Painter, more: dict[str, Any]) -> None:
    assert differs(painted(painter), painted(painter, **more)) > 1.5


def test_where_action_units_count_expressions_change_nothing(painter: Painter) -> None:
    assert np.array_equal(painted(painter), painted(painter, expressions={"surprise": 1.0}))
