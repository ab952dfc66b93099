"""The tracker: names stay with faces by their boxes alone, and plain numbers bring everything back."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamfx_operators.tracker import Tracker

from streamfx.detection.centerface import Detection

STEP_US = 250_000
KEEP_US = 2_000_000


def face(x: float, y: float = 100.0, size: float = 50.0, score: float = 0.9, roll_deg: float = 0.0) -> Detection:
    """A face of `size` x 1.25 `size` with its centre at x, y."""
    dx, dy = size / 4 * math.cos(math.radians(roll_deg)), size / 4 * math.sin(math.radians(roll_deg))
    eyes = ((x - dx, y - dy), (x + dx, y + dy))
    box = (x - size / 2, y - size * 0.625, x + size / 2, y + size * 0.625)
    return Detection(*box, score, (*eyes, (x, y), (x - dx, y + 20), (x + dx, y + 20)))


def tracker(max_tracks: int = 8) -> Tracker:
    return Tracker(birth_score=0.5, keep_us=KEEP_US, gap_us=STEP_US * 3 // 2, max_tracks=max_tracks)


def names(t: Tracker) -> list[tuple[int, int]]:
    return [(track.birth_us, track.birth_index) for track in t.tracks]


def shown(t: Tracker) -> dict[tuple[int, int], float]:
    return {(track.birth_us, track.birth_index): track.center_x for track in t.tracks if not track.hidden}


def test_a_track_is_named_by_its_first_frame_and_its_place_from_the_left() -> None:
    t = tracker()
    t.update(7, [face(300, score=0.99), face(100)])
    assert shown(t) == {(7, 0): 100.0, (7, 1): 300.0}


def test_a_new_face_must_be_surer_than_one_that_is_known() -> None:
    t = tracker()
    t.update(0, [face(100, score=0.49)])
    assert names(t) == []
    t.update(STEP_US, [face(100, score=0.5)])
    t.update(2 * STEP_US, [face(102, score=0.36)])
    assert shown(t) == {(STEP_US, 0): 102.0} and t.tracks[0].score == 0.36


def test_between_detections_a_face_moves_on() -> None:
    t = tracker()
    for n in range(12):
        t.update(n * STEP_US, [face(100 + 20 * n)])
    assert t.tracks[0].at(11 * STEP_US + STEP_US // 2).center_x == pytest.approx(330, abs=0.5)


def test_two_faces_that_pass_each_other_keep_their_names() -> None:
    t = tracker()
    for n in range(16):
        t.update(n * STEP_US, [face(100 + 20 * n, y=100), face(400 - 20 * n, y=125)])
    assert shown(t) == {(0, 0): 400.0, (0, 1): 100.0}


def test_a_hidden_face_is_not_shown_stays_and_comes_back_under_its_name() -> None:
    t = tracker()
    for n in range(4):
        t.update(n * STEP_US, [face(100 + 10 * n), face(300)])
    for n in range(4, 8):
        t.update(n * STEP_US, [face(300)])
        assert shown(t) == {(0, 1): 300.0}
        assert t.tracks[0].at(n * STEP_US + 99_999).center_x == 130.0
    t.update(8 * STEP_US, [face(140), face(300)])
    assert shown(t) == {(0, 0): 140.0, (0, 1): 300.0}


def test_a_hidden_face_may_have_moved_further_than_a_visible_one() -> None:
    hidden, visible = tracker(), tracker()
    hidden.update(0, [face(100)])
    hidden.update(STEP_US, [])
    visible.update(STEP_US, [face(100)])
    for t, known in ((hidden, True), (visible, False)):
        name = names(t)[0]
        t.update(2 * STEP_US, [face(160)])
        assert (list(shown(t)) == [name]) is known


def test_a_face_beside_a_hidden_one_does_not_take_its_name() -> None:
    t = tracker()
    t.update(0, [face(100), face(150)])
    t.update(STEP_US, [face(150)])
    assert shown(t) == {(0, 1): 150.0}


@pytest.mark.parametrize(("away", "name"), [(KEEP_US, (0, 0)), (KEEP_US + STEP_US, (KEEP_US + STEP_US, 0))])
@pytest.mark.parametrize("gap", [False, True])
def test_a_face_is_remembered_for_a_limited_time(away: int, name: tuple[int, int], gap: bool) -> None:
    t = tracker()
    t.update(0, [face(100)])
    if not gap:
        for time_us in range(STEP_US, away, STEP_US):
            t.update(time_us, [])
    t.update(away, [face(100)])
    assert names(t) == [name]


def test_after_a_gap_a_face_is_looked_for_where_it_was_and_not_where_it_was_going() -> None:
    t = tracker()
    for n in range(4):
        t.update(n * STEP_US, [face(100 + 20 * n)])
    t.update(3 * STEP_US + 1_500_000, [face(170)])
    assert shown(t) == {(0, 0): 170.0}
    assert t.tracks[0].velocity_x == 0


def test_a_face_elsewhere_or_of_another_size_is_another_face() -> None:
    for other in (face(200), face(100, size=120), face(100, size=20)):
        t = tracker()
        t.update(0, [face(100)])
        t.update(STEP_US, [other])
        assert names(t) == [(0, 0), (STEP_US, 0)] and list(shown(t)) == [(STEP_US, 0)]


def test_where_there_are_too_many_the_largest_are_followed_and_the_rest_counted() -> None:
    t = tracker(max_tracks=2)
    assert t.update(0, [face(100, size=30), face(300, size=60), face(500, size=50)]) == 1
    assert shown(t) == {(0, 0): 300.0, (0, 1): 500.0}
    assert t.update(STEP_US, [face(100, size=30), face(300, size=60), face(500, size=50)]) == 1


def test_the_eyes_give_the_roll_and_wild_landmarks_do_not() -> None:
    t = tracker()
    t.update(0, [face(100, roll_deg=10), face(300, roll_deg=-25), face(500, roll_deg=80), face(700, roll_deg=170)])
    assert [track.roll_deg for track in t.tracks] == pytest.approx([10, -25, 45, 0], abs=0.01)


def test_a_frame_of_another_size_moves_the_boxes_along() -> None:
    t = tracker()
    t.update(0, [face(100)])
    t.rescale(2.0, 2.0)
    t.update(STEP_US, [face(204, y=200, size=100)])
    assert shown(t) == {(0, 0): 204.0}


scenes = st.lists(
    st.lists(st.builds(face, st.floats(0, 600), st.floats(0, 300), st.floats(20, 90), st.floats(0.35, 1)), max_size=4),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(scenes, st.data())
def test_a_restart_from_json_changes_nothing(scene: list[list[Detection]], data: st.DataObject) -> None:
    straight, restarted = tracker(), tracker()
    restart = data.draw(st.integers(0, len(scene) - 1))
    for n, found in enumerate(scene):
        straight.update(n * STEP_US, found)
        restarted.update(n * STEP_US, found)
        if n == restart:
            state = json.loads(json.dumps(restarted.snapshot()))
            restarted = tracker()
            restarted.restore(state)
    assert restarted.tracks == straight.tracks


@settings(max_examples=60, deadline=None)
@given(scenes)
def test_a_name_is_given_once_and_a_detection_belongs_to_one_track(scene: list[list[Detection]]) -> None:
    t, given_names = tracker(), set[tuple[int, int]]()
    for n, found in enumerate(scene):
        before = set(names(t))
        t.update(n * STEP_US, found)
        now = names(t)
        assert len(now) == len(set(now)) and not (set(now) - before) & given_names
        given_names |= set(now)
        assert sum(not track.hidden for track in t.tracks) <= len(found)
