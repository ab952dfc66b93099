"""Redacts one video file: a pass that looks for faces, and a pass that fills them and encodes.

It fails closed: pixels reach the writer only as a `PublicPicture`, and a file under its final name is complete.
"""

from __future__ import annotations

import errno
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av

from streamfx.detection.centerface import Detector
from streamfx.errors import ModelError, RedactionError, SourceError
from streamfx.privacy.fills import Fill
from streamfx.privacy.films import Mp4Writer
from streamfx.privacy.pictures import PublicPicture, fill_regions
from streamfx.redaction.courses import Course
from streamfx.redaction.film import Film, FilmFrame
from streamfx.redaction.masks import Masks
from streamfx.redaction.sightings import Sightings, find_faces
from streamfx.redaction.surrogates import Drawing, Surrogates, film_seeds
from streamfx.redaction.tracks import Track, link
from streamfx.whole_files import whole_file

log = logging.getLogger(__name__)

Progress = Callable[[str, int | None, Iterable[FilmFrame]], Iterator[FilmFrame]]
"""Passes frames on and shows how many have passed; it is given the pass's name and, if known, their number."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """What became of one film. `filled` is the share of all pixels that was filled, `whole` the number of frames filled
    whole for each reason, `frames_per_s` the frames divided by the seconds that all passes took. With drawn faces `painted`
    is how many of them all frames show, and `left_filled` how many fills have none, for each reason."""

    frames: int
    seconds: float
    tracks: int
    filled: float
    whole: dict[str, int]
    frames_per_s: float
    painted: int = 0
    left_filled: dict[str, int] = field(default_factory=dict)


def redact_film(
    path: Path,
    out: Path,
    fill: Fill,
    detector: Detector,
    threads: int,
    progress: Progress,
    drawing: Drawing | None = None,
) -> Redacted:
    """Write a redacted copy of the film at `path` to `out`, an MP4 file that must not exist. `out` appears when it is
    complete, and not at all after an error.

    Every frame is kept with its time, filled where a face may be. Sound, metadata and all else are left behind.
    `threads` looks of the detector are taken at a time. With `drawing` the fill must be solid, and drawn faces are painted
    inside it where nothing is doubtful. Raises SourceError where the input cannot be read to its end,
    RedactionError where the output cannot be written.
    """
    began = time.perf_counter()
    if out.exists():
        raise RedactionError(f"{out} exists already; remove it, or name another folder")
    film = Film(path)
    seen = find_faces(progress("looking", None, film.frames()), film.time_base, detector, threads)
    tracks = link(seen, film.time_base)
    faces = None if drawing is None else _faces(film, tracks, drawing, len(seen.ticks), progress)
    filled, end, painted = 0.0, 0, 0
    with _written(out), whole_file(out) as beside, Mp4Writer(beside, film.time_base, film.rate) as writer:
        for frame, picture in _filled(film, seen, tracks, fill, faces, progress):
            writer.add(picture, frame.ticks, frame.duration)
            filled, painted = filled + picture.filled, painted + picture.painted
            end = frame.ticks + frame.duration
    count = len(seen.ticks)
    took_s = time.perf_counter() - began
    whole = dict(Counter(seen.unsure.values()))
    return Redacted(
        count, float(end * film.time_base), len(tracks), filled / count, whole, count / took_s,
        painted, {} if faces is None else faces.left(painted),
    )  # fmt: skip


def _faces(film: Film, tracks: Sequence[Track], drawing: Drawing, count: int, progress: Progress) -> Surrogates:
    """The drawn faces of a film, which is read once more where anything can be read."""
    courses: Mapping[int, Course] = {}
    if tracks and drawing.reader is not None and drawing.painter is not None:
        try:
            courses = drawing.reader.read(progress("reading", count, film.frames()), film.time_base, tracks)
        except ModelError as error:
            log.error("%s: faces could not be read, and all fills stay: %s", film.path.name, error)
    return Surrogates(tracks, courses, drawing.painter, film_seeds(drawing.secret or secrets.token_bytes(32)))


def _filled(
    film: Film,
    seen: Sightings,
    tracks: Sequence[Track],
    fill: Fill,
    faces: Surrogates | None,
    progress: Progress,
) -> Iterator[tuple[FilmFrame, PublicPicture]]:
    """The frames of a second reading, each with the picture that may leave of it. SourceError where they are not those
    of the first."""
    times_s = [float(ticks * film.time_base) for ticks in seen.ticks]
    masks = Masks(tracks, film.width, film.height).of_tracks(times_s)
    number = 0
    for frame in progress("filling", len(seen.ticks), film.frames()):
        if number == len(seen.ticks) or frame.ticks != seen.ticks[number]:
            break
        shown = next(masks)
        if number in seen.unsure:
            yield frame, fill_regions(frame.pixels, None)
        else:
            drawn = () if faces is None else faces.at(times_s[number], shown)
            yield frame, fill_regions(frame.pixels, [region for _, region in shown], fill, drawn)
        number += 1
    else:
        if number == len(seen.ticks):
            return
    raise SourceError(f"{film.path}: frame {number} was read with another time than at first; the file cannot be used")


@contextmanager
def _written(out: Path) -> Iterator[None]:
    """Errors of writing as a RedactionError; a full disk stays what it is, since it ends everything."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RedactionError(f"{out} cannot be written: {error.strerror or error}; name another folder") from error
