"""Looks near known faces: they follow as looks at whole pictures do, see less, and give way where they cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.segments import comparable, through_json
from skimage import data
from streamfx_operators.faces import Faces, FacesConfig
from streamfx_operators.near import SEEN_PX, look_near, squares

from streamfx.detection.centerface import Detection
from streamfx.records import TrackedFrame
from streamfx.testing import SAMPLE_PERIOD_US as PERIOD_US
from streamfx.testing import Stream, make_context, run_faces

Pixels = npt.NDArray[np.uint8]
FACE = (320.0, 180.0, 100.0)


class Bright:
    """Takes bright rectangles for faces, and notes the sizes of the pictures that it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []

    def detect(self, picture: Pixels, threshold: float) -> list[Detection]:
        self.shown.append(picture.shape[:2])
        found = []
        for level in (250, 220):
            rows, columns = np.nonzero(np.abs(picture[..., 0].astype(int) - level) <= 4)
            if len(rows) > 60:
                box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                x0, y0, x1, y1 = map(float, box)
                found.append(Detection(x0, y0, x1, y1, 0.9, ((x0, y0), (x1, y0), (x0, y0), (x0, y1), (x1, y1))))
        return found


def street(faces: dict[int, Any], frames: int = 75, width: int = 640, height: int = 384) -> Stream:
    """A dark film; `faces` maps a level of brightness to a function from the frame's number to (x, y), or None."""

    def picture(number: int) -> Pixels:
        drawn = np.full((height, width, 3), 20, np.uint8)
        for level, place in faces.items():
            if (at := place(number)) is not None:
                drawn[at[1] : at[1] + 60, at[0] : at[0] + 60] = level
        return drawn

    return Stream(frames, picture)


def follow(stream: Stream, cuts: Sequence[int] = (), **config: Any) -> tuple[list[TrackedFrame], list[tuple[int, int]]]:
    detector = Bright()
    pictures_leave = config.pop("pictures_leave", False)
    context = replace(make_context(), pictures_leave=pictures_leave)
    operator = Faces(FacesConfig(detect_px=640, **config), context, detector)
    return run_faces(operator, stream.cut(list(cuts))), detector.shown


def first_of_each(tracked: Sequence[TrackedFrame], samples: int) -> list[bool]:
    """Which frames are the first of their stretch of so many points of the sampling grid."""
    stretch = [t.frame.sample_us // PERIOD_US // samples for t in tracked]
    return [True, *(after > before for before, after in pairwise(stretch))]


def walks(number: int) -> tuple[int, int]:
    return 100 + 2 * number, 120


WHOLE = (384, 640)


def test_between_whole_pictures_only_the_surroundings_of_the_face_are_seen() -> None:
    tracked, shown = follow(street({250: walks}))
    assert len(tracked) == 24
    assert [t.detected for t in tracked] == first_of_each(tracked, 8), "once a second of event time"
    assert shown.count(WHOLE) == sum(first_of_each(tracked, 8)) == 4
    assert shown.count((SEEN_PX, SEEN_PX)) == len(shown) - 4 == sum(first_of_each(tracked, 2))
    assert all(len(t.faces) == 1 for t in tracked)


def test_a_face_is_followed_as_it_is_in_whole_pictures() -> None:
    stream = street({250: walks})
    for near, whole in zip(follow(stream)[0], follow(stream, whole_every_s=0)[0], strict=True):
        assert near.faces[0].birth_us == whole.faces[0].birth_us
        for name in ("center_x", "center_y", "side"):
            assert getattr(near.faces[0].box, name) == pytest.approx(getattr(whole.faces[0].box, name), abs=6), name


def test_a_face_that_joins_is_found_at_the_next_look_at_the_whole_picture() -> None:
    joins = street({250: walks, 220: lambda n: (500, 250) if n >= 30 else None})
    tracked, _ = follow(joins)
    came = [len(t.faces) == 2 for t in tracked].index(True)
    assert tracked[came].detected and not any(t.detected for t in tracked[10:came])
    assert [len(t.faces) for t in tracked] == [1] * came + [2] * (24 - came)


def test_a_face_that_is_lost_is_looked_for_in_the_whole_picture_at_once() -> None:
    tracked, shown = follow(street({250: lambda n: (100, 120) if n < 30 else (450, 120)}))
    assert shown.count(WHOLE) > 4
    assert sum(len(t.faces) for t in tracked) >= 22, "the jump costs less than a look's interval"


@pytest.mark.parametrize("cuts", [(25, 50), (3, 7, 40, 41)])
def test_which_looks_are_whole_does_not_depend_on_the_chunks(cuts: Sequence[int]) -> None:
    stream = street({250: walks, 220: lambda n: (500, 250) if 20 <= n < 60 else None})
    whole, pieces = follow(stream), follow(stream, cuts)
    assert comparable(pieces[0]) == comparable(whole[0]) and pieces[1] == whole[1]


def test_a_restart_goes_on_with_the_same_looks() -> None:
    segments = street({250: walks}).cut([10, 33, 50])
    operator, wanted = Faces(FacesConfig(detect_px=640), make_context(), Bright()), []
    for offset, segment in enumerate(segments):
        wanted += operator.track("s", offset, segment)
    operator, found, shown = Faces(FacesConfig(detect_px=640), make_context(), Bright()), [], []
    for offset, segment in enumerate(segments):
        found += operator.track("s", offset, segment)
        state = through_json(operator.snapshot("s"))
        detector = Bright()
        shown.append(detector.shown)
        operator = Faces(FacesConfig(detect_px=640), make_context(), detector)
        operator.restore("s", state)
    assert comparable(found) == comparable(wanted)
    assert sum(sizes.count(WHOLE) for sizes in shown) == 3, "of the four in all, the first is in the first operator's"


def test_where_pictures_leave_each_detection_sees_the_whole_picture_and_the_same_faces_are_followed() -> None:
    stream = street({250: walks, 220: lambda n: (500, 250) if n >= 30 else None})
    tracked, shown = follow(stream, pictures_leave=True)
    assert [t.detected for t in tracked] == first_of_each(tracked, 2)
    assert shown.count(WHOLE) == sum(first_of_each(tracked, 2))
    assert [t.faces for t in tracked] == [t.faces for t in follow(stream)[0]]
    masked = [any(x0 < 530 < x1 for x0, _, x1, _ in t.regions or ()) for t in tracked]
    followed = [len(t.faces) == 2 for t in tracked]
    assert masked.index(True) < followed.index(True), "the mask does not wait for the track"


def test_a_square_holds_the_face_with_room_to_move_and_stays_in_the_picture() -> None:
    ((x0, y0, x1, y1, seen_px),) = squares([FACE], 1280, 720, 416) or []
    assert (x1 - x0, y1 - y0, seen_px) == (296, 296, 96) and x0 <= 320 - 100 and x1 >= 320 + 100
    ((x0, y0, x1, y1, _),) = squares([(10.0, 700.0, 100.0)], 1280, 720, 416) or []
    assert (x0, y1) == (0, 720)


def test_a_crowd_or_a_face_that_fills_the_picture_is_seen_in_the_whole_picture() -> None:
    assert squares([FACE] * 30, 1280, 720, 416) is None
    assert squares([(-60.0, 180.0, 100.0)], 1280, 720, 416) is None
    assert squares([(60.0, 60.0, 90.0)], 112, 112, 416) is None


def test_half_a_face_at_the_edge_of_a_square_is_no_face() -> None:
    picture = np.full((384, 640, 3), 20, np.uint8)
    picture[100:200, 180:280] = 250
    assert look_near(Bright(), picture, [(0, 0, 256, 256, 96)], 0.2) == []
    ((found),) = look_near(Bright(), picture, [(40, 0, 360, 320, 96)], 0.2)
    assert (found.x0, found.x1) == (pytest.approx(180, abs=6), pytest.approx(280, abs=6))


def test_the_real_detector_follows_a_drifting_face_as_in_whole_pictures_and_its_boxes_do_not_pulse() -> None:
    picture = data.astronaut()
    stream = Stream(75, lambda n: np.roll(picture, (n // 4, n), (0, 1)))
    near, whole = (
        run_faces(Faces(FacesConfig(**c), make_context()), stream.cut()) for c in ({}, {"whole_every_s": 0.0})
    )
    for one, other in zip(near, whole, strict=True):
        assert (one.faces[0].birth_us, len(one.faces)) == (other.faces[0].birth_us, 1)
        assert one.faces[0].box.center_x == pytest.approx(other.faces[0].box.center_x, abs=8)
        assert one.faces[0].box.center_y == pytest.approx(other.faces[0].box.center_y, abs=8)
    sides = np.array([t.faces[0].box.side for t in near])
    turns = np.array([t.detected for t in near])
    assert abs(sides[turns].mean() / sides[~turns].mean() - 1) < 0.03
