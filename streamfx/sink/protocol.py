"""The steps by which anything enters a partition's log: stage, link, publish, sweep. Any process may do any of them.

Any number of writers may believe that they own the partition, and any of them may die anywhere. The only step that
decides is the link that gives an entry its number: it succeeds once. All else can be done by anybody, and twice.
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
from streamfx.sink.log import COMMITS, PUBLISH_ORDER, STAGING, Entry, FileSpec, PartitionLog
from streamfx.sink.parquet import emptied

NOTE_EVERY = 64
"""Entries between two notes in the index of where the log ends."""


@dataclass(frozen=True, slots=True, eq=False)
class NewFile:
    """A Parquet file that an entry is to bring: `date` is the UTC day, `YYYY-MM-DD`, whose folder it belongs to."""

    table: str
    date: str
    data: bytes
    rows: int


class LogWriter:
    """One process's hands on one partition's log. All errors but SinkError are OSError."""

    def __init__(self, fs: FileSystem, partition: Partition):
        self.fs = fs
        self.log = PartitionLog(fs, partition)
        self._partition = partition

    def recover(self) -> Entry | None:
        """Finish what the last writer began and return its entry, None where there is none. Right in any state.

        A backup may lack the staging folder, and folders that were empty: they are made anew. SinkError where rows that
        only staging had are gone with it.
        """
        last = self.log.last()
        if last is not None and not self.fs.exists(self.log.staging_dir):
            self._check_published(last)
        for table in PUBLISH_ORDER:
            self.fs.mkdir(table)
        # This syncs the dataset's root too, and so what opening the dataset has made there.
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
        # Asked for twice: somebody may publish it between the questions. What a later entry replaces is not missed.
        lost = [f for f in last.files if not (exists(f.final) or exists(f.staged) or exists(f.final))]
        if lost and not self.log.has(last.n + 1):
            raise SinkError(
                f"{lost[0].final} is missing: entry {last.n} had committed it, and it still lay in {self.log.staging_dir}, "
                "which is missing too. Copy that folder from where this dataset came from. Where it is gone for good, "
                "make an empty file of that name: the work goes on, and `streamfx verify` reports these rows as a gap"
            )

    def stage(self, draft: Entry, files: Callable[[str], Iterable[NewFile]]) -> Entry:
        """Write all that `draft` is to commit under a fresh attempt id, durably; returns the whole entry.

        `files` is given the attempt id. Nothing is left behind where this raises.
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
            written_at = datetime.now(UTC).isoformat(timespec="seconds")
            entry = replace(draft, attempt=attempt, files=tuple(specs), written_at=written_at)
            self.fs.write_new(staged[0], entry.to_json(log.entry_path(n)))
            # This also makes sure that what the entry before had staged is gone: were it to come back after a power
            # loss, rows that have been erased in the meantime could be published again.
            self.fs.sync_dir(log.staging_dir)
        except (OSError, SinkError):
            # No link was tried, so nothing can name these files; a full disk needs the space.
            for path in staged:
                self.fs.remove(path)
            raise
        return entry

    def link(self, entry: Entry) -> Entry:
        """Try to give the staged entry its number; returns the entry that has it now. May be repeated."""
        try:
            self.fs.link(self.log.staged_entry_path(entry.n, entry.attempt), self.log.entry_path(entry.n))
        except (FileExistsError, FileNotFoundError):
            # Taken; or swept by another writer, which happens only once the number is taken.
            return self.log.read(entry.n)
        return entry

    def publish(self, entry: Entry) -> None:
        """Bring a committed entry's files to their final places, and take away those that it replaces.

        Anybody may do it, several at once, late, and again. A link and a later removal, not a rename: at no moment, after
        no power loss, has the file neither name.
        """
        # The entry may have been seen before it was durable, and no row may show that a power loss can uncommit.
        self.fs.sync_dir(self.log.entries_dir)
        for table in PUBLISH_ORDER:
            self._publish_table(table, [file for file in entry.files if file.table == table])
        for final in entry.replaces:
            self.fs.retire(final, emptied)
        for folder in sorted({final.rpartition("/")[0] for final in entry.replaces}):
            with suppress(FileNotFoundError):  # a backup may lack folders that were empty
                self.fs.sync_dir(folder)

    def finish(self, entry: Entry) -> None:
        """Publish an entry of one's own and clear up after it."""
        self.publish(entry)
        self.fs.remove(self.log.staged_entry_path(entry.n, entry.attempt))
        if entry.n % NOTE_EVERY == 0:
            self.log.note(entry.n)

    def sweep(self, newest: int) -> int:
        """Remove what is garbage while entry `newest` exists and is published; returns how many files. Age proves nothing.

        A file staged for n is garbage once n exists without naming it, or once a later entry shows that n is published:
        what it held may have been erased since.
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
        for folder in folders:
            self.fs.mkdir(folder)
        if folders:
            self.fs.sync_dir(table)
        for file in files:
            try:
                self.fs.link(file.staged, file.final)
            except (FileExistsError, FileNotFoundError):
                continue  # somebody else has published it
        for folder in folders:
            self.fs.sync_dir(folder)
        for file in files:
            self.fs.remove(file.staged)
