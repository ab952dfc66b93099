"""What a published table must take in: the difference between its files and the log's current ones, as operations."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Literal

from streamfx.sink.current_files import FileReplaced, LiveFiles, find_partitions, read_live
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import Entry, FileSpec, PartitionLog, tables_of
from streamfx.sink.parquet import decode
from streamfx.sink.protocol import LogWriter
from streamfx.sink.stored_schema import has_version_1

Kind = Literal["erase", "compact", "append"]
_KINDS: tuple[Kind, ...] = ("erase", "compact", "append")
"""In the order of their commits: what must no longer be listed goes first."""


@dataclass(slots=True)
class Change:
    """One commit to a table: files to add, and paths (relative to the dataset) of files to remove.

    `erase` takes rows away, `compact` changes no row, and `append` brings rows that the table did not have; where fresh files
    were merged with published ones, it also removes those.
    """

    kind: Kind
    add: list[FileSpec] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes in order. `left_out` are the paths of current files of rows version 1, which no such table can hold."""

    changes: tuple[Change, ...]
    left_out: tuple[str, ...]


def plan(fs: FileSystem, place: str, table: str, have: Set[str]) -> Plan:
    """What makes a table with the files `have` one with exactly the current files of `table` that have rows.

    It publishes, as a start of a worker does, what a process committed that died before its files were in their places.
    Raises SinkError if there is no dataset, or if it cannot be read.
    """
    want: dict[str, FileSpec] = {}
    logs: list[tuple[PartitionLog, Entry]] = []
    for partition in find_partitions(fs, place):
        if table in tables_of(partition):
            with clear_errors(f"{place}, {partition.topic} partition {partition.number}: cannot read the log"):
                writer = LogWriter(fs, partition)
                if (last := writer.recover()) is not None:
                    logs.append((writer.log, last))
                    live = LiveFiles(fs, writer.log, last).files
                    want.update((path, file) for path, file in live.items() if file.table == table and file.rows)
    old = _of_version_1(fs, [want[path] for path in sorted(want.keys() - have)]) if has_version_1(fs, place) else []
    for path in old:
        del want[path]
    with clear_errors(f"{place}: cannot read the log"):
        rewritten = _rewritten(logs, have, set(have - want.keys()))
    changes = {kind: Change(kind) for kind in _KINDS}
    for path in sorted(have - want.keys()):
        changes[rewritten.get(path, "erase")].remove.append(path)
    for path in sorted(want.keys() - have):
        changes[rewritten.get(path, "append")].add.append(want[path])
    return Plan(tuple(change for change in changes.values() if change.add or change.remove), tuple(old))


@dataclass(slots=True, eq=False)
class _Rewrite:
    """Entries that follow from each other: the files that they replace and make, and whether any of them erases."""

    sources: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    erases: bool = False


def _rewritten(logs: list[tuple[PartitionLog, Entry]], have: Set[str], gone: set[str]) -> dict[str, Kind]:
    """Path -> operation, for all files of the entries that replaced the files `gone`, and of the entries since."""
    rewrites: dict[str, _Rewrite] = {}
    for log, last in logs:
        for entry in reversed(list(_since(log, last, gone))):
            whole = _Rewrite(set(entry.replaces), {file.final for file in entry.files}, entry.kind == "erase")
            for part in {id(rewrites[path]): rewrites[path] for path in entry.replaces if path in rewrites}.values():
                whole.sources |= part.sources
                whole.made |= part.made
                whole.erases |= part.erases
            rewrites.update(dict.fromkeys(whole.sources | whole.made, whole))
    return {path: _kind(rewrite, have) for path, rewrite in rewrites.items()}


def _since(log: PartitionLog, last: Entry, gone: set[str]) -> Iterator[Entry]:
    """The entries that replace files, from the newest back to the one that replaced the first of the files `gone`."""
    left = {path for path in gone if _is_of(log, path)}
    entry = last
    while left:
        if entry.replaces:
            yield entry
        left -= set(entry.replaces)
        if not entry.n:
            return
        entry = log.read(entry.n - 1)


def _is_of(log: PartitionLog, path: str) -> bool:
    """Whether this log may have named the file."""
    return path.rpartition("/")[2].startswith(log.file_prefix)


def _kind(rewrite: _Rewrite, have: Set[str]) -> Kind:
    fresh = rewrite.sources - rewrite.made - have
    return "erase" if rewrite.erases else "append" if fresh else "compact"


def _of_version_1(fs: FileSystem, files: list[FileSpec]) -> list[str]:
    """The paths of those whose times have no zone. One that is replaced meanwhile is left to the next call."""
    found = []
    for file in files:
        try:
            columns = decode(read_live(fs, file), file.final).columns
        except FileReplaced:
            continue
        if any(column.kind == "timestamp" for column in columns):
            found.append(file.final)
    return found
