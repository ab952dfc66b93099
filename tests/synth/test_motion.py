"""The course of a face through a clip: onset, apex and offset, blinks, head motion; the same at any frame rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamfx.synth.actions import AUS
from streamfx.synth.motion import Course, expression_course, quiet_mouth

EVEN = dict.fromkeys(AUS, 1.0)
SMILE = {"au_06": 3.0, "au_12": 5.0}


def course(seed: int, fps: float = 25.0, seconds: float = 3.0, **changes: Any) -> Course:
    times = (np.arange(round(seconds * fps)) / fps).astype(np.float32)
    given = {"full": SMILE, "intensity": 1.0, "expressivity": EVEN, "pose_deg": (0.0, 0.0, 0.0)} | changes
    return expression_course(times, **given, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(20))
def test_the_apex_lies_in_the_clip_and_shows_the_expression_in_full(seed: int) -> None:
    one = course(seed)
    assert 0.25 * 3 <= one.apex_s <= 0.75 * 3
    at = round(one.apex_s * 25)
    assert one.envelope[at] == pytest.approx(1, abs=0.05)
    assert one.actions[at, AUS.index("au_12")] > 4
    assert one.envelope.min() >= 0 and one.envelope.max() <= 1


def test_expressions_come_and_go() -> None:
    ends = np.array([course(seed).envelope[[0, -1]] for seed in range(40)])
    assert (ends < 0.5).mean() > 0.6


@pytest.mark.parametrize("seed", range(10))
def test_intensity_scales_only_the_expression(seed: int) -> None:
    full, half = (course(seed, intensity=amount) for amount in (1.0, 0.5))
    at, unit = round(full.apex_s * 25), AUS.index("au_06")
    resting = course(seed, intensity=0.0).actions[at, unit]
    assert half.actions[at, unit] - resting == pytest.approx((full.actions[at, unit] - resting) / 2, abs=1e-3)


def test_action_units_stay_on_the_facs_scale() -> None:
    strong = [course(seed, full=dict.fromkeys(AUS, 5.0), intensity=1.1) for seed in range(10)]
    assert all(one.actions.min() >= 0 and one.actions.max() <= 5 for one in strong)


def test_blinks_happen_close_the_eye_for_a_moment_and_are_unit_45() -> None:
    courses = [course(seed, seconds=6.0) for seed in range(20)]
    share = np.concatenate([one.blink > 0.5 for one in courses]).mean()
    assert 0.02 < share < 0.25
    for one in courses:
        assert one.blink.min() >= 0 and one.blink.max() <= 1
        assert np.array_equal(one.actions[:, AUS.index("au_45")], 5 * one.blink)
    assert sum(one.blink.max() == 1 for one in courses) > 10


def test_wide_eyes_close_in_a_blink_too() -> None:
    unit = AUS.index("au_05")
    courses = [course(seed, full={"au_05": 5.0}, seconds=6.0) for seed in range(20)]
    assert all(one.actions[one.blink == 1, unit].max(initial=0) == 0 for one in courses)


def test_the_head_moves_about_its_mean_pose() -> None:
    poses = np.stack([course(seed, pose_deg=(60.0, -5.0, 3.0)).pose_deg for seed in range(30)])
    assert np.allclose(poses.mean((0, 1)), (60, -5, 3), atol=2)
    assert 0.3 < poses.std(1).mean() < 8
    assert np.abs(np.diff(poses, axis=1)).max() < 5, "degrees from one frame to the next"


def test_the_same_course_is_seen_at_any_frame_rate() -> None:
    slow, fast = course(3, fps=5.0), course(3, fps=25.0)
    for name in ("envelope", "blink"):
        assert np.allclose(getattr(slow, name), getattr(fast, name)[::5], atol=1e-4), name
    assert np.allclose(slow.pose_deg, fast.pose_deg[::5], rtol=0.1, atol=0.02)


def test_eyes_look_at_one_place_and_then_jump_to_another() -> None:
    gaze = course(1, seconds=6.0).gaze
    moves = np.abs(np.diff(gaze, axis=0)).max(1) > 0
    assert 0 < moves.mean() < 0.2 and np.abs(gaze).max() <= 0.3


def test_a_strong_mouth_expression_leaves_less_movement_for_speech() -> None:
    actions = np.zeros((2, len(AUS)), np.float32)
    actions[1, AUS.index("au_27")] = 5
    free = quiet_mouth(actions)
    assert free[0] == 1 and 0.25 <= free[1] < 0.6
