"""The live files of a dataset: those that committed entries name and no later entry replaces."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple
from typing import TypeVar

from streamfx.errors import SinkError
from streamfx.records import Partition
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import COMMITS, IDENTITY_PATH, MEDIA, Entry, FileSpec, PartitionLog

_LOOKS = 10
"""How often something is read while others keep replacing files that it needs."""
_Anything = TypeVar("_Anything")


def find_partitions(fs: FileSystem, place: str) -> list[Partition]:
    """All partitions that have a log. Raises SinkError if there is no dataset."""
    with clear_errors(f"{place}: cannot read the dataset"):
        if not fs.exists(IDENTITY_PATH):
            raise SinkError(f"{place} is not a streamfx dataset: it has no {IDENTITY_PATH}; check the path")
        found = []
        # Other names, which file managers and mounts create, are ignored.
        for name in fs.listdir(COMMITS):
            topic, at, topic_id = name.rpartition("@")
            numbers = fs.listdir(f"{COMMITS}/{name}") if at else ()
            found += [Partition(topic, topic_id, int(number)) for number in numbers if number.isdecimal()]
    return sorted(found, key=lambda partition: (partition.topic, partition.topic_id, partition.number))


class LiveFiles:
    """The live files of one partition as of its entry `n`: final path -> file, in the order of the log."""

    def __init__(self, fs: FileSystem, log: PartitionLog, newest: Entry):
        """Reads the entries since the one at which the index was written, or all if there is no valid index."""
        self._fs = fs
        self._log = log
        self._n, self.files = self._load(newest.n)
        self.advance(newest)

    def advance(self, newest: Entry) -> None:
        """Update the files up to entry `newest`."""
        for n in range(self._n + 1, newest.n + 1):
            entry = newest if n == newest.n else self._log.read(n)
            for final in entry.replaces:
                self.files.pop(final, None)
            self.files.update((file.final, file) for file in entry.files)
        self._n = newest.n

    def save(self, newest: Entry) -> None:
        """Store the state as of the published entry `newest` in the index. Losing the index costs time but no rows."""
        files = [astuple(file) for file in self.files.values()]
        index = {"n": newest.n, "attempt": newest.attempt, "sha256": _digest(files), "files": files}
        with suppress(OSError):
            self._log.make_index_dir()
            self._fs.write_over(self._log.live_path, json.dumps(index).encode())

    def _load(self, newest: int) -> tuple[int, dict[str, FileSpec]]:
        """The entry of the index and the files that were live then; (-1, {}) if there is no valid index."""
        try:
            index = json.loads(self._fs.read(self._log.live_path))
            files = [FileSpec(*values) for values in index["files"]]
            whole = index["sha256"] == _digest(index["files"]) and 0 <= index["n"] <= newest
            if whole and self._log.read(index["n"]).attempt == index["attempt"]:
                return index["n"], {file.final: file for file in files}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return -1, {}


class FileReplaced(Exception):
    """A file is missing or differs from its entry: it was replaced meanwhile, or is damaged."""


def read_live(fs: FileSystem, file: FileSpec) -> bytes:
    """A live file's contents, if necessary from staging. Raises FileReplaced if it is in neither place."""
    for path in (file.final, file.staged):
        with suppress(FileNotFoundError):
            data = fs.read(path)
            if hashlib.sha256(data).hexdigest() == file.sha256:
                return data
    raise FileReplaced(file.final)


def look_again(place: str, read: Callable[[], _Anything], list_anew: Callable[[], object] = lambda: None) -> _Anything:
    """What `read` returns; after `list_anew` it is called again where a file was replaced while it read (FileReplaced).

    Raises SinkError where that does not end, so that a file is rather damaged, and where the storage fails.
    """
    lost: FileReplaced | None = None
    for _ in range(_LOOKS):
        with clear_errors(f"{place}: cannot read the dataset"):
            try:
                return read()
            except FileReplaced as gone:
                lost = gone
                list_anew()
    raise SinkError(f"{place}: {lost} is gone or damaged; see `streamfx verify`") from lost


def shown_files(fs: FileSystem, place: str, table: str | None = None) -> list[str]:
    """The paths, relative to the dataset, that contain each committed row of `table` (None: of all tables) once.
    `media` are the films.

    A file whose entry is not published yet is still in staging. Raises SinkError if there is no dataset.
    """
    shown = shown_tables(fs, place)
    if table is not None:
        return shown.get(table, [])
    return sorted(path for name, paths in shown.items() if name != MEDIA for path in paths)


def shown_tables(fs: FileSystem, place: str) -> dict[str, list[str]]:
    """Table -> its paths as `shown_files` has them, for each table that has files."""
    shown: defaultdict[str, list[str]] = defaultdict(list)
    for partition in find_partitions(fs, place):
        log = PartitionLog(fs, partition)
        with clear_errors(f"{place}, {partition.topic} partition {partition.number}: cannot read the log"):
            newest = log.last()
            if newest is None:
                continue
            fresh = {file.final for file in newest.files}
            for final, file in LiveFiles(fs, log, newest).files.items():
                shown[file.table].append(file.staged if final in fresh and not fs.exists(final) else final)
    return {table: sorted(paths) for table, paths in shown.items()}


def shown_days(fs: FileSystem, place: str) -> set[str]:
    """The UTC days (`YYYY-MM-DD`) for which the dataset has files. Raises SinkError if there is no dataset."""
    days: set[str] = set()
    for partition in find_partitions(fs, place):
        log = PartitionLog(fs, partition)
        with clear_errors(f"{place}, {partition.topic} partition {partition.number}: cannot read the log"):
            if (newest := log.last()) is not None:
                days.update(file.date for file in LiveFiles(fs, log, newest).files.values())
    return days


def current_films(fs: FileSystem, place: str) -> dict[str, FileSpec]:
    """Path -> file of each committed film that is not erased. Raises SinkError if there is no dataset."""
    films: dict[str, FileSpec] = {}
    for partition in find_partitions(fs, place):
        log = PartitionLog(fs, partition)
        with clear_errors(f"{place}, {partition.topic} partition {partition.number}: cannot read the log"):
            if (newest := log.last()) is not None:
                live = LiveFiles(fs, log, newest).files
                films |= {final: file for final, file in live.items() if file.table == MEDIA}
    return films


def _digest(files: object) -> str:
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
