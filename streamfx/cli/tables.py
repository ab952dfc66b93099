"""`streamfx tables publish`: Delta or Iceberg tables over a dataset's own files, brought to the state of its log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamfx.cli.left_out import LEFT_OUT
from streamfx.cli.target import CONFIG, open_target
from streamfx.terminal import say

if TYPE_CHECKING:
    from streamfx.lake.plan import Plan


@click.group()
def tables() -> None:
    """Tables for lakehouse tools over the very same Parquet files."""


@tables.command()
@click.argument("target", metavar="DATASET|CONFIG")
@click.option("--format", "form", type=click.Choice(["delta", "iceberg"]), required=True, help="The kind of tables.")
@CONFIG
def publish(target: str, form: str, config_file: Path | None) -> None:
    """Publish what the log of DATASET has that its Delta or Iceberg tables have not: new rows, merged files, erasures.

    No data are copied. Workers may run meanwhile. Call it again after each commit, `compact` and `erase` that readers shall
    see; it may be killed anywhere and called again. Exit code 3: files of an older version had to be left out.
    """
    from streamfx.lake.tables import publish_tables

    fs, place = open_target(target, config_file)
    left_out = 0
    for table, where, done in publish_tables(fs, place, form):
        click.echo(f"{table}: {_said(done)} -> {where}")
        left_out += len(done.left_out)
    if left_out:
        say(
            f"{left_out} files that an older version of streamfx wrote are left out: their times have no zone, and a table "
            "cannot hold both kinds; `streamfx sql` reads them"
        )
        sys.exit(LEFT_OUT)


def _said(done: Plan) -> str:
    if not done.changes:
        return "nothing new"
    parts = []
    for change in done.changes:
        parts.append(f"{change.kind} (+{len(change.add)} -{len(change.remove)} files)")
    return ", ".join(parts)
