"""Drawn faces inside a fill: a painter gets numbers alone, paints inside the fill alone, and where it fails the fill stays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.errors import PrivacyRefusal, SurrogateError
from streamfx.privacy.fills import FILLS
from streamfx.privacy.pictures import fill_regions
from streamfx.privacy.surrogates import Controls, Painter, Surrogate, find_painter

CONTROLS = Controls(
    middle_x=20.0, middle_y=20.0, height=30.0, roll_deg=0.0, yaw_deg=0.0, light=0.5, units_count=1.0,
    expressions={"happiness": 1.0}, action_units={"au_12": 3.0},
)  # fmt: skip
REGION = (16.0, 8.0, 56.0, 48.0)


class Discs(Painter):
    """Paints a disc in a colour of the seed, as large as the face."""

    def paint(self, controls: Controls, seed: int, width: int, height: int) -> npt.NDArray[np.uint8]:
        y, x = np.mgrid[:height, :width]
        inside = np.hypot(x - controls.middle_x, y - controls.middle_y) < controls.height / 2
        out = np.zeros((height, width, 4), np.uint8)
        out[inside] = (seed % 256, 200, round(controls.light * 255), 255)
        return out


class Breaks(Painter):
    """Raises, or answers what is no picture of that size."""

    def __init__(self, answer: Any = None):
        self._answer = answer

    def paint(self, controls: Controls, seed: int, width: int, height: int) -> npt.NDArray[np.uint8]:
        if self._answer is None:
            raise RuntimeError("the context is lost")
        return self._answer  # type: ignore[no-any-return]


def somebody(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (64, 80, 3), np.uint8)


def drawn(painter: Painter, seed: int = 7, controls: Controls = CONTROLS) -> Surrogate:
    return Surrogate(painter, controls, seed, 0)


def test_a_painter_is_given_numbers_and_nothing_else() -> None:
    assert get_type_hints(Painter.paint) == {
        "controls": Controls, "seed": int, "width": int, "height": int, "return": npt.NDArray[np.uint8],
    }  # fmt: skip
    assert set(get_type_hints(Controls).values()) == {float, Mapping[str, float]}


@pytest.mark.parametrize(
    "more",
    [
        {"light": np.ones(4)}, {"light": math.nan}, {"roll_deg": math.inf}, {"height": "30"}, {"yaw_deg": None},
        {"action_units": {"au_12": np.zeros((2, 2))}}, {"expressions": {"happiness": math.nan}},
    ],
)  # fmt: skip
def test_what_is_no_finite_number_moves_no_face(more: dict[str, Any]) -> None:
    with pytest.raises(PrivacyRefusal, match="finite numbers"):
        replace(CONTROLS, **more)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_two_people_with_the_same_numbers_and_seed_get_the_same_face_to_the_bit(
    one: int, other: int, seed: int
) -> None:
    pictures = [fill_regions(somebody(who), [REGION], surrogates=[drawn(Discs(), seed)]) for who in (one, other)]
    inside = [picture.pixels[8:48, 16:56] for picture in pictures]
    assert np.array_equal(*inside) and inside[0].any() and pictures[0].painted == 1


def test_nothing_outside_of_the_fill_changes() -> None:
    picture = somebody(1)
    wide = replace(CONTROLS, height=500.0)
    filled, shown = (
        fill_regions(picture, [REGION]),
        fill_regions(picture, [REGION], surrogates=[drawn(Discs(), 7, wide)]),
    )
    outside = np.ones((64, 80), bool)
    outside[8:48, 16:56] = False
    assert np.array_equal(filled.pixels[outside], picture[outside])
    assert np.array_equal(shown.pixels[outside], picture[outside]) and shown.filled == filled.filled


def test_a_fill_at_the_border_is_painted_as_far_as_it_is_in_the_picture() -> None:
    near = replace(CONTROLS, middle_x=5.0, middle_y=5.0)
    shown = fill_regions(somebody(1), [(-30.0, -30.0, 10.0, 10.0)], surrogates=[drawn(Discs(), 7, near)])
    assert shown.painted == 1 and shown.pixels[:10, :10].any()
    beyond = fill_regions(somebody(1), [(-30.0, -30.0, -2.0, 10.0)], surrogates=[drawn(Discs())])
    assert beyond.painted == 0 and np.array_equal(beyond.pixels, somebody(1))


@pytest.mark.parametrize(
    "painter",
    [Breaks(), Breaks(np.zeros((3, 3, 4), np.uint8)), Breaks(np.zeros((40, 40, 4), np.float32)), Breaks("face")],
)
def test_where_the_painter_fails_the_fill_stays(painter: Painter) -> None:
    shown = fill_regions(somebody(1), [REGION], surrogates=[drawn(painter)])
    assert shown.painted == 0 and np.array_equal(shown.pixels, fill_regions(somebody(1), [REGION]).pixels)


def test_a_frame_that_is_filled_whole_shows_no_drawn_face() -> None:
    shown = fill_regions(somebody(1), None, surrogates=[drawn(Discs())])
    assert shown.painted == 0 and not shown.pixels.any()


@pytest.mark.parametrize("name", ["pixelate", "blur"])
def test_a_drawn_face_beside_what_a_weaker_fill_leaves_is_refused(name: str) -> None:
    with pytest.raises(PrivacyRefusal, match="solid"):
        fill_regions(somebody(1), [REGION], FILLS[name], [drawn(Discs())])


def test_a_painter_that_nobody_registered_is_named() -> None:
    with pytest.raises(SurrogateError, match="painter 'drwan' is not installed"):
        find_painter("drwan")
