"""Drawn faces in the films of a stream's chunks: by numbers alone, one person for each track across borders and restarts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.films import SIDE, Fails, SeesWhite, picture, square_at, write_film

from streamfx.config.media import Media
from streamfx.detection.centerface import Detector
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.privacy.surrogates import Controls, Painter
from streamfx.redaction import chunk_surrogates
from streamfx.redaction.chunk_films import ChunkFilm, ChunkFilms
from streamfx.redaction.chunk_surrogates import ChunkSurrogates, Place
from streamfx.redaction.courses import Course, joined
from streamfx.redaction.film import FilmFrame
from streamfx.redaction.surrogates import Drawing
from streamfx.redaction.tracks import Track

START_US = 1_790_000_000_000_000
LENGTH, CHUNKS = 25, 3
"""Frames of a chunk, which lasts a second, and chunks."""
PSEUDONYMS = Pseudonyms(86_400, b"0123456789abcdef0123456789abcdef")
Call = tuple[Controls, int, int, int]


@dataclass
class Grey(Painter):
    """Fills the rectangle with a grey of the seed, and notes what it is given."""

    calls: list[Call] = field(default_factory=list)

    def paint(self, controls: Controls, seed: int, width: int, height: int) -> np.ndarray:
        self.calls.append((controls, seed, width, height))
        return np.full((height, width, 4), (*(40 + seed % 100,) * 3, 255), np.uint8)


class Breaks(Painter):
    def paint(self, controls: Controls, seed: int, width: int, height: int) -> np.ndarray:
        raise RuntimeError("the context is lost")


class Reads:
    """Reads eight times a second, of each track by itself, that it smiles the more the farther right it is."""

    def read(self, frames: Iterable[FilmFrame], time_base: Fraction, tracks: Sequence[Track]) -> dict[int, Course]:
        assert len([*frames]) == LENGTH
        return {number: self._course(track) for number, track in enumerate(tracks)}

    def _course(self, track: Track) -> Course:
        course = Course(("au_12",), ("happiness", "neutral"))
        for number in range(0, len(track.times_s), 3):
            right = float(track.box(number)[0]) / 320
            course.read_s.append(track.times_s[number])
            course.light.append(0.5)
            course.units.append([5 * right])
            course.known.append(1.0)
            course.window_s.append(track.times_s[number])
            course.expressions.append([right, 1 - right])
            course.novelty.append(0.0)
        return course


class CannotRead:
    def read(self, frames: Iterable[FilmFrame], time_base: Fraction, tracks: Sequence[Track]) -> dict[int, Course]:
        raise RuntimeError("out of memory")


def chunks(folder: Path, show: Callable[[int], np.ndarray] = picture) -> list[bytes]:
    """Three chunks of one film."""
    return [
        write_film(folder / f"{number}.mp4", map(show, range(LENGTH * number, LENGTH * (number + 1)))).read_bytes()
        for number in range(CHUNKS)
    ]


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Three chunks of a square that moves to the right."""
    return chunks(tmp_path_factory.mktemp("square"))


def surrogates(painter: Painter | None, stream_id: str = "camera", reader: Any = None) -> ChunkSurrogates:
    def seed_of(born: Place, time_us: int) -> int:
        return PSEUDONYMS.drawn_seed(stream_id, *born, time_us)

    some: Any = reader or Reads()
    return ChunkSurrogates(Drawing(some, painter), seed_of)


def films(
    bodies: Sequence[bytes], drawn: ChunkSurrogates | None, start_us: int = START_US, detector: Detector | None = None
) -> list[ChunkFilm]:
    maker = ChunkFilms(detector or SeesWhite(), Media(), surrogates=drawn)
    made = [maker.add(body, start_us + number * 1_000_000) for number, body in enumerate(bodies)]
    return [film for film in (*made, maker.end()) if film is not None]


def test_a_face_keeps_its_person_and_moves_on_steadily_across_the_borders_of_chunks(bodies: list[bytes]) -> None:
    painter = Grey()
    made = films(bodies, surrogates(painter))
    assert [film.painted for film in made] == [LENGTH] * CHUNKS and all(film.left_filled == {} for film in made)
    assert len({seed for _, seed, _, _ in painter.calls}) == 1
    for values in (
        [controls.action_units["au_12"] for controls, *_ in painter.calls],
        [controls.expressions["happiness"] for controls, *_ in painter.calls],
    ):
        steps = np.diff(values)
        assert abs(steps[[LENGTH - 1, 2 * LENGTH - 1]]).max() <= 2 * abs(steps).mean(), "no jump at a border"


def test_two_people_who_move_alike_are_painted_alike_and_only_numbers_reach_the_painter(
    bodies: list[bytes], tmp_path: Path
) -> None:
    def other(number: int) -> np.ndarray:
        pixels, (x, y) = picture(number), square_at(number)
        pixels[y + 8 : y + SIDE - 8, x + 8 : x + SIDE - 8] = (255, 225, 215)
        return pixels

    one, another = Grey(), Grey()
    films(bodies, surrogates(one))
    films(chunks(tmp_path, other), surrogates(another))
    assert one.calls == another.calls and len(one.calls) == CHUNKS * LENGTH
    assert {tuple(map(type, call)) for call in one.calls} == {(Controls, int, int, int)}


def test_a_restart_draws_the_same_person_and_makes_the_same_films(bodies: list[bytes]) -> None:
    whole = films(bodies, surrogates(Grey()))
    drawn = surrogates(Grey())
    maker = ChunkFilms(SeesWhite(), Media(), surrogates=drawn)
    before = [maker.add(body, START_US + number * 1_000_000) for number, body in enumerate(bodies)]
    state = json.loads(json.dumps(drawn.snapshot()))
    again, resumed = surrogates(painter := Grey()), []
    maker = ChunkFilms(SeesWhite(), Media(), surrogates=again)
    for number in (1, 2):
        maker.resume(bodies[number], START_US + number * 1_000_000)
    again.restore(state)
    assert painter.calls == [], "films that were committed are not made once more"
    resumed.append(maker.end())
    assert [film and film.film.body for film in (*before[1:], *resumed)] == [film.film.body for film in whole]


def test_nothing_is_kept_of_what_a_face_did(bodies: list[bytes]) -> None:
    drawn = surrogates(Grey())
    films(bodies[:2], drawn)
    (state,) = drawn.snapshot()
    assert state == [START_US + 1_960_000, 0, START_US, 0], "the times of its first and last sighting"


def test_who_is_drawn_is_another_one_in_each_stream_track_and_salt_period(bodies: list[bytes], tmp_path: Path) -> None:
    def later(number: int) -> np.ndarray:
        return picture(number, number >= 30)

    period_us = 86_400 * 1_000_000
    border_us = (START_US // period_us + 1) * period_us - 1_500_000
    seeds = []
    for shown, stream_id, start_us in (
        (bodies, "camera", START_US), (bodies, "another", START_US), (chunks(tmp_path, later), "camera", START_US),
        (bodies, "camera", border_us),
    ):  # fmt: skip
        painter = Grey()
        films(shown, surrogates(painter, stream_id), start_us)
        seeds.append(list(dict.fromkeys(seed for _, seed, _, _ in painter.calls)))
    assert list(map(len, seeds)) == [1, 1, 1, 2] and len({seed for some in seeds for seed in some}) == 5


@pytest.mark.parametrize(
    ("drawn", "why"),
    [
        (surrogates(Breaks()), "painter_failed"),
        (surrogates(Grey(), reader=CannotRead()), "unread"),
        (surrogates(None), "no_painter"),
    ],
    ids=["painter", "reader", "none"],
)
def test_where_no_face_can_be_painted_the_film_is_that_of_the_solid_fill(
    bodies: list[bytes], drawn: ChunkSurrogates, why: str
) -> None:
    made, solid = films(bodies[:2], drawn), films(bodies[:2], None)
    assert [film.film.body for film in made] == [film.film.body for film in solid]
    assert all(film.painted == 0 and film.left_filled == {why: LENGTH} for film in made)


def test_frames_that_are_filled_whole_show_no_drawn_face(bodies: list[bytes]) -> None:
    first, second = films(bodies[:2], surrogates(Grey()), detector=Fails(lambda look: look < LENGTH + 6))
    assert first.whole == {"detector_failed": LENGTH} and first.painted == 0 and second.painted > 0


def test_of_more_faces_than_may_be_read_the_largest_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def two(number: int) -> np.ndarray:
        pixels = picture(number)
        pixels[120:186, 20:86] = 255
        return pixels

    monkeypatch.setattr(chunk_surrogates, "MOST_FACES", 1)
    painter = Grey()
    (film,) = films(chunks(tmp_path, two)[:1], surrogates(painter))
    assert film.painted == LENGTH and film.left_filled == {"unread": LENGTH}
    assert min(controls.height for controls, *_ in painter.calls) > 50


def test_a_course_of_several_chunks_is_in_the_order_of_time() -> None:
    def read(*times_s: float) -> Course:
        return Course(
            ("au_12",), ("neutral",), [*times_s], [0.5] * 2, [[1.0]] * 2, [1.0] * 2, [times_s[0]], [[1.0]], [0.0]
        )

    whole = joined([read(1.0, 2.0), read(1.5, 2.5), read(3.0, 4.0)])
    assert whole.read_s == [1.0, 2.0, 3.0, 4.0] and whole.window_s == [1.0, 3.0]
    assert len(whole.units) == len(whole.light) == len(whole.known) == 4 and len(whole.novelty) == 2
