"""`streamfx contract`: what a dataset's columns hold, for machines."""

from __future__ import annotations

import json
from pathlib import Path

import click

from streamfx.cli.target import CONFIG, open_target


@click.command()
@click.argument("target", metavar="DATASET|CONFIG")
@CONFIG
def contract(target: str, config_file: Path | None) -> None:
    """Print the data contract of DATASET as a Frictionless Data Package (JSON): each table's columns with meaning, type, unit,
    range, words and example, its key, and its current files. docs/data.md says the same of the engine's columns in words.
    """
    from streamfx.sink.contract import contract as contract_of

    fs, place = open_target(target, config_file)
    click.echo(json.dumps(contract_of(fs, place), indent=1))
