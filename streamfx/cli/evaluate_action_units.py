"""What `streamfx evaluate` does with a model for action units: the measures of its training, over a drawn set."""

from __future__ import annotations

from pathlib import Path

import click


def evaluate_action_units(model: str, set_: Path, cache: Path, out: Path | None, as_json: bool) -> None:
    """Measure a model over a synthetic set; `out` receives evaluation.json."""
    from streamfx.train.au_evaluate import evaluate_action_units as measured
    from streamfx.train.au_evaluate import table
    from streamfx.train.results import json_text, write_evaluation

    report = measured(model, set_, cache)
    if out is not None:
        write_evaluation(out, {"evaluation.json": json_text(report, indent=1)})
    click.echo(json_text(report) if as_json else table(report))
