"""Prints docs/data.md from the list of core columns and from what our operators declare, so that the page cannot lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from pydantic import ValidationError

from streamfx.columns import (
    AGGREGATES_COLUMNS,
    CHUNKS_COLUMNS,
    EPISODES_COLUMNS,
    FILMS_COLUMNS,
    Column,
    StoredColumn,
    windows_columns,
)
from streamfx.models.base import ServedModel
from streamfx.models.card import find_directory
from streamfx.operator import ModelOperator, OperatorContext
from streamfx.pipeline import find_operator, installed_operators
from streamfx.sink.contract import Facts, facts_of, since

INTRO = """# The data: every table and column

`make docs` makes this page from the list of columns in `streamfx/columns.py` and from what the operators of streamfx declare,
and a test compares them.
[querying.md](querying.md) has queries. The footer of each file describes its columns in the same words
(`streamfx.columns`).

`streamfx contract DATASET` prints the same for machines, with the columns of that dataset's operators and its current files, as
a [Frictionless Data Package](https://specs.frictionlessdata.io/tabular-data-package/).

`since` is the rows version with which a column came under its name and kind; the footer of each file says its own
(`streamfx.rows_version`, which files of version 1 lack; their times have no zone).

`string` is UTF-8 text. `instant` is a moment in microseconds of UTC (Parquet
`TIMESTAMP(isAdjustedToUTC=true, MICROS)`). `int32`, `int64` and `float` (64 bits) are numbers, and `bool` is true or
false. A column may be null only if the table says so.
"""
WINDOWS = """
## windows

One row for each face track and window of event time. Its key is `stream_id`, `track_id`, `window_start`, `config_id`.

Between `audio_present` and `config_id` are the columns that the pipeline's operators declare, in the order of the
pipeline, and then one column `<operator>_model_version` for each operator that has a model. The operator `expression`,
which comes with streamfx, declares `p_<label>` for each expression that its model knows, `expression`,
`expression_confidence`, and, for a model that tells it, `expression_novelty`: how far the face is from all that the
model knows, from 0 to 1. The shipped model `expression-faces` tells it; `expression-small` and imported checkpoints do
not.

"""
OPERATORS = """
### Columns of the operators of streamfx

With the models that they take where the configuration names none; other models may know other expressions and units.
All may be null: where an operator says nothing of a window, and in files of a configuration without it. An operator of
your own declares unit and range in the same way (`Column("head_yaw", "float", "…", unit="degrees", low=-90, high=90)`).
A dataset's contract says what was declared when its files were written, and a range only if it holds for all of them; so
where an older version of streamfx wrote some, it says none.

`ask` declares what its configuration asks ([ask.md](ask.md)): `ask_outcome`, and for each question `ask_<name>`, one of its
answers, with `ask_<name>_probability`; for a sensitive question `ask_<name>` alone, true or false.

"""
FILMS = """
## films

One row for each redacted film, which shows one chunk; only where `redact.films` is on. Its key is `topic`, `partition`,
`offset`. `file` names the film, below the dataset's folder.

"""
CHUNKS = """
## chunks

One row for each input offset. Its key is `topic`, `partition`, `offset`.

"""
AGGREGATES = """
## aggregates

One row for each published cell of a time bin; only `streamfx aggregate` writes it ([aggregates.md](aggregates.md)). Its
key is `bin_start`, `bin_end`, `stream_group`, `measure`, `value`. A cell that has no row is empty or hidden.

"""
EPISODES = """
## episodes

One row for each stretch of time in which a track's measure shows one thing; only `streamfx episodes` writes it
([episodes.md](episodes.md)). Its key is `stream_id`, `track_id`, `measure`, `episode_start`, `config_id`.

"""


def page() -> str:
    """The whole page as Markdown."""
    tables = (
        ("windows", WINDOWS, windows_columns((), ["<operator>"])),
        ("chunks", CHUNKS, CHUNKS_COLUMNS),
        ("films", FILMS, FILMS_COLUMNS),
        ("aggregates", AGGREGATES, AGGREGATES_COLUMNS),
        ("episodes", EPISODES, EPISODES_COLUMNS),
    )
    parts = {name: words + _table(name, columns) for name, words, columns in tables}
    parts["windows"] += OPERATORS + _declared_table()
    return INTRO + "".join(parts.values())


def _table(table: str, columns: Sequence[StoredColumn]) -> str:
    lines = [
        "| column | kind | null | meaning | unit | range | example | since |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for column in columns:
        facts = facts_of(table, column.name)
        words = f": {', '.join(f'`{word}`' for word in column.values)}" if column.values else ""
        null = "may be" if column.nullable else ""
        meaning = column.description.replace("<", r"\<") + words
        unit, example = (facts.unit, f"`{facts.example}`") if facts else ("", "")
        cells = (
            f"`{column.name}`",
            column.kind,
            null,
            meaning,
            unit,
            _range(facts),
            example,
            since(table, column.name),
        )
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def declared() -> Iterator[tuple[str, Column]]:
    """Operator and column, of what our operators declare with their default models; no weights are read."""
    for name in sorted(installed_operators()):
        operator = find_operator(name)
        if operator.__module__.startswith("streamfx_operators") and issubclass(operator, ModelOperator):
            try:
                config = operator.Config()
            except ValidationError:
                continue  # it declares what its section asks for, and nothing without one
            # What they declare follows from the model's card alone.
            context = OperatorContext(cast(Any, _Card), cast(Any, None), cast(Any, None), 1, 1)
            yield from ((name, column) for column in operator(config, context).columns)


class _Card:
    """In the place of a model that is asked: it has no answers."""

    def __init__(self, model: type[ServedModel], name: str):
        self.info = model.read_card(find_directory(name, model.shelf)).info


def _declared_table() -> str:
    lines = ["| column | operator | kind | meaning | unit | range |", "|---|---|---|---|---|---|"]
    for operator, column in declared():
        words = f" Of {', '.join(f'`{word}`' for word in column.values)}." if column.values else ""
        cells = (f"`{column.name}`", operator, column.kind, column.description + words, column.unit, _range(column))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _range(about: Facts | Column | None) -> str:
    if about is None or about.low is None:
        return ""
    return f"{about.low:g} or more" if about.high is None else f"{about.low:g} to {about.high:g}"


if __name__ == "__main__":
    print(page(), end="")
