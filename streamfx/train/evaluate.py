"""Measures a model's accuracy: over labelled windows by group and by condition, and over a folder of stills."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from streamfx.errors import EvaluationError
from streamfx.media.audio import missing_sound
from streamfx.models.contract import ModelInfo
from streamfx.records import Window
from streamfx.train.metrics import (
    Counts,
    Floats,
    Interval,
    Reliability,
    confusion_matrix,
    over_people,
    recalls,
    reliability,
    uar,
    war,
)
from streamfx.train.scorer import Scorer
from streamfx.train.stills import StillCutter, read_picture, read_still_folder

SMALL_PX = 32
"""Side to which faces are shrunk under the condition `faces_small`."""
JPEG_QUALITY = 15
"""JPEG quality of the frames under the condition `compressed`."""
AS_IS = "as_is"
DIGITS = 4
"""Decimal places of numbers in JSON."""

ORDERED = (
    *("child", "young", "middle", "old"),
    *("light", "medium", "dark"),
    *("bright", "normal", "dim", "side"),
    *("frontal", "half", "profile", "turned", "several", "occluded"),
    *("clear", "noisy", "silent"),
)
"""Values of groups in display order."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Sample:
    """A window with its true label. `groups` are those it belongs to, such as {"sex": "female", "pose": "half"};
    `person` says who is seen, where that is known."""

    window: Window
    label: str
    groups: Mapping[str, str] = field(default_factory=dict)
    person: str | None = None


def _without_sound(window: Window) -> Window:
    return replace(window, fbank=missing_sound(), audio_present=False)


def _without_face(window: Window) -> Window:
    return replace(window, frames=np.zeros_like(window.frames))


def with_frames(window: Window, change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]) -> Window:
    """The window with each of its frames changed."""
    return replace(window, frames=np.stack([change(frame) for frame in window.frames]))


def _small(window: Window) -> Window:
    """The window as if the face had measured SMALL_PX in the camera's picture."""

    def blurred(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        picture, bilinear = Image.fromarray(frame), Image.Resampling.BILINEAR
        return np.asarray(picture.resize((SMALL_PX, SMALL_PX), bilinear).resize(picture.size, bilinear))

    return with_frames(window, blurred)


def _compressed(window: Window) -> Window:
    def again(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY)
        return np.asarray(Image.open(buffer))

    return with_frames(window, again)


CONDITIONS: Mapping[str, tuple[str, Callable[[Window], Window]]] = {
    AS_IS: ("As they are", lambda window: window),
    "video_only": ("Sound taken away", _without_sound),
    "sound_only": ("Face black", _without_face),
    "faces_small": (f"Face shrunk to {SMALL_PX} px and back", _small),
    "compressed": (f"Frames as JPEG of quality {JPEG_QUALITY}", _compressed),
}
"""Maps each condition's name to its description and to a function that applies it to a window."""


@dataclass(frozen=True)
class Measures:
    """Measures over examples. `confusion` int64 [labels, labels]: rows are true. Undefined measures are NaN.

    `uar_interval` is the UAR with its interval over people; None where it is not known who is seen, and for few people.
    """

    labels: tuple[str, ...]
    confusion: Counts
    curve: Reliability
    uar_interval: Interval | None = None

    @classmethod
    def of(
        cls,
        labels: tuple[str, ...],
        truth: npt.NDArray[np.int64],
        probabilities: Floats,
        people: npt.NDArray[np.str_] | None = None,
    ) -> Measures:
        """Measures from true label numbers [n], probabilities [n, labels], and who is seen [n]."""
        named = probabilities.argmax(axis=1)

        def confusion(rows: npt.NDArray[np.int64]) -> Counts:
            return confusion_matrix(truth[rows], named[rows], len(labels))

        found = None if people is None else over_people(people, lambda rows: recalls(confusion(rows))).mean()
        interval = None if found is None or math.isnan(found.low) else found
        return cls(labels, confusion(np.arange(len(truth))), reliability(probabilities, truth), interval)

    @property
    def n(self) -> int:
        """Number of examples."""
        return int(self.confusion.sum())

    @property
    def war(self) -> float:
        """Weighted average recall, which is accuracy."""
        return war(self.confusion)

    @property
    def uar(self) -> float:
        """Unweighted average recall: the mean recall of the classes that have examples."""
        return uar(self.confusion)

    @property
    def recall(self) -> dict[str, float]:
        """Recall by label, for the classes that have examples."""
        pairs = zip(self.labels, recalls(self.confusion), strict=True)
        return {label: float(value) for label, value in pairs if not math.isnan(value)}

    def brief(self) -> dict[str, Any]:
        """n, war, uar, its 95 % interval over people, and ece: the summary of a group or a condition."""
        interval = self.uar_interval
        return {
            "n": self.n,
            "war": _number(self.war),
            "uar": _number(self.uar),
            "uar_interval": None if interval is None else [_number(interval.low), _number(interval.high)],
            "ece": _number(self.curve.ece),
        }

    def full(self) -> dict[str, Any]:
        """`brief`, and recall by class, the confusion matrix with its labels, and the reliability curve."""
        curve = {
            "counts": self.curve.counts.tolist(),
            "confidence": [_number(value) for value in self.curve.confidence],
            "accuracy": [_number(value) for value in self.curve.accuracy],
        }
        return {
            **self.brief(),
            "recall": {label: _number(value) for label, value in self.recall.items()},
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
            "reliability": curve,
        }


@dataclass(frozen=True)
class Evaluation:
    """Measures of a model over a set: over the whole, by group (attribute -> value -> measures), and by condition.

    `skipped` maps each label that the model does not know to the number of its examples, which were left out.
    """

    model: ModelInfo
    source: str
    whole: Measures
    groups: dict[str, dict[str, Measures]]
    conditions: dict[str, Measures]
    skipped: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON; an undefined measure is None."""
        groups = {name: {value: m.brief() for value, m in by.items()} for name, by in self.groups.items()}
        return {
            "model": self.model.name,
            "model_version": self.model.version,
            "set": self.source,
            **self.whole.full(),
            "groups": groups,
            "conditions": {name: measures.brief() for name, measures in self.conditions.items()},
            "skipped": self.skipped,
        }


def evaluate(scorer: Scorer, samples: Iterable[Sample], source: str, progress: Progress = iter) -> Evaluation:
    """Score each sample under each condition, in one pass over `samples`; `source` names the set in the report.

    Raises EvaluationError where no sample has a label that the model knows.
    """
    labels = scorer.info.labels
    known: list[tuple[str, Mapping[str, str], str | None]] = []
    skipped: Counter[str] = Counter()

    def windows() -> Iterator[Window]:
        for sample in progress(samples):
            if sample.label not in labels:
                skipped[sample.label] += 1
                continue
            known.append((sample.label, sample.groups, sample.person))
            for _, change in CONDITIONS.values():
                yield change(sample.window)

    probabilities = scorer.probabilities(windows())
    if not known:
        raise EvaluationError(
            f"{source}: expected examples of at least one of {', '.join(labels)}, found none "
            f"({', '.join(f'{count} of {label}' for label, count in skipped.items()) or 'it is empty'})"
        )
    scores = probabilities.reshape(len(known), len(CONDITIONS), len(labels))
    truth = np.array([labels.index(label) for label, _, _ in known])
    people = None if any(person is None for _, _, person in known) else np.array([person for _, _, person in known])
    conditions = {name: Measures.of(labels, truth, scores[:, i], people) for i, name in enumerate(CONDITIONS)}
    as_is = scores[:, list(CONDITIONS).index(AS_IS)]
    groups = _by_group(labels, truth, as_is, people, [groups for _, groups, _ in known])
    return Evaluation(scorer.info, source, conditions[AS_IS], groups, conditions, dict(skipped))


def _order(value: str) -> tuple[int, str]:
    """Sort key: words in ORDERED come in that order, others alphabetically."""
    return (ORDERED.index(value) if value in ORDERED else -1), value


def _by_group(
    labels: tuple[str, ...],
    truth: npt.NDArray[np.int64],
    scores: Floats,
    people: npt.NDArray[np.str_] | None,
    groups: Sequence[Mapping[str, str]],
) -> dict[str, dict[str, Measures]]:
    names = dict.fromkeys(name for one in groups for name in one)
    found: dict[str, dict[str, Measures]] = {}
    for name in names:
        values = np.array([one.get(name, "") for one in groups])
        found[name] = {}
        for value in sorted(set(values.tolist()) - {""}, key=_order):
            chosen = values == value
            who = None if people is None else people[chosen]
            found[name][value] = Measures.of(labels, truth[chosen], scores[chosen], who)
    return found


@dataclass(frozen=True)
class StillsEvaluation:
    """Measures of a model over a folder of stills.

    `restricted` are the measures with the answer chosen only among the classes in the folder. `faces_found` counts the
    pictures in which a face was detected, `used_whole` those that were not cut. `unreadable` are files that cannot be
    read as pictures. `skipped` maps each folder of a class that the model does not know to the number of its pictures.
    """

    model: ModelInfo
    folder: str
    measures: Measures
    restricted: Measures
    faces_found: int
    used_whole: int
    unreadable: tuple[str, ...]
    skipped: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON; `uar_present` and `war_present` are those of `restricted`."""
        full = self.measures.full()
        of_class = self.measures.confusion.sum(axis=1)
        classes = {label: int(n) for label, n in zip(self.measures.labels, of_class, strict=True) if n}
        return {
            "war": full["war"],
            "uar": full["uar"],
            "recall": full["recall"],
            "war_present": _number(self.restricted.war),
            "uar_present": _number(self.restricted.uar),
            "n": full["n"],
            "classes": classes,
            "faces_found": self.faces_found,
            "used_whole": self.used_whole,
            "unreadable": list(self.unreadable),
            "skipped": self.skipped,
            "ece": full["ece"],
            "labels": full["labels"],
            "confusion": full["confusion"],
            "model": self.model.name,
            "model_version": self.model.version,
            "stills": self.folder,
        }


def evaluate_stills(scorer: Scorer, folder: Path, progress: Progress = iter) -> StillsEvaluation:
    """Score every picture of `folder/class/`, each as a window of 16 equal frames without sound.

    Raises EvaluationError for a folder with another layout, and where no picture can be read.
    """
    labels = scorer.info.labels
    stills = read_still_folder(folder, labels)
    seen: list[str] = []
    unreadable: list[str] = []
    found, whole = 0, 0

    def windows() -> Iterator[Window]:
        nonlocal found, whole
        for file, label in progress(stills.pictures):
            try:
                picture = read_picture(file)
            except EvaluationError:
                unreadable.append(str(file.relative_to(folder)))
                continue
            cut = cutter.cut(picture)
            seen.append(label)
            found, whole = found + cut.face_found, whole + cut.whole
            yield cut.window

    with StillCutter() as cutter:
        probabilities = scorer.probabilities(windows())
    if not seen:
        raise EvaluationError(
            f"{folder}: expected at least one readable picture, got {len(unreadable)} files that are not; add some"
        )
    truth = np.array([labels.index(label) for label in seen])
    present = np.isin(np.arange(len(labels)), truth)
    among = np.where(present, probabilities, 0.0)
    among /= np.maximum(among.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return StillsEvaluation(
        scorer.info,
        str(folder),
        Measures.of(labels, truth, probabilities),
        Measures.of(labels, truth, among),
        found,
        whole,
        tuple(unreadable),
        stills.skipped,
    )


def _number(value: float) -> float | None:
    """A number for JSON: rounded, or None for NaN."""
    return None if math.isnan(value) else round(float(value), DIGITS)
