"""Redacted films of the chunks of one stream: a chunk's film is made once the chunk after it has been looked at.

A face that the detector finds early in a chunk was probably there at the end of the one before, and one that it loses
late may still be there when the next begins. So tracks run through three chunks: the one before, the one whose film is
made, and the one after. What waits for the next chunk is the chunk's bytes as they came, and where faces were seen.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from streamfx.config.media import Media
from streamfx.detection.centerface import Detector
from streamfx.media.chunk_media import open_chunk
from streamfx.media.pyav_decoder import every_frame
from streamfx.privacy.fills import SOLID
from streamfx.privacy.films import PublicFilm, encode_film
from streamfx.privacy.pictures import PublicPicture, fill_regions
from streamfx.records import MICROSECONDS
from streamfx.redaction.chunk_surrogates import ChunkSurrogates, Read
from streamfx.redaction.film import LEAST_SIDE, FilmFrame, fitted
from streamfx.redaction.masks import Masks
from streamfx.redaction.sightings import Sightings, find_faces
from streamfx.redaction.tracks import link

_TICK_S = Fraction(1, MICROSECONDS)


@dataclass(frozen=True, slots=True)
class ChunkFilm:
    """The film of one chunk, whose first frame is at event time `start_us`, UTC microseconds.

    `end_us` is the end of its last frame, `faces` the number of tracks in it, and `whole` the number of frames filled
    whole for each reason. `painted` is how many drawn faces all frames show, and `left_filled` how many fills have none, for
    each reason; both are empty where none are drawn.
    """

    film: PublicFilm
    start_us: int
    end_us: int
    frames: int
    faces: int
    whole: dict[str, int]
    painted: int = 0
    left_filled: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Looked:
    """A chunk that was looked at: what came, what was seen at event times in microseconds, and what was read of faces."""

    body: bytes
    start_us: int
    width: int
    height: int
    seen: Sightings
    read: Sequence[Read]


class ChunkFilms:
    """Makes the films of one stream's chunks, given in the order of event time.

    `threads` looks of the detector are taken at a time. Faces are filled solid; with `surrogates` a drawn one is painted inside
    where nothing is doubtful. A film depends on three chunks alone, and on whose face a track has; so after a restart the last
    two chunks are looked at again (`resume`), and then the next one's predecessor gets the film that it would have got.
    """

    def __init__(self, detector: Detector, media: Media, threads: int = 1, surrogates: ChunkSurrogates | None = None):
        self._detector, self._media, self._threads, self._surrogates = detector, media, threads, surrogates
        self._before: _Looked | None = None
        self._now: _Looked | None = None

    def add(self, body: bytes, start_us: int) -> ChunkFilm | None:
        """Look at the next chunk, which begins at event time `start_us` (UTC microseconds); the film of the one before it,
        if there is one. Raises BadChunk for a chunk that cannot be decoded, and then nothing has changed."""
        after = self._look(body, start_us)
        made = None if self._now is None else self._made(self._now, after)
        self._before, self._now = self._now, after
        return made

    def end(self) -> ChunkFilm | None:
        """The film of the last chunk, if there is one; nothing is known of what comes after it."""
        made = None if self._now is None else self._made(self._now, None)
        self._before = self._now = None
        return made

    def resume(self, body: bytes, start_us: int) -> None:
        """Look again at a chunk whose predecessor has its film. Raises BadChunk for one that cannot be decoded."""
        self._before, self._now = self._now, self._look(body, start_us)

    def _look(self, body: bytes, start_us: int) -> _Looked:
        size = 0, 0

        def shown() -> Iterator[FilmFrame]:
            nonlocal size
            for frame in _frames(body, start_us, self._media):
                size = frame.pixels.shape[1], frame.pixels.shape[0]
                yield frame

        seen = find_faces(shown(), _TICK_S, self._detector, self._threads)
        read: Sequence[Read] = ()
        if self._surrogates is not None:
            read = self._surrogates.read(_frames(body, start_us, self._media), _TICK_S, seen)
        return _Looked(body, start_us, *size, seen, read)

    def _made(self, now: _Looked, after: _Looked | None) -> ChunkFilm | None:
        if min(now.width, now.height) < LEAST_SIDE:
            return None
        around = [one for one in (self._before, now, after) if one is not None]
        seen = _joined(around, now)
        tracks = link(seen, _TICK_S)
        faces = None
        if self._surrogates is not None:
            faces = self._surrogates.of(tracks, seen, [(one.seen, one.read) for one in around])
        times_s = [float(ticks * _TICK_S) for ticks in now.seen.ticks]
        masks = Masks(tracks, now.width, now.height).of_tracks(times_s)
        end_us, painted = now.start_us, 0

        def shown() -> Iterator[tuple[PublicPicture, int, int]]:
            nonlocal end_us, painted
            frames = _frames(now.body, now.start_us, self._media)
            for number, (frame, places) in enumerate(zip(frames, masks, strict=True)):
                end_us = frame.ticks + frame.duration
                if number in now.seen.unsure:
                    picture = fill_regions(frame.pixels, None)
                else:
                    drawn = () if faces is None else faces.at(times_s[number], places)
                    picture = fill_regions(frame.pixels, [region for _, region in places], SOLID, drawn)
                painted += picture.painted
                yield picture, frame.ticks - now.start_us, frame.duration

        film = encode_film(shown(), _TICK_S, _rate(now.seen.ticks))
        there = sum(track.times_s[0] <= times_s[-1] and track.times_s[-1] >= times_s[0] for track in tracks)
        whole = dict(Counter(now.seen.unsure.values()))
        left = {} if faces is None else faces.left(painted)
        return ChunkFilm(film, now.start_us, end_us, len(times_s), there, whole, painted, left)


def _frames(body: bytes, start_us: int, media: Media) -> Iterator[FilmFrame]:
    """Every frame of a chunk; `ticks` are event times in microseconds. All have the size of the first."""
    size: tuple[int, int] | None = None
    with open_chunk(body, media) as chunk:
        for number, whole, pixels in every_frame(chunk, media):
            size = size or (pixels.shape[1], pixels.shape[0])
            ticks = start_us + chunk.times_us[number]
            yield FilmFrame(ticks, chunk.durations_us[number], whole, fitted(pixels, size))


def _rate(ticks: Sequence[int]) -> Fraction:
    """Roughly the frames a second."""
    if len(ticks) < 2:
        return Fraction(25)
    return Fraction((len(ticks) - 1) * MICROSECONDS, ticks[-1] - ticks[0]).limit_denominator(1001)


def _joined(parts: Sequence[_Looked], now: _Looked) -> Sightings:
    """What was seen in these chunks, one after the other, in pixels of `now`."""
    whole = Sightings()
    for part in parts:
        first, seen = len(whole.ticks), part.seen
        across, down = now.width / part.width, now.height / part.height
        whole.ticks.extend(seen.ticks)
        whole.frames.extend(array("q", (first + frame for frame in seen.frames)))
        whole.scores.extend(seen.scores)
        for start in range(0, len(seen.boxes), 4):
            x0, y0, x1, y1 = seen.boxes[start : start + 4]
            whole.boxes.extend((x0 * across, y0 * down, x1 * across, y1 * down))
        for start in range(0, len(seen.marks), 2):
            whole.marks.extend((seen.marks[start] * across, seen.marks[start + 1] * down))
    return whole
