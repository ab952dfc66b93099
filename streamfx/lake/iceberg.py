"""Iceberg tables over the dataset's own Parquet files, in its folder `_iceberg/`, written from the log.

A table's versions are files `metadata/v<n>.metadata.json` beside a `version-hint.text`, which is how a Hadoop catalog lays
them out; so a commit is one file that may be created once, and no catalog server is needed. pyiceberg writes everything
else. Format: https://iceberg.apache.org/spec/
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from streamfx.columns import StoredColumn
from streamfx.errors import MissingComponent, SinkError
from streamfx.lake.plan import Change, Plan, plan
from streamfx.sink.fs import FileSystem, clear_errors, make_durable_dir
from streamfx.sink.log import STAGING
from streamfx.sink.objects import ObjectStore

FOLDER = "_iceberg"
_TRIES = 10
_DATE = StoredColumn("date", "string", "UTC day of the row's event time")
_PROPERTIES = {
    # The bounds of erased rows would stay in the table's history.
    "write.metadata.metrics.default": "none",
    # This module tries again itself, with what the log says then.
    "commit.retry.num-retries": "0",
}


class IcebergTables:
    """Publishes a dataset's tables as Iceberg tables. Raises MissingComponent without pyiceberg."""

    def __init__(self, fs: FileSystem, place: str):
        try:
            import pyarrow  # noqa: F401  what pyiceberg reads and writes files with
            import pyiceberg  # noqa: F401
        except ImportError as error:
            raise MissingComponent("Iceberg tables need pyiceberg: pip install 'streamfx[iceberg]'") from error
        self._fs, self._place = fs, place
        self._root = place.rstrip("/") if place.startswith("s3://") else f"file://{Path(place).resolve()}"
        self._access = fs.for_pyiceberg() if isinstance(fs, ObjectStore) else {}

    def where(self, table: str) -> str:
        """The address under which others open the table."""
        n = self._newest(table)
        return f"{self._root}/{FOLDER}/{table}" + (f"/metadata/v{n}.metadata.json" if n else "")

    def publish(self, table: str, columns: Sequence[StoredColumn]) -> Plan:
        """Bring the table to the log's state, each change as a snapshot of its own; what was done is returned.

        Whoever is killed in it, or meets another publisher, only has to call it again, which this does by itself for the
        latter. Raises SinkError.
        """
        from pyiceberg.exceptions import CommitFailedException

        for _ in range(_TRIES):
            state = self._open(table)
            files = {} if state is None else self._files(table, state)
            todo = plan(self._fs, self._place, table, files.keys())
            if not todo.changes:
                return todo
            try:
                state = state or self._create(table)
                _add_columns(state, columns)
                for change in todo.changes:
                    self._commit(state, change, files)
            except CommitFailedException:
                continue
            return todo
        raise SinkError(f"{self.where(table)}: other publishers were faster {_TRIES} times; run one at a time")

    def _commit(self, state: Any, change: Change, files: dict[str, Any]) -> None:
        doing = f"{self._place}: cannot write the Iceberg table"
        with clear_errors(doing), state.transaction() as transaction:
            update = transaction.update_snapshot(snapshot_properties={"streamfx.operation": change.kind})
            with update.overwrite() if change.remove else update.merge_append() as snapshot:
                for path in change.remove:
                    snapshot.delete_data_file(files[path])
                for file in change.add:
                    snapshot.append_data_file(
                        _data_file(f"{self._root}/{file.final}", file.date, file.rows, file.bytes)
                    )

    def _files(self, table: str, state: Any) -> dict[str, Any]:
        """Path in the dataset -> data file, of the table's current snapshot."""
        try:
            snapshot = state.current_snapshot()
            manifests = snapshot.manifests(state.io) if snapshot else []
            found = [entry.data_file for manifest in manifests for entry in manifest.fetch_manifest_entry(state.io)]
        except OSError as error:
            raise SinkError(
                f"{self._place}: cannot read the Iceberg table {table} ({error}). Iceberg names files by their whole path: if "
                f"the dataset was moved, delete its folder {FOLDER} and publish again"
            ) from error
        return {file.file_path.removeprefix(f"{self._root}/"): file for file in found}

    def _open(self, table: str) -> Any:
        """The newest version of the table; None if there is none."""
        from pyiceberg.exceptions import ValidationError
        from pyiceberg.table.metadata import TableMetadataUtil

        n = self._newest(table)
        if not n:
            return None
        version = self._version(table, n)
        with clear_errors(f"{self._place}: cannot read the Iceberg table {table}"):
            data = self._fs.read(version)
        try:
            metadata = TableMetadataUtil.parse_raw(data.decode())
        except (ValueError, ValidationError) as error:
            raise SinkError(
                f"{self._place}: {version} is damaged; delete the folder {FOLDER}/{table} and publish again, which loses only "
                "the table's history"
            ) from error
        return self._table(table, metadata, n)

    def _create(self, table: str) -> Any:
        """A table with the column that says the day, which divides it, and no others yet."""
        from pyiceberg.partitioning import PartitionField, PartitionSpec
        from pyiceberg.schema import Schema
        from pyiceberg.table.metadata import new_table_metadata
        from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
        from pyiceberg.transforms import IdentityTransform
        from pyiceberg.types import DateType, NestedField

        schema = Schema(NestedField(1, _DATE.name, DateType(), required=False, doc=_DATE.description))
        days = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), _DATE.name))
        place = f"{self._root}/{FOLDER}/{table}"
        # The files have no field ids, so their columns are known by name.
        properties = {**_PROPERTIES, "schema.name-mapping.default": schema.name_mapping.model_dump_json()}
        metadata = new_table_metadata(schema, days, UNSORTED_SORT_ORDER, place, properties)
        self.put(table, 1, metadata)
        return self._table(table, metadata, 1)

    def _table(self, table: str, metadata: Any, n: int) -> Any:
        from pyiceberg.io import load_file_io
        from pyiceberg.table import Table

        where = f"{self._root}/{self._version(table, n)}"
        return Table(("streamfx", table), metadata, where, load_file_io(self._access, where), _catalog(self, table))

    def put(self, table: str, n: int, metadata: Any) -> str:
        """Write version `n`; returns its address. Raises pyiceberg's CommitFailedException if there is one."""
        from pyiceberg.exceptions import CommitFailedException

        staged = f"{STAGING}/iceberg-{secrets.token_hex(8)}.json"
        with clear_errors(f"{self._place}: cannot write the Iceberg table {table}"):
            make_durable_dir(self._fs, "", f"{FOLDER}/{table}/metadata")
            self._fs.write_new(staged, metadata.model_dump_json().encode())
            try:
                self._fs.link(staged, self._version(table, n))
            except FileExistsError as error:
                raise CommitFailedException(f"version {n} is taken") from error
            finally:
                self._fs.remove(staged)
            self._fs.sync_dir(f"{FOLDER}/{table}/metadata")
            self._fs.write_over(self._hint(table), str(n).encode())
        return f"{self._root}/{self._version(table, n)}"

    def _newest(self, table: str) -> int:
        """The number of the newest version; 0 if there is none. The hint may be old, or missing."""
        n = 0
        with suppress(OSError, ValueError):
            n = int(self._fs.read(self._hint(table)))
        with clear_errors(f"{self._place}: cannot read the Iceberg table {table}"):
            while self._fs.exists(self._version(table, n + 1)):
                n += 1
        return n

    def _version(self, table: str, n: int) -> str:
        return f"{FOLDER}/{table}/metadata/v{n}.metadata.json"

    def _hint(self, table: str) -> str:
        return f"{FOLDER}/{table}/metadata/version-hint.text"


def _catalog(tables: IcebergTables, table: str) -> Any:
    """What pyiceberg's table commits through: each version takes the next number, once."""
    from pyiceberg.catalog.noop import NoopCatalog
    from pyiceberg.table import CommitTableResponse
    from pyiceberg.table.update import update_table_metadata

    class Numbered(NoopCatalog):  # type: ignore[misc]  # pyiceberg's types are not followed
        def commit_table(self, state: Any, requirements: Any, updates: Any) -> CommitTableResponse:
            for requirement in requirements:
                requirement.validate(state.metadata)
            metadata = update_table_metadata(state.metadata, updates, metadata_location=state.metadata_location)
            n = int(state.metadata_location.rpartition("/v")[2].partition(".")[0]) + 1
            return CommitTableResponse.model_validate(
                {"metadata": metadata, "metadata-location": tables.put(table, n, metadata)}
            )

    return Numbered("streamfx")


def _add_columns(state: Any, columns: Sequence[StoredColumn]) -> None:
    """Add the columns that the table lacks, in one version."""
    from pyiceberg import types

    kinds = {
        "string": types.StringType(),
        "instant": types.TimestamptzType(),
        "int32": types.IntegerType(),
        "int64": types.LongType(),
        "float": types.DoubleType(),
        "bool": types.BooleanType(),
    }
    known = {field.name for field in state.schema().fields}
    if new := [column for column in columns if column.name not in known]:
        with state.transaction() as transaction, transaction.update_schema() as update:
            for column in new:
                update.add_column(column.name, kinds[column.kind], doc=column.description)


def _data_file(address: str, day: str, rows: int, size: int) -> Any:
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    data_file = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=address,
        file_format=FileFormat.PARQUET,
        partition=Record((date.fromisoformat(day) - date(1970, 1, 1)).days),
        record_count=rows,
        file_size_in_bytes=size,
    )
    data_file.spec_id = 0
    return data_file
