"""Publishes all tables of a dataset in one format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from streamfx.columns import StoredColumn
from streamfx.lake.delta import DeltaTables
from streamfx.lake.iceberg import IcebergTables
from streamfx.lake.plan import Plan
from streamfx.sink.current_files import shown_tables
from streamfx.sink.fs import FileSystem
from streamfx.sink.stored_schema import shown_columns


class Format(Protocol):
    """Tables of one format over a dataset."""

    def where(self, table: str) -> str:
        """The address under which others open the table."""

    def publish(self, table: str, columns: Sequence[StoredColumn]) -> Plan:
        """Bring the table to the log's state. It may be killed anywhere and called again."""


def publish_tables(fs: FileSystem, place: str, form: str) -> Iterator[tuple[str, str, Plan]]:
    """Publish as `delta` or `iceberg` each table that has files or columns; yields its name, address and what was done.

    Raises SinkError, and MissingComponent without the format's library.
    """
    tables: Format = DeltaTables(fs, place) if form == "delta" else IcebergTables(fs, place)
    for table, columns in shown_columns(fs, place, shown_tables(fs, place)).items():
        done = tables.publish(table, columns)
        yield table, tables.where(table), done
