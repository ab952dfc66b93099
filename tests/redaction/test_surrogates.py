"""Which fills get a drawn face: by what was read and sighted, steady over time, and none where anything is doubtful."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.films import SeesWhite, picture, read_film, write_film
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.privacy.fills import SOLID
from streamfx.privacy.pictures import Region
from streamfx.privacy.surrogates import Controls, Painter, Surrogate
from streamfx.redaction.courses import Course
from streamfx.redaction.film import FilmFrame
from streamfx.redaction.redact import redact_film
from streamfx.redaction.smooth import around, away_s
from streamfx.redaction.surrogates import SALT_PERIOD_S, Drawing, Surrogates, film_seeds, find_drawing
from streamfx.redaction.tracks import Track

BOX: Region = (0.0, 0.0, 400.0, 400.0)
TIMES = [number / 25 for number in range(50)]


class Grey(Painter):
    """Fills the rectangle with the light that was measured."""

    def paint(self, controls: Controls, seed: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 4), (*(round(255 * controls.light),) * 3, 255), np.uint8)


def track(side: float = 100.0, tremble: float = 0.0, turned: float = 0.0, times: Sequence[float] = TIMES) -> Track:
    """A face that stays where it is; its boxes tremble by so many pixels."""
    out, rng = Track(), np.random.default_rng(1)
    for time_s in times:
        x, y = 100 + rng.normal(0, tremble, 2) if tremble else (100.0, 100.0)
        marks = (x + 30, y + 40, x + 70, y + 40, x + 50 + turned, y + 60)
        out.add(time_s, np.array([x, y, x + side * 0.8, y + side]), 0.9, marks)
    return out


def course(novelty: float = 0.0, known: float = 1.0, times: Sequence[float] = TIMES) -> Course:
    """A face that smiles throughout."""
    one = Course(("au_12",), ("happiness", "neutral"))
    for time_s in times[::3]:
        one.read_s.append(time_s)
        one.light.append(0.5)
        one.units.append([3.0])
        one.known.append(known)
    one.window_s, one.expressions, one.novelty = [1.0], [[0.8, 0.2]], [novelty]
    return one


def faces(one: Track, read: Course | None, painter: Painter | None = None, secret: bytes = b"a") -> Surrogates:
    return Surrogates([one], {} if read is None else {0: read}, painter or Grey(), film_seeds(secret))


def at(some: Surrogates, one: Track, time_s: float = 1.0) -> Surrogate:
    (face,) = some.at(time_s, [(one, BOX)])
    return face


def test_a_face_is_moved_by_what_was_read_of_it() -> None:
    one = track(turned=10.0)
    controls = at(faces(one, course()), one).controls
    assert controls.action_units == pytest.approx({"au_12": 3.0}) and controls.units_count == pytest.approx(1.0)
    assert controls.expressions == pytest.approx({"happiness": 0.8, "neutral": 0.2})
    assert controls.light == pytest.approx(0.5)
    assert (controls.middle_x, controls.middle_y, controls.height) == pytest.approx((140.0, 150.0, 100.0))
    assert controls.yaw_deg == pytest.approx(14.0, abs=0.1) and controls.roll_deg == 0.0


def test_where_action_units_are_novel_expressions_move_the_face() -> None:
    one = track()
    controls = at(faces(one, course(known=0.0)), one).controls
    assert controls.units_count == 0.0 and controls.expressions["happiness"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("why", "one", "read", "time_s"),
    [
        ("unread", track(), None, 1.0),
        ("unread", track(), replace(course(), window_s=[]), 1.0),
        ("unread", track(), course(times=TIMES[:5]), 1.5),
        ("novel", track(), course(novelty=0.9, known=0.0), 1.0),
        ("unseen", track(times=TIMES[:10]), course(), 0.6),
        ("small", track(side=20.0), course(), 1.0),
    ],
)
def test_any_doubt_leaves_the_fill_and_is_counted(why: str, one: Track, read: Course | None, time_s: float) -> None:
    some = faces(one, read)
    assert some.at(time_s, [(one, BOX)]) == [] and some.left(0) == {why: 1}


def test_what_has_no_eyes_such_as_a_number_plate_is_not_painted() -> None:
    plate = Track()
    for time_s in TIMES:
        plate.add(time_s, np.array([100.0, 100.0, 180.0, 200.0]), 0.9)
    some = faces(plate, course())
    assert some.at(1.0, [(plate, BOX)]) == [] and some.left(0) == {"unread": 1}


def test_without_a_painter_every_fill_stays_and_is_counted() -> None:
    one = track()
    some = Surrogates([one], {0: course()}, None, film_seeds(b"a"))
    assert some.at(1.0, [(one, BOX)]) == [] and some.left(0) == {"no_painter": 1}


def test_faces_that_the_painter_failed_to_paint_are_counted() -> None:
    one = track()
    some = faces(one, course())
    some.at(1.0, [(one, BOX)])
    assert some.left(0) == {"painter_failed": 1} and some.left(1) == {}


def test_who_is_drawn_is_the_same_throughout_a_track_and_another_in_each_salt_period_track_and_film() -> None:
    late = [SALT_PERIOD_S + time_s for time_s in TIMES]
    one, other = track(times=[*TIMES, *late]), track()
    read = course(times=[*TIMES, *late])
    read.window_s, read.expressions, read.novelty = [1.0, late[25]], read.expressions * 2, [0.0, 0.0]
    some = Surrogates([one, other], {0: read, 1: read}, Grey(), film_seeds(b"a"))
    seeds = [at(some, one, time_s).seed for time_s in (0.2, 1.0, 1.6)]
    assert len(set(seeds)) == 1
    others = [at(some, other).seed, at(some, one, late[25]).seed, at(faces(one, read, secret=b"b"), one).seed]
    assert len({seeds[0], *others}) == 4


def test_a_face_stands_steadier_than_the_boxes_that_were_seen() -> None:
    one = track(tremble=3.0)
    some = faces(one, course())
    middles = [at(some, one, time_s).controls.middle_x for time_s in TIMES[10:40]]
    seen = [float(one.box(number)[[0, 2]].mean()) for number in range(10, 40)]
    assert np.std(np.diff(middles)) < np.std(np.diff(seen)) / 5


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=30).map(sorted),
    st.floats(-10, 110), st.floats(0.01, 5),
)  # fmt: skip
def test_weights_sum_to_one_and_the_nearer_counts_more(times: list[float], time_s: float, sigma_s: float) -> None:
    near, weights = around(times, time_s, sigma_s)
    away = [abs(one - time_s) for one in times[near]]
    assert weights.sum() == pytest.approx(1.0) and len(weights) == len(away) > 0
    assert min(away) == pytest.approx(away_s(times, time_s))
    assert all(
        weights[i] >= weights[j] - 1e-12 for i in range(len(away)) for j in range(len(away)) if away[i] < away[j]
    )


class Reads:
    """Says of every track that it smiles."""

    def read(self, frames: Iterable[FilmFrame], time_base: Fraction, tracks: Sequence[Track]) -> dict[int, Course]:
        return {number: course() for number, _ in enumerate(tracks) if [*frames]}


def redacted(film: Path, out: Path, drawing: Drawing | None) -> tuple[Any, list[np.ndarray]]:
    def passed(title: str, total: int | None, frames: Iterable[FilmFrame]) -> Iterator[FilmFrame]:
        yield from frames

    done = redact_film(film, out, SOLID, SeesWhite(), 1, passed, drawing)
    return done, read_film(out)[0]


def test_a_redacted_film_shows_drawn_faces_inside_its_fills(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", map(picture, range(30)))
    reader: Any = Reads()
    done, pictures = redacted(film, tmp_path / "out.mp4", Drawing(reader, Grey()))
    solid, filled = redacted(film, tmp_path / "solid.mp4", None)
    assert done.painted == 30 and done.left_filled == {} and done.filled == solid.filled
    for one, other in zip(pictures, filled, strict=True):
        black = other.max(axis=2) < 20
        assert 100 < np.median(one[black]) < 150 and abs(one[~black].mean() - other[~black].mean()) < 3


def test_a_machine_that_cannot_draw_leaves_every_fill(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", map(picture, range(10)))
    done, pictures = redacted(film, tmp_path / "out.mp4", Drawing(None, None))
    assert done.painted == 0 and done.left_filled == {"no_painter": 10}
    assert all(
        np.array_equal(*both) for both in zip(pictures, redacted(film, tmp_path / "b.mp4", None)[1], strict=True)
    )


def test_what_the_machine_lacks_for_drawing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamfx.errors import SynthError

    def lacks() -> Painter:
        raise SynthError("no OpenGL 3.3 through EGL")

    monkeypatch.setattr("streamfx.redaction.surrogates.find_painter", lacks)
    drawing, said = find_drawing()
    assert drawing.painter is None and said is not None and "OpenGL" in said
