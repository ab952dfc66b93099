"""`streamfx contract`: what a dataset's columns hold, for machines."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("target", metavar="DATASET|CONFIG")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="Configuration whose sink.s3 says how to reach it."
)
def contract(target: str, config_file: Path | None) -> None:
    """Print the data contract of DATASET as a Frictionless Data Package (JSON): each table's columns with meaning, type, unit,
    range, words and example, its key, and its current files. docs/data.md says the same of the engine's columns in words.
    """
    from streamfx.cli.target import open_target
    from streamfx.sink.contract import contract as contract_of

    fs, place = open_target(target, config_file)
    click.echo(json.dumps(contract_of(fs, place), indent=1))
