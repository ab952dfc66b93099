"""The commit protocol of one partition: stage, commit, publish; or lose, and follow the winner.

Any number of writers may believe that they own the partition, and any of them may die anywhere. The only step that
decides is the link that gives an entry its number: it succeeds once. All else can be done by anybody, and twice.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from streamfx.errors import CommitLost, DatasetMismatch, PrivacyRefusal, SinkError
from streamfx.privacy import PublicRow
from streamfx.records import Partition, Snapshot
from streamfx.sink.fs import clear_errors, make_durable_dir
from streamfx.sink.log import COMMITS, PUBLISH_ORDER, STAGING, Entry, FileSpec, PartitionLog
from streamfx.sink.parquet import date_of, encode_table

if TYPE_CHECKING:
    from streamfx.sink.dataset import Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What to commit: the offsets `[start, end)` and everything that came of them.

    `records` counts the readable records in the range; a `data` batch has one `chunks` row for each. `snapshot` is the
    state as of `end`. `last_record` (`offset`, `timestamp_ms`, `sha256`) is None where the range has no record.
    `details` are for people and `streamfx verify`: a gap's reason and count, windows closed, inputs lost.
    """

    kind: Literal["data", "gap", "config"]
    start: int
    end: int
    rows: Sequence[PublicRow]
    records: int
    snapshot: Snapshot
    last_record: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a log ends: the next entry's number, the offset it starts at (None: any), and the state to go on from."""

    n_next: int
    end: int | None
    snapshot: Snapshot
    last_record: Mapping[str, Any] | None
    kind: str | None
    config_id: str | None
    partition_count: int | None

    @staticmethod
    def after(entry: Entry | None) -> Head:
        """The head of a log whose newest entry this is; None for an empty log."""
        if entry is None:
            return Head(0, None, {}, None, None, None, None)
        return Head(
            entry.n + 1,
            entry.end,
            entry.snapshot,
            entry.last_record,
            entry.kind,
            entry.config_id,
            entry.partition_count,
        )

    @property
    def terms(self) -> tuple[str | None, int | None]:
        """What all writers of a partition must agree on: configuration and partition count."""
        return self.config_id, self.partition_count


class PartitionWriter:
    """Writes one partition's log. Not for several threads; several processes are what it is made for.

    After a SinkError that is neither CommitLost nor DatasetMismatch, the same `Batch` may be committed again, or
    `recover` called; both are right whatever the disk did in the meantime.
    """

    def __init__(self, dataset: Dataset, partition: Partition):
        self._dataset = dataset
        self._partition = partition
        self._fs = dataset.fs
        self._log = PartitionLog(dataset.fs, partition)
        self._terms = (dataset.config_id, dataset.identity.partitions.get(partition.topic, 1))
        self._head: Head | None = None
        # What is staged and not known to be committed or lost: a repeated commit must repeat this very attempt.
        self._staged: tuple[Batch, Entry] | None = None

    def recover(self) -> Head:
        """Finish what the last writer began and return where the log ends. Right at any time, in any state.

        Raises DatasetMismatch where a writer with another configuration or partition count has taken over since this
        writer's last look.
        """
        with clear_errors(f"{self._where}: cannot read the log"):
            make_durable_dir(self._fs, STAGING, self._partition.log_name)
            make_durable_dir(self._fs, COMMITS, self._partition.log_name)
            last = self._log.last()
            if last is not None:
                self._publish(last)
            head = Head.after(last)
            self._sweep(head.n_next)
        self._follow(head)
        return head

    def commit(self, batch: Batch) -> Head:
        """Commit a batch, once, whatever happens; on return its rows are durable and in their final places.

        Raises CommitLost, with the head to continue from, where another writer committed this number first: drop all
        state of the partition, restore `head.snapshot`, continue at `head.end`.
        """
        head = self._head or self.recover()
        self._check(batch, head)
        with clear_errors(f"{self._where}: cannot commit entry {head.n_next}"):
            if self._staged is None or self._staged[0] is not batch:
                self._staged = batch, self._stage(batch, head, secrets.token_hex(8))
            mine = self._staged[1]
            entry = self._link(mine)
            if entry.attempt != mine.attempt:
                self._staged, head = None, self.recover()
                raise CommitLost(f"{self._where}: another writer committed entry {entry.n} first; follow it", head)
            self._publish(entry)
            self._fs.remove(self._log.staged_entry_path(entry.n, entry.attempt))
        self._head, self._staged = Head.after(entry), None
        return self._head

    def collect_garbage(self) -> int:
        """Remove what was staged for entries that exist and do not name it; returns how many. Age proves nothing."""
        head = self._head or self.recover()
        with clear_errors(f"{self._where}: cannot remove staged files"):
            return self._sweep(head.n_next)

    @property
    def _where(self) -> str:
        return f"{self._dataset.path}, {self._partition.topic} partition {self._partition.number}"

    def _follow(self, head: Head) -> None:
        """Accept where the log ends, unless another configuration has come in since the last look."""
        if self._head is not None and head.terms not in (self._terms, self._head.terms):
            raise DatasetMismatch(
                f"{self._where}: entry {head.n_next - 1} was written with config {head.config_id} and "
                f"{head.partition_count} partitions, this run has config {self._terms[0]} and {self._terms[1]}. "
                "A newer run has taken over; this one must stop"
            )
        self._head = head

    def _check(self, batch: Batch, head: Head) -> None:
        start = batch.start if head.end is None else head.end
        if batch.start != start or batch.end < batch.start:
            raise SinkError(f"{self._where}: expected a range that starts at {start}, got [{batch.start}, {batch.end})")
        for row in batch.rows:
            if type(row) is not PublicRow:
                raise PrivacyRefusal(f"the sink takes only rows made by streamfx.privacy, got {type(row).__name__}")
            if (row.values["topic"], row.values["partition"]) != (self._partition.topic, self._partition.number):
                raise SinkError(f"{self._where}: a {row.table} row belongs to another partition")
        if batch.kind != "config" and head.config_id is not None and head.terms != self._terms:
            raise SinkError(
                f"{self._where}: the log was written with config {head.config_id} and {head.partition_count} partitions, "
                f"this run has {self._terms[0]} and {self._terms[1]}; a `config` entry must close the open windows first"
            )
        fates = [row.values["offset"] for row in batch.rows if row.table == "chunks"]
        inside = all(batch.start <= offset < batch.end for offset in fates)
        if len(fates) != batch.records or len(set(fates)) != len(fates) or not inside:
            raise SinkError(
                f"{self._where}: expected one chunks row for each of {batch.records} records in "
                f"[{batch.start}, {batch.end}), got {len(fates)} rows of {len(set(fates))} offsets"
            )

    def _link(self, entry: Entry) -> Entry:
        """Try to give the staged entry its number; returns the entry that has it now."""
        try:
            self._fs.link(self._log.staged_entry_path(entry.n, entry.attempt), self._log.entry_path(entry.n))
        except (FileExistsError, FileNotFoundError):
            # Taken; or swept by another writer, which happens only once the number is taken.
            return self._log.read(entry.n)
        return entry

    def _stage(self, batch: Batch, head: Head, attempt: str) -> Entry:
        n = head.n_next
        staged: list[str] = [self._log.staged_entry_path(n, attempt)]
        try:
            files = []
            for (table, date), rows in sorted(self._by_table_and_date(batch).items()):
                path = self._log.staged_path(n, attempt, table, date)
                data = encode_table(
                    self._dataset.tables[table], rows, self._footer(batch, n, attempt), self._dataset.compression
                )
                staged.append(path)
                self._fs.write_new(path, data)
                final = self._log.final_path(n, attempt, table, date)
                files.append(FileSpec(table, path, final, len(rows), len(data), hashlib.sha256(data).hexdigest()))
            entry = self._entry(batch, head, attempt, tuple(files))
            self._fs.write_new(staged[0], entry.to_json())
            # This also makes sure that what the entry before had staged is gone: were it to come back after a power
            # loss, rows that have been erased in the meantime could be published again.
            self._fs.sync_dir(self._log.staging_dir)
        except (OSError, SinkError):
            # No link was tried, so nothing can name these files; a full disk needs the space.
            with clear_errors(f"{self._where}: cannot remove staged files"):
                for path in staged:
                    self._fs.remove(path)
            raise
        return entry

    def _by_table_and_date(self, batch: Batch) -> Mapping[tuple[str, str], list[Mapping[str, Any]]]:
        groups: defaultdict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for row in batch.rows:
            groups[row.table, date_of(self._dataset.tables[row.table], row.values)].append(row.values)
        return groups

    def _entry(self, batch: Batch, head: Head, attempt: str, files: tuple[FileSpec, ...]) -> Entry:
        return Entry(
            kind=batch.kind,
            n=head.n_next,
            attempt=attempt,
            start=batch.start,
            end=batch.end,
            records=batch.records,
            files=files,
            snapshot=batch.snapshot,
            last_record=batch.last_record or head.last_record,
            config_id=self._terms[0],
            partition_count=self._terms[1],
            schema_version=self._dataset.schema_version,
            details=batch.details,
            written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _footer(self, batch: Batch, n: int, attempt: str) -> dict[str, str]:
        about = {
            **self._dataset.footer,
            "schema_version": self._dataset.schema_version,
            "config_id": self._terms[0],
            "topic": self._partition.topic,
            "topic_id": self._partition.topic_id,
            "partition": self._partition.number,
            "n": n,
            "attempt": attempt,
            "start": batch.start,
            "end": batch.end,
        }
        return {f"streamfx.{key}": str(value) for key, value in about.items()}

    def _publish(self, entry: Entry) -> None:
        """Bring a committed entry's files to their final places. Anybody may do it, several at once, and again.

        A link and a later removal, not a rename: at no moment, after no power loss, has the file neither name.
        """
        # The entry may have been seen before it was durable, and no row may show that a power loss can uncommit.
        self._fs.sync_dir(self._log.entries_dir)
        for table in PUBLISH_ORDER:
            files = [file for file in entry.files if file.table == table]
            folders = sorted({file.final.rpartition("/")[0] for file in files})
            for folder in folders:
                self._fs.mkdir(folder)
            if folders:
                self._fs.sync_dir(table)
            for file in files:
                try:
                    self._fs.link(file.staged, file.final)
                except (FileExistsError, FileNotFoundError):
                    continue  # somebody else has published it
            for folder in folders:
                self._fs.sync_dir(folder)
            for file in files:
                self._fs.remove(file.staged)

    def _sweep(self, n_next: int) -> int:
        """Remove what is staged for published entries below `n_next` and not named by them."""
        removed = 0
        for n, paths in self._log.staged().items():
            if n >= n_next:
                continue
            named = {file.staged for file in self._log.read(n).files}
            for path in paths:
                if path not in named:
                    self._fs.remove(path)
                    removed += 1
        return removed
