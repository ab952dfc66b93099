"""Films of a stream's chunks: faces are followed across the chunks' borders, in both directions."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.films import FPS, HEIGHT, WIDTH, Fails, SeesWhite, picture, write_film

from streamfx.config.media import Media
from streamfx.detection.centerface import Detector
from streamfx.errors import BadChunk
from streamfx.redaction.chunk_films import ChunkFilm, ChunkFilms

START_US = 1_790_000_000_000_000
LENGTH = 25
"""Frames of a chunk, which lasts a second."""
LOOKS = LENGTH + 6
"""Looks at a chunk: one for each frame, and a second one at each fifth of a second and at the last."""


def chunk(folder: Path, number: int, shown: Callable[[int], bool] = lambda frame: True, scale: int = 1) -> bytes:
    """The chunk of this number of a film of a moving square; `shown` says in which of the film's frames it is."""
    frames = range(LENGTH * number, LENGTH * (number + 1))
    pictures = [picture(frame, shown(frame)).repeat(scale, axis=0).repeat(scale, axis=1) for frame in frames]
    return write_film(folder / f"{number}-{scale}.mp4", pictures).read_bytes()


def start_us(number: int) -> int:
    return START_US + number * 1_000_000


def films(detector: Detector, *bodies: bytes) -> list[ChunkFilm]:
    """The films of chunks that follow each other."""
    maker = ChunkFilms(detector, Media())
    made = [maker.add(body, start_us(number)) for number, body in enumerate(bodies)]
    made.append(maker.end())
    assert made[0] is None and maker.end() is None
    return [film for film in made if film is not None]


def pictures(film: ChunkFilm) -> list[np.ndarray]:
    with av.open(io.BytesIO(film.film.body)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def same(film: ChunkFilm) -> tuple[object, ...]:
    """What is alike in films that are the same."""
    return film.film.body, film.start_us, film.end_us, film.frames, film.faces, film.whole


def with_a_face(film: ChunkFilm) -> list[int]:
    """The frames that show one."""
    return [number for number, pixels in enumerate(pictures(film)) if (pixels.min(axis=2) > 180).any()]


def test_each_chunk_gets_a_film_without_a_face_with_its_frames_and_times(tmp_path: Path) -> None:
    made = films(SeesWhite(), *(chunk(tmp_path, number) for number in range(3)))
    assert [film.start_us for film in made] == [start_us(0), start_us(1), start_us(2)]
    for film in made:
        assert film.end_us == film.start_us + 1_000_000 and film.frames == len(pictures(film)) == LENGTH
        assert with_a_face(film) == [] and film.faces == 1 and film.whole == {} and 0 < film.film.filled < 0.5
        with av.open(io.BytesIO(film.film.body)) as container:
            times_s = [frame.time for frame in container.decode(video=0)]
        np.testing.assert_allclose(times_s, np.arange(LENGTH) / FPS, atol=1e-3)


def test_a_face_that_the_next_chunk_shows_first_is_filled_at_the_end_of_this_one(tmp_path: Path) -> None:
    bodies = [chunk(tmp_path, number, lambda frame: frame >= 15) for number in range(2)]

    def blind(look: int) -> bool:
        return look < LOOKS

    alone, _ = films(SeesWhite(blind), bodies[0], chunk(tmp_path, 1, lambda frame: False, scale=1))
    assert with_a_face(alone) == list(range(15, LENGTH)), "nothing else would have filled it"
    made, _ = films(SeesWhite(blind), *bodies)
    assert with_a_face(made) == []


def test_a_face_that_is_lost_at_the_border_is_filled_on_the_other_side(tmp_path: Path) -> None:
    bodies = [chunk(tmp_path, number, lambda frame: frame < 35) for number in range(2)]
    _, made = films(SeesWhite(lambda look: look >= LOOKS), *bodies)
    assert with_a_face(made) == []


def test_a_restart_that_is_given_the_last_two_chunks_again_makes_the_same_film(tmp_path: Path) -> None:
    bodies = [chunk(tmp_path, number) for number in range(3)]
    whole = films(SeesWhite(), *bodies)
    again = ChunkFilms(SeesWhite(), Media())
    for number in (0, 1):
        again.resume(bodies[number], start_us(number))
    made = again.add(bodies[2], start_us(2)), again.end()
    assert [same(film) for film in made if film] == [same(film) for film in whole[1:]]


def test_a_chunk_that_cannot_be_decoded_changes_nothing(tmp_path: Path) -> None:
    bodies = [chunk(tmp_path, number) for number in range(2)]
    maker = ChunkFilms(SeesWhite(), Media())
    maker.add(bodies[0], start_us(0))
    with pytest.raises(BadChunk):
        maker.add(bodies[1][: len(bodies[1]) // 2], start_us(1))
    made = maker.add(bodies[1], start_us(1))
    assert made is not None and same(made) == same(films(SeesWhite(), *bodies)[0])


def test_frames_that_the_detector_could_not_look_at_are_filled_whole(tmp_path: Path) -> None:
    bodies = [chunk(tmp_path, number) for number in range(2)]
    first, second = films(Fails(lambda look: look < LOOKS), *bodies)
    assert first.whole == {"detector_failed": LENGTH} and first.film.filled == 1 and second.whole == {}
    assert all(pixels.max() < 20 for pixels in pictures(first))


def test_pictures_that_change_their_size_at_the_border_have_the_face_in_the_same_place(tmp_path: Path) -> None:
    bodies = [chunk(tmp_path, 0, lambda frame: frame >= 15), chunk(tmp_path, 1, scale=2)]
    made, larger = films(SeesWhite(lambda look: look < LOOKS), *bodies)
    assert with_a_face(made) == [] and made.film.filled < 0.3
    assert pictures(larger)[0].shape == (2 * HEIGHT, 2 * WIDTH, 3)
