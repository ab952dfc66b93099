"""How well a model names attributes: accuracy and balanced accuracy, with intervals over people and gaps by group."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from streamfx.errors import EvaluationError
from streamfx.media.audio import missing_sound
from streamfx.models.attributes import AttributesModel
from streamfx.models.card import resolve_model
from streamfx.models.celeba import CELEBA
from streamfx.nets.mma_dfer import FRAMES
from streamfx.records import MICROSECONDS, Window
from streamfx.train.attribute_folders import LabelledPictures
from streamfx.train.attribute_pictures import Pictures
from streamfx.train.attribute_settle import chunks
from streamfx.train.labelled import groups_of
from streamfx.train.metrics import Interval, over_people
from streamfx.train.stills import StillCutter, read_picture

BATCH = 8
LEAST = 8
"""People with, and people without an attribute that a group must have to be measured on it. All who are bearded are men:
without this, whoever never says `Goatee` of a woman would be right about women."""
NOT_ENOUGH = "not enough"
Answers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """One window with what is true of it: `labels` int8 [40] in CelebA's order, -1 unknown, and who it shows."""

    window: Window
    labels: npt.NDArray[np.int8]
    person: str
    groups: Mapping[str, str]


def synthetic_windows(pictures: Pictures, side: int) -> Iterator[Labelled]:
    """Each frame of a synthetic set as a window of 16 equal frames, its face cut where the truth has it."""
    shown = pictures.some(~pictures.empty)
    number = 0
    for cut in chunks(shown, shown.faces(), side):
        for frame in (cut * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
            groups = {name: values[number] for name, values in shown.groups.items()}
            groups = groups_of({**groups, "skin_tone": float(groups["skin_tone"])})
            yield Labelled(still_window(frame), shown.labels[number], str(shown.people[number]), groups)
            number += 1


def folder_windows(pictures: LabelledPictures) -> Iterator[Labelled]:
    """Each picture of CelebA or LFWA as a window of 16 equal frames, its face found as the line finds it."""
    with StillCutter() as cutter:
        for file, labels, person in zip(pictures.files, pictures.labels, pictures.people, strict=True):
            yield Labelled(cutter.cut(read_picture(file)).window, labels, person, {})


def still_window(frame: npt.NDArray[np.uint8]) -> Window:
    """A window that shows one picture, uint8 RGB [S, S, 3], all the time."""
    frames = np.broadcast_to(frame, (FRAMES, *frame.shape)).copy()
    return Window(
        "still", 0, 0, 0, 2 * MICROSECONDS, frames, missing_sound(), np.ones(FRAMES, bool), False, 1.0,
        float(frame.shape[0]), 0, (0, 0),
    )  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Over windows: `accuracy` and `balanced` [attributes], NaN where there are none of an answer, and their means with
    95 % intervals over people. `groups` holds `balanced` of each value of each group, NaN where LEAST is not met."""

    labels: tuple[str, ...]
    yes: npt.NDArray[np.int64]
    no: npt.NDArray[np.int64]
    accuracy: Answers
    balanced: Answers
    accuracy_mean: Interval
    balanced_mean: Interval
    groups: dict[str, dict[str, Answers]]
    people: int

    def means(self, group: str) -> dict[str, float]:
        """Mean balanced accuracy by the group's values, over the attributes on which all of them are measured; empty
        where there is no such attribute."""
        scores = self.groups[group]
        common = ~np.isnan(list(scores.values())).any(axis=0)
        return {value: float(one[common].mean()) for value, one in scores.items()} if common.any() else {}

    def gap(self, group: str) -> float | None:
        """The largest less the smallest of `means`; None where there are none."""
        means = self.means(group).values()
        return max(means) - min(means) if means else None


def measure(
    labels: tuple[str, ...],
    answers: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.int8],
    people: Sequence[str],
    groups: Sequence[Mapping[str, str]],
) -> Measured:
    """Measures of `answers` [n, attributes] against `truth` [n, attributes] (1, 0, -1 unknown).

    Attributes of which the set has only one answer are NaN and in no mean. Intervals resample people with replacement,
    since pictures of one person are no independent ones. EvaluationError where nothing is left.
    """  # fmt: skip
    counts = _counts(answers, truth, people)
    # A person with all pictures is one example. A draw of few people may lack an answer of an attribute, and then leaves
    # that attribute out.
    drawn = over_people(range(len(counts)), lambda rows: np.concatenate(_scores(counts[rows].sum(axis=0))))
    accuracy, balanced = drawn.whole.reshape(2, -1)
    if np.isnan(balanced).all():
        raise EvaluationError("expected pictures with and without some attribute that the model knows, got none")
    of_accuracy = np.arange(2 * len(labels)) < len(labels)
    return Measured(
        labels,
        counts[:, :, 1].sum(axis=0),
        counts[:, :, 3].sum(axis=0),
        accuracy,
        balanced,
        drawn.mean(of_accuracy),
        drawn.mean(~of_accuracy),
        _by_group(answers, truth, people, groups),
        len(counts),
    )


def _by_group(
    answers: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.int8],
    people: Sequence[str],
    groups: Sequence[Mapping[str, str]],
) -> dict[str, dict[str, Answers]]:
    """Balanced accuracy [attributes] of each value of each group, NaN where too few people have an answer."""
    found: dict[str, dict[str, Answers]] = {}
    for name in dict.fromkeys(name for one in groups for name in one):
        values = np.array([one.get(name, "") for one in groups])
        for value in sorted(set(values.tolist()) - {""}):
            at = np.flatnonzero(values == value)
            part = _counts(answers[at], truth[at], [people[i] for i in at.tolist()])
            enough = ((part[:, :, 1] > 0).sum(axis=0) >= LEAST) & ((part[:, :, 3] > 0).sum(axis=0) >= LEAST)
            found.setdefault(name, {})[value] = np.where(enough, _scores(part.sum(axis=0))[1], np.nan)
    return found


def _counts(
    answers: npt.NDArray[np.bool_], truth: npt.NDArray[np.int8], people: Sequence[str]
) -> npt.NDArray[np.int64]:
    """int64 [people, attributes, 4]: yes named rightly, yes in all, no named rightly, no in all."""
    names, which = np.unique(np.asarray(people, object).astype(str), return_inverse=True)
    found = np.zeros((len(names), truth.shape[1], 4), np.int64)
    for place, holds in enumerate(((truth == 1) & answers, truth == 1, (truth == 0) & ~answers, truth == 0)):
        np.add.at(found[:, :, place], which, holds.astype(np.int64))
    return found


def _scores(counts: npt.NDArray[Any]) -> tuple[Answers, Answers]:
    """Accuracy and balanced accuracy of counts [..., attributes, 4]; NaN without both answers."""
    right_yes, yes, right_no, no = np.moveaxis(counts.astype(float), -1, 0)
    both = (yes > 0) & (no > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = np.where(both, (right_yes + right_no) / (yes + no), np.nan)
        balanced = np.where(both, (right_yes / yes + right_no / no) / 2, np.nan)
    return accuracy, balanced


@dataclass(frozen=True)
class AttributesEvaluation:
    """A model over a set: how well, how fast (windows a second on one thread's CPU time), and how large."""

    name: str
    version: str
    method: str
    trained: bool
    source: str
    windows: int
    measured: Measured
    windows_per_s: float
    parameters: int
    weights_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON; attributes that the set does not tell of are absent, and what is measured on too few
        people is null."""
        m = self.measured
        rows = {
            name: {
                "yes": int(m.yes[i]),
                "no": int(m.no[i]),
                "accuracy": round(float(m.accuracy[i]), 4),
                "balanced_accuracy": round(float(m.balanced[i]), 4),
                "groups": {
                    group: {value: _rounded(float(scores[i])) for value, scores in by.items()}
                    for group, by in m.groups.items()
                },
            }
            for i, name in enumerate(m.labels)
            if not math.isnan(m.balanced[i])
        }
        return {
            "model": self.name,
            "model_version": self.version,
            "method": self.method,
            "trained": self.trained,
            "set": self.source,
            "windows": self.windows,
            "people": m.people,
            "accuracy": [round(value, 4) for value in m.accuracy_mean.as_json()],
            "balanced_accuracy": [round(value, 4) for value in m.balanced_mean.as_json()],
            "attributes": rows,
            "groups": {name: {value: _rounded(mean) for value, mean in m.means(name).items()} for name in m.groups},
            "gaps": {name: _rounded(m.gap(name)) for name in m.groups},
            "windows_per_s": round(self.windows_per_s, 2),
            "parameters": self.parameters,
            "weights_bytes": self.weights_bytes,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 4)


def evaluate_attributes(model: str, windows: Iterable[Labelled], source: str) -> AttributesEvaluation:
    """Ask a model directory, or a model that comes with streamfx, for each window; `source` names the set.

    Raises ModelError for a model of another architecture, EvaluationError where nothing can be measured.
    """
    directory = resolve_model(model)
    loaded = AttributesModel.load(directory)
    answers, truths, people, groups, seconds = [], [], [], [], 0.0
    for batch in _batches(windows):
        frames = np.stack([AttributesModel.inputs(one.window, loaded.info)["frames"] for one in batch])
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            begun = time.thread_time()
            logits = loaded.run({"frames": torch.from_numpy(frames)})["logits"]
            seconds += time.thread_time() - begun
        finally:
            torch.set_num_threads(threads)
        answers.append(logits.numpy() > 0)
        truths += [one.labels for one in batch]
        people += [one.person for one in batch]
        groups += [one.groups for one in batch]
    if not people:
        raise EvaluationError(f"{source}: expected at least one picture of a face, got none")
    labels = loaded.info.labels
    truth = np.stack(truths)[:, [CELEBA.index(name) for name in labels]]
    return AttributesEvaluation(
        loaded.info.name,
        loaded.info.version,
        str(loaded.info.facts["method"]),
        loaded.info.trained,
        source,
        len(people),
        measure(labels, np.concatenate(answers), truth, people, groups),
        len(people) / max(seconds, 1e-9),
        sum(value.numel() for value in loaded.net.parameters()),
        _bytes(directory, loaded.card.weights),
    )


def _batches(windows: Iterable[Labelled]) -> Iterator[list[Labelled]]:
    batch: list[Labelled] = []
    for window in windows:
        batch.append(window)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _bytes(directory: Path, weights: str | None) -> int:
    return (directory / weights).stat().st_size if weights else 0


def table(evaluations: Sequence[AttributesEvaluation]) -> str:
    """Markdown: a table with a column a model, of means with intervals, speed and size, then each attribute's balanced
    accuracy; and for each model a table of its balanced accuracy by group."""
    head = ["", *(f"{one.name} {one.version}" + ("" if one.trained else " (UNTRAINED)") for one in evaluations)]
    lines = [head, ["---", *["---:"] * len(evaluations)]]

    def row(name: str, values: Iterable[str]) -> None:
        lines.append([name, *values])

    def interval(found: Interval) -> str:
        return f"{100 * found.value:.1f} ({100 * found.low:.1f}-{100 * found.high:.1f})"

    row("mean accuracy, %", (interval(one.measured.accuracy_mean) for one in evaluations))
    row("mean balanced accuracy, %", (interval(one.measured.balanced_mean) for one in evaluations))
    row("windows a second, one thread", (f"{one.windows_per_s:.1f}" for one in evaluations))
    row("parameters", (f"{one.parameters:,}" for one in evaluations))
    row("weights, MB", (f"{one.weights_bytes / 1e6:.2f}" for one in evaluations))
    for name in dict.fromkeys(name for one in evaluations for name in one.measured.groups):
        row(
            f"gap by {name}, points",
            (_percent(one.measured.gap(name)) if name in one.measured.groups else "" for one in evaluations),
        )
    for name in CELEBA:
        values = [_of(one.measured, name) for one in evaluations]
        if any(value is not None for value in values):
            row(name, ("" if value is None else f"{100 * value:.1f}" for value in values))
    return "\n\n".join([_markdown(lines), *(_group_table(one) for one in evaluations if one.measured.groups)])


def _group_table(evaluation: AttributesEvaluation) -> str:
    measured = evaluation.measured
    columns = [(f"{group}: {value}", by) for group, found in measured.groups.items() for value, by in found.items()]
    lines = [["", "all", *(name for name, _ in columns)], ["---", *["---:"] * (1 + len(columns))]]
    for number, name in enumerate(measured.labels):
        if not math.isnan(measured.balanced[number]):
            values = [measured.balanced[number], *(by[number] for _, by in columns)]
            lines.append([name, *(_percent(float(value)) for value in values)])
    return (
        f"Balanced accuracy of {evaluation.name} by group, %; {NOT_ENOUGH}: fewer than {LEAST} people of the group with "
        f"the attribute, or fewer than {LEAST} without it\n\n{_markdown(lines)}"
    )


def _percent(share: float | None) -> str:
    return NOT_ENOUGH if share is None or math.isnan(share) else f"{100 * share:.1f}"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _of(measured: Measured, name: str) -> float | None:
    if name not in measured.labels:
        return None
    value = float(measured.balanced[measured.labels.index(name)])
    return None if math.isnan(value) else value
