"""The dataset on disk: which run it belongs to, the columns of its tables, and the writers of its partitions."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streamfx.columns import Column
from streamfx.errors import DatasetMismatch, SinkError
from streamfx.records import Partition
from streamfx.sink.commit import PartitionWriter
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.identity import Identity, Opened
from streamfx.sink.log import COMMITS, IDENTITY_PATH, INDEX, STAGING
from streamfx.sink.place import open_place
from streamfx.sink.schema import CHUNKS, FILMS, TableSchema, windows_schema
from streamfx.sink.stored_schema import SCHEMAS

FORMAT = 1
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,180}")
_TOPIC_ID = re.compile(r"[A-Za-z0-9_-]{0,64}")


class Dataset(Opened):
    """An open dataset: `open` checks that it belongs to this run, and `partition` returns a partition's writer."""

    @classmethod
    def open(
        cls,
        path: Path | str,
        identity: Identity,
        config_id: str,
        columns: Sequence[Column],
        footer: Mapping[str, str],
        compression: str = "ZSTD",
        fs: FileSystem | None = None,
        with_model: Sequence[str] = (),
        films: bool = False,
    ) -> Dataset:
        """Open the dataset at `path`, creating it if it does not exist; `fs` is the file system of that path.

        `columns` are the operators' columns in pipeline order. `with_model` names the operators whose rows say which
        version of their model answered; `films` says whether there are films. `footer` is written into every file, with
        the prefix `streamfx.` before each key. Raises DatasetMismatch, naming the difference, if the dataset belongs to
        another run or a column's type has changed, and SinkError if there can be no dataset at this path.
        """
        fs = fs or open_place(path)
        tables = {
            table.name: table for table in (windows_schema(columns, with_model), CHUNKS, *([FILMS] if films else []))
        }
        with clear_errors(f"{path}: cannot open the dataset"):
            fs.make_root()
            for folder in (STAGING, COMMITS, INDEX, SCHEMAS, *tables):
                fs.mkdir(folder)
            probe(fs, path)
            _claim(fs, path, identity)
            # `recover`, which precedes any commit, makes new names in the dataset's root folder durable.
            version = _schema_version(fs, path, tables)
        return cls(path, identity, config_id, version, tables, footer, compression, fs)

    def partition(self, partition: Partition, count: int | None = None) -> PartitionWriter:
        """The writer of one partition's log; call its `recover` first.

        `count` is the topic's current number of partitions, if it may have grown since the dataset was opened.
        """
        expected = self.identity.topics.get(partition.topic)
        if self.identity.topics and partition.topic_id != expected:
            raise DatasetMismatch(
                f"{self.path}: expected topic {partition.topic} with id {expected}, got id {partition.topic_id}; "
                "the topic was recreated or belongs to another run. Use another folder"
            )
        if not _TOPIC.fullmatch(partition.topic) or not _TOPIC_ID.fullmatch(partition.topic_id):
            raise SinkError(
                f"topic {partition.topic!r} (id {partition.topic_id!r}) cannot be used as a folder name; expected at "
                "most 180 letters, digits, '.', '_' and '-'"
            )
        return PartitionWriter(self, partition, count or self.identity.partitions.get(partition.topic, 1))


def _claim(fs: FileSystem, path: Path | str, identity: Identity) -> None:
    """Write the identity, or compare it with the one that is stored."""
    own = {"format": FORMAT, **asdict(identity), "pipeline": list(identity.pipeline)}
    own = {key: value for key, value in own.items() if value is not None}
    if not fs.exists(IDENTITY_PATH):
        _create(fs, IDENTITY_PATH, own)
    stored = _read_json(fs, IDENTITY_PATH)
    if stored.get("run_range") != identity.run_range:
        raise DatasetMismatch(
            f"{path} is for {stored.get('run_range') or 'all of the input'}, and this run is for "
            f"{identity.run_range or 'all of it'}. Use the same --from and --to to continue it; another range needs a "
            "new dataset (sink.path)"
        )
    if stored.get("sensitive") != identity.sensitive:
        raise DatasetMismatch(
            f"{path} was made with privacy.sensitive.kind {stored.get('sensitive') or '(none)'}, and this run has "
            f"{identity.sensitive or '(none)'}: rows of two kinds never lie in one dataset, where both could be read of "
            "one track. Use a new dataset (sink.path), and another key (privacy.stream_id_key_file)"
        )
    if identity.key_digest and stored.get("key_digest") not in (None, identity.key_digest):
        raise DatasetMismatch(
            f"{path} was made with another pseudonym key (privacy.stream_id_key_file or _env): with this one its streams "
            "would go on under other names, and files would be read once more. Put that key back; a new key needs a new "
            "dataset (sink.path)"
        )
    differing = [key for key in ("format", "cluster", "topics", "pipeline", "group") if stored.get(key) != own[key]]
    if differing:
        raise DatasetMismatch(
            f"{path} belongs to another run: "
            + "; ".join(f"{key} is {stored.get(key)!r} there and {own[key]!r} here" for key in differing)
            + ". Use another folder, or the configuration that made this one"
        )


def _schema_version(fs: FileSystem, path: Path | str, tables: Mapping[str, TableSchema]) -> int:
    """The number under which these columns are registered; new columns are registered under the next number."""
    own = {name: [column.as_json() for column in table.columns] for name, table in tables.items()}
    # Beside the tables, since readers of older versions take no more of a column than they know.
    limits = {
        name: {c.name: about for c in table.columns if (about := c.limits_json())} for name, table in tables.items()
    }
    limits = {name: of_columns for name, of_columns in limits.items() if of_columns}
    version = 1
    while True:
        name = f"{SCHEMAS}/{version:06d}.json"
        if not fs.exists(name):
            _create(fs, name, {"version": version, "tables": own, **({"limits": limits} if limits else {})})
        stored = _read_json(fs, name)
        _refuse_changed_types(path, own, stored["tables"])
        if stored["tables"] == own and stored.get("limits", {}) == limits:
            fs.sync_dir(SCHEMAS)
            return version
        version += 1


def _refuse_changed_types(path: Path | str, own: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    for table, columns in stored.items():
        old = {column["name"]: (column["kind"], column["nullable"]) for column in columns}
        for column in own.get(table, []):
            new = (column["kind"], column["nullable"])
            before = old.get(column["name"], new)
            # Times without a zone were always UTC; docs/querying.md shows how to read both kinds together.
            if before != new and (before[0], *new) != ("timestamp", "instant", before[1]):
                raise DatasetMismatch(
                    f"{path}: column {column['name']!r} of {table} is {before[0]} in older files and "
                    f"{new[0]} now, so the files could not be read together. Rename the column, or use another folder"
                )


def _create(fs: FileSystem, name: str, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; if it already exists, the existing file is kept."""
    staged = f"{STAGING}/{name.rpartition('/')[2]}-{secrets.token_hex(8)}"
    fs.write_new(staged, json.dumps(value, indent=1).encode())
    with suppress(FileExistsError):
        fs.link(staged, name)
    fs.remove(staged)


def _read_json(fs: FileSystem, name: str) -> Any:
    try:
        return json.loads(fs.read(name))
    except ValueError as error:
        raise SinkError(f"{name} is damaged ({error}); restore it from a backup") from error


def probe(fs: FileSystem, path: Path | str, folder: str = f"{STAGING}/") -> None:
    """Check that this place can be written to and refuses a second file under one name, on which all commits depend.

    All files of the check are removed.
    """
    first, second, target = (f"{folder}probe-{secrets.token_hex(8)}" for _ in range(3))
    try:
        # The contents differ, so that an accepted second file cannot be mistaken for a repetition of the first.
        for name in (first, second):
            fs.write_new(name, name.encode())
        fs.link(first, target)
        with suppress(FileExistsError):
            fs.link(second, target)
            raise SinkError(f"{path}: {fs.no_exclusion}")
    finally:
        for name in (first, second, target):
            fs.remove(name)
