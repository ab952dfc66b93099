"""Measures one question: how much better than guessing the probes are, and which columns that comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.audit.draws import Shares, intervals, lift_of_windows
from streamfx.audit.features import features_of, group_of
from streamfx.audit.probe import KINDS, Floats, Numbers, train
from streamfx.audit.questions import Question
from streamfx.train.metrics import LEAST_PEOPLE, Interval

LEAST_LEARNT, LEAST_HELD_OUT = 10, 5
"""Windows of a class on either side of its cut; with fewer it is left out."""
LEAST_TRACKS = LEAST_PEOPLE
"""Held-out tracks; with fewer there is no interval, and so no answer."""
SHUFFLES = 3
ALL = "all columns"


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """Why a question has no answer."""

    why: str

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"measured": False, "why": self.why}


@dataclass(frozen=True, slots=True)
class Measured:
    """The answer to a question, over held-out windows. `accuracy` and `lift` are of the probes that see all columns, by
    kind of probe; `draws.py` says over which chance.

    `most_frequent`: the accuracy of always naming the most frequent class of a group. `groups`: group of columns -> the
    lift of probes that see nothing else. `group_lost` and `column_lost`: how much accuracy the better probe of all
    columns loses if the values of these are shuffled among the windows of a group.
    """

    classes: int
    of_classes: int
    learnt: int
    held_out: int
    tracks: int
    accuracy: dict[str, float]
    most_frequent: float
    lift: dict[str, Interval]
    groups: dict[str, dict[str, Interval]]
    group_lost: dict[str, Interval]
    column_lost: dict[str, Interval]

    def carriers(self) -> list[str]:
        """The columns that the recognition comes from, the most telling first: those by whose shuffling something is lost
        for sure. None where nothing is recognised for sure."""
        lost = self.column_lost if any(lift.low > 0 for lift in self.lift.values()) else {}
        return sorted((name for name in lost if lost[name].low > 0), key=lambda name: -lost[name].value)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; an interval is `[value, low, high]`."""
        return {
            "measured": True,
            **{name: getattr(self, name) for name in ("classes", "of_classes", "learnt", "held_out", "tracks")},
            "accuracy": self.accuracy,
            "most_frequent": self.most_frequent,
            "lift": _as_json(self.lift),
            "groups": {
                name: {"lift": _as_json(lift), "lost_if_shuffled": self.group_lost[name].as_json()}
                for name, lift in self.groups.items()
            },
            "columns": {name: {"lost_if_shuffled": lost.as_json()} for name, lost in self.column_lost.items()},
        }


def _as_json(lift: dict[str, Interval]) -> dict[str, list[float]]:
    return {kind: interval.as_json() for kind, interval in lift.items()}


def measure(question: Question, sample: pd.DataFrame, columns: Sequence[str]) -> Measured | Unmeasured:
    """Train the probes on what is learnt of `sample`, and ask them of what is held out; `columns` are those that they
    may see."""
    parted = _parted(sample)
    if isinstance(parted, Unmeasured):
        return parted
    rows, learnt = parted
    features = features_of(rows, columns, learnt, question.by_the_clock)
    label, group = rows["label"].to_numpy(np.int64), rows["group"].to_numpy(np.int64)
    held_out, tracks = ~learnt, pd.factorize(rows["track"][~learnt])[0]
    groups: dict[str, list[str]] = {ALL: list(columns)}
    for column in columns:
        groups.setdefault(group_of(column), []).append(column)
    sees = np.stack([np.isin(features.columns, those) for those in groups.values()])
    probes = {
        kind: train(features.values[learnt], sees, label[learnt], group[learnt], hidden)
        for kind, hidden in KINDS.items()
    }
    x, label, group = features.values[held_out], label[held_out], group[held_out]
    named = {kind: trained.name(x, group) for kind, trained in probes.items()}
    found: dict[str, dict[str, Interval]] = {}
    for kind, answers in named.items():
        of_windows = [lift_of_windows(each, label, group, tracks) for each in answers]
        found[kind] = intervals(dict(zip(groups, of_windows, strict=True)), tracks)
    best = max(found, key=lambda kind: found[kind][ALL].value)

    def lost(those: Sequence[str]) -> Shares:
        shuffled = _shuffled(x, group, features.of(those))
        right: Shares = np.mean([probes[best].name(other, group)[0] == label for other in shuffled], axis=0)
        less: Shares = (named[best][0] == label).astype(np.float64) - right
        return less

    return Measured(
        classes=len(np.unique(label)),
        of_classes=question.there,
        learnt=int(learnt.sum()),
        held_out=len(x),
        tracks=int(tracks.max()) + 1,
        accuracy={kind: float((each[0] == label).mean()) for kind, each in named.items()},
        most_frequent=_most_frequent(label, group),
        lift={kind: each[ALL] for kind, each in found.items()},
        groups={name: {kind: each[name] for kind, each in found.items()} for name in groups if name != ALL},
        group_lost=intervals({name: lost(those) for name, those in groups.items() if name != ALL}, tracks),
        column_lost=intervals({column: lost([column]) for column in columns}, tracks),
    )


def _parted(sample: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]] | Unmeasured:
    """The windows of the classes that have enough on both sides of their cut, and which of them are learnt from; classes
    and groups are counted from 0. A window that reaches over its cut is on neither side."""
    none = Unmeasured("not enough data: no two classes to tell apart have enough windows")
    if sample.empty:
        return none
    learnt, held_out = sample["end_us"] <= sample["cut_us"], sample["start_us"] >= sample["cut_us"]
    enough = learnt.groupby(sample["label"]).transform("sum") >= LEAST_LEARNT
    enough &= held_out.groupby(sample["label"]).transform("sum") >= LEAST_HELD_OUT
    rows = sample[enough & (learnt | held_out)]
    rows = rows[rows.groupby("group")["label"].transform("nunique") > 1]
    if rows.empty:
        return none
    learns = learnt[rows.index].to_numpy(bool)
    tracks = rows["track"][~learns].nunique()
    if tracks < LEAST_TRACKS:
        return Unmeasured(f"not enough data: {tracks} tracks are held out, and an interval needs {LEAST_TRACKS}")
    numbers = {name: pd.factorize(rows[name])[0] for name in ("label", "group")}
    return rows.assign(**numbers).reset_index(drop=True), learns


def _shuffled(x: Floats, group: Numbers, at: Numbers) -> Iterator[Floats]:
    """The windows with the features `at` of another window of the same group, some times over."""
    in_order, random = np.argsort(group, kind="stable"), np.random.default_rng(0)
    for _ in range(SHUFFLES):
        other = x.copy()
        other[in_order[:, None], at] = x[np.lexsort((random.random(len(x)), group))[:, None], at]
        yield other


def _most_frequent(label: Numbers, group: Numbers) -> float:
    """The share of windows that are of the most frequent class of their group."""
    counts = np.zeros((group.max() + 1, label.max() + 1), np.int64)
    np.add.at(counts, (group, label), 1)
    return float(counts.max(axis=1).sum() / len(label))
