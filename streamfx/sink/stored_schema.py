"""The columns of a dataset's tables over all of its configurations, for those who read its files together."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamfx.columns import StoredColumn
from streamfx.errors import SinkError
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import IDENTITY_PATH
from streamfx.sink.parquet import columns_now
from streamfx.sink.schema import DERIVED

SCHEMAS = "_schema"
_OF_VERSION_1 = "model"
"""A column of rows version 1 whose value is in the footer now."""


def stored_columns(fs: FileSystem, place: str) -> dict[str, tuple[StoredColumn, ...]]:
    """Table -> the columns of all of its files together, as this version names and types them.

    First come those of the newest configuration in their order, then those that only older ones had. A column that some
    configuration lacks may be null, a closed vocabulary holds the words of all, and a range the values of all; where one
    that has the column declares no bound, there is none. Raises SinkError if there is no dataset, or if its `_schema` is
    damaged.
    """
    by_table: defaultdict[str, list[dict[str, StoredColumn]]] = defaultdict(list)
    for tables in _registered(fs, place):
        for table, columns in tables.items():
            by_table[table].append({c.name: c for c in columns_now(columns) if c.name != _OF_VERSION_1})
    return {table: tuple(_joined(schemas)) for table, schemas in by_table.items()}


def shown_columns(fs: FileSystem, place: str, shown: Collection[str]) -> dict[str, tuple[StoredColumn, ...]]:
    """`stored_columns`, and those of the tables made from `windows` that are among the `shown`."""
    derived = {name: schema.columns for name, schema in DERIVED.items() if name in shown}
    return stored_columns(fs, place) | derived


def _joined(schemas: Sequence[Mapping[str, StoredColumn]]) -> Iterator[StoredColumn]:
    for name in dict.fromkeys(name for schema in schemas for name in schema):
        same = [schema[name] for schema in schemas if name in schema]
        words = dict.fromkeys(word for column in same for word in column.values)
        nullable = len(same) < len(schemas) or any(column.nullable for column in same)
        lows, highs = [column.low for column in same], [column.high for column in same]
        low = None if None in lows else min(bound for bound in lows if bound is not None)
        high = None if None in highs else max(bound for bound in highs if bound is not None)
        yield replace(same[0], nullable=nullable, values=tuple(words), low=low, high=high)


def has_version_1(fs: FileSystem, place: str) -> bool:
    """Whether files of this dataset may be of rows version 1: times without a zone, and other names."""
    columns = [column for tables in _registered(fs, place) for columns in tables.values() for column in columns]
    return any(column.kind == "timestamp" for column in columns)


def _column(column: Mapping[str, Any], limits: Mapping[str, Mapping[str, Any]]) -> StoredColumn:
    return StoredColumn(**{**column, "values": tuple(column["values"]), **limits.get(column["name"], {})})


def _registered(fs: FileSystem, place: str) -> Iterator[dict[str, tuple[StoredColumn, ...]]]:
    """Table -> columns of each configuration, the newest first."""
    with clear_errors(f"{place}: cannot read the dataset's columns"):
        if not fs.exists(IDENTITY_PATH):
            raise SinkError(f"{place} is not a streamfx dataset: it has no {IDENTITY_PATH}; check the path")
        for name in sorted(fs.listdir(SCHEMAS), reverse=True):
            try:
                stored = json.loads(fs.read(f"{SCHEMAS}/{name}"))
                limits = stored.get("limits", {})
                yield {
                    table: tuple(_column(column, limits.get(table, {})) for column in columns)
                    for table, columns in stored["tables"].items()
                }
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise SinkError(f"{place}: {SCHEMAS}/{name} is damaged ({error}); restore it from a backup") from error
