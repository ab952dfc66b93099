"""How each face of a film moves, as numbers: a pass over its frames in which nets read the faces of its tracks.

Faces are read at `RATE_HZ`, where the detector saw them and was sure. What is kept of a face are action units, the
probabilities of expressions, how novel the face is to the nets, and how bright it is: no pixel, and no feature of a net.
Between readings and over them a moment's numbers are means weighted by a Gaussian of time to both sides, so that they have no
lag: the readings are of the past and of the future.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch

from streamfx.media.audio import missing_sound
from streamfx.media.crop import crop
from streamfx.models.action_units import INTENSITIES, INTENSITY, NOVEL, ActionUnitsModel
from streamfx.models.action_units import NOVELTY as UNITS_NOVELTY
from streamfx.models.base import ServedModel
from streamfx.models.card import resolve_model
from streamfx.models.expression import NOVELTY, ExpressionModel
from streamfx.nets.mma_dfer import FRAMES
from streamfx.records import CropBox, Window
from streamfx.redaction.film import FilmFrame
from streamfx.redaction.smooth import around, away_s
from streamfx.redaction.tracks import Track

RATE_HZ = 8
"""Readings a second, as in the windows that the nets learned from."""
LEAST_PX = 32
"""Height from which a face is read, pixels of the film: below it the nets see nothing to rely on."""
SURE = 0.5
"""Confidence of the detector from which a face is read."""
MARGIN, CROP_PX = 1.2, 224
"""Side of a crop in units of the face's longer side, and in pixels: as in the line."""
EVERY = FRAMES // 4
"""Readings from one window of expressions to the next."""
GAP_S = 1.0
"""A window of expressions holds no longer gap."""
SMOOTH_S, CALM_S = 0.15, 0.4
"""Standard deviations of the Gaussians: of action units; of expressions and light. Seconds."""
NEAR_S = 0.5
"""A moment that is farther from every reading has no numbers, seconds."""
HALF_S = FRAMES / RATE_HZ / 2
"""Half of a window of expressions, seconds."""
UNKNOWN = 0.2
"""Novelty of an expression from which it moves no face. Readers of rows leave out what is above 0.5 (docs/data.md); a picture
shows no novelty beside it, and a covered mouth or a grey wall has 0.3 at times."""


@dataclass(slots=True)
class Course:
    """What was read of one track. Times ascend, in seconds; rows of `units` and `expressions` are in the order of the
    names."""

    unit_names: Sequence[str]
    expression_names: Sequence[str]
    read_s: list[float] = field(default_factory=list)
    light: list[float] = field(default_factory=list)
    units: list[Sequence[float]] = field(default_factory=list)
    known: list[float] = field(default_factory=list)
    window_s: list[float] = field(default_factory=list)
    expressions: list[Sequence[float]] = field(default_factory=list)
    novelty: list[float] = field(default_factory=list)

    def at(self, time_s: float) -> Moment | str:
        """What the face does at a time; or in a word why nobody knows: `unread`, `novel`."""
        if not self.window_s or away_s(self.read_s, time_s) > NEAR_S or away_s(self.window_s, time_s) > HALF_S + NEAR_S:
            return "unread"
        near, weights = around(self.read_s, time_s, SMOOTH_S)
        weights = weights * np.array(self.known[near])
        count = float(weights.sum())
        windows, calm = around(self.window_s, time_s, CALM_S)
        if count < 0.5 and calm @ np.array(self.novelty[windows]) >= UNKNOWN:
            return "novel"
        units = weights @ np.array(self.units[near]) / count if count > 0 else np.zeros(len(self.unit_names))
        lit, bright = around(self.read_s, time_s, CALM_S)
        return Moment(
            expressions=_named(self.expression_names, calm @ np.array(self.expressions[windows])),
            action_units=_named(self.unit_names, units),
            units_count=min(1.0, count),
            light=float(bright @ np.array(self.light[lit])),
        )


def joined(courses: Sequence[Course]) -> Course:
    """One course of several, at least one, whose names are the same; what is not later than the one before is left out."""
    whole = Course(courses[0].unit_names, courses[0].expression_names)
    for one in courses:
        if whole.read_s and one.read_s[0] <= whole.read_s[-1]:
            continue
        whole.read_s += one.read_s
        whole.light += one.light
        whole.units += one.units
        whole.known += one.known
        whole.window_s += one.window_s
        whole.expressions += one.expressions
        whole.novelty += one.novelty
    return whole


@dataclass(frozen=True, slots=True)
class Moment:
    """The numbers of one moment, as `privacy.surrogates.Controls` has them."""

    expressions: Mapping[str, float]
    action_units: Mapping[str, float]
    units_count: float
    light: float


def _named(names: Sequence[str], values: npt.NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(names, map(float, values), strict=True))


class CourseReader:
    """The nets that read faces. Raises MissingComponent and ModelError where they cannot be loaded."""

    def __init__(self) -> None:
        self._units, self._expression = _loaded(ActionUnitsModel), _loaded(ExpressionModel)
        self._sound = missing_sound()

    def read(self, frames: Iterable[FilmFrame], time_base: Fraction, tracks: Sequence[Track]) -> dict[int, Course]:
        """The course of each track by its place in `tracks`; of those alone that could be read.

        Raises ModelError where a net fails. Faces are held for as long as their window is open.
        """
        names = list(self._units.info.facts[INTENSITIES]), list(self._expression.info.labels)
        coming = sorted(range(len(tracks)), key=lambda number: tracks[number].times_s[0], reverse=True)
        running: dict[int, _Readings] = {}
        courses: dict[int, Course] = {}
        due_s = 0.0
        for frame in frames:
            time_s = float(frame.ticks * time_base)
            if time_s < due_s:
                continue
            due_s = (int(time_s * RATE_HZ) + 1) / RATE_HZ
            while coming and tracks[coming[-1]].times_s[0] <= time_s:
                running[coming.pop()] = _Readings(Course(*names))
            for number in [number for number in running if tracks[number].times_s[-1] < time_s]:
                courses[number] = self._ended(running.pop(number))
            for number, one in running.items():
                box = _square(tracks[number], time_s, frame.pixels)
                if box is not None:
                    self._take(one, time_s, crop(frame.pixels, box, CROP_PX))
        courses |= {number: self._ended(one) for number, one in running.items()}
        return {number: course for number, course in courses.items() if course.window_s}

    def _ended(self, one: _Readings) -> Course:
        self._flush(one)
        return one.course

    def _take(self, one: _Readings, time_s: float, face: npt.NDArray[np.uint8]) -> None:
        if one.course.read_s and time_s - one.course.read_s[-1] > GAP_S:
            self._flush(one)
        one.course.read_s.append(time_s)
        middle = face[CROP_PX // 4 : -CROP_PX // 4, CROP_PX // 4 : -CROP_PX // 4]
        one.course.light.append(float(middle.mean()) / 255)
        one.faces.append((time_s, face))
        one.unread, one.since = one.unread + 1, one.since + 1
        if one.unread == FRAMES:
            self._read_units(one)
        if len(one.faces) == FRAMES and one.since >= EVERY:
            self._read_expression(one)

    def _flush(self, one: _Readings) -> None:
        """Read what waits, and begin anew."""
        if one.unread:
            self._read_units(one)
        if one.since:
            self._read_expression(one)
        one.faces.clear()

    def _read_units(self, one: _Readings) -> None:
        last = list(one.faces)[-one.unread :]
        answer = self._answer(self._units, [face for _, face in last])
        for number in range(len(last)):
            one.course.units.append(answer[INTENSITY][number].tolist())
            one.course.known.append(float(answer[UNITS_NOVELTY][number] <= NOVEL))
        one.unread = 0

    def _read_expression(self, one: _Readings) -> None:
        answer = self._answer(self._expression, [face for _, face in one.faces])
        shares = np.exp(answer["logits"] - answer["logits"].max())
        one.course.window_s.append((one.faces[0][0] + one.faces[-1][0]) / 2)
        one.course.expressions.append((shares / shares.sum()).tolist())
        # A model that cannot tell what is novel to it is not believed where it is the only one.
        one.course.novelty.append(float(answer[NOVELTY][0]) if NOVELTY in answer else 1.0)
        one.since = 0

    def _answer(self, model: ServedModel, faces: Sequence[npt.NDArray[np.uint8]]) -> dict[str, npt.NDArray[np.float64]]:
        """The model's answer for a window of these faces, of which there are at most FRAMES; the last is repeated."""
        count = len(faces)
        window = Window(
            stream_id="", birth_us=0, birth_index=0, start_us=0, end_us=1,
            frames=np.stack([*faces, *[faces[-1]] * (FRAMES - count)]), fbank=self._sound,
            present=np.arange(FRAMES) < count, audio_present=False, face_score=1.0, face_height_px=0.0, closed_by=0,
            offsets=(0, 0),
        )  # fmt: skip
        inputs = model.inputs(window, model.info)
        answer = model.run({name: torch.from_numpy(value[None].copy()) for name, value in inputs.items()})
        return {name: value[0].double().numpy() for name, value in answer.items()}


@dataclass(slots=True)
class _Readings:
    """A track's course, the faces that the next window needs, how many of them await the reading of their action units, and
    how many came since the last window."""

    course: Course
    faces: deque[tuple[float, npt.NDArray[np.uint8]]] = field(default_factory=lambda: deque(maxlen=FRAMES))
    unread: int = 0
    since: int = 0


def _loaded(model: type[ServedModel]) -> ServedModel:
    return model.load(resolve_model(model.spec.default_weights))


def _square(track: Track, time_s: float, pixels: npt.NDArray[np.uint8]) -> CropBox | None:
    """Where a track's face is cut out of the frame at this time; None where it was not sighted, is small, or may be no
    face."""
    place = track.sighting(time_s)
    roll = None if place is None else track.roll_deg(place)
    if place is None or roll is None or track.scores[place] < SURE:
        return None
    x0, y0, x1, y1 = track.box(place).tolist()
    if y1 - y0 < LEAST_PX:
        return None
    height, width = pixels.shape[:2]
    return CropBox((x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0) * MARGIN, roll, width, height)
