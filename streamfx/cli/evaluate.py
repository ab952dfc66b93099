"""`streamfx evaluate`: how well a model names expressions or action units, on a labelled set or on a folder of stills."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamfx.terminal import ProgressBar

if TYPE_CHECKING:
    from streamfx.models.contract import SoundInput
    from streamfx.train.evaluate import Evaluation, Measures, Sample, StillsEvaluation
    from streamfx.train.scorer import Scorer

DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--model", default=None, help="Model directory, or name of a shipped model  [default: the pipeline's].")
@click.option("--set", "set_", type=DIRECTORY, help="Synthetic set, as `streamfx synth` writes it.")
@click.option("--dfew", type=DIRECTORY, help="Folder of DFEW; with --fold.")
@click.option("--mafw", type=DIRECTORY, help="Folder of MAFW; with --fold.")
@click.option("--fold", type=click.Path(path_type=Path), help="Fold list of DFEW or MAFW, relative to its folder.")
@click.option("--stills", type=DIRECTORY, help="Folder of pictures by expression: class/*.png.")
@click.option(
    "--cache",
    type=DIRECTORY,
    default=Path("out/cache"),
    show_default=True,
    help="Cache folder for the windows cut from --set, and for the faces found in --mafw.",
)
@click.option("--out", type=DIRECTORY, help="Folder for evaluation.json, a page and two pictures (not with --stills).")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON in place of a table.")
def evaluate(
    model: str | None,
    set_: Path | None,
    dfew: Path | None,
    mafw: Path | None,
    fold: Path | None,
    stills: Path | None,
    cache: Path,
    out: Path | None,
    as_json: bool,
) -> None:
    """How well a model names expressions, or action units.

    Over a labelled set (--set, --dfew or --mafw): recall, confusion and calibration, by group and by condition. Over a
    folder of stills (--stills): each picture counts as a motionless face without sound.

    A --model for action units is measured over --set: F1 at its own thresholds, at 0.5 and at the best single one, and
    ICC(3,1) of intensities, by unit and their means with intervals over people; --out receives evaluation.json.
    """
    if sum(source is not None for source in (set_, dfew, mafw, stills)) != 1:
        raise click.UsageError("give exactly one of --set, --dfew, --mafw and --stills")
    if (fold is not None) != (dfew is not None or mafw is not None):
        raise click.UsageError("--fold goes with --dfew and --mafw, and they with it")
    if stills is not None and out is not None:
        raise click.UsageError("--out goes with --set, --dfew and --mafw")

    if model is not None and _tells_units(model):
        if set_ is None:
            raise click.UsageError("a model for action units is measured over --set alone")
        _action_units(model, set_, cache, out, as_json)
        return
    from streamfx.train.scorer import Scorer

    with Scorer(model) as scorer:
        if stills is not None:
            _stills(scorer, stills, as_json)
        else:
            size, sound = scorer.info.image_size, scorer.info.sound
            assert size is not None and sound is not None, "a model of expressions sees and hears"
            samples = _samples(set_, dfew, mafw, fold, cache, size, sound)
            _labelled_set(scorer, samples, str(set_ or dfew or mafw), out, as_json)


def _tells_units(model: str) -> bool:
    from streamfx.models.action_units import ActionUnitsModel
    from streamfx.models.card import resolve_model
    from streamfx.models.find import model_of

    return model_of(resolve_model(model)) is ActionUnitsModel


def _action_units(model: str, set_: Path, cache: Path, out: Path | None, as_json: bool) -> None:
    from streamfx.errors import EvaluationError
    from streamfx.train.au_evaluate import evaluate_action_units, table
    from streamfx.train.results import json_text, write_json

    report = evaluate_action_units(model, set_, cache)
    if out is not None:
        try:
            write_json(out / "evaluation.json", report)
        except OSError as error:
            raise EvaluationError(f"cannot write the evaluation into {out}: {error}") from error
    click.echo(json_text(report) if as_json else table(report))


def _stills(scorer: Scorer, folder: Path, as_json: bool) -> None:
    from streamfx.train.evaluate import dump, evaluate_stills

    result = evaluate_stills(scorer, folder, _progress)
    for name in result.unreadable:
        click.echo(f"not a readable picture: {name}", err=True)
    for name, count in result.skipped.items():
        click.echo(f"left out, since the model does not know it: {name} ({count} pictures)", err=True)
    click.echo(dump(result.as_json()) if as_json else _stills_table(result))


def _samples(
    set_: Path | None,
    dfew: Path | None,
    mafw: Path | None,
    fold: Path | None,
    cache: Path,
    size: int,
    sound: SoundInput,
) -> Sequence[Sample]:
    from streamfx.train.labelled import dfew_samples, mafw_samples, synthetic_samples

    if set_ is not None:
        return synthetic_samples(set_, cache, size)
    assert fold is not None
    if dfew is not None:
        return dfew_samples(dfew, fold, size, sound)
    assert mafw is not None
    return mafw_samples(mafw, fold, cache, size, sound)


def _labelled_set(scorer: Scorer, samples: Sequence[Sample], source: str, out: Path | None, as_json: bool) -> None:
    from streamfx.train.evaluate import dump
    from streamfx.train.evaluate import evaluate as evaluate_samples
    from streamfx.train.evaluation_page import write_page

    result = evaluate_samples(scorer, samples, source, _progress)
    if out is not None:
        for path in write_page(result, out):
            click.echo(str(path), err=True)
    click.echo(dump(result.as_json()) if as_json else _set_table(result))


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
