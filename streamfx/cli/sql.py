"""`streamfx sql`: DuckDB over a dataset's current files, at a prompt, from standard input, or for one query."""

from __future__ import annotations

import csv
import importlib
import json
import math
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamfx.cli.target import CONFIG, open_target
from streamfx.errors import QueryError
from streamfx.terminal import printable

if TYPE_CHECKING:
    from streamfx.lake.views import TableViews

_SHOWN_ROWS = 40
_WIDE = 10_000
_HELP = """A statement ends with a semicolon. `show tables;` lists the views, `describe windows;` the columns of one.
.refresh  take what was committed meanwhile    .quit  end (also Ctrl-D)"""


@click.command()
@click.argument("target", metavar="DATASET|CONFIG")
@click.argument("query", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help=f"How answers are printed; a table shows {_SHOWN_ROWS} rows, the others all of them.",
)
@CONFIG
def sql(target: str, query: str | None, form: str, config_file: Path | None) -> None:
    """Ask DATASET in SQL: QUERY, or what comes on standard input, or what you type at a prompt.

    DuckDB has the views windows, chunks, and films, aggregates and episodes where there are any, over the files that
    hold each committed row once. Times are in UTC. Nothing can be written. Without a dataset, give the configuration of
    its run.
    """
    from streamfx.lake.views import TableViews

    views = TableViews(*open_target(target, config_file))
    if query is None and sys.stdin.isatty():
        _prompt(views, form)
        return
    for statement in views.statements(sys.stdin.read() if query is None else query):
        _print(views, statement, form)


def _prompt(views: TableViews, form: str) -> None:
    """Ask for statements until the end of the input. An error ends a statement, and Ctrl-C too, not the session."""
    with suppress(ImportError):  # a Python may lack it; what was typed is kept in memory only
        importlib.import_module("readline")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    click.echo(_HELP)
    typed = ""
    while True:
        try:
            line = input("   ...> " if typed else "streamfx> ")
            if not typed and line.strip().removesuffix(";") in (".quit", ".exit", "quit", "exit"):
                return
            if not typed and line.strip() in (".refresh", ".help"):
                views.refresh() if line.strip() == ".refresh" else click.echo(_HELP)
                continue
            typed += line + "\n"
            if typed.strip() and not sqlite3.complete_statement(typed):  # knows quotes and comments
                continue
            text, typed = typed, ""
            _answer(views, text, form)
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:
            click.echo()
            typed = ""


def _answer(views: TableViews, text: str, form: str) -> None:
    """Print the answers to the statements, or what is wrong with one."""
    try:
        for statement in views.statements(text):
            _print(views, statement, form)
    except QueryError as error:
        click.echo(printable(str(error)), err=True)


def _print(views: TableViews, statement: Any, form: str) -> None:
    if form == "table":
        relation = views.ask(statement)
        if relation is not None and relation.columns == ["explain_key", "explain_value"]:
            click.echo("\n".join(plan for _, plan in relation.fetchall()))
        elif relation is not None and relation.columns:
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE
            # The columns of a table are asked for to be read, all of them.
            most = _WIDE if relation.columns[:2] == ["column_name", "column_type"] else _SHOWN_ROWS
            relation.show(max_rows=most, max_width=width)
        return
    names, rows = views.rows(statement)
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_plain(value) for value in row] for row in rows)
    else:
        _print_json(names, rows)


def _print_json(names: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """An array with an object for each row, one a line."""
    begin = "["
    for row in rows:
        values = {name: _plain(value) for name, value in zip(names, row, strict=True)}
        click.echo(f"{begin}\n{json.dumps(values, default=_plain_or_text)}", nl=False)
        begin = ","
    click.echo("[]" if begin == "[" else "\n]")


def _plain(value: Any) -> Any:
    """An instant as ISO 8601 in UTC, and no NaN, which JSON lacks; everything else as it is."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain_or_text(value: Any) -> Any:
    plain = _plain(value)
    return plain if plain is not value else str(value)
