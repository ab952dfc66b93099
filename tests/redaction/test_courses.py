"""How faces move, as numbers: what the nets that ship read of a real face, and what is not read at all."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from skimage import data

from streamfx.redaction.courses import RATE_HZ, Course, CourseReader, Moment
from streamfx.redaction.film import FilmFrame
from streamfx.redaction.tracks import Track

TICKS = Fraction(1, 25)
FACE, EYES_AND_NOSE = (176.0, 62.0, 272.0, 190.0), (204.0, 112.0, 246.0, 112.0, 225.0, 140.0)
"""Roughly, in the astronaut's picture."""


def frames(pixels: np.ndarray, count: int) -> list[FilmFrame]:
    return [FilmFrame(number, 1, True, pixels) for number in range(count)]


def track(
    box: tuple[float, ...] = FACE, marks: tuple[float, ...] | None = EYES_AND_NOSE, score: float = 0.9, count: int = 75
) -> Track:
    one = Track()
    for number in range(count):
        one.add(float(number * TICKS), np.array(box), score, *([] if marks is None else [marks]))
    return one


@pytest.fixture(scope="module")
def reader() -> CourseReader:
    return CourseReader()


def test_a_face_is_read_eight_times_a_second_into_plain_numbers(reader: CourseReader) -> None:
    course = reader.read(frames(data.astronaut(), 75), TICKS, [track()])[0]
    assert np.diff(course.read_s).mean() == pytest.approx(1 / RATE_HZ, rel=0.1) and len(course.units) == len(
        course.read_s
    )
    assert len(course.window_s) >= 2
    moment = course.at(1.5)
    assert isinstance(moment, Moment) and 0.2 < moment.light < 0.9 and 0 <= moment.units_count <= 1
    assert sum(moment.expressions.values()) == pytest.approx(1.0, abs=1e-3)
    assert max(moment.expressions, key=moment.expressions.__getitem__) == "happiness"


def test_a_short_track_is_read_too(reader: CourseReader) -> None:
    course = reader.read(frames(data.astronaut(), 75), TICKS, [track(count=10)])[0]
    assert isinstance(course.at(0.2), Moment) and course.at(1.5) == "unread"


@pytest.mark.parametrize(
    "one",
    [track(box=(200.0, 100.0, 225.0, 130.0)), track(marks=None), track(score=0.3)],
    ids=["small", "plate", "unsure"],
)
def test_what_may_be_no_face_is_not_read(reader: CourseReader, one: Track) -> None:
    assert reader.read(frames(data.astronaut(), 10), TICKS, [one]) == {}


def hidden() -> np.ndarray:
    """The astronaut with half of the face behind a dark board."""
    pixels: np.ndarray = data.astronaut().copy()
    pixels[62:190, 176:235] = 40
    return pixels


@pytest.mark.parametrize(
    "pixels", [data.coffee(), np.full((300, 300, 3), 120, np.uint8), hidden()], ids=["cup", "wall", "hidden"]
)
def test_what_is_no_face_or_a_hidden_one_is_novel(reader: CourseReader, pixels: np.ndarray) -> None:
    assert reader.read(frames(pixels, 30), TICKS, [track(count=30)])[0].at(0.5) == "novel"


def test_what_was_never_read_has_no_numbers() -> None:
    assert Course((), ()).at(0.0) == "unread"
