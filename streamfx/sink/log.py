"""The log of one partition: what an entry says, and where entries, staged files and final files lie.

_commits/<topic>@<topic id>/<partition>/<n, 20 digits>.json     the truth
_staging/<topic>@<topic id>/<partition>/<n>-<attempt>…          not yet published, or garbage
windows/date=YYYY-MM-DD/<topic>-<partition>-<n>-<attempt>.parquet, and the same under chunks/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from streamfx.errors import SinkError
from streamfx.records import Partition, Snapshot
from streamfx.sink.fs import FileSystem

COMMITS, STAGING = "_commits", "_staging"
ENTRY_KINDS = ("data", "gap", "config", "erase", "replace")
PUBLISH_ORDER = ("windows", "chunks")
"""Chunks come last: where a chunk's row shows, the rows of the windows it closed show too."""

_ENTRY_NAME = re.compile(r"(\d{20})\.json")
_STAGED_NAME = re.compile(r"(\d{20})-([0-9a-f]+)[-.].*")


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One Parquet file of an entry: where it was staged, where it belongs, and what it must hold."""

    table: str
    staged: str
    final: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: offsets `[start, end)` (empty where equal), `records` of which were readable, and their files.

    `snapshot` is every operator's state as of `end`; `last_record` (`offset`, `timestamp_ms`, `sha256`) the newest
    record that the log has seen. `written_at` is for people. Entries of kind `erase` and `replace` name in
    `details["replaces"]` the final paths that are no longer theirs to hold.
    """

    kind: str
    n: int
    attempt: str
    start: int
    end: int
    records: int
    files: tuple[FileSpec, ...]
    snapshot: Snapshot
    last_record: Mapping[str, Any] | None
    config_id: str
    partition_count: int
    schema_version: int
    details: Mapping[str, Any]
    written_at: str

    def to_json(self) -> bytes:
        """The entry as it is written. SinkError where snapshot or details are not plain JSON."""
        try:
            return json.dumps(asdict(self), allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise SinkError(f"entry {self.n}: snapshot and details must be plain JSON values: {error}") from error

    @staticmethod
    def from_json(data: bytes, where: str) -> Entry:
        """Read an entry back. SinkError names the file where it is damaged or of a newer kind."""
        try:
            values = json.loads(data)
            entry = Entry(**{**values, "files": tuple(FileSpec(**file) for file in values["files"])})
        except (ValueError, TypeError, KeyError) as error:
            raise SinkError(
                f"{where} is not a whole log entry ({error}); restore it from a backup; see `streamfx verify`"
            ) from error
        if entry.kind not in ENTRY_KINDS:
            raise SinkError(f"{where} has kind {entry.kind!r}, unknown to this version of streamfx; use a newer one")
        return entry


class PartitionLog:
    """The folders and entries of one partition. Reads and names things; decides nothing."""

    def __init__(self, fs: FileSystem, partition: Partition):
        self._fs = fs
        self._partition = partition
        self.entries_dir = f"{COMMITS}/{partition.log_name}"
        self.staging_dir = f"{STAGING}/{partition.log_name}"

    def entry_path(self, n: int) -> str:
        """Where entry `n` is, once it is committed."""
        return f"{self.entries_dir}/{n:020d}.json"

    def staged_entry_path(self, n: int, attempt: str) -> str:
        """Where an attempt at entry `n` is written before it is committed."""
        return f"{self.staging_dir}/{n:020d}-{attempt}.json"

    def staged_path(self, n: int, attempt: str, table: str, date: str) -> str:
        """Where an attempt's Parquet file waits for its entry."""
        return f"{self.staging_dir}/{n:020d}-{attempt}-{table}-{date}.parquet"

    def final_path(self, n: int, attempt: str, table: str, date: str) -> str:
        """Where an analyst finds the file."""
        partition = self._partition
        return f"{table}/date={date}/{partition.topic}-{partition.number}-{n:020d}-{attempt}.parquet"

    def read(self, n: int) -> Entry:
        """Entry `n`. FileNotFoundError where it is not committed."""
        path = self.entry_path(n)
        return Entry.from_json(self._fs.read(path), path)

    def last(self) -> Entry | None:
        """The newest entry, or None. SinkError where the log has a hole: what to do next would be a guess."""
        names = [match for match in map(_ENTRY_NAME.fullmatch, self._fs.listdir(self.entries_dir)) if match]
        numbers = sorted(int(match[1]) for match in names)
        if numbers != list(range(len(numbers))):
            missing = min(set(range(numbers[-1])) - set(numbers))
            raise SinkError(
                f"{self.entry_path(missing)} is missing though later entries exist; restore it from a backup. "
                "`streamfx verify` shows what it covered"
            )
        return self.read(numbers[-1]) if numbers else None

    def staged(self) -> dict[int, list[str]]:
        """All that is staged: entry number -> paths."""
        found: dict[int, list[str]] = {}
        for name in self._fs.listdir(self.staging_dir):
            if match := _STAGED_NAME.fullmatch(name):
                found.setdefault(int(match[1]), []).append(f"{self.staging_dir}/{name}")
        return found
