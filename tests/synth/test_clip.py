"""Clips: the ground truth agrees with the pictures, and a clip depends only on seed and number."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from helpers.synth import head, lids, maker, needs_renderer, plan

from streamfx.nets.mma_dfer import LABELS_7
from streamfx.synth.actions import AUS
from streamfx.synth.clip import KINDS, Actor, Clip, ClipMaker
from streamfx.synth.motion import Course
from streamfx.synth.output import CLIP_COLUMNS, FRAME_COLUMNS
from streamfx.synth.scene import Camera
from streamfx.synth.visemes import VISEMES
from streamfx.synth.voice import RATE

pytestmark = needs_renderer
SEED, CLIPS = 5, 42
"""Seed and number of clips among which every kind of clip occurs."""
PLAIN = Camera(blur_px=0, noise=0, gain=1, tint=(1, 1, 1), gamma=1, crf=20, soften=1)


@cache
def clips() -> tuple[Clip, ...]:
    return tuple(maker(seed=SEED, clips=CLIPS).make(index) for index in range(CLIPS))


def of_kind(kind: str) -> list[Clip]:
    return [clip for clip in clips() if clip.row["kind"] == kind]


def filmed(**course: list[float]) -> list[dict[str, float]]:
    """The ground truth of three frames of one person who moves only as in `course`."""
    return filmed_video("frontal", **course)[1]


def filmed_video(kind: str, **course: list[float]) -> tuple[npt.NDArray[np.uint8], list[dict[str, float]]]:
    """The pictures from a camera that changes nothing, and the ground truth."""
    one = maker()
    times = len(one.times)
    identity, shape = one.identity(0)
    actions = np.zeros((times, len(AUS)), np.float32)
    for unit in set(course) & set(AUS):
        actions[:, AUS.index(unit)] = course[unit]
    pose = np.stack([course.get(axis, [0.0] * times) for axis in ("yaw", "pitch", "roll")], 1).astype(np.float32)
    shift = np.stack([course.get(axis, [0.0] * times) for axis in ("right", "up")], 1).astype(np.float32)
    blink, still = actions[:, AUS.index("au_45")] / 5, np.zeros((times, 2), np.float32)
    moves = Course(actions, np.ones(times, np.float32), blink, pose, shift, still, 0.5)
    units = one.units(moves, np.zeros((times, len(VISEMES)), np.float32), 0.0, 1.0, 1.0)
    place = np.array([0, 0, -20], np.float32)
    actor = Actor(identity, shape, "neutral", 1.0, moves, units, ["rest"] * times, place)
    return one.film([actor], "normal", 6.0, PLAIN, kind, np.random.default_rng(0))


def across_eyes(frame: dict[str, float]) -> float:
    """Distance of the tip of the nose to the right of the eyes' middle, as a share of the distance of the eyes."""
    middle = (frame["lm_0_x"] + frame["lm_1_x"]) / 2
    return (frame["lm_2_x"] - middle) / (frame["lm_1_x"] - frame["lm_0_x"])


def test_a_clip_is_the_same_in_any_order_and_from_any_maker() -> None:
    other = ClipMaker(head(), plan(seed=SEED, clips=CLIPS))
    for index in (17, 3):
        again, first = other.make(index), clips()[index]
        assert again.row == first.row and again.frames == first.frames
        assert again.video.tobytes() == first.video.tobytes()
        assert again.samples.tobytes() == first.samples.tobytes()


def test_a_clip_does_not_depend_on_the_one_before_it() -> None:
    """A speech synthesiser that remembers its last sentence would change the sound."""
    one = maker(seed=9, identities=4, clips=14, fps=2.0, size=64)
    heard = []
    for before in (10, 12):
        one.make(before)
        heard.append(one.make(11))
    assert heard[0].row == heard[1].row
    assert heard[0].samples.tobytes() == heard[1].samples.tobytes()


def test_another_seed_is_another_clip() -> None:
    other = maker(seed=SEED + 1, clips=CLIPS).make(0)
    assert other.video.tobytes() != clips()[0].video.tobytes()
    assert other.row["clip"] == f"s{SEED + 1}-000000" and other.row["seed"] == SEED + 1


def test_pictures_sound_and_ground_truth_have_the_documented_shapes() -> None:
    for index, clip in enumerate(clips()):
        assert clip.video.shape == (3, 96, 96, 3) and clip.video.dtype == np.uint8
        assert clip.samples.shape == (RATE,) and clip.samples.dtype == np.float32
        assert clip.row["clip"] == f"s{SEED}-{index:06d}" and clip.row["index"] == index
        assert clip.row.keys() == {column.name for column in CLIP_COLUMNS}
        assert all(frame.keys() == {column.name for column in FRAME_COLUMNS} for frame in clip.frames)


def test_a_set_limited_to_some_kinds_has_these_and_no_other() -> None:
    limited = maker(only=("turned", "occluded"), clips=14)
    assert {limited.make(index).row["kind"] for index in range(14)} == {"turned", "occluded"}


def test_every_kind_of_clip_occurs_with_its_ground_truth() -> None:
    assert {clip.row["kind"] for clip in clips()} == set(KINDS)
    for clip in clips():
        faces = {frame["face"] for frame in clip.frames}
        rows = Counter(frame["frame"] for frame in clip.frames)
        if clip.row["kind"] == "empty":
            assert not clip.frames
            assert clip.row["expression"] is clip.row["identity"] is clip.row["sex"] is clip.row["age_group"] is None
            continue
        assert faces == set(range(len(faces))) and rows == dict.fromkeys(range(3), len(faces))
        assert len(faces) in ((2, 3) if clip.row["kind"] == "several" else (1,))
        for frame in clip.frames:
            assert frame["occluded"] == (clip.row["kind"] == "occluded" and frame["face"] == 0)
            assert frame["time_s"] == pytest.approx(frame["frame"] / 3)


def test_the_first_face_is_the_one_that_the_clip_names() -> None:
    for clip in clips():
        for frame in clip.frames:
            if frame["face"] == 0:
                assert frame["identity"] == clip.row["identity"] and frame["expression"] == clip.row["expression"]
                assert frame["expression_intensity"] <= clip.row["intensity"] + 1e-6


def test_turned_faces_are_turned_and_the_pose_label_matches_the_angle() -> None:
    assert all(clip.row["pose"] in ("half", "profile") for clip in of_kind("turned"))
    for clip in clips():
        turned = [abs(frame["yaw_deg"]) for frame in clip.frames if frame["face"] == 0]
        if turned:
            yaw = float(np.median(turned))
            assert clip.row["pose"] == ("frontal" if yaw < 15 else "half" if yaw < 40 else "profile")


def test_expressions_come_in_rounds_of_seven() -> None:
    """`empty` clips take their turn in a round but have no expression."""
    made = [maker(seed=SEED, clips=CLIPS).label(index) for index in range(CLIPS)]
    for first in range(0, CLIPS, 7):
        assert sorted(made[first : first + 7]) == sorted(LABELS_7)
    assert len({tuple(made[first : first + 7]) for first in range(0, CLIPS, 7)}) > 1
    shown = [clip.row["expression"] for clip in clips()]
    assert all(word in (None, label) for word, label in zip(shown, made, strict=True))


def test_people_share_the_clips_evenly_and_do_not_change() -> None:
    counts = Counter(index * 12 // CLIPS for index in range(CLIPS))
    assert max(counts.values()) - min(counts.values()) <= 1
    facts: dict[str, set[tuple[object, ...]]] = {}
    for clip in clips():
        row = clip.row
        if row["identity"]:
            assert row["identity"] == f"s{SEED}-i{row['index'] * 12 // CLIPS}"
            facts.setdefault(row["identity"], set()).add((row["sex"], row["age_years"], row["skin_tone"]))
    assert all(len(known) == 1 for known in facts.values())


def test_landmarks_lie_in_the_box_and_the_box_about_the_face() -> None:
    for clip in of_kind("frontal"):
        for frame in clip.frames:
            for i in range(5):
                assert frame["box_x0"] < frame[f"lm_{i}_x"] < frame["box_x1"], (clip.row["clip"], i)
                assert frame["box_y0"] < frame[f"lm_{i}_y"] < frame["box_y1"], (clip.row["clip"], i)
            assert frame["lm_0_x"] < frame["lm_1_x"] and frame["lm_3_x"] < frame["lm_4_x"], "the viewer's left first"
            assert frame["lm_0_y"] < frame["lm_2_y"] < frame["lm_3_y"], "eyes over nose over mouth"
        height = clip.frames[0]["box_y1"] - clip.frames[0]["box_y0"]
        assert clip.row["face_px"] == pytest.approx(height, rel=0.2)


def test_turning_right_moves_the_tip_of_the_nose_right_as_in_the_ground_truth() -> None:
    frames = filmed(yaw=[-30.0, 0.0, 30.0])
    left, ahead, right = map(across_eyes, frames)
    assert left < -0.15 < ahead < 0.15 < right
    assert [frame["yaw_deg"] for frame in frames] == [-30, 0, 30]


def test_looking_up_moves_the_noses_tip_up_and_rolling_clockwise_lowers_the_right_eye() -> None:
    down, level, up = (
        (frame["lm_2_y"] - (frame["lm_0_y"] + frame["lm_1_y"]) / 2) for frame in filmed(pitch=[-20.0, 0.0, 20.0])
    )
    assert up < level < down
    slopes = [
        np.degrees(np.arctan2(frame["lm_1_y"] - frame["lm_0_y"], frame["lm_1_x"] - frame["lm_0_x"]))
        for frame in filmed(roll=[-15.0, 0.0, 15.0])
    ]
    assert np.allclose(slopes, [-15, 0, 15], atol=2)


def test_the_box_moves_with_the_face() -> None:
    """Half a decimetre at distance 20 and focal length 6 is 7.2 of 96 pixels."""
    frames = filmed(right=[-0.5, 0.0, 0.5], up=[0.0, 0.0, 0.5])
    x = [(frame["box_x0"] + frame["box_x1"]) / 2 for frame in frames]
    assert np.allclose(np.diff(x), 7.2, atol=0.8)
    assert frames[1]["box_y0"] - frames[2]["box_y0"] == pytest.approx(7.2, abs=0.8)


def test_an_open_jaw_lengthens_the_box_and_a_smile_widens_the_mouth() -> None:
    shut, ajar, wide = filmed(au_27=[0.0, 2.0, 5.0])
    assert shut["box_y1"] < ajar["box_y1"] < wide["box_y1"]
    straight, _, smiling = filmed(au_12=[0.0, 2.0, 5.0])
    assert smiling["lm_4_x"] - smiling["lm_3_x"] > 1.05 * (straight["lm_4_x"] - straight["lm_3_x"])
    assert smiling["lm_3_y"] < straight["lm_3_y"] and smiling["lm_4_y"] < straight["lm_4_y"]


def test_a_blink_in_the_truth_closes_the_lids() -> None:
    one = maker()
    _, shape = one.identity(0)
    for eye in (head().left_eye, head().right_eye):
        upper, lower = lids(eye)
        at_rest = shape[upper, 1] - shape[lower, 1]
        blink = np.zeros((1, len(AUS)), np.float32)
        blink[0, AUS.index("au_45")] = 5
        closed = np.zeros((1, 2), np.float32)
        moves = Course(blink, closed[:, 0], closed[:, 0] + 1, np.zeros((1, 3), np.float32), closed, closed, 0.0)
        units = one.units(moves, np.zeros((1, len(VISEMES)), np.float32), 0.0, 1.0, 1.0)
        vertices = head().moved(shape, units[0])
        assert vertices[upper, 1] - vertices[lower, 1] < 0.2 * at_rest
    opened, _, shut = filmed(au_45=[0.0, 2.5, 5.0])
    assert (opened["blink"], shut["blink"]) == (0, 1) and shut["au_45"] == 5


def test_ground_truth_stays_within_its_scales() -> None:
    for clip in clips():
        assert 0 <= clip.row["intensity"] <= 1.1
        assert 0 <= clip.row["apex_time_s"] <= 1
        for frame in clip.frames:
            assert all(0 <= frame[unit] <= 5 for unit in AUS)
            assert frame["viseme"] in VISEMES and 0 <= frame["blink"] <= 1
            direction = [frame[f"light_{axis}"] for axis in "xyz"]
            assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-3)


def test_speakers_move_the_mouth_and_silent_clips_are_silent() -> None:
    spoken = [clip for clip in clips() if clip.row["text"]]
    moving = [clip for clip in spoken if any(frame["viseme"] != "rest" for frame in clip.frames if frame["face"] == 0)]
    assert len(moving) > 0.8 * len(spoken) > 0.5 * CLIPS
    assert not any(clip.row["text"] for clip in of_kind("empty"))
    silent = [clip for clip in clips() if clip.row["sound"] == "silent"]
    clear = [clip for clip in spoken if clip.row["sound"] == "clear"]
    assert max(np.abs(clip.samples).max() for clip in silent) < min(np.abs(clip.samples).max() for clip in clear)


def test_dim_light_makes_dark_pictures_and_light_kinds_all_occur() -> None:
    seen = {
        kind: np.mean([clip.video.mean() for clip in clips() if clip.row["light"] == kind])
        for kind in ("bright", "normal", "dim", "side")
    }
    assert seen["dim"] < 0.8 * seen["bright"]


def test_an_occluder_hides_a_part_of_the_face_and_nothing_far_from_it() -> None:
    free, hidden = filmed_video("frontal"), filmed_video("occluded")
    changed = (free[0][0] != hidden[0][0]).any(2)
    frame = hidden[1][0]
    assert frame["occluded"] and not free[1][0]["occluded"]
    x0, y0, x1, y1 = (round(frame[f"box_{side}"]) for side in ("x0", "y0", "x1", "y1"))
    assert 0.1 < changed[y0:y1, x0:x1].mean() < 0.95
    assert not changed[: max(0, y0 - (y1 - y0) // 4)].any()
