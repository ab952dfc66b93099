"""The steps of a commit to a partition's log: stage, link, publish, sweep. Any process may carry out any of them.

Any number of writers may assume that they own the partition, and any of them may die at any point. The only decisive
step is the link that gives an entry its number, which succeeds once. All other steps may be done by any process, and
repeated.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from streamfx.errors import SinkError
from streamfx.records import Partition
from streamfx.sink.fs import FileSystem, make_durable_dir
from streamfx.sink.log import COMMITS, MEDIA, STAGING, Entry, FileSpec, PartitionLog, tables_of
from streamfx.sink.parquet import emptied

_ALWAYS = ("windows", "chunks")
"""Tables whose folders are there before there are files in them."""
NOTE_EVERY = 64
"""The index stores the end of the log once in this many entries."""


@dataclass(frozen=True, slots=True, eq=False)
class NewFile:
    """A Parquet file or a film for an entry. `date` is the UTC day (`YYYY-MM-DD`) of the folder to which it belongs."""

    table: str
    date: str
    data: bytes
    rows: int


class LogWriter:
    """One process's access to one partition's log. All errors are SinkError or OSError."""

    def __init__(self, fs: FileSystem, partition: Partition):
        self.fs = fs
        self.log = PartitionLog(fs, partition)
        self._partition = partition

    def recover(self) -> Entry | None:
        """Finish what the last writer began, and return its entry, None if there is none. It is correct in any state.

        A restored backup may lack the staging folder and empty folders; they are created again. Raises SinkError if
        rows that were only in the staging folder are lost.
        """
        last = self.log.last()
        if last is not None and not self.fs.exists(self.log.staging_dir):
            self._check_published(last)
        for table in tables_of(self._partition):
            if table in _ALWAYS:
                self.fs.mkdir(table)
        # This also syncs the dataset's root, and so the names that were created when the dataset was opened.
        make_durable_dir(self.fs, "", f"{STAGING}/{self._partition.log_name}")
        make_durable_dir(self.fs, COMMITS, self._partition.log_name)
        if last is not None:
            self.publish(last)
            self.sweep(last.n)
            if last.n >= self.log.hint() + NOTE_EVERY:
                self.log.note(last.n)
        return last

    def _check_published(self, last: Entry) -> None:
        exists = self.fs.exists
        # The final path is checked twice, because another process may publish the file between the checks. A file that
        # a later entry has replaced is not missing.
        lost = [f for f in last.files if not (exists(f.final) or exists(f.staged) or exists(f.final))]
        if lost and not self.log.has(last.n + 1):
            raise SinkError(
                f"{lost[0].final} is missing: entry {last.n} committed it, and it was still in "
                f"{self.log.staging_dir}, which is missing too. Copy that folder from where this dataset was copied "
                "from. If it no longer exists, create an empty file at the missing path: then writing continues, and "
                "`streamfx verify` reports these rows as a gap"
            )

    def stage(self, draft: Entry, files: Callable[[str], Iterable[NewFile]]) -> Entry:
        """Write everything that `draft` commits durably under a new attempt id; returns the complete entry.

        `files` is called with the attempt id. If this raises, no files are left behind.
        """
        attempt = secrets.token_hex(8)
        n, log = draft.n, self.log
        staged = [log.staged_entry_path(n, attempt)]
        specs: list[FileSpec] = []
        parts: Counter[tuple[str, str]] = Counter()
        try:
            for file in files(attempt):
                part = parts[file.table, file.date]
                parts[file.table, file.date] += 1
                path = log.staged_path(n, attempt, file.table, file.date, part)
                final = log.final_path(n, attempt, file.table, file.date, part)
                staged.append(path)
                self.fs.write_new(path, file.data)
                digest = hashlib.sha256(file.data).hexdigest()
                specs.append(FileSpec(file.table, path, final, file.rows, len(file.data), digest))
            written_at = datetime.now(UTC).isoformat(timespec="milliseconds")
            entry = replace(draft, attempt=attempt, files=tuple(specs), written_at=written_at)
            self.fs.write_new(staged[0], entry.to_json(log.entry_path(n)))
            # This also ensures that the staged files of the previous entry are gone. If they came back after a power
            # loss, rows that have been erased meanwhile could be published again.
            self.fs.sync_dir(log.staging_dir)
        except (OSError, SinkError):
            # No link was tried, so no entry can name these files, and a full disk needs the space.
            for path in staged:
                self.fs.remove(path)
            raise
        return entry

    def link(self, entry: Entry) -> Entry:
        """Try to give the staged entry its number; returns the entry that has the number now. It may be repeated."""
        try:
            self.fs.link(self.log.staged_entry_path(entry.n, entry.attempt), self.log.entry_path(entry.n))
        except (FileExistsError, FileNotFoundError):
            # The number is taken, or another writer swept the staged entry, which happens only after it is taken.
            return self.log.read(entry.n)
        return entry

    def publish(self, entry: Entry) -> None:
        """Give a committed entry's files their final names, and remove the files that it replaces.

        Any process may do it, at any time, repeatedly and concurrently. It uses a link and a later removal instead of
        a rename, so that the file always has one of the two names, also after a power loss.
        """
        # The entry may have been read before it was durable, and no row may be visible that a power loss can undo.
        self.fs.sync_dir(self.log.entries_dir)
        for table in tables_of(self._partition):
            self._publish_table(table, [file for file in entry.files if file.table == table])
        for final in entry.replaces:
            self.fs.retire(final, _no_film if final.startswith(f"{MEDIA}/") else emptied)
        for folder in sorted({final.rpartition("/")[0] for final in entry.replaces}):
            with suppress(FileNotFoundError):  # a restored backup may lack empty folders
                self.fs.sync_dir(folder)

    def finish(self, entry: Entry) -> None:
        """Publish this process's own entry and remove its staged files."""
        self.publish(entry)
        self.fs.remove(self.log.staged_entry_path(entry.n, entry.attempt))
        if entry.n % NOTE_EVERY == 0:
            self.log.note(entry.n)

    def sweep(self, newest: int) -> int:
        """Remove garbage from the staging folder, given that entry `newest` is published; returns the number of files.

        A file staged for n is garbage if n exists and does not name it, or if a later entry shows that n is published,
        in which case its rows may have been erased since. The age of a file proves nothing.
        """
        removed = 0
        for n, paths in self.log.staged().items():
            if n > newest:
                continue
            named = {file.staged for file in self.log.read(n).files} if n == newest else set()
            for path in paths:
                if path not in named:
                    self.fs.remove(path)
                    removed += 1
        return removed

    def _publish_table(self, table: str, files: list[FileSpec]) -> None:
        folders = sorted({file.final.rpartition("/")[0] for file in files})
        if folders and table not in _ALWAYS:
            self.fs.mkdir(table)
            self.fs.sync_dir("")
        for folder in folders:
            self.fs.mkdir(folder)
        if folders:
            self.fs.sync_dir(table)
        for file in files:
            try:
                self.fs.link(file.staged, file.final)
            except (FileExistsError, FileNotFoundError):
                continue  # another process has published it
        for folder in folders:
            self.fs.sync_dir(folder)
        for file in files:
            self.fs.remove(file.staged)


def _no_film(data: bytes) -> bytes:
    """What takes the place of an erased film whose name must stay taken."""
    return b""
