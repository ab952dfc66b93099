"""`streamfx evaluate`: how well models name expressions, action units or facial attributes. What is measured, and over
what, the kind of model decides, which its card tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from streamfx.cli.evaluate_action_units import evaluate_action_units
from streamfx.cli.evaluate_attributes import evaluate_attributes
from streamfx.cli.evaluate_expressions import evaluate_expressions

DIRECTORY = click.Path(path_type=Path, file_okay=False)
SOURCES: Mapping[str, tuple[str, ...]] = {
    "expression": ("set", "dfew", "mafw", "stills"),
    "action_units": ("set",),
    "attributes": ("set", "celeba", "lfwa"),
}
"""Kinds of models, by the name of their spec, and the options that say what such a model is measured over."""
WORDS: Mapping[str, str] = {"expression": "expressions", "action_units": "action units", "attributes": "attributes"}


@click.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    help="Model directory, or name of a shipped model; of models for attributes also several.  [default: the pipeline's "
    "model for expressions]",
)
@click.option("--set", type=DIRECTORY, help="Synthetic set, as `streamfx synth` writes it; for every kind of model.")
@click.option("--dfew", type=DIRECTORY, help="Folder of DFEW; with --fold. For expressions.")
@click.option("--mafw", type=DIRECTORY, help="Folder of MAFW; with --fold. For expressions.")
@click.option("--fold", type=click.Path(path_type=Path), help="Fold list of DFEW or MAFW, relative to its folder.")
@click.option("--stills", type=DIRECTORY, help="Folder of pictures by expression: class/*.png. For expressions.")
@click.option("--celeba", type=DIRECTORY, help="Folder of CelebA; its test part. For attributes.")
@click.option("--lfwa", type=DIRECTORY, help="Folder of LFWA; its test part. For attributes.")
@click.option(
    "--cache",
    type=DIRECTORY,
    default=Path("out/cache"),
    show_default=True,
    help="Cache folder for what is cut from --set, and for the faces found in --mafw.",
)
@click.option("--out", type=DIRECTORY, help="Folder for the measures as files (not with --stills).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on one line in place of a table.")
def evaluate(
    models: tuple[str, ...], fold: Path | None, cache: Path, out: Path | None, as_json: bool, **folders: Path | None
) -> None:
    """How well models name expressions, action units or facial attributes.

    Expressions, over a labelled set (--set, --dfew or --mafw): recall, confusion and calibration, by group and by
    condition; --out receives evaluation.json, a page and two pictures. Over a folder of stills (--stills) each picture
    counts as a motionless face without sound.

    Action units, over --set: F1 at the model's own thresholds, at 0.5 and at the best single one, and ICC(3,1) of
    intensities, by unit and their means with intervals over people; --out receives evaluation.json.

    Facial attributes, over --set, --celeba or --lfwa: accuracy and balanced accuracy by attribute, their means with
    intervals over people, by group too, with the gaps; the speed on one thread, and the size. Several models stand side
    by side. Attributes that the set does not tell of are left out. --out receives attributes.json and attributes.md.
    """
    given = [(name, folder) for name, folder in folders.items() if folder is not None]
    if len(given) != 1:
        raise click.UsageError(f"give exactly one of {_options(folders)}")
    source, folder = given[0]
    if (fold is not None) != (source in ("dfew", "mafw")):
        raise click.UsageError("--fold goes with --dfew and --mafw, and they with it")
    if source == "stills" and out is not None:
        raise click.UsageError("--out does not go with --stills")
    kind = _kind(models)
    if source not in SOURCES[kind]:
        also = "" if models else "; name another model by --model"
        measured = f"a model for {WORDS[kind]} is measured over {_options(SOURCES[kind])}"
        raise click.UsageError(f"{measured}, not over --{source}{also}")
    if kind == "attributes":
        evaluate_attributes(models, source, folder, cache, out, as_json)
    elif kind == "action_units":
        evaluate_action_units(models[0], folder, cache, out, as_json)
    else:
        evaluate_expressions(models[0] if models else None, source, folder, fold, cache, out, as_json)


def _kind(models: tuple[str, ...]) -> str:
    """The kind that all models are of, a key of SOURCES; that of the pipeline's model where none is named."""
    from streamfx.models.card import resolve_model
    from streamfx.models.find import model_of

    kinds = {model: model_of(resolve_model(model)).spec.name for model in models}
    for model, kind in kinds.items():
        if kind not in SOURCES:
            known = ", ".join(WORDS.values())
            raise click.UsageError(f"{model}: expected a model for one of {known}, got one of the kind {kind!r}")
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{model} for {WORDS[kind]}" for model, kind in kinds.items())
        raise click.UsageError(f"expected models of one kind, got {said}; give the command once for each kind")
    kind = next(iter(kinds.values()), "expression")
    if len(models) > 1 and kind != "attributes":
        raise click.UsageError(f"give one --model for {WORDS[kind]}; only models for attributes stand side by side")
    return kind


def _options(names: Iterable[str]) -> str:
    *first, last = (f"--{name}" for name in names)
    return f"{', '.join(first)} or {last}" if first else last
