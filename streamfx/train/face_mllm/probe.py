"""A linear probe on what a Face-MLLM's tower sees: how much of each fact about a face can be read from it at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from streamfx.terminal import ProgressBar
from streamfx.train.face_qa.facts import HIDDEN, UNITS, UNKNOWN
from streamfx.train.face_qa.table import FACT
from streamfx.train.loop import derived
from streamfx.train.metrics import Interval, over_people

EPOCHS, STEPS, BATCH, RATE, DECAY = 4, 500, 256, 1e-3, 1e-2
"""At least so many epochs and so many steps; pictures a step, peak rate of learning, weight decay."""
LEAST = 50
"""Pictures of each value of a fact that must be there to learn it."""
_STRENGTHS = {"none": "no", "slight": UNKNOWN, "clear": "yes", "strong": "yes"}


@dataclass(frozen=True)
class _Fact:
    """A fact, its values, and the columns of the probe's output that stand for them."""

    name: str
    values: npt.NDArray[np.object_]
    columns: slice


def probe(images: pd.DataFrame, seen: npt.NDArray[np.float16], split: str, seed: int) -> dict[str, Interval]:
    """By fact, the balanced accuracy on the pictures of `split` of one linear layer over all tokens of a picture, trained on
    the pictures of the split `train`, all facts at once; with an interval over people.

    `images` as `images.parquet`, a row for each picture of `seen`. An action unit is there or not; what is hidden or unknown
    is left out, as are facts with a value that fewer than LEAST pictures of training have.
    """
    truth = {name.removeprefix(FACT): _values(images[name]) for name in images.columns if name.startswith(FACT)}
    train, held_out = (np.flatnonzero(images["split"] == one) for one in ("train", split))
    facts = list[_Fact]()
    for name, values in truth.items():
        known, counts = np.unique(values[train][values[train] != UNKNOWN], return_counts=True)
        if len(known) > 1 and counts.min() >= LEAST:
            start = facts[-1].columns.stop if facts else 0
            facts.append(_Fact(name, known, slice(start, start + len(known))))
    if not facts or not len(held_out):
        return {}
    with torch.autocast("cpu", enabled=False):
        said = _scores(seen, train, held_out, facts, truth, seed)
    people = images["person"].to_numpy()[held_out]
    return {one.name: _balanced(one, truth[one.name][held_out], said[:, one.columns], people) for one in facts}


def _values(column: pd.Series) -> npt.NDArray[np.object_]:
    name = str(column.name).removeprefix(FACT)
    values = column.replace({HIDDEN: UNKNOWN, **(_STRENGTHS if name in UNITS else {})})
    return values.to_numpy(object)


def _scores(
    seen: npt.NDArray[np.float16],
    train: npt.NDArray[np.int64],
    held_out: npt.NDArray[np.int64],
    facts: list[_Fact],
    truth: dict[str, npt.NDArray[np.object_]],
    seed: int,
) -> npt.NDArray[np.float32]:
    """float32 [held out, columns]: what the layer says. Values of a fact count alike, however common they are."""
    torch.manual_seed(derived(seed, "probe"))
    layer = nn.Linear(seen.shape[1] * seen.shape[2], facts[-1].columns.stop)
    wanted = {one.name: torch.from_numpy(_numbers(one, truth[one.name])) for one in facts}
    weights = {}
    for one in facts:
        counts = torch.bincount(wanted[one.name][train] + 1, minlength=len(one.values) + 1)[1:]
        weights[one.name] = counts.sum() / (len(one.values) * counts)
    batches = len(train) // BATCH + 1
    epochs = max(EPOCHS, math.ceil(STEPS / batches))
    optimiser = torch.optim.AdamW(layer.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    rng = np.random.default_rng(derived(seed, "probe"))
    with ProgressBar(" steps", epochs * batches, title="probe") as bar:
        for _ in range(epochs):
            for rows in np.array_split(rng.permutation(train), batches):
                rows = np.sort(rows)
                out = layer(_flat(seen, rows))
                loss = sum(
                    F.cross_entropy(out[:, one.columns], wanted[one.name][rows], weights[one.name], ignore_index=-1)
                    for one in facts
                    if bool((wanted[one.name][rows] >= 0).any())
                )
                optimiser.zero_grad()
                loss.backward()  # type: ignore[union-attr]
                optimiser.step()
                schedule.step()
                bar.update()
    with torch.inference_mode():
        parts = [layer(_flat(seen, held_out[at : at + BATCH])) for at in range(0, len(held_out), BATCH)]
    return torch.cat(parts).numpy()


def _flat(seen: npt.NDArray[np.float16], rows: npt.NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(seen[rows], np.float32)).flatten(1)


def _numbers(fact: _Fact, values: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """The number of each value among the fact's; -1 for one that it has not."""
    number = {value: at for at, value in enumerate(fact.values)}
    return np.array([number.get(value, -1) for value in values], np.int64)


def _balanced(
    fact: _Fact, truth: npt.NDArray[np.object_], said: npt.NDArray[np.float32], people: npt.NDArray[np.object_]
) -> Interval:
    numbers, answers = _numbers(fact, truth), said.argmax(axis=1)
    known = np.flatnonzero(numbers >= 0)

    def recall(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        of, right = numbers[known][rows], answers[known][rows] == numbers[known][rows]
        counts = np.bincount(of, minlength=len(fact.values))
        hits = np.bincount(of, weights=right, minlength=len(fact.values))
        return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)

    return over_people(list(people[known]), recall).mean()
