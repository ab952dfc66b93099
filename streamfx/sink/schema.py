"""The tables as the sink writes them: their columns in order, and which of them date a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamfx.columns import (
    AGGREGATES_COLUMNS,
    CHUNKS_COLUMNS,
    EPISODES_COLUMNS,
    FILMS_COLUMNS,
    Column,
    StoredColumn,
    windows_columns,
)
from streamfx.errors import SinkError


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table's columns, in the order in which they are stored. `date_from` are those that date a row, best first."""

    name: str
    columns: tuple[StoredColumn, ...]
    date_from: tuple[str, ...]


CHUNKS = TableSchema("chunks", CHUNKS_COLUMNS, date_from=("chunk_start", "append_time"))
"""One row for each input offset, with its fate."""
FILMS = TableSchema("films", FILMS_COLUMNS, date_from=("film_start",))
"""One row for each redacted film."""
AGGREGATES = TableSchema("aggregates", AGGREGATES_COLUMNS, date_from=("bin_start",))
"""One row for each published cell of a time bin."""
EPISODES = TableSchema("episodes", EPISODES_COLUMNS, date_from=("first_window",))
"""One row for each stretch of time in which a track's measure shows one thing."""
DERIVED = {schema.name: schema for schema in (AGGREGATES, EPISODES)}
"""The tables that commands make from `windows`, by name."""


def windows_schema(columns: Sequence[Column], with_model: Sequence[str] = ()) -> TableSchema:
    """The `windows` table with the operators' columns, in the given order, and a version column for each operator of
    `with_model`."""
    together = windows_columns(columns, with_model)
    names = [column.name for column in together]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SinkError(
            f"windows: columns {', '.join(doubled)} are declared twice or are the engine's own; rename them"
        )
    return TableSchema("windows", together, date_from=("window_start",))
