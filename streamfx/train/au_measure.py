"""Asks a net for the action units of many frames, and measures its answers on people whom it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from streamfx.models.action_units import (
    ENOUGH,
    INTENSITIES,
    INTENSITY,
    NOVEL,
    NOVELTY,
    PRESENCE,
    THRESHOLDS,
    frames_read,
    smoothed,
)
from streamfx.nets.fmae import Fmae
from streamfx.nets.mma_dfer import FRAMES
from streamfx.synth.actions import AUS
from streamfx.train.au_metrics import HALF, best_single_threshold, f1, icc_3_1
from streamfx.train.au_novelty import clear
from streamfx.train.au_sets import BP4D_UNITS, FRAMES_KEPT, PRESENT, AuExamples
from streamfx.train.augment import PLAIN, show
from streamfx.train.labelled import groups_of
from streamfx.train.metrics import Resampled, mean, over_people

_CHUNK = 64
RARE = 0.01
"""Share of the frames below which a unit is rare: its F1 hangs on a few people."""

Answers = Mapping[str, npt.NDArray[np.float64]]


@torch.no_grad()
def answers(net: Fmae, examples: AuExamples, device: torch.device) -> dict[str, Any]:
    """What `net` says of every frame, without augmentation: `features` and `middle` float32 [n, dim] (`Fmae.read`),
    `presence` as probabilities, and `intensity` and `novelty` where it tells them."""
    found: dict[str, list[npt.NDArray[Any]]] = {}
    for start in range(0, len(examples), _CHUNK):
        stored = torch.from_numpy(examples.stored(range(start, min(start + _CHUNK, len(examples)))))
        pictures = show(stored, examples.margin, PLAIN, net.config.image_size).to(device)
        seen, middle = net.read(pictures)
        said = {"features": seen, "middle": middle, **net.say(seen, middle)}
        said["presence"] = said["presence"].double().sigmoid()
        for name, value in said.items():
            # numpy has no bfloat16, in which a net may answer while it trains.
            plain = value.float() if value.dtype == torch.bfloat16 else value
            found.setdefault(name, []).append(plain.cpu().numpy())
    return {name: np.concatenate(values) for name, values in found.items()}


@dataclass(frozen=True)
class Windows:
    """What the line makes of drawn clips. `kept` bool [clips]: those whose units are not null, and of these `present`
    bool [n, units], the truth, `presence` float64 [n, units], which the line compares with thresholds, and `people`."""

    kept: npt.NDArray[np.bool_]
    present: npt.NDArray[np.bool_]
    presence: npt.NDArray[np.float64]
    people: npt.NDArray[np.str_]

    def nulls(self, examples: AuExamples) -> dict[str, Any]:
        """The number of windows, the share whose units are null, and that share by kind of clip."""
        kinds = examples.groups.iloc[:: len(FRAMES_KEPT)].groupby("kind").indices
        by_kind = {str(kind): float((~self.kept[at]).mean()) for kind, at in kinds.items()}
        return {"windows": len(self.kept), "null": float((~self.kept).mean()), "null_by_kind": by_kind}


def windows_of(examples: AuExamples, said: Mapping[str, Any]) -> Windows:
    """The windows of whole drawn clips, by what `answers` said of their frames; novel frames are not read where it said
    how novel they are.

    Each frame stands for the segments around it; in clips of 2 frames a second it is what all of these show. The truth is
    smoothed alike: a unit is present where the mean of its intensities counts as present.
    """
    assert examples.intensity is not None
    segments = {name: _segments(said[name]) for name in (PRESENCE, NOVELTY) if name in said}
    read = frames_read(segments, np.ones(segments[PRESENCE].shape[:2], bool))
    kept = read.sum(axis=1) >= ENOUGH
    intensity = smoothed(_segments(examples.intensity)[kept], read[kept])
    present = intensity[:, [AUS.index(unit) for unit in examples.units]] >= PRESENT
    people = examples.people[:: len(FRAMES_KEPT)][kept]
    return Windows(kept, present, smoothed(segments[PRESENCE][kept], read[kept]), people)


def _segments(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[clips, 16, ...] of values of frames [n, ...]."""
    clips = values.reshape(-1, len(FRAMES_KEPT), *values.shape[1:])
    return clips.repeat(FRAMES // len(FRAMES_KEPT), axis=1)


def report_on(examples: AuExamples, said: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The measures of these answers, NaN where one is undefined: over `all` frames, and, where the net tells novelty,
    over those that are `not_novel`, with the share that is `novel` by kind of clip and by pose. `facts` are the card's.
    `shares` says in what share of the frames each unit is present, and which are `rare`.

    F1 at the card's thresholds is of the line's windows, of drawings alone; all else is of single frames.
    """
    windows = None if examples.intensity is None else windows_of(examples, {PRESENCE: said[PRESENCE]})
    shares = _shares(examples, facts)
    rare = tuple(unit for unit, share in shares.items() if share < RARE)
    report: dict[str, Any] = {"shares": shares, "rare": rare, "all": _measures(examples, windows, said, facts, rare)}
    if NOVELTY not in said:
        return report
    novel = said[NOVELTY] > NOVEL
    others = np.flatnonzero(~novel)
    windows = None if examples.intensity is None else windows_of(examples, said)
    if windows is not None:
        report["windows"] = windows.nulls(examples)
    if len(others) > 1:
        kept = {name: value[others] for name, value in said.items()}
        report["not_novel"] = _measures(examples.only(others), windows, kept, facts, rare)
    report["novel"] = {
        column: {str(word): float(novel[rows].mean()) for word, rows in examples.groups.groupby(column).indices.items()}
        for column in ("kind", "pose")
    }
    report["novel"]["auc"] = _auc(said[NOVELTY], ~clear(examples))
    return report


def _shares(examples: AuExamples, facts: Mapping[str, Any]) -> dict[str, float]:
    """The share of the frames in which each unit that the model tells of is present."""
    found = dict(zip(examples.units, examples.present.mean(axis=0).tolist(), strict=True))
    if examples.intensity is not None and INTENSITIES in facts:
        shown = (_intensities(examples, facts) >= PRESENT).mean(axis=0).tolist()
        found |= dict(zip(facts[INTENSITIES], shown, strict=True))
    return found


def _measures(
    examples: AuExamples,
    windows: Windows | None,
    said: Mapping[str, Any],
    facts: Mapping[str, Any],
    rare: tuple[str, ...],
) -> dict[str, Any]:
    truth, scores, people, units = examples.present, said[PRESENCE], examples.people, examples.units

    def of_frames(named: npt.NDArray[np.bool_]) -> dict[str, Any]:
        return _summary(units, over_people(people, lambda rows: f1(truth[rows], named[rows])), rare)

    single, _ = best_single_threshold(truth, scores)
    report: dict[str, Any] = {
        "frames": len(examples),
        "people": len(np.unique(people)),
        "f1_at_half": of_frames(scores >= HALF),
        "f1_at_best_single": {"threshold": single, **of_frames(scores >= single)},
    }
    thresholds = facts.get(THRESHOLDS, {})
    if thresholds and windows is not None and len(windows.people):
        # A unit without a threshold never counts as present.
        shown, named = windows.present, windows.presence >= [thresholds.get(unit, np.inf) for unit in units]
        found = over_people(windows.people, lambda rows: f1(shown[rows], named[rows]))
        report["f1_at_calibrated"] = {"windows": len(windows.people), **_summary(units, found, rare)}
    if INTENSITY in said and examples.intensity is not None:
        coded, told = _intensities(examples, facts), said[INTENSITY].astype(np.float64)
        found = over_people(people, lambda rows: icc_3_1(coded[rows], told[rows]))
        report["icc_3_1"] = _summary(tuple(facts[INTENSITIES]), found, rare)
    report["groups"] = _by_group(examples, said, facts)
    return report


def _intensities(examples: AuExamples, facts: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """float64 [n, intensities]: the truth of those that the model tells, in its order."""
    assert examples.intensity is not None
    return examples.intensity[:, [AUS.index(unit) for unit in facts[INTENSITIES]]].astype(np.float64)


def _summary(units: tuple[str, ...], found: Resampled, rare: tuple[str, ...]) -> dict[str, Any]:
    """The mean over all units, over all but the `rare`, and over BP4D's where there are others, with intervals; and the
    value of each unit."""
    common = np.array([unit not in rare for unit in units])
    summary: dict[str, Any] = {"mean": found.mean().as_json(), "mean_without_rare": found.mean(common).as_json()}
    if set(BP4D_UNITS) < set(units):
        summary["mean_of_bp4d_units"] = found.mean(np.isin(units, BP4D_UNITS)).as_json()
    return summary | {"by_unit": dict(zip(units, found.whole.tolist(), strict=True))}


def _by_group(examples: AuExamples, said: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Group -> word -> frames, people, mean F1 at one half, and mean ICC(3,1) where there are intensities."""
    found: dict[str, dict[str, Any]] = {}
    words = pd.DataFrame([groups_of(row) for row in examples.groups.to_dict("records")])
    for group in words.columns:
        for word, rows in words.groupby(group).indices.items():
            measured = {
                "frames": len(rows),
                "people": len(np.unique(examples.people[rows])),
                "f1_at_half": mean(f1(examples.present[rows], said[PRESENCE][rows] >= HALF)),
            }
            if INTENSITY in said and examples.intensity is not None and len(rows) > 1:
                coded = _intensities(examples, facts)[rows]
                measured["icc_3_1"] = mean(icc_3_1(coded, said[INTENSITY][rows].astype(np.float64)))
            found.setdefault(str(group), {})[str(word)] = measured
    return found


def _auc(score: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """How often a positive has the higher score than a negative; NaN without both."""
    if positive.all() or not positive.any():
        return float("nan")
    order = score.argsort().argsort() + 1
    hits, misses = int(positive.sum()), int((~positive).sum())
    return float((order[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))
