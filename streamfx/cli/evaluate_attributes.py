"""`streamfx evaluate-attributes`: how well, how fast and how large models of facial attributes are, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamfx.terminal import ProgressBar

if TYPE_CHECKING:
    from streamfx.train.attribute_evaluation import Labelled

DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command("evaluate-attributes")
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("attributes-lnet", "attributes-shared"),
    show_default=True,
    help="Model directory, or name of a shipped model; several are compared.",
)
@click.option("--set", "set_", type=DIRECTORY, help="Synthetic set, as `streamfx synth` writes it.")
@click.option("--celeba", type=DIRECTORY, help="Folder of CelebA; its test part.")
@click.option("--lfwa", type=DIRECTORY, help="Folder of LFWA; its test part.")
@click.option(
    "--cache",
    type=DIRECTORY,
    default=Path("out/attribute-pictures"),
    show_default=True,
    help="Cache folder for the frames of --set.",
)
@click.option("--out", type=DIRECTORY, help="Folder for attributes.json and attributes.md.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON in place of a table.")
def evaluate_attributes(
    models: tuple[str, ...],
    set_: Path | None,
    celeba: Path | None,
    lfwa: Path | None,
    cache: Path,
    out: Path | None,
    as_json: bool,
) -> None:
    """How well models name facial attributes.

    Accuracy and balanced accuracy by attribute, their means with 95 % intervals over people, by group too, with the gaps;
    the speed on one thread, and the size. Attributes that the set does not tell of are left out.
    """
    if sum(source is not None for source in (set_, celeba, lfwa)) != 1:
        raise click.UsageError("give exactly one of --set, --celeba and --lfwa")
    from streamfx.errors import EvaluationError
    from streamfx.models.attributes import AttributesModel
    from streamfx.models.card import resolve_model
    from streamfx.train.attribute_evaluation import evaluate_attributes as measured
    from streamfx.train.attribute_evaluation import table
    from streamfx.train.evaluate import dump

    found = []
    for model in models:
        side = AttributesModel.read_card(resolve_model(model)).info.image_size
        assert side is not None
        count, windows = _windows(set_, celeba, lfwa, cache, side)
        shown = ProgressBar(" pictures", count, title=model).over(windows)
        found.append(measured(model, shown, str(set_ or celeba or lfwa)))
    values = {"evaluations": [one.as_json() for one in found]}
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / "attributes.json").write_text(dump(values) + "\n", encoding="utf-8")
            (out / "attributes.md").write_text(table(found) + "\n", encoding="utf-8")
        except OSError as error:
            raise EvaluationError(f"cannot write the evaluation into {out}: {error}") from error
    click.echo(dump(values) if as_json else table(found))


def _windows(
    set_: Path | None, celeba: Path | None, lfwa: Path | None, cache: Path, side: int
) -> tuple[int, Iterator[Labelled] | Iterable[Any]]:
    from streamfx.train.attribute_evaluation import folder_windows, synthetic_windows
    from streamfx.train.attribute_folders import open_celeba, open_lfwa
    from streamfx.train.attribute_pictures import open_pictures

    if set_ is not None:
        pictures = open_pictures([set_], cache)
        return int((~pictures.empty).sum()), synthetic_windows(pictures, side)
    if celeba is not None:
        listed = open_celeba(celeba)
    else:
        assert lfwa is not None
        listed = open_lfwa(lfwa)
    return len(listed.files), folder_windows(listed)
