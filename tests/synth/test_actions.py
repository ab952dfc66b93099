"""The effect of action units on the face, measured on its vertices, and expressions as their mixtures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from helpers.synth import head, lids, mouth_corners, needs_head, showing, skin

from streamfx.nets.mma_dfer import LABELS_7
from streamfx.synth.actions import AUS, action_matrix, at_rest, draw_expression, moved_by, viseme_matrix
from streamfx.synth.visemes import VISEMES


def drawn(label: str, times: int = 200) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    return [draw_expression(label, rng) for _ in range(times)]


def brow_height(side: int, inner: bool, **intensities: float) -> float:
    """Mean height of the skin at the inner or the outer end of an eyebrow, decimetres."""
    rest = head().rest
    across = side * rest[:, 0]
    first, last = (0.10, 0.25) if inner else (0.40, 0.56)
    there = skin() & (across > first) & (across < last) & (np.abs(rest[:, 1] - 7.45) < 0.06) & (rest[:, 2] > 1)
    assert there.sum() >= 3
    return float(showing(**intensities)[there, 1].mean())


def opening(eye: str, **intensities: float) -> float:
    """Distance between the lids, decimetres; at most 0 where they meet."""
    upper, lower = lids(getattr(head(), eye))
    vertices = showing(**intensities)
    return float(vertices[upper, 1] - vertices[lower, 1])


def chin(**intensities: float) -> float:
    rest = head().rest
    there = skin() & (head().face > 0.5) & (np.abs(rest[:, 0]) < 0.1) & (rest[:, 1] < 6.3)
    return float(showing(**intensities)[there, 1].mean())


@pytest.mark.parametrize("label", LABELS_7)
def test_expressions_are_made_of_known_units_within_the_facs_scale(label: str) -> None:
    for units in drawn(label):
        assert set(units) <= set(AUS)
        assert all(0 < amount <= 5 for amount in units.values())


def test_neutral_has_no_units_and_every_other_expression_has_some() -> None:
    for label in LABELS_7:
        assert all(bool(units) == (label != "neutral") for units in drawn(label)), label


@pytest.mark.parametrize(
    ("label", "always", "never"),
    [
        ("happiness", {"au_12"}, {"au_04", "au_15"}),
        ("sadness", {"au_01", "au_04", "au_15"}, {"au_12"}),
        ("anger", {"au_04", "au_07"}, {"au_12", "au_01"}),
        ("surprise", {"au_01", "au_02", "au_05"}, {"au_04", "au_12"}),
        ("disgust", {"au_09", "au_10"}, {"au_12", "au_01"}),
        ("fear", {"au_01", "au_04", "au_05"}, {"au_12"}),
    ],
)
def test_every_draw_of_an_expression_has_its_defining_action_units(
    label: str, always: set[str], never: set[str]
) -> None:
    for units in drawn(label):
        assert always <= set(units) and not never & set(units)


def test_draws_of_one_expression_differ() -> None:
    assert len({tuple(sorted(units)) for units in drawn("anger")}) > 5


def test_equal_generators_draw_equal_expressions() -> None:
    assert drawn("fear") == drawn("fear")


@needs_head
def test_au12_raises_and_au15_lowers_the_corners_of_the_mouth_and_au20_draws_them_apart() -> None:
    corners, rest = [*mouth_corners()], head().rest
    assert (showing(au_12=5)[corners, 1] > rest[corners, 1] + 0.1).all()
    assert (showing(au_15=5)[corners, 1] < rest[corners, 1] - 0.05).all()
    across = showing(au_20=5)[corners, 0]
    assert across[1] - across[0] > rest[corners[1], 0] - rest[corners[0], 0] + 0.1


@needs_head
@pytest.mark.parametrize("side", [-1, 1])
def test_au4_lowers_the_brows_au1_raises_their_inner_and_au2_their_outer_ends(side: int) -> None:
    for inner in (True, False):
        assert brow_height(side, inner, au_04=5) < brow_height(side, inner) - 0.02
    raised_inner = brow_height(side, True, au_01=5) - brow_height(side, True)
    assert raised_inner > 0.03 and raised_inner > brow_height(side, False, au_01=5) - brow_height(side, False)
    raised_outer = brow_height(side, False, au_02=5) - brow_height(side, False)
    assert raised_outer > 0.03 and raised_outer > brow_height(side, True, au_02=5) - brow_height(side, True)


@needs_head
@pytest.mark.parametrize("eye", ["left_eye", "right_eye"])
def test_a_blink_closes_the_lids_au5_opens_them_wider_and_au7_narrows_them(eye: str) -> None:
    idle = opening(eye)
    assert idle > 0.03
    half = opening(eye, au_45=2.5)
    assert opening(eye, au_45=5) < 0.005 < half < idle
    assert opening(eye, au_05=5) > 1.2 * idle
    assert opening(eye, au_07=5) < 0.9 * idle


@needs_head
@pytest.mark.parametrize("eye", ["left_eye", "right_eye"])
def test_resting_lids_droop_slightly_and_a_blink_just_closes_them(eye: str) -> None:
    upper, lower = lids(getattr(head(), eye))
    rest = head().rest
    assert opening(eye) < 0.95 * (rest[upper, 1] - rest[lower, 1])
    blink = [head().unit_names.index(f"eyeBlink{side}") for side in ("Left", "Right")]
    assert np.allclose((at_rest(head()) + action_matrix(head())[AUS.index("au_45")])[blink], 1)


@needs_head
def test_au26_drops_the_jaw_and_au27_drops_it_further() -> None:
    assert chin(au_27=5) < chin(au_26=5) - 0.05 < chin() - 0.1


@needs_head
def test_half_an_action_unit_moves_half_as_far() -> None:
    assert np.allclose(showing(au_12=2.5) - showing(), (showing(au_12=5) - showing()) / 2, atol=1e-5)


@needs_head
def test_each_action_unit_moves_the_face_and_the_sides_can_differ() -> None:
    matrix = action_matrix(head())
    assert (np.abs(matrix).max(1) > 0).all()
    lopsided = action_matrix(head(), left=0.0, right=1.0)[AUS.index("au_12")]
    moved = np.abs(lopsided @ head().unit_offsets.reshape(len(lopsided), -1)).reshape(-1, 3).max(1)
    viewers_left, viewers_right = mouth_corners()
    assert moved[viewers_left] > 0.1 > 0.03 > moved[viewers_right]


@needs_head
def test_mouth_shapes_open_the_jaw_for_vowels_and_close_the_lips_for_p() -> None:
    shapes = dict(zip(VISEMES, viseme_matrix(head(), VISEMES), strict=True))
    jaw = head().unit_names.index("jawOpen")
    assert not shapes["rest"].any()
    assert shapes["AA"][jaw] > shapes["EH"][jaw] > shapes["IH"][jaw] > shapes["PP"][jaw] == 0
    assert shapes["PP"][head().unit_names.index("mouthPressLeft")] > 0


@needs_head
def test_raised_brows_that_come_together_stay_up() -> None:
    """AU 4 lowers the brows alone, but with AU 1 and AU 2, as in fear, it only draws them together."""
    rest = brow_height(1, True)
    assert brow_height(1, True, au_04=5) < rest - 0.02
    both = moved(au_01=5, au_02=3, au_04=5)
    inner = skin() & (head().rest[:, 0] > 0.10) & (head().rest[:, 0] < 0.25)
    inner &= (np.abs(head().rest[:, 1] - 7.45) < 0.06) & (head().rest[:, 2] > 1)
    assert both[inner, 1].mean() > rest + 0.02
    assert both[inner, 0].mean() < moved()[inner, 0].mean() - 0.02


@needs_head
def test_a_glare_keeps_the_eyes_open_under_lowered_brows() -> None:
    upper, lower = lids(head().left_eye)
    glare, idle = moved(au_04=5, au_05=4, au_07=2), moved()
    assert glare[upper, 1] - glare[lower, 1] > 1.1 * (idle[upper, 1] - idle[lower, 1])


def moved(**intensities: float) -> npt.NDArray[np.float32]:
    """The head with action units at 0..5 and what they do together, [V, 3]."""
    actions = np.zeros((1, len(AUS)), np.float32)
    for unit, amount in intensities.items():
        actions[0, AUS.index(unit)] = amount
    return head().moved(head().rest, np.clip(at_rest(head()) + moved_by(head(), actions)[0], 0, 2.2))
