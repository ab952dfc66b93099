"""Which part of each frame may show a face, by its tracks, which reach back as well as forward.

Between two sightings a face is where the straight line between them says; before its first and after its last it is
held, both where it was and where its motion would take it. A region grows with the time to the nearest sighting, the
face's size and its speed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from streamfx.privacy.pictures import Region
from streamfx.redaction.sightings import QUICK_PX
from streamfx.redaction.tracks import Boxes, Track, size

SMALL_PX = 24
"""Faces smaller than this in a quick look are not sure to be found there, pixels of its picture."""
HOLD_S, HOLD_SMALL_S = 0.5, 1.3
"""How long a region is held before a track's first and after its last sighting, seconds; small faces until the next
enlarged look."""
NEAR_S = 0.13
"""The region of a frame encloses all sightings this near in time, seconds: single boxes are too small now and then."""
DILATION, LOOK_PX = 0.15, 2.5
"""What is added on each side of a box: a share of its width and height, and so many pixels of the quick look."""
GROW_PER_S, MOVE_PER_S, UNKNOWN_PER_S = 0.5, 0.5, 2.5
"""What a second to the nearest sighting adds on each side: so many sizes, and so much of the way the face makes; where
it was sighted once, so that its motion is unknown, so many sizes."""


class Masks:
    """The regions of a film of this size, pixels, by its tracks."""

    def __init__(self, tracks: Sequence[Track], width: int, height: int):
        self._pixel = max(1.0, max(width, height) / QUICK_PX)
        held = [(track, self._hold_s(track, 0), self._hold_s(track, -1)) for track in tracks]
        self._spans = [(track.times_s[0] - before, track.times_s[-1] + after, track) for track, before, after in held]

    def at(self, times_s: Iterable[float]) -> Iterator[list[Region]]:
        """For each of the ascending times of frames, the regions (x0, y0, x1, y1, pixels) that may show a face then."""
        for shown in self.of_tracks(times_s):
            yield [region for _, region in shown]

    def of_tracks(self, times_s: Iterable[float]) -> Iterator[list[tuple[Track, Region]]]:
        """As `at`, each region with its track."""
        coming = sorted(self._spans, key=lambda span: span[0], reverse=True)
        shown: list[tuple[float, float, Track]] = []
        for time_s in times_s:
            while coming and coming[-1][0] <= time_s:
                shown.append(coming.pop())
            shown = [span for span in shown if time_s <= span[1]]
            yield [(track, self._region(track, time_s)) for _, _, track in shown]

    def _hold_s(self, track: Track, number: int) -> float:
        return HOLD_SMALL_S if size(track.box(number % len(track.times_s))) < SMALL_PX * self._pixel else HOLD_S

    def _region(self, track: Track, time_s: float) -> Region:
        times = track.times_s
        after = bisect_left(times, time_s)
        around = [n for n in (after - 1, after) if 0 <= n < len(times)]
        nearest = min(around, key=lambda n: abs(times[n] - time_s))
        near = range(bisect_left(times, time_s - NEAR_S), bisect_right(times, time_s + NEAR_S))
        box = _enclosing([*(track.box(n) for n in near), *_expected(track, around, time_s)])
        away = abs(times[nearest] - time_s) * _growth_per_s(track, nearest)
        grown = DILATION * (box[2:] - box[:2]) + LOOK_PX * self._pixel + away
        x0, y0, x1, y1 = np.concatenate([box[:2] - grown, box[2:] + grown]).tolist()
        return x0, y0, x1, y1


def _growth_per_s(track: Track, number: int) -> float:
    """Pixels that a second adds to each side of a sighting."""
    velocity = track.velocity(number)
    if velocity is None:
        return UNKNOWN_PER_S * size(track.box(number))
    return GROW_PER_S * size(track.box(number)) + MOVE_PER_S * float(np.hypot(*velocity))


def _expected(track: Track, around: Sequence[int], time_s: float) -> list[Boxes]:
    """The boxes that stand for the face at a time between the sightings `around` it, or outside the only one."""
    if len(around) == 1:
        return [track.box(around[0]), track.moved(around[0], time_s)]
    before, after = around
    share = (time_s - track.times_s[before]) / (track.times_s[after] - track.times_s[before])
    return [(1 - share) * track.box(before) + share * track.box(after)]


def _enclosing(boxes: Sequence[Boxes]) -> Boxes:
    corners = np.stack(boxes)
    return np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])
