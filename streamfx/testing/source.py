"""A topic in memory, in the place of a broker."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from streamfx.records import Partition, Record
from streamfx.source.base import OffsetGone, OnAssigned, OnRevoked
from streamfx.testing.builders import TEST_PARTITION


class MemorySource:
    """A `Source` over records in memory, stamped on append, with one reader, which owns all partitions.

    It keeps the promises of `Source` that do not need a second reader: nothing comes before `seek`, `pause` keeps its
    place, what retention took raises `OffsetGone` once. It is never finished, as a topic of Kafka's: a worker reads it
    until it is idle.
    """

    cluster = "memory"
    stamped_on_append = True

    def __init__(self, records: Iterable[Record] = (), partitions: Sequence[Partition] = (TEST_PARTITION,)):
        self._partitions = list(partitions)
        self._records: dict[Partition, dict[int, Record]] = {partition: {} for partition in self._partitions}
        self._first = dict.fromkeys(self._partitions, 0)
        self._next: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._callbacks: tuple[OnAssigned, OnRevoked] | None = None
        self._assigned = False
        self.committed: dict[Partition, int] = {}
        """The last offset that `commit` named for each partition."""
        for record in records:
            self.append(record)

    def append(self, record: Record) -> None:
        """Add a record at the end of its partition. Offsets may be left out, as after compaction, and never go back."""
        if record.offset < self._end(record.partition):
            raise ValueError(f"expected an offset of at least {self._end(record.partition)}, got {record.offset}")
        self._records[record.partition][record.offset] = record

    def delete_records(self, partition: Partition, before: int) -> None:
        """Remove all records below an offset, as retention does."""
        self._first[partition] = max(before, self._first[partition])
        self._records[partition] = {o: r for o, r in self._records[partition].items() if o >= before}

    def topic_ids(self) -> Mapping[str, str]:
        """Topic -> topic id."""
        return {partition.topic: partition.topic_id for partition in self._partitions}

    def partition_counts(self) -> Mapping[str, int]:
        """Topic -> number of partitions."""
        return Counter(partition.topic for partition in self._partitions)

    def partitions(self) -> list[Partition]:
        """All partitions."""
        return list(self._partitions)

    def describe(self, partition: Partition) -> str:
        """Topic and number."""
        return f"{partition.topic}/{partition.number}"

    def left_out(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def subscribe(self, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        """All partitions are assigned in the next `poll`."""
        self._callbacks = on_assigned, on_revoked

    def poll(self, timeout_s: float) -> list[Record]:
        """The next record of each partition that is placed and not paused; empty after `timeout_s` without any."""
        if self._callbacks and not self._assigned:
            self._assigned = True
            self._callbacks[0](self.partitions())
        records = []
        for partition in [p for p in self._next if p not in self._paused]:
            offset, first = self._next[partition], self._first[partition]
            if offset < first:
                del self._next[partition]
                raise OffsetGone(partition, offset, first)
            coming = next(self.readable_offsets(partition, offset, self._end(partition)), None)
            if coming is not None:
                self._next[partition] = coming + 1
                records.append(self._records[partition][coming])
        if not records:
            time.sleep(timeout_s)
        return records

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue an assigned partition at `offset`."""
        if self._assigned and partition in self._records:
            self._next[partition] = offset

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing more of these until `resume`."""
        self._paused |= set(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Undo `pause`."""
        self._paused -= set(partitions)

    def commit(self, partition: Partition, offset: int) -> None:
        """Keep the hint in `committed`."""
        self.committed[partition] = offset

    def check_topic(self) -> None:
        """There is no other topic of its name."""

    def read_at(self, partition: Partition, offsets: Sequence[int]) -> dict[int, Record | None]:
        """Records by offset; None where there is none."""
        return {offset: self._records[partition].get(offset) for offset in offsets}

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """First readable offset, and the end."""
        return self._first[partition], self._end(partition)

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """First offset stamped at or after a time (UTC ms), else the end."""
        stamped = (o for o, record in self._records[partition].items() if record.timestamp_ms >= timestamp_ms)
        return next(stamped, self._end(partition))

    def readable_offsets(self, partition: Partition, begin: int, end: int) -> Iterator[int]:
        """Offsets in [begin, end) that hold a record."""
        return (offset for offset in self._records[partition] if begin <= offset < end)

    def finished(self, partition: Partition) -> bool:
        """Never: more may be appended."""
        return False

    def close(self) -> None:
        """Hand the partitions back, not lost."""
        if self._callbacks and self._assigned:
            self._callbacks[1](self.partitions(), False)
        self._callbacks = None

    def _end(self, partition: Partition) -> int:
        return max(self._records[partition], default=self._first[partition] - 1) + 1
