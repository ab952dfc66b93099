"""Measures a model for action units that is there already on a drawn set, and says it as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from streamfx.errors import EvaluationError
from streamfx.models.action_units import INTENSITIES, ActionUnitsModel
from streamfx.models.card import resolve_model
from streamfx.synth.actions import AUS
from streamfx.train.au_measure import answers, report_on
from streamfx.train.au_sets import drawn_frames

_PARTS = {"all": "all", "not_novel": "not novel"}
_MEASURES = {
    "f1_at_calibrated": "F1, own",
    "f1_at_half": "F1, 0.5",
    "f1_at_best_single": "F1, best",
    "icc_3_1": "ICC",
}
_MEANS = {"mean": "all units", "mean_without_rare": "without rare", "mean_of_bp4d_units": "BP4D's"}
_WIDTH = 10


def evaluate_action_units(model: str | Path, set_dir: Path, cache: Path) -> dict[str, Any]:
    """The model's name and version, and what `report_on` says of it, over the synthetic set in `set_dir`.

    `model` is a directory or the name of one that comes with streamfx; faces are cut once and kept in `cache`. Raises
    EvaluationError for a model of units that drawings do not have, and SynthError for a folder without a set.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = ActionUnitsModel.load(resolve_model(model), str(device))
    info = loaded.info
    undrawn = sorted({*info.labels, *info.facts.get(INTENSITIES, ())} - set(AUS))
    if undrawn:
        raise EvaluationError(
            f"{model}: expected units that drawings have ({', '.join(AUS)}), got {', '.join(undrawn)}; "
            "such a model cannot be measured on a drawn set"
        )
    assert info.image_size is not None
    examples = drawn_frames([set_dir], cache, info.image_size, 1, info.labels)
    about = {"model": info.name, "model_version": info.version, "trained": info.trained, "set": str(set_dir)}
    return about | report_on(examples, answers(loaded.net, examples, device), info.facts)


def table(report: Mapping[str, Any]) -> str:
    """What `evaluate_action_units` found, for people: a line a unit, a column a measure, and the means below."""
    parts = [part for part in _PARTS if part in report]
    columns = [(part, name) for part in parts for name in _MEASURES if name in report[part]]
    lines = [f"{report['model']} {report['model_version']} on {report['set']}"]
    if not report["trained"]:
        lines[0] += " (UNTRAINED)"
    for part in parts:
        found = report[part]
        best = f"the best single threshold is {found['f1_at_best_single']['threshold']:.2f}"
        lines.append(f"{_PARTS[part]}: {found['frames']} frames of {found['people']} people; {best}")
    if "windows" in report:
        lines.append(
            f"null in the line: {100 * report['windows']['null']:.1f} % of {report['windows']['windows']} windows"
        )
    if any("f1_at_calibrated" in report[part] for part in parts):
        lines.append("F1, own: of windows as in the line, at the card's thresholds; all else is of frames")
    head = "".join(f"{_PARTS[part]:>{_WIDTH}}" for part, _ in columns)
    lines += ["", f"{'':8}{'present':>{_WIDTH}}{head}"]
    lines += [f"{'':{8 + _WIDTH}}" + "".join(f"{_MEASURES[name]:>{_WIDTH}}" for _, name in columns)]
    for unit, share in report["shares"].items():
        values = [report[part][name]["by_unit"].get(unit, float("nan")) for part, name in columns]
        lines.append(f"{unit:8}{100 * share:{_WIDTH - 2}.1f} %" + "".join(map(_cell, values)))
    for name, said in _MEANS.items():
        lines += ["", f"mean, {said}" + (f" ({', '.join(report['rare']) or 'none is'})" if "rare" in name else "")]
        lines += [
            f"  {_PARTS[part]:10}{_MEASURES[measure]:10}{_interval(report[part][measure][name])}"
            for part, measure in columns
            if name in report[part][measure]
        ]
    return "\n".join(lines)


def _cell(value: float) -> str:
    return f"{'' if value != value else format(value, '.3f'):>{_WIDTH}}"


def _interval(values: list[float]) -> str:
    return "{:.3f}  (95 % over people: {:.3f} to {:.3f})".format(*values)
