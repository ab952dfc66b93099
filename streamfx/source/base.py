"""What a source of chunks promises to the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from streamfx.errors import SourceError
from streamfx.records import Partition, Record

OnAssigned = Callable[[Sequence[Partition]], None]
OnRevoked = Callable[[Sequence[Partition], bool], None]
"""Partitions that are taken away; the flag is True where they were lost (someone else may own them already)."""


class OffsetGone(SourceError):
    """The record to be read next was removed by retention. Raised once; the partition rests until the next `seek`."""

    def __init__(self, partition: Partition, offset: int, first_readable: int):
        super().__init__(
            f"{partition.topic}/{partition.number}: offset {offset} was removed by retention, the first readable one is "
            f"{first_readable}; the records between are lost"
        )
        self.partition = partition
        self.offset = offset
        self.first_readable = first_readable

    def __reduce__(self) -> tuple[type[OffsetGone], tuple[Partition, int, int]]:
        return OffsetGone, (self.partition, self.offset, self.first_readable)


class Source(Protocol):
    """Records by partition, in order. Not thread-safe: one thread uses it; callbacks come inside that thread's `poll`.

    A partition that was just assigned delivers nothing until `seek` has named its first offset, so that the runtime's log
    and not the broker decides where reading begins. All methods raise SourceError (BrokerUnavailable, LogMismatch,
    OffsetGone) and nothing else.
    """

    @property
    def cluster(self) -> str:
        """Kafka's cluster id, or `files`."""

    @property
    def stamped_on_append(self) -> bool:
        """Whether `Record.timestamp_ms` is the broker's append time, which idle closing needs. Files: False."""

    def topic_ids(self) -> Mapping[str, str]:
        """Topic -> topic id."""

    def partition_counts(self) -> Mapping[str, int]:
        """Topic -> number of partitions, as they were when one was last assigned that had not been there."""

    def partitions(self) -> list[Partition]:
        """All partitions of the input, whoever reads them."""

    def describe(self, partition: Partition) -> str:
        """What a partition is, for a message to the user: of a topic its name and number, of a file its path."""

    def left_out(self) -> Sequence[str]:
        """A sentence for each part of the input that could not be used although the run goes on; Kafka: none."""

    def subscribe(self, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        """Take part in the reading from the next `poll` on."""

    def poll(self, timeout_s: float) -> list[Record]:
        """Records in the order of their partition; empty after `timeout_s` without any. Keeps the membership alive, also
        while all is paused; call it far more often than `max_poll_interval_s`."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue an assigned partition at `offset`; nothing fetched before is delivered after. Ignored if not assigned."""

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing more of these until `resume`. Their place is kept. What is not assigned is passed over."""

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Undo `pause`."""

    def commit(self, partition: Partition, offset: int) -> None:
        """Tell the broker how far we are, for lag and monitoring: a hint, sent when it can be, failures logged."""

    def check_topic(self) -> None:
        """See that all that was delivered so far came from the topic that `topic_ids` names. Raises LogMismatch where it
        may have come from another of the same name, BrokerUnavailable where nobody can say now."""

    def read_at(self, partition: Partition, offsets: Sequence[int]) -> dict[int, Record | None]:
        """Records by offset, without disturbing `poll`; None for an offset that has no readable record (any more)."""

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """First readable offset, and the end: one past the last offset that is readable (read committed)."""

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """First offset stamped at or after a time (UTC ms), else the end. Files: the chunk that shows the time."""

    def readable_offsets(self, partition: Partition, begin: int, end: int) -> Iterator[int]:
        """Offsets in [begin, end) that hold a readable record: no aborted ones, no markers, none compacted away."""

    def finished(self, partition: Partition) -> bool:
        """Whether everything was delivered and nothing can follow. Kafka: never."""

    def close(self) -> None:
        """Leave: revokes what is assigned (not lost), sends the last hints, lets go of all. Called once."""
