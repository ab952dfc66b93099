"""The drawn faces in the films of one stream's chunks: each chunk is read by itself, and whose face a track has is carried on.

What a face does is read of a chunk once that has been looked at, from that chunk alone, and a film takes what was read of the
three chunks that its tracks run through. So a restart that looks at two chunks again reads the same, and no state outlives it
that says what a person did. Only who is drawn is carried on: a track is named by its first sighting, and the next film finds
it by its last one.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from streamfx.errors import BadChunk
from streamfx.records import MICROSECONDS
from streamfx.redaction.courses import LEAST_PX, SURE, Course, joined
from streamfx.redaction.film import FilmFrame
from streamfx.redaction.sightings import Sightings
from streamfx.redaction.surrogates import Drawing, Surrogates
from streamfx.redaction.tracks import Track, link

log = logging.getLogger(__name__)

MOST_FACES, MOST_SIGHTINGS = 16, 8000
"""Faces of one chunk that are read, and sightings of all of them together: the largest that are seen longest. More would take
too much memory, or so long that the chunk would be taken for one that hangs."""

Place = tuple[int, int]
"""A sighting: its frame's event time in UTC microseconds, and its number among the frame's detections."""
SeedOf = Callable[[Place, int], int]
"""Who is drawn: of the track that was first sighted there, at an event time in UTC microseconds."""


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of one face of a chunk, and its detections, by their numbers in the chunk's sightings."""

    detections: frozenset[int]
    course: Course


class ChunkSurrogates:
    """Draws the faces of one stream. `seed_of` must give the same for the same, whatever was restarted meanwhile."""

    def __init__(self, drawing: Drawing, seed_of: SeedOf):
        self._drawing, self._seed_of = drawing, seed_of
        self._born: dict[Place, Place] = {}
        """The last sighting of each track that may go on -> its first one."""

    def read(self, frames: Iterable[FilmFrame], time_base: Fraction, seen: Sightings) -> Sequence[Read]:
        """What a chunk's faces do, by what was seen in its frames; nothing where the nets fail. Raises BadChunk where the
        frames cannot be decoded."""
        reader = self._drawing.reader
        tracks = _largest(link(seen, time_base))
        if reader is None or self._drawing.painter is None or not tracks:
            return ()
        try:
            courses = reader.read(frames, time_base, tracks)
        except BadChunk:
            raise
        except Exception as error:  # whatever it is, the fills stay, and the film is made
            _log_once(f"faces could not be read ({type(error).__name__}); their fills stay")
            return ()
        return [Read(frozenset(tracks[number].detections), course) for number, course in courses.items()]

    def of(
        self, tracks: Sequence[Track], seen: Sightings, parts: Sequence[tuple[Sightings, Sequence[Read]]]
    ) -> Surrogates:
        """The drawn faces of a film: by its tracks, which were linked of all that was `seen` in these chunks, one after the
        other, and by what was seen and read in each of them."""
        courses = _assigned(tracks, parts)
        places = [_place(seen, track.detections[0]) for track in tracks]
        born = [self._birth(track, seen) or place for track, place in zip(tracks, places, strict=True)]
        self._born = {_place(seen, tracks[number].detections[-1]): born[number] for number in courses}

        def seeds(number: int, time_s: float) -> int:
            return self._seed_of(born[number], round(time_s * MICROSECONDS))

        return Surrogates(tracks, courses, self._drawing.painter, seeds)

    def snapshot(self) -> list[list[int]]:
        """Whose face each track has that may go on, as numbers."""
        return [[*last, *first] for last, first in self._born.items()]

    def restore(self, state: Sequence[Sequence[int]]) -> None:
        """Go on with what `snapshot` gave."""
        self._born = {(last_us, last): (first_us, first) for last_us, last, first_us, first in state}

    def _birth(self, track: Track, seen: Sightings) -> Place | None:
        """The first sighting, in an earlier film, of a track that goes on; the latest where it is several."""
        if not self._born:
            return None
        known = (self._born.get(_place(seen, detection)) for detection in reversed(track.detections))
        return next((place for place in known if place is not None), None)


def _largest(tracks: Sequence[Track]) -> list[Track]:
    """The faces that are read, of those that can be."""
    heights = [track.boxes(slice(0, len(track.times_s))) @ np.array([0, -1, 0, 1]) for track in tracks]
    order = sorted(range(len(tracks)), key=lambda number: -float(heights[number].sum()))
    able = [tracks[number] for number in order if tracks[number].best >= SURE and heights[number].max() >= LEAST_PX]
    sightings = np.cumsum([len(track.times_s) for track in able])
    return [
        track for number, track in enumerate(able[:MOST_FACES]) if number == 0 or sightings[number] <= MOST_SIGHTINGS
    ]


def _place(seen: Sightings, detection: int) -> Place:
    frame = seen.frames[detection]
    return seen.ticks[frame], detection - bisect_left(seen.frames, frame)


def _assigned(tracks: Sequence[Track], parts: Sequence[tuple[Sightings, Sequence[Read]]]) -> dict[int, Course]:
    """The course of each track, by its number: of each chunk what was read of the face that is the track there. What was read
    of a face that is several tracks by now belongs to the one that has most of its detections."""
    owner = {detection: number for number, track in enumerate(tracks) for detection in track.detections}
    found: dict[int, list[Course]] = {}
    first = 0
    for seen, read in parts:
        best: dict[int, tuple[int, Course]] = {}
        for one in read:
            votes = Counter(owner[first + detection] for detection in one.detections if first + detection in owner)
            for number, count in votes.most_common(1):
                if 2 * count > len(one.detections) and count > best.get(number, (0, one.course))[0]:
                    best[number] = count, one.course
        for number, (_, course) in best.items():
            found.setdefault(number, []).append(course)
        first += len(seen.frames)
    return {number: joined(courses) for number, courses in found.items()}


@lru_cache(maxsize=16)
def _log_once(message: str) -> None:
    log.error("%s", message)
