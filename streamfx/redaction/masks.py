"""Which part of each frame may show a face, by its tracks, which reach back as well as forward.

Between two sightings a face is where the straight line between them says; before its first and after its last it is
held, both where it was and where its motion would take it. A region grows with the time to the nearest sighting, the
face's size and its speed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from streamfx.privacy.pictures import Region
from streamfx.redaction.tracks import Boxes, Track, size

HOLD_S = 1.0
"""How long a region is held before a track's first and after its last sighting, seconds."""
NEAR_S = 0.13
"""The region of a frame encloses all sightings this near in time, seconds: single boxes are too small now and then."""
DILATION = 0.3
"""What is added on each side of a box, in units of its width and height."""
GROW_PER_S, MOVE_PER_S = 0.4, 0.4
"""What a second to the nearest sighting adds on each side: so many sizes, and so much of the way the face makes."""


def regions(tracks: Sequence[Track], times_s: Iterator[float]) -> Iterator[list[Region]]:
    """For each of the ascending times of frames, the regions (x0, y0, x1, y1, pixels) that may show a face then."""
    coming = sorted(tracks, key=lambda track: track.times_s[0], reverse=True)
    shown: list[Track] = []
    for time_s in times_s:
        while coming and coming[-1].times_s[0] - HOLD_S <= time_s:
            shown.append(coming.pop())
        shown = [track for track in shown if time_s <= track.times_s[-1] + HOLD_S]
        yield [_region(track, time_s) for track in shown]


def _region(track: Track, time_s: float) -> Region:
    times = track.times_s
    after = bisect_left(times, time_s)
    around = [n for n in (after - 1, after) if 0 <= n < len(times)]
    near = range(bisect_left(times, time_s - NEAR_S), bisect_right(times, time_s + NEAR_S))
    box = _enclosing([*(track.box(n) for n in near), *_expected(track, around, time_s)])
    away_s = min(abs(times[n] - time_s) for n in around)
    nearest = min(around, key=lambda n: abs(times[n] - time_s))
    speed = float(np.hypot(*track.velocity(nearest)))
    sides = box[2:] - box[:2]
    grown = DILATION * sides + away_s * (GROW_PER_S * size(track.box(nearest)) + MOVE_PER_S * speed)
    x0, y0, x1, y1 = np.concatenate([box[:2] - grown, box[2:] + grown]).tolist()
    return x0, y0, x1, y1


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
