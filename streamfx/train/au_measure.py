"""Asks a net for the action units of many frames, and measures its answers on people whom it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from streamfx.models.action_units import NOVEL, NOVELTY
from streamfx.nets.fmae import Fmae
from streamfx.train.au_metrics import HALF, best_single_threshold, f1, icc_3_1
from streamfx.train.au_novelty import clear
from streamfx.train.au_sets import BP4D_UNITS, AuExamples
from streamfx.train.augment import PLAIN, show
from streamfx.train.labelled import groups_of
from streamfx.train.metrics import mean, over_people

_CHUNK = 64

Answers = Mapping[str, npt.NDArray[np.float64]]


@torch.no_grad()
def answers(net: Fmae, examples: AuExamples, device: torch.device) -> dict[str, Any]:
    """What `net` says of every frame, without augmentation: `features` and `middle` float32 [n, dim] (`Fmae.read`),
    `presence` as probabilities, and `intensity` and `novelty` where it tells them."""
    found: dict[str, list[npt.NDArray[Any]]] = {}
    for start in range(0, len(examples), _CHUNK):
        stored = torch.from_numpy(examples.stored(range(start, min(start + _CHUNK, len(examples)))))
        pictures = show(stored, examples.margin, PLAIN, net.config.image_size).to(device)
        said = dict(zip(("features", "middle"), net.read(pictures), strict=True)) | net.answer(pictures)
        said["presence"] = said["presence"].double().sigmoid()
        for name, value in said.items():
            # numpy has no bfloat16, in which a net may answer while it trains.
            plain = value.float() if value.dtype == torch.bfloat16 else value
            found.setdefault(name, []).append(plain.cpu().numpy())
    return {name: np.concatenate(values) for name, values in found.items()}


def report_on(examples: AuExamples, said: Mapping[str, Any], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """The measures of these answers, NaN where one is undefined: over `all` frames, and, where the net tells novelty,
    over those that are `not_novel`, with the share that is `novel` by kind of clip and by pose."""
    report: dict[str, Any] = {"all": _measures(examples, said, thresholds)}
    if NOVELTY not in said:
        return report
    novel = said[NOVELTY] > NOVEL
    others = np.flatnonzero(~novel)
    if len(others) > 1:
        kept = {name: value[others] for name, value in said.items()}
        report["not_novel"] = _measures(examples.only(others), kept, thresholds)
    report["novel"] = {
        column: {str(word): float(novel[rows].mean()) for word, rows in examples.groups.groupby(column).indices.items()}
        for column in ("kind", "pose")
    }
    report["novel"]["auc"] = _auc(said[NOVELTY], ~clear(examples))
    return report


def _measures(examples: AuExamples, said: Mapping[str, Any], thresholds: Mapping[str, float]) -> dict[str, Any]:
    truth, scores, people = examples.present, said["presence"], examples.people

    def mean_f1(named: npt.NDArray[np.bool_], units: tuple[str, ...] = examples.units) -> list[float]:
        which = np.isin(examples.units, units)
        return over_people(people, lambda rows: f1(truth[rows], named[rows])).mean(which).as_json()

    single, at_single = best_single_threshold(truth, scores)
    report: dict[str, Any] = {
        "frames": len(examples),
        "people": len(np.unique(people)),
        "f1_at_half": {"mean": mean_f1(scores >= HALF), "by_unit": _by(examples.units, f1(truth, scores >= HALF))},
        "f1_at_best_single": {
            "threshold": single,
            "mean": mean_f1(scores >= single),
            "by_unit": _by(examples.units, at_single),
        },
    }
    if set(BP4D_UNITS) < set(examples.units):
        report["f1_at_half"]["mean_of_bp4d_units"] = mean_f1(scores >= HALF, BP4D_UNITS)
    if thresholds:
        # A unit without a threshold never counts as present.
        edges = np.array([thresholds.get(unit, np.inf) for unit in examples.units])
        report["f1_at_calibrated"] = {
            "mean": mean_f1(scores >= edges),
            "by_unit": _by(examples.units, f1(truth, scores >= edges)),
        }
        if set(BP4D_UNITS) < set(examples.units):
            report["f1_at_calibrated"]["mean_of_bp4d_units"] = mean_f1(scores >= edges, BP4D_UNITS)
    if "intensity" in said and examples.intensity is not None:
        coded, told = examples.intensity.astype(np.float64), said["intensity"].astype(np.float64)
        interval = over_people(people, lambda rows: icc_3_1(coded[rows], told[rows])).mean()
        report["icc_3_1"] = {"mean": interval.as_json(), "by_unit": _by(examples.units, icc_3_1(coded, told))}
    report["groups"] = _by_group(examples, said)
    return report


def _by_group(examples: AuExamples, said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Group -> word -> frames, people, mean F1 at one half, and mean ICC(3,1) where there are intensities."""
    found: dict[str, dict[str, Any]] = {}
    words = pd.DataFrame([groups_of(row) for row in examples.groups.to_dict("records")])
    for group in words.columns:
        for word, rows in words.groupby(group).indices.items():
            measured = {
                "frames": len(rows),
                "people": len(np.unique(examples.people[rows])),
                "f1_at_half": mean(f1(examples.present[rows], said["presence"][rows] >= HALF)),
            }
            if "intensity" in said and examples.intensity is not None and len(rows) > 1:
                coded = examples.intensity[rows].astype(np.float64)
                measured["icc_3_1"] = mean(icc_3_1(coded, said["intensity"][rows].astype(np.float64)))
            found.setdefault(str(group), {})[str(word)] = measured
    return found


def _by(units: tuple[str, ...], values: npt.NDArray[np.float64]) -> dict[str, float]:
    return {unit: float(value) for unit, value in zip(units, values.tolist(), strict=True)}


def _auc(score: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """How often a positive has the higher score than a negative; NaN without both."""
    if positive.all() or not positive.any():
        return float("nan")
    order = score.argsort().argsort() + 1
    hits, misses = int(positive.sum()), int((~positive).sum())
    return float((order[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))
