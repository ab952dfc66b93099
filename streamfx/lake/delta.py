"""Delta tables over the dataset's own Parquet files: a `_delta_log` in each table's folder, written from the log.

The commits are written here, since deltalake's Python calls cannot remove files by name; deltalake reads the table's state
and writes its checkpoints. Format: https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Sequence
from typing import Any

from streamfx import __version__
from streamfx.columns import StoredColumn
from streamfx.errors import MissingComponent, SinkError
from streamfx.lake.plan import Change, Plan, plan
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import STAGING
from streamfx.sink.objects import ObjectStore

LOG = "_delta_log"
_TYPES = {
    "string": "string",
    "instant": "timestamp",
    "int32": "integer",
    "int64": "long",
    "float": "double",
    "bool": "boolean",
}
_OPERATIONS = {"erase": "DELETE", "compact": "OPTIMIZE", "append": "WRITE"}
_CHECKPOINT_EVERY = 50
_TRIES = 10
_PROPERTIES = {
    # VACUUM would otherwise delete files that are committed and not yet published here.
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    # The bounds of erased rows would stay in the table's history.
    "delta.dataSkippingNumIndexedCols": "0",
}


class DeltaTables:
    """Publishes a dataset's tables as Delta tables in their folders. Raises MissingComponent without deltalake."""

    def __init__(self, fs: FileSystem, place: str):
        try:
            import deltalake
        except ImportError as error:
            raise MissingComponent("Delta tables need deltalake: pip install 'streamfx[delta]'") from error
        self._deltalake, self._fs, self._place = deltalake, fs, place
        self._options = fs.for_deltalake() if isinstance(fs, ObjectStore) else None

    def where(self, table: str) -> str:
        """The address under which others open the table."""
        return f"{self._place.rstrip('/')}/{table}"

    def publish(self, table: str, columns: Sequence[StoredColumn]) -> Plan:
        """Bring the table to the log's state, each change as a version of its own; what was done is returned.

        Whoever is killed in it, or meets another publisher, only has to call it again, which this does by itself for the
        latter. Raises SinkError.
        """
        for _ in range(_TRIES):
            state = self._state(table)
            have = set() if state is None else {f"{table}/{path}" for path in _paths(state)}
            todo = plan(self._fs, self._place, table, have)
            if not todo.changes or self._commit_all(table, columns, state, todo):
                return todo
        raise SinkError(f"{self.where(table)}: other publishers were faster {_TRIES} times; run one at a time")

    def _state(self, table: str) -> Any:
        """The newest version of the table as deltalake reads it; None if there is no table."""
        try:
            if not self._deltalake.DeltaTable.is_deltatable(self.where(table), self._options):
                return None
            return self._deltalake.DeltaTable(self.where(table), storage_options=self._options)
        except (OSError, self._deltalake.exceptions.DeltaError) as error:
            raise SinkError(
                f"{self.where(table)}: cannot read the Delta table ({error}). If it is damaged, delete the folder "
                f"{table}/{LOG} and publish again, which loses only the table's history"
            ) from error

    def _commit_all(self, table: str, columns: Sequence[StoredColumn], state: Any, todo: Plan) -> bool:
        """Commit the changes; False if another publisher took a version first."""
        version = -1 if state is None else state.version()
        about = _about(columns, state)
        for change in todo.changes:
            version += 1
            if not self._put(table, version, [_commit_info(change), *about, *_actions(table, change)]):
                return False
            about = []
            if version % _CHECKPOINT_EVERY == 0 and version:
                self._shorten(table)
        return True

    def _shorten(self, table: str) -> None:
        """Write a checkpoint, so that readers need not read all versions, and remove the files of long past ones."""
        now = self._state(table)
        try:
            now.create_checkpoint()
            now.cleanup_metadata()
        except (OSError, self._deltalake.exceptions.DeltaError) as error:
            raise SinkError(
                f"{self.where(table)}: its versions are written, but no checkpoint of them ({error}); publish again"
            ) from error

    def _put(self, table: str, version: int, actions: Sequence[dict[str, Any]]) -> bool:
        """Write a version's file, which appears whole; False if there is one."""
        staged = f"{STAGING}/delta-{secrets.token_hex(8)}.json"
        with clear_errors(f"{self.where(table)}: cannot write the Delta table"):
            for folder in (table, f"{table}/{LOG}"):
                self._fs.mkdir(folder)
            self._fs.write_new(staged, "\n".join(json.dumps(action) for action in actions).encode())
            try:
                self._fs.link(staged, f"{table}/{LOG}/{version:020d}.json")
            except FileExistsError:
                return False
            finally:
                self._fs.remove(staged)
            self._fs.sync_dir(f"{table}/{LOG}")
        return True


def _paths(state: Any) -> list[str]:
    """The paths of the table's files, relative to its folder."""
    columns = state.get_add_actions(flatten=True)
    return [str(path) for path in columns["path"].to_pylist()]


def _about(columns: Sequence[StoredColumn], state: Any) -> list[dict[str, Any]]:
    """The actions that say what the table's columns are; none if it knows them."""
    fields = [
        {"name": c.name, "type": _TYPES[c.kind], "nullable": True, "metadata": {"comment": c.description}}
        for c in columns
    ]
    fields.append(
        {"name": "date", "type": "date", "nullable": True, "metadata": {"comment": "UTC day of the row's event time"}}
    )
    known = [] if state is None else json.loads(state.schema().to_json())["fields"]
    if {field["name"] for field in fields} <= {field["name"] for field in known}:
        return []
    new = [field for field in fields if field["name"] not in {field["name"] for field in known}]
    about = {
        "id": str(uuid.uuid4() if state is None else state.metadata().id),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": [*known, *new]}),
        "partitionColumns": ["date"],
        "configuration": _PROPERTIES,
        "createdTime": _now_ms() if state is None else state.metadata().created_time,
    }
    begin = [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}] if state is None else []
    return [*begin, {"metaData": about}]


def _actions(table: str, change: Change) -> list[dict[str, Any]]:
    changes_rows = change.kind != "compact"
    now = {"deletionTimestamp": _now_ms(), "dataChange": changes_rows}
    removed = [{"remove": {"path": path.removeprefix(f"{table}/"), **now}} for path in change.remove]
    added = [
        {
            "add": {
                "path": file.final.removeprefix(f"{table}/"),
                "partitionValues": {"date": file.date},
                "size": file.bytes,
                "modificationTime": _now_ms(),
                "dataChange": changes_rows,
                "stats": json.dumps({"numRecords": file.rows}),
            }
        }
        for file in change.add
    ]
    return [*removed, *added]


def _commit_info(change: Change) -> dict[str, Any]:
    return {
        "commitInfo": {
            "timestamp": _now_ms(),
            "operation": _OPERATIONS[change.kind],
            "operationParameters": {},
            "isBlindAppend": not change.remove,
            "engineInfo": f"streamfx/{__version__}",
        }
    }


def _now_ms() -> int:
    return round(time.time() * 1000)
