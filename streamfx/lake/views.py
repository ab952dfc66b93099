"""A DuckDB connection with a view for each table of a dataset, over the log's list of current files. It cannot write."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from streamfx.columns import StoredColumn
from streamfx.errors import MissingComponent, QueryError
from streamfx.sink.current_files import shown_tables
from streamfx.sink.fs import FileSystem
from streamfx.sink.objects import ObjectStore
from streamfx.sink.parquet import NAMES_NOW
from streamfx.sink.stored_schema import has_version_1, shown_columns

_TYPES: Mapping[str, str] = {
    "string": "VARCHAR",
    "instant": "TIMESTAMPTZ",
    "timestamp": "TIMESTAMP",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
}
_AS_UTC = " at time zone 'UTC'"
_NAMES_BEFORE = {now: before for before, now in NAMES_NOW.items()}
_AT_ONCE = 10_000
_ALLOWED = frozenset(
    (
        "SELECT",
        "EXPLAIN",
        "CREATE",
        "DROP",
        "ALTER",
        "INSERT",
        "UPDATE",
        "DELETE",
        "SET",
        "PRAGMA",
        "MULTI",
        "TRANSACTION",
    )
)
"""Kinds of statements that read, or change only what the session itself made, which is in memory."""
_WRITES = re.compile(r"\b(copy|export|attach|prepare|execute|call)\b", re.IGNORECASE)
"""What `explain analyze` would carry out."""


class TableViews:
    """Views `windows`, `chunks`, and `films`, `aggregates` and `episodes` where there are any, as of the last `refresh`.

    All views have the columns of the newest version and of all configurations together; a column that a file lacks is
    null. The session's time zone is UTC. Raises MissingComponent without DuckDB, and SinkError without a dataset.
    """

    def __init__(self, fs: FileSystem, place: str):
        try:
            import duckdb
        except ImportError as error:
            raise MissingComponent("this needs DuckDB: pip install 'streamfx[sql]'") from error
        self._duckdb, self._fs, self._place = duckdb, fs, place
        self._connection = duckdb.connect()
        if isinstance(fs, ObjectStore):
            self._connection.register_filesystem(fs.for_engines())
        spill = os.path.join(tempfile.gettempdir(), f"streamfx-sql-{os.getpid()}")
        # Nothing is fetched from outside, and nothing is written beside the session's own spilled rows.
        self._connection.execute(f"set temp_directory = {_text(spill)}")
        for setting in ("timezone = 'UTC'", "autoinstall_known_extensions = false", "allow_persistent_secrets = false"):
            self._connection.execute(f"set {setting}")
        self.refresh()
        self._connection.execute("set lock_configuration = true")

    def refresh(self) -> None:
        """Take the list of current files anew."""
        files = shown_tables(self._fs, self._place)
        tables = shown_columns(self._fs, self._place, files)
        before = self._old(files) if has_version_1(self._fs, self._place) else frozenset()
        self._tables = sorted(tables)
        for table, columns in tables.items():
            old = [path for path in files.get(table, ()) if path in before]
            new = [path for path in files.get(table, ()) if path not in before]
            parts = [self._part(columns, new, old=False)]
            if old:
                parts.append(self._part(columns, old, old=True))
            self._connection.execute(f"create or replace view {_name(table)} as {' union all '.join(parts)}")

    def statements(self, text: str) -> list[Any]:
        """The statements of a text, each for `ask` or `rows`. Raises QueryError for what is no SQL, or would write."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            line = text.count("\n", 0, error.start) + 1
            raise QueryError(f"expected SQL in UTF-8, got a byte in line {line} that is none") from error
        try:
            found = list(self._connection.extract_statements(text))
        except self._duckdb.Error as error:
            raise QueryError(str(error)) from error
        for statement in found:
            kind = statement.type.name
            if kind not in _ALLOWED or (kind == "EXPLAIN" and _WRITES.search(statement.query)):
                raise QueryError(
                    f"{statement.query.strip()[:60]!r} is not carried out: `streamfx sql` only reads. To keep an answer, use "
                    "--format csv or json and send it to a file"
                )
        return found

    def ask(self, statement: Any) -> Any:
        """The DuckDB relation with a statement's answer, which has been computed. Raises QueryError."""

        def asked() -> Any:
            relation = self._connection.sql(statement)
            return relation if relation is None else relation.materialize()

        return self._answer(asked)

    def rows(self, statement: Any) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The names of the columns of a statement's answer, no two alike, and its rows as they come. Raises QueryError."""
        answer = self._answer(lambda: self._connection.execute(statement))
        names: list[str] = []
        for name, *_ in answer.description or ():
            also = (f"{name}_{number}" for number in count(1))  # so DuckDB names them in a table
            names.append(name if name not in names else next(one for one in also if one not in names))
        return names, self._fetched(answer)

    def _answer(self, asked: Callable[[], Any]) -> Any:
        """What `asked` returns; where a file was merged or erased meanwhile, once more over the files of now."""
        try:
            try:
                return asked()
            except self._duckdb.IOException:
                self.refresh()
                return asked()
        except self._duckdb.Error as error:
            hint = (
                f"\nThis dataset has the tables {', '.join(self._tables)}." if "Table with name" in str(error) else ""
            )
            raise QueryError(f"{error}{hint}") from error
        except RuntimeError as error:  # what DuckDB makes of Ctrl-C
            raise KeyboardInterrupt from error

    def _fetched(self, answer: Any) -> Iterator[tuple[Any, ...]]:
        try:
            while some := answer.fetchmany(_AT_ONCE):
                yield from some
        except self._duckdb.Error as error:
            raise QueryError(f"{error}; what was printed is not the whole answer") from error
        except RuntimeError as error:
            raise KeyboardInterrupt from error

    def _old(self, files: Mapping[str, Sequence[str]]) -> frozenset[str]:
        """The files of rows version 1, whose times have no zone."""
        paths = [path for table, paths in files.items() if table in ("windows", "chunks") for path in paths]
        found = self._connection.execute(
            f"select distinct file_name from parquet_schema({self._list(paths)}) "
            "where name in ('window_start', 'append_time') and logical_type like '%isAdjustedToUTC=0%'"
        ).fetchall()
        names = {name for (name,) in found}
        return frozenset(path for path in paths if self._full(path) in names)

    def _part(self, columns: Sequence[StoredColumn], paths: Sequence[str], old: bool) -> str:
        """A query of the columns of these files, all `old` or none."""
        stored = [_stored(column, old) for column in columns]
        if not paths:
            values = ", ".join(f"null::{_TYPES[column.kind]} as {_name(column.name)}" for column in columns)
            return f"select {values} where false"
        types = ", ".join(
            f"{_text(c.name)}: {{name: {_text(c.name)}, type: '{_TYPES[c.kind]}', default_value: null}}" for c in stored
        )
        values = ", ".join(
            f"{_name(file.name)}{_AS_UTC if file.kind != now.kind else ''} as {_name(now.name)}"
            for file, now in zip(stored, columns, strict=True)
        )
        # With the types said here, DuckDB opens a file only when it reads it.
        files = f"read_parquet({self._list(paths)}, schema = map {{{types}}}, hive_partitioning = false)"
        return f"select {values} from {files}"

    def _list(self, paths: Sequence[str]) -> str:
        return f"[{', '.join(_text(self._full(path)) for path in paths)}]"

    def _full(self, path: str) -> str:
        return f"{self._place.rstrip('/')}/{path}"


def _stored(column: StoredColumn, old: bool) -> StoredColumn:
    """The column as it is in a file, of rows version 1 or of now."""
    if not old:
        return column
    return replace(
        column,
        name=_NAMES_BEFORE.get(column.name, column.name),
        kind="timestamp" if column.kind == "instant" else column.kind,
    )


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
