"""Joins sightings to the tracks of faces, in the order of time."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from streamfx.redaction.sightings import Sightings

Boxes = npt.NDArray[np.float64]
"""[..., 4]: x0, y0, x1, y1 in pixels."""

LOST_S = 2.0
"""A face that is seen again within this time may be the same track, seconds."""
FAR, FAR_PER_S = 0.8, 1.0
"""Largest distance between the expected and the found centre, in sizes: at once, and more for each second unseen."""
SIZE_RATIO = 2.0
"""Largest ratio between a face's sizes at two sightings."""
SPEED_S, FASTEST = 0.4, 6.0
"""Speed is measured over this many seconds; a face does not make more than so many sizes a second."""
_IMPOSSIBLE = 1e6


@dataclass(slots=True)
class Track:
    """One face: its sightings' times, ascending, in seconds, and four numbers of each one's box."""

    times_s: array[float] = field(default_factory=lambda: array("d"))
    flat: array[float] = field(default_factory=lambda: array("f"))

    def add(self, time_s: float, box: Boxes) -> None:
        """The next sighting."""
        self.times_s.append(time_s)
        self.flat.extend(box.tolist())

    def box(self, number: int) -> Boxes:
        """[4], the box of a sighting."""
        return np.array(self.flat[4 * number : 4 * number + 4])

    def velocity(self, number: int) -> npt.NDArray[np.float64]:
        """[2]: x and y in pixels a second around a sighting; 0 where too little is known."""
        first = last = number
        while first > 0 and self.times_s[number] - self.times_s[first - 1] <= SPEED_S:
            first -= 1
        while last + 1 < len(self.times_s) and self.times_s[last + 1] - self.times_s[number] <= SPEED_S:
            last += 1
        if first == last:
            return np.zeros(2)
        way = centre(self.box(last)) - centre(self.box(first))
        velocity = way / (self.times_s[last] - self.times_s[first])
        fastest = FASTEST * size(self.box(number))
        return velocity * min(1.0, fastest / max(float(np.hypot(*velocity)), 1e-9))

    def moved(self, number: int, time_s: float) -> Boxes:
        """[4], where the face of a sighting would be at another time by its motion."""
        return self.box(number) + np.tile(self.velocity(number) * (time_s - self.times_s[number]), 2)


def centre(box: Boxes) -> npt.NDArray[np.float64]:
    """[2], the middle of a box."""
    return (box[:2] + box[2:]) / 2


def size(box: Boxes) -> float:
    """The longer side of a box."""
    return float(max(box[2] - box[0], box[3] - box[1]))


def link(seen: Sightings, time_base: Fraction) -> list[Track]:
    """All tracks of a film, in the order of their first sightings. Every sighting belongs to one."""
    tracks: list[Track] = []
    open_tracks: list[Track] = []
    for frame, group in groupby(range(len(seen.frames)), key=seen.frames.__getitem__):
        time_s = float(seen.ticks[frame] * time_base)
        boxes = [np.array(seen.boxes[4 * i : 4 * i + 4]) for i in group]
        open_tracks = [track for track in open_tracks if time_s - track.times_s[-1] <= LOST_S]
        taken = _match(open_tracks, boxes, time_s)
        for number, box in enumerate(boxes):
            if number in taken:
                open_tracks[taken[number]].add(time_s, box)
            else:
                track = Track()
                track.add(time_s, box)
                tracks.append(track)
                open_tracks.append(track)
    return tracks


def _match(tracks: list[Track], boxes: list[Boxes], time_s: float) -> dict[int, int]:
    """Box number -> track number, by the assignment with the least total distance."""
    if not tracks or not boxes:
        return {}
    costs = np.array([_distances(track, np.stack(boxes), time_s) for track in tracks])
    pairs = zip(*linear_sum_assignment(costs), strict=True)
    return {int(box): int(track) for track, box in pairs if costs[track, box] < _IMPOSSIBLE}


def _distances(track: Track, boxes: Boxes, time_s: float) -> npt.NDArray[np.float64]:
    """[n], how far each box is from where the track is expected, in sizes, or a number too large to be chosen."""
    last = len(track.times_s) - 1
    expected = track.moved(last, time_s)
    own = size(expected)
    ratios = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / own
    away = np.hypot(*((boxes[:, :2] + boxes[:, 2:]) / 2 - centre(expected)).T) / own
    far = FAR + FAR_PER_S * (time_s - track.times_s[last])
    possible = (away <= far) & (ratios <= SIZE_RATIO) & (ratios >= 1 / SIZE_RATIO)
    return np.where(possible, away, _IMPOSSIBLE)
