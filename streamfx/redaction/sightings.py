"""The first pass over a film: where the detector sees faces, and in which frames it may have missed some; no pixels.

Every frame is looked at shrunk, which is quick and finds all but small faces. Every `FULL_EVERY_S` seconds a frame is
looked at in its full size too, and each third time, as well as in the film's first and last frame, enlarged. That finds
small faces; their tracks carry them over the frames between.
"""

from __future__ import annotations

import logging
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from streamfx.detection.centerface import Detection, Detector, apart
from streamfx.detection.look import look
from streamfx.redaction.film import FilmFrame

log = logging.getLogger(__name__)

QUICK_PX = 416
"""Longer side of the picture of a quick look, pixels."""
FULL_PX = 4096
"""Longest side of a full or an enlarged picture, pixels."""
ENLARGED, ENLARGED_EVERY = 2.0, 3
"""An enlarged look takes the place of every third full look. CenterFace finds a face of 12 pixels only enlarged."""
FULL_EVERY_S = 0.2
"""Time from one full look to the next, seconds."""
THRESHOLD = 0.1
"""Confidence from which a detection is noted; which of them count is decided by tracks."""
WAITING_BYTES = 128 << 20
"""Most bytes of pictures that wait for their looks."""
MANY = 250
"""More faces than this in one frame are noise, or a crowd that the detector cannot take apart."""

NO_MARKS = (float("nan"),) * 6
"""In place of the eyes and the nose of what has none."""


@dataclass(slots=True)
class Sightings:
    """What was seen, in a few bytes for each frame and detection, however long the film is.

    Detection i is in frame `frames[i]`, with the box `boxes[4 * i : 4 * i + 4]` (x0, y0, x1, y1 in pixels), the
    confidence `scores[i]`, and x and y of both eyes and the nose in `marks[6 * i : 6 * i + 6]`, NaN where the detector named
    none; frames ascend. `ticks` are the times of all frames in units of the film's time base.
    `unsure` maps frames that must be filled whole to the reason.
    """

    ticks: array[int] = field(default_factory=lambda: array("q"))
    frames: array[int] = field(default_factory=lambda: array("q"))
    boxes: array[float] = field(default_factory=lambda: array("f"))
    scores: array[float] = field(default_factory=lambda: array("f"))
    marks: array[float] = field(default_factory=lambda: array("f"))
    unsure: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What looks at one frame found; None where the quick look failed. `full`: whether there was a full look that
    worked, None where none was due."""

    ticks: int
    whole: bool
    found: list[Detection] | None
    full: bool | None


def find_faces(frames: Iterable[FilmFrame], time_base: Fraction, detector: Detector, threads: int) -> Sightings:
    """Look at all frames of a film, `threads` of them at a time.

    An error of the detector ends nothing: the frames that it might have helped with are noted as unsure.
    """
    known = Sightings()
    worked: list[int] = []
    failed: list[int] = []
    for number, seen in enumerate(_looked(frames, round(FULL_EVERY_S / time_base), detector, threads)):
        known.ticks.append(seen.ticks)
        if seen.full is not None:
            (worked if seen.full else failed).append(number)
        if seen.found is None:
            known.unsure[number] = "detector_failed"
        elif not seen.whole:
            known.unsure[number] = "picture_damaged"
        elif len(seen.found) > MANY:
            known.unsure[number] = "too_many_faces"
        for face in seen.found or ():
            known.frames.append(number)
            known.boxes.extend((face.x0, face.y0, face.x1, face.y1))
            known.scores.append(face.score)
            known.marks.extend(marks_of(face))
    for number in failed:
        # Small faces are unknown from the full look before to the one after.
        place = bisect_left(worked, number)
        first = worked[place - 1] + 1 if place else 0
        end = worked[place] if place < len(worked) else len(known.ticks)
        known.unsure.update(dict.fromkeys(range(first, end), "detector_failed"))
    return known


def marks_of(face: Detection) -> Sequence[float]:
    """x and y of both eyes and the nose, pixels; NaN for what a detector of a user's own found, which has none."""
    return [value for mark in face.landmarks[:3] for value in mark] if len(face.landmarks) >= 3 else NO_MARKS


def _looked(frames: Iterable[FilmFrame], full_every: int, detector: Detector, threads: int) -> Iterator[_Seen]:
    waiting: deque[Future[_Seen]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for frame, enlarged in _with_turns(frames, full_every):
                waiting.append(pool.submit(_look, detector, frame, enlarged))
                # An enlarged look takes as long as some thirty quick ones, which must not wait for it.
                if len(waiting) > max(threads, WAITING_BYTES // frame.pixels.nbytes):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _with_turns(frames: Iterable[FilmFrame], full_every: int) -> Iterator[tuple[FilmFrame, float]]:
    """Each frame, and how many times it is enlarged for the second look that it gets; 0 for none."""
    before: FilmFrame | None = None
    due = turn = 0
    for frame in frames:
        if before is not None:
            full = before.ticks >= due
            yield before, 0.0 if not full else 1.0 if turn % ENLARGED_EVERY else ENLARGED
            if full:
                due, turn = before.ticks + full_every, turn + 1
        before = frame
    if before is not None:
        yield before, ENLARGED


def _look(detector: Detector, frame: FilmFrame, enlarged: float) -> _Seen:
    quick = _found(detector, frame, QUICK_PX, 1.0)
    if not enlarged:
        return _Seen(frame.ticks, frame.whole, quick, None)
    more = _found(detector, frame, FULL_PX, enlarged)
    both = None if quick is None else apart([*quick, *(more or ())])
    return _Seen(frame.ticks, frame.whole, both, more is not None)


def _found(detector: Detector, frame: FilmFrame, longest_px: int, enlarged: float) -> list[Detection] | None:
    try:
        return look(detector, frame.pixels, longest_px, THRESHOLD, enlarged)
    except Exception as error:  # whatever the error, nothing may be shown that this look might have found
        _log_once(f"the face detector failed ({type(error).__name__}); frames are filled whole until it works")
        return None


@lru_cache(maxsize=16)
def _log_once(message: str) -> None:
    """Log each message once and not for each frame."""
    log.error("%s", message)
