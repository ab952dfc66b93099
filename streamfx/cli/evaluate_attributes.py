"""What `streamfx evaluate` does with models for facial attributes: how well, how fast and how large, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamfx.terminal import ProgressBar

if TYPE_CHECKING:
    from streamfx.train.attribute_evaluation import Labelled


def evaluate_attributes(
    models: Sequence[str], source: str, folder: Path, cache: Path, out: Path | None, as_json: bool
) -> None:
    """Compare models over `folder`, in which `source` (set, celeba or lfwa) lies; `out` receives attributes.json and
    attributes.md."""
    from streamfx.models.attributes import AttributesModel
    from streamfx.models.card import resolve_model
    from streamfx.train.attribute_evaluation import evaluate_attributes as measured
    from streamfx.train.attribute_evaluation import table
    from streamfx.train.results import json_text, write_evaluation

    found = []
    for model in models:
        side = AttributesModel.read_card(resolve_model(model)).info.image_size
        assert side is not None
        count, windows = _windows(source, folder, cache, side)
        shown = ProgressBar(" pictures", count, title=model).over(windows)
        found.append(measured(model, shown, str(folder)))
    values = {"evaluations": [one.as_json() for one in found]}
    if out is not None:
        write_evaluation(out, {"attributes.json": json_text(values), "attributes.md": table(found)})
    click.echo(json_text(values) if as_json else table(found))


def _windows(source: str, folder: Path, cache: Path, side: int) -> tuple[int, Iterable[Labelled]]:
    from streamfx.train.attribute_evaluation import folder_windows, synthetic_windows
    from streamfx.train.attribute_folders import open_celeba, open_lfwa
    from streamfx.train.attribute_pictures import open_pictures

    if source == "set":
        pictures = open_pictures([folder], cache)
        return int((~pictures.empty).sum()), synthetic_windows(pictures, side)
    listed = open_celeba(folder) if source == "celeba" else open_lfwa(folder)
    return len(listed.files), folder_windows(listed)
