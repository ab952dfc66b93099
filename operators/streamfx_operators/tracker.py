"""Follows faces by their boxes alone, so that a few numbers restore a track after a restart.

Between detections a track moves on at constant velocity. A detection belongs to the track whose expected place is
nearest in units of the face's size, by the assignment with the least total distance. A track that a detection misses is
hidden: it stays where it was seen last, and shows no face until it is found again or forgotten. Places are kept in
hundredths of a pixel, so that snapshots stay short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from streamfx.detection.centerface import Detection
from streamfx.records import MICROSECONDS, Snapshot

MAX_DISTANCE = 0.8
"""Largest distance between the expected and the found centre, in sizes of the face."""
MAX_DISTANCE_HIDDEN = 1.2
"""The same for a hidden face, which may have moved."""
MAX_SIZE_RATIO = 2.0
"""Largest ratio between a face's sizes at two detections."""
FASTEST_SIZES_PER_S = 4.0
"""A velocity above this many sizes per second counts as an error."""
NEW_SHARE = 0.5
"""Share of the newest displacement in a track's velocity, and of the newest box in its size: boxes of a face that rests
jitter by 2-3 % of its size."""
MAX_ROLL_DEG = 45.0
"""Landmarks with a larger roll angle are not trusted."""
_IMPOSSIBLE = 1e6


@dataclass(frozen=True, slots=True)
class Track:
    """One face: its name within the stream, where it was found last, and how it moves (pixels, pixels per second)."""

    birth_us: int
    birth_index: int
    center_x: float
    center_y: float
    width: float
    height: float
    roll_deg: float
    score: float
    seen_us: int
    velocity_x: float = 0.0
    velocity_y: float = 0.0
    hidden: bool = False

    @property
    def size(self) -> float:
        """The longer side."""
        return max(self.width, self.height)

    def at(self, time_us: int) -> Track:
        """The track at its expected place at a time; a hidden track stays where it was."""
        if self.hidden:
            return self
        after_s = (time_us - self.seen_us) / MICROSECONDS
        return replace(
            self,
            center_x=round(self.center_x + self.velocity_x * after_s, 2),
            center_y=round(self.center_y + self.velocity_y * after_s, 2),
        )


class Tracker:
    """The tracks of one stream.

    A track is born from a detection of `birth_score` or more while there are fewer than `max_tracks`, and forgotten
    when it was not found for `keep_us`. `gap_us` without a detection is a gap, after which the known motion is
    discarded.
    """

    def __init__(self, birth_score: float, keep_us: int, gap_us: int, max_tracks: int):
        self._birth_score = birth_score
        self._keep_us = keep_us
        self._gap_us = gap_us
        self._max_tracks = max_tracks
        self.tracks: list[Track] = []

    def update(self, time_us: int, found: Sequence[Detection]) -> int:
        """Take the detections of the frame at `time_us`: drop old tracks, match, hide what is not found, add new
        tracks.

        Returns how many faces were not followed because there are too many.
        """
        known = [self._hidden_by_gap(t, time_us) for t in self.tracks if time_us - t.seen_us <= self._keep_us]
        matched = _match([track.at(time_us) for track in known], found)
        self.tracks = [
            _moved(track, found[matched[i]], time_us) if i in matched else replace(track, hidden=True)
            for i, track in enumerate(known)
        ]
        taken = set(matched.values())
        unknown = [d for i, d in enumerate(found) if i not in taken and d.score >= self._birth_score]
        room = max(0, self._max_tracks - len(self.tracks))
        born = sorted(unknown, key=lambda d: d.y0 - d.y1)[:room]
        self.tracks += [_born(d, time_us, i) for i, d in enumerate(sorted(born, key=lambda d: d.x0))]
        return len(unknown) - len(born)

    def expected(self, time_us: int) -> list[Track]:
        """The tracks at their expected places at a time; empty where one is hidden, or would be after such a gap."""
        tracks = [self._hidden_by_gap(track, time_us) for track in self.tracks]
        return [] if any(track.hidden for track in tracks) else [track.at(time_us) for track in tracks]

    def knows_exactly(self, time_us: int, found: Sequence[Detection]) -> bool:
        """Whether the detections of the frame at `time_us` are those of all tracks and of nothing else."""
        return len(found) == len(self.tracks) == len(_match(self.expected(time_us), found))

    def _hidden_by_gap(self, track: Track, time_us: int) -> Track:
        return replace(track, hidden=True) if time_us - track.seen_us > self._gap_us else track

    def rescale(self, factor_x: float, factor_y: float) -> None:
        """Scale the boxes after the frames have changed their size."""
        self.tracks = [
            replace(
                t, center_x=t.center_x * factor_x, center_y=t.center_y * factor_y, width=t.width * factor_x,
                height=t.height * factor_y, velocity_x=t.velocity_x * factor_x, velocity_y=t.velocity_y * factor_y,
            )
            for t in self.tracks
        ]  # fmt: skip

    def snapshot(self) -> list[dict[str, Any]]:
        """All tracks as JSON values; numbers are restored exactly."""
        return [asdict(track) for track in self.tracks]

    def restore(self, tracks: Sequence[Snapshot]) -> None:
        """Continue from a snapshot."""
        self.tracks = [Track(**track) for track in tracks]


def _match(expected: Sequence[Track], found: Sequence[Detection]) -> dict[int, int]:
    """Track number -> detection number."""
    if not expected or not found:
        return {}
    cost = np.array([[_distance(track, detection) for detection in found] for track in expected])
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return {int(i): int(j) for i, j in pairs if cost[i, j] < _IMPOSSIBLE}


def _distance(track: Track, found: Detection) -> float:
    """Distance in sizes, or a number too large to be chosen."""
    if not 1 / MAX_SIZE_RATIO <= found.size / track.size <= MAX_SIZE_RATIO:
        return _IMPOSSIBLE
    x, y = found.center
    distance = math.hypot(x - track.center_x, y - track.center_y) / track.size
    return distance if distance <= (MAX_DISTANCE_HIDDEN if track.hidden else MAX_DISTANCE) else _IMPOSSIBLE


def _born(found: Detection, time_us: int, index: int) -> Track:
    return Track(time_us, index, *_geometry(found), round(found.score, 4), time_us)


def _moved(track: Track, found: Detection, time_us: int) -> Track:
    fresh = Track(track.birth_us, track.birth_index, *_geometry(found), round(found.score, 4), time_us)
    after_s = (time_us - track.seen_us) / MICROSECONDS
    if track.hidden or after_s <= 0:
        return fresh
    width, height = _mixed(track.width, fresh.width), _mixed(track.height, fresh.height)
    fresh = replace(fresh, width=width, height=height)
    x, y = (fresh.center_x - track.center_x) / after_s, (fresh.center_y - track.center_y) / after_s
    if math.hypot(x, y) > FASTEST_SIZES_PER_S * fresh.size:
        return fresh
    return replace(fresh, velocity_x=_mixed(track.velocity_x, x), velocity_y=_mixed(track.velocity_y, y))


def _mixed(old: float, new: float) -> float:
    return round(old + NEW_SHARE * (new - old), 2)


def _geometry(found: Detection) -> tuple[float, float, float, float, float]:
    """Centre, width, height, and the angle (degrees) by which the line through the eyes is off level."""
    left, right = found.landmarks[0], found.landmarks[1]
    roll = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0])) if right[0] > left[0] else 0.0
    x, y = found.center
    roll = max(-MAX_ROLL_DEG, min(MAX_ROLL_DEG, roll))
    return round(x, 2), round(y, 2), round(found.x1 - found.x0, 2), round(found.y1 - found.y0, 2), round(roll, 2)
