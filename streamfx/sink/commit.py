"""Commits a worker's results: each range of offsets once. If another writer commits first, the worker follows it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from streamfx.columns import ROWS_VERSION
from streamfx.errors import CommitLost, DatasetMismatch, PrivacyRefusal, SinkError
from streamfx.privacy.films import PublicFilm
from streamfx.privacy.rows import PublicRow
from streamfx.records import Partition, Snapshot
from streamfx.sink.erasure import Rule, obey
from streamfx.sink.fs import clear_errors
from streamfx.sink.identity import Opened
from streamfx.sink.log import MEDIA, Entry
from streamfx.sink.parquet import date_of, encode_table
from streamfx.sink.protocol import LogWriter, NewFile


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What to commit: the offsets `[start, end)` and all results of them.

    `records` is the number of readable records in the range; a `data` batch has one `chunks` row for each. `snapshot`
    is the state as of `end`. `last_record` (`offset`, `timestamp_ms`, `sha256`) is None if the range has no record.
    `films` are redacted films, each with its row of the table `films`; their chunks may be of earlier entries.
    `details` are for people and for `streamfx verify`: a gap's reason and count, closed windows, lost inputs.
    """

    kind: Literal["data", "gap", "config"]
    start: int
    end: int
    rows: Sequence[PublicRow]
    records: int
    snapshot: Snapshot
    last_record: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    films: Sequence[tuple[PublicRow, PublicFilm]] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a log: the next entry's number, its start offset (None: any), and the state to continue from.

    `erased_by` are the numbers of the `erase` entries that apply to the next entry.
    """

    n_next: int
    end: int | None
    snapshot: Snapshot
    last_record: Mapping[str, Any] | None
    kind: str | None
    config_id: str | None
    partition_count: int | None
    erased_by: tuple[int, ...] = ()

    @staticmethod
    def after(entry: Entry | None) -> Head:
        """The head of a log with this newest entry; pass None for an empty log."""
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
            entry.erased_by,
        )

    @property
    def terms(self) -> tuple[str | None, int | None]:
        """What all writers of a partition must agree on: configuration and partition count."""
        return self.config_id, self.partition_count


class PartitionWriter:
    """Writes one partition's log. It is not thread-safe, but several processes may write the same log.

    After a SinkError that is neither CommitLost nor DatasetMismatch, either commit the same `Batch` again or call
    `recover`; both are correct whatever happened on the disk meanwhile.
    """

    def __init__(self, dataset: Opened, partition: Partition, partition_count: int):
        self._dataset = dataset
        self._partition = partition
        self._writer = LogWriter(dataset.fs, partition)
        self._config_id = dataset.config_id
        self._partition_count = partition_count
        self._head: Head | None = None
        # The attempt that is staged and neither known to be committed nor lost; a repeated commit must reuse it.
        self._staged: tuple[Batch, Entry] | None = None
        self._rules: dict[int, Rule] = {}

    def recover(self) -> Head:
        """Finish what the last writer began, and return the end of the log. Call it at any time, in any state.

        Raises DatasetMismatch if a writer with another configuration has taken over since this writer last read the
        log.
        """
        with clear_errors(f"{self._where}: cannot read the log"):
            last = self._writer.recover()
            head = Head.after(last)
            self._rules = {n: self._rules.get(n) or self._read_rule(n) for n in head.erased_by}
        self._follow(head)
        return head

    @property
    def terms(self) -> tuple[str, int]:
        """Configuration and partition count of this writer's entries, to be compared with `Head.terms` of the log.

        The partition count of a topic only grows, so the log's count takes precedence over a smaller one of this
        writer.
        """
        return self._config_id, self._partition_count

    def commit(self, batch: Batch) -> Head:
        """Commit a batch exactly once. On return its rows are durable and in their final places.

        Raises CommitLost, with the head to continue from, if another writer committed this number first. Then discard
        all state of the partition, restore `head.snapshot` and continue at `head.end`.
        """
        head = self._head or self.recover()
        self._check(batch, head)
        with clear_errors(f"{self._where}: cannot commit entry {head.n_next}"):
            if self._staged is None or self._staged[0] is not batch:
                self._staged = batch, self._stage(batch, head)
            own = self._staged[1]
            entry = self._writer.link(own)
            if entry.attempt != own.attempt:
                self._staged, head = None, self.recover()
                raise CommitLost(
                    f"{self._where}: another writer committed entry {entry.n} first; continue from its entry", head
                )
            self._writer.finish(entry)
        self._head, self._staged = Head.after(entry), None
        return self._head

    def collect_garbage(self) -> int:
        """Remove files that other attempts staged for entries that now exist; returns the number of files."""
        head = self._head or self.recover()
        with clear_errors(f"{self._where}: cannot remove staged files"):
            return self._writer.sweep(head.n_next - 1)

    @property
    def _where(self) -> str:
        return f"{self._dataset.path}, {self._partition.topic} partition {self._partition.number}"

    def _follow(self, head: Head) -> None:
        """Accept the end of the log, unless another configuration has been introduced since the last time."""
        if self._head is not None and head.config_id not in (self._config_id, self._head.config_id):
            raise DatasetMismatch(
                f"{self._where}: entry {head.n_next - 1} was written with config {head.config_id}, and this run has "
                f"config {self._config_id}. A newer run has taken over; this one must stop"
            )
        self._partition_count = max(self._partition_count, head.partition_count or 0)
        self._head = head

    def _check(self, batch: Batch, head: Head) -> None:
        start = batch.start if head.end is None else head.end
        if batch.start != start or batch.end < batch.start:
            raise SinkError(f"{self._where}: expected a range that starts at {start}, got [{batch.start}, {batch.end})")
        for _, film in batch.films:
            if type(film) is not PublicFilm:
                raise PrivacyRefusal(f"the sink takes only films made by streamfx.privacy, got {type(film).__name__}")
        for row in (*batch.rows, *(row for row, _ in batch.films)):
            if type(row) is not PublicRow:
                raise PrivacyRefusal(f"the sink takes only rows made by streamfx.privacy, got {type(row).__name__}")
            if (row.values["topic"], row.values["partition"]) != (self._partition.topic, self._partition.number):
                raise SinkError(f"{self._where}: a {row.table} row belongs to another partition")
        if batch.kind != "config" and head.config_id is not None and head.terms != self.terms:
            raise SinkError(
                f"{self._where}: the log was written with config {head.config_id} and {head.partition_count} "
                f"partitions, and this run has {self._config_id} and {self._partition_count}; a `config` entry must "
                "close the open windows first"
            )
        fates = [row.values["offset"] for row in batch.rows if row.table == "chunks"]
        inside = all(batch.start <= offset < batch.end for offset in fates)
        if len(fates) != batch.records or len(set(fates)) != len(fates) or not inside:
            raise SinkError(
                f"{self._where}: expected one chunks row for each of {batch.records} records in "
                f"[{batch.start}, {batch.end}), got {len(fates)} rows of {len(set(fates))} offsets"
            )

    def _read_rule(self, n: int) -> Rule:
        return Rule.from_json(self._writer.log.read(n).details["erase"])

    def _stage(self, batch: Batch, head: Head) -> Entry:
        draft = Entry(
            kind=batch.kind,
            n=head.n_next,
            attempt="",
            start=batch.start,
            end=batch.end,
            records=batch.records,
            files=(),
            snapshot=batch.snapshot,
            last_record=batch.last_record or head.last_record,
            config_id=self._config_id,
            partition_count=self._partition_count,
            schema_version=self._dataset.schema_version,
            details=batch.details,
            written_at="",
            erased_by=head.erased_by,
        )
        return self._writer.stage(draft, lambda attempt: self._files(batch, draft.n, attempt))

    def _files(self, batch: Batch, n: int, attempt: str) -> Iterator[NewFile]:
        """The batch's files without erased rows, encoded on demand."""
        films: list[Mapping[str, Any]] = []
        parts: Counter[str] = Counter()
        for row, film in batch.films:
            if obey(self._rules.values(), row.table, row.values) is None:
                continue
            date = date_of(self._dataset.tables[row.table], row.values)
            path = self._writer.log.final_path(n, attempt, MEDIA, date, parts[date])
            parts[date] += 1
            films.append({**row.values, "file": path})
            yield NewFile(MEDIA, date, film.body, 0)
        for (table, date), rows in sorted(self._by_table_and_date(batch, films).items()):
            allowed = [row for row in (obey(self._rules.values(), table, row) for row in rows) if row is not None]
            if allowed:
                footer = self._footer(batch, n, attempt)
                data = encode_table(self._dataset.tables[table], allowed, footer, self._dataset.compression)
                yield NewFile(table, date, data, len(allowed))

    def _by_table_and_date(
        self, batch: Batch, films: Sequence[Mapping[str, Any]]
    ) -> Mapping[tuple[str, str], list[Mapping[str, Any]]]:
        groups: defaultdict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for table, values in (*((row.table, row.values) for row in batch.rows), *(("films", row) for row in films)):
            groups[table, date_of(self._dataset.tables[table], values)].append(values)
        return groups

    def _footer(self, batch: Batch, n: int, attempt: str) -> dict[str, str]:
        about = {
            **self._dataset.footer,
            "rows_version": ROWS_VERSION,
            "schema_version": self._dataset.schema_version,
            "config_id": self._config_id,
            "topic": self._partition.topic,
            "topic_id": self._partition.topic_id,
            "partition": self._partition.number,
            "n": n,
            "attempt": attempt,
            "start": batch.start,
            "end": batch.end,
        }
        return {f"streamfx.{key}": str(value) for key, value in about.items()}
