"""Which drawn face is painted into which fill of a film's frames, and where the fill stays as it is.

All that is doubtful leaves the fill, and is counted by its reason. A face is nobody's: the seed of the person who is drawn
comes from a secret of the film, the track's number and the salt period, and from nothing of the face.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamfx.errors import StreamfxError
from streamfx.privacy.pictures import Region
from streamfx.privacy.surrogates import Controls, Painter, Surrogate, find_painter
from streamfx.redaction.courses import LEAST_PX, Course, CourseReader
from streamfx.redaction.smooth import around, away_s
from streamfx.redaction.tracks import Track

SALT_PERIOD_S = 86_400
"""Seconds of film after which a track gets another face."""
UNSEEN_S = 0.15
"""A face that was not sighted for longer is not painted, seconds."""
PLACE_S, TURN_S = 0.15, 0.3
"""Standard deviations of the Gaussians over a face's place, and over its turns and size, seconds."""
Seeds = Callable[[int, float], int]
"""Who is drawn: of a track's number, at a time in seconds."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What draws faces into fills: the nets that read how faces move, and the painter; None where the machine lacks one of
    them: then all fills stay. `secret` decides who is drawn; without one each film gets its own, which is not kept, so that
    nobody can link its faces to another film's."""

    reader: CourseReader | None
    painter: Painter | None
    secret: bytes | None = None


def find_drawing() -> tuple[Drawing, str | None]:
    """What this machine draws faces with, and a sentence that says what it lacks for that."""
    try:
        painter = find_painter()
        return Drawing(CourseReader(), painter), None
    except StreamfxError as error:
        return Drawing(None, None), str(error)


class Surrogates:
    """The drawn faces of one film, by its tracks and what was read of them. Without a painter all fills stay."""

    def __init__(self, tracks: Sequence[Track], courses: Mapping[int, Course], painter: Painter | None, seeds: Seeds):
        self._number = {id(track): number for number, track in enumerate(tracks)}
        self._courses, self._painter, self._seeds = courses, painter, seeds
        self._left: Counter[str] = Counter()
        self._asked = 0

    def at(self, time_s: float, shown: Sequence[tuple[Track, Region]]) -> list[Surrogate]:
        """The faces that are painted into the regions of a frame, larger ones over smaller ones."""
        faces = []
        for region, (track, box) in enumerate(shown):
            face = self._face(track, box, time_s)
            if isinstance(face, str):
                self._left[face] += 1
            else:
                faces.append(Surrogate(*face, region))
        self._asked += len(faces)
        return sorted(faces, key=lambda face: face.controls.height)

    def left(self, painted: int) -> dict[str, int]:
        """How many fills of the frames so far stayed, by reason, if `painted` faces were painted."""
        failed = self._asked - painted
        return dict(self._left) | ({"painter_failed": failed} if failed else {})

    def _face(self, track: Track, box: Region, time_s: float) -> tuple[Painter, Controls, int] | str:
        """What is painted for one region, or the reason why nothing is."""
        number = self._number[id(track)]
        if self._painter is None:
            return "no_painter"
        if away_s(track.times_s, time_s) > UNSEEN_S:
            return "unseen"
        course = self._courses.get(number)
        moment = "unread" if course is None else course.at(time_s)
        if isinstance(moment, str):
            return moment
        near, weights = around(track.times_s, time_s, TURN_S)
        turns = [(track.roll_deg(n), track.yaw_deg(n)) for n in range(near.start, near.stop)]
        if any(roll is None for roll, _ in turns):
            return "unread"
        roll_deg, yaw_deg = weights @ np.array(turns, float)
        sizes = track.boxes(near)
        height = float(weights @ (sizes[:, 3] - sizes[:, 1]))
        near, weights = around(track.times_s, time_s, PLACE_S)
        place = weights @ track.boxes(near)
        if height < LEAST_PX:
            return "small"
        controls = Controls(
            middle_x=float(place[0] + place[2]) / 2 - max(0, int(np.floor(box[0]))),
            middle_y=float(place[1] + place[3]) / 2 - max(0, int(np.floor(box[1]))),
            height=height,
            roll_deg=float(roll_deg),
            yaw_deg=float(yaw_deg),
            light=moment.light,
            units_count=moment.units_count,
            expressions=moment.expressions,
            action_units=moment.action_units,
        )
        return self._painter, controls, self._seeds(number, time_s)


def film_seeds(secret: bytes) -> Seeds:
    """Who is drawn in a film of its own: another face for each track, salt period and secret."""

    def seed(number: int, time_s: float) -> int:
        name = f"{number} {int(time_s // SALT_PERIOD_S)}".encode()
        return int.from_bytes(hmac.new(secret, name, hashlib.sha256).digest()[:8], "big")

    return seed
