"""What `streamfx evaluate` does with a model for expressions: over a labelled set, or over a folder of stills."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamfx.terminal import ProgressBar

if TYPE_CHECKING:
    from streamfx.models.contract import ModelInfo
    from streamfx.train.evaluate import Evaluation, Measures, Sample, StillsEvaluation
    from streamfx.train.scorer import Scorer


def evaluate_expressions(
    model: str | None, source: str, folder: Path, fold: Path | None, cache: Path, out: Path | None, as_json: bool
) -> None:
    """Measure a model, None: the pipeline's, over `folder`, in which `source` (set, dfew, mafw or stills) lies."""
    from streamfx.train.scorer import Scorer

    with Scorer(model) as scorer:
        if source == "stills":
            _stills(scorer, folder, as_json)
        else:
            samples = _samples(source, folder, fold, cache, scorer.info)
            _labelled_set(scorer, samples, str(folder), out, as_json)


def _stills(scorer: Scorer, folder: Path, as_json: bool) -> None:
    from streamfx.train.evaluate import evaluate_stills
    from streamfx.train.results import json_text

    result = evaluate_stills(scorer, folder, _progress)
    for name in result.unreadable:
        click.echo(f"not a readable picture: {name}", err=True)
    for name, count in result.skipped.items():
        click.echo(f"left out, since the model does not know it: {name} ({count} pictures)", err=True)
    click.echo(json_text(result.as_json()) if as_json else _stills_table(result))


def _samples(source: str, folder: Path, fold: Path | None, cache: Path, info: ModelInfo) -> Sequence[Sample]:
    from streamfx.train.labelled import dfew_samples, mafw_samples, synthetic_samples

    size, sound = info.image_size, info.sound
    assert size is not None and sound is not None, "a model of expressions sees and hears"
    if source == "set":
        return synthetic_samples(folder, cache, size)
    assert fold is not None
    if source == "dfew":
        return dfew_samples(folder, fold, size, sound)
    return mafw_samples(folder, fold, cache, size, sound)


def _labelled_set(scorer: Scorer, samples: Sequence[Sample], source: str, out: Path | None, as_json: bool) -> None:
    from streamfx.train.evaluate import evaluate as evaluate_samples
    from streamfx.train.evaluation_page import write_page
    from streamfx.train.results import json_text

    result = evaluate_samples(scorer, samples, source, _progress)
    if out is not None:
        for path in write_page(result, out):
            click.echo(str(path), err=True)
    click.echo(json_text(result.as_json()) if as_json else _set_table(result))


def _progress(items: Iterable[Any]) -> Iterable[Any]:
    """A progress bar on standard error, where that is a terminal."""
    return ProgressBar(" examples", len(items) if isinstance(items, Sized) else None).over(items)


def _stills_table(result: StillsEvaluation) -> str:
    measures = result.measures
    return "\n".join(
        [
            f"{result.model.name} {result.model.version} on {result.folder}",
            f"{measures.n} pictures, a face found in {result.faces_found}, {result.used_whole} used whole, "
            f"{len(result.unreadable)} unreadable",
            _line("all", measures),
            _line("among the classes that are there", result.restricted),
            "",
            *_recall_lines(measures),
        ]
    )


def _set_table(result: Evaluation) -> str:
    lines = [f"{result.model.name} {result.model.version} on {result.source}", _line("all", result.whole), ""]
    lines += [*_recall_lines(result.whole), ""]
    lines += [_line(name, measures) for name, measures in result.conditions.items()]
    for name, by in result.groups.items():
        lines += ["", *(_line(f"{name} {value}", measures) for value, measures in by.items())]
    lines += [f"left out, since the model does not know it: {name} ({n})" for name, n in result.skipped.items()]
    return "\n".join(lines)


def _recall_lines(measures: Measures) -> list[str]:
    return [f"{f'recall of {label}':34}{value:.3f}" for label, value in measures.recall.items()]


def _line(name: str, measures: Measures) -> str:
    found = measures.uar_interval
    interval = "" if found is None else f" [{found.low:.3f}, {found.high:.3f}]"
    return (
        f"{name:34}UAR {measures.uar:.3f}{interval}  WAR {measures.war:.3f}  ECE {measures.curve.ece:.3f}  "
        f"n {measures.n}"
    )
