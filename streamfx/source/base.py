"""The interface between a source of chunks and the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from streamfx.errors import SourceError
from streamfx.records import Partition, Record

OnAssigned = Callable[[Sequence[Partition]], None]
OnRevoked = Callable[[Sequence[Partition], bool], None]
"""Receives revoked partitions. The flag is True if they were lost, so that another worker may already own them."""


class OffsetGone(SourceError):
    """Retention has removed the record to read next. Raised once; the partition delivers nothing until `seek`."""

    def __init__(self, partition: Partition, offset: int, first_readable: int):
        super().__init__(
            f"{partition.topic}/{partition.number}: retention removed offset {offset}, and the first readable offset "
            f"is {first_readable}; the records between are lost"
        )
        self.partition = partition
        self.offset = offset
        self.first_readable = first_readable

    def __reduce__(self) -> tuple[type[OffsetGone], tuple[Partition, int, int]]:
        return OffsetGone, (self.partition, self.offset, self.first_readable)


class Source(Protocol):
    """Delivers records in the order of their partition.

    It is not thread-safe: only one thread may use it, and callbacks are called within that thread's `poll`. A newly
    assigned partition delivers nothing until `seek` sets its first offset, so that the runtime's log and not the
    broker decides where reading begins. All methods raise only SourceError (BrokerUnavailable, LogMismatch,
    OffsetGone).
    """

    @property
    def cluster(self) -> str:
        """Kafka's cluster id, or `files`."""

    @property
    def stamped_on_append(self) -> bool:
        """Whether `Record.timestamp_ms` is the broker's append time, by which idle streams are closed."""

    def topic_ids(self) -> Mapping[str, str]:
        """Topic -> topic id."""

    def partition_counts(self) -> Mapping[str, int]:
        """Topic -> number of partitions, updated when a partition is assigned that did not exist before."""

    def partitions(self) -> list[Partition]:
        """All partitions of the input, including those that other workers read."""

    def describe(self, partition: Partition) -> str:
        """The partition's name in messages to the user: a topic's name and the number, or a file's path."""

    def left_out(self) -> Sequence[str]:
        """A sentence for each part of the input that could not be used although the run continues; none with Kafka."""

    def subscribe(self, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        """Start taking part in the reading with the next `poll`."""

    def poll(self, timeout_s: float) -> list[Record]:
        """Records in the order of their partition; an empty list after `timeout_s` without any.

        It also keeps the membership of the group alive while all partitions are paused, so call it far more often than
        every `max_poll_interval_s`.
        """

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue an assigned partition at `offset`, and discard what was fetched before; ignored if not assigned."""

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing more from these until `resume`, and keep their position. Ignores unassigned partitions."""

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Undo `pause`."""

    def commit(self, partition: Partition, offset: int) -> None:
        """Commit the position to the broker for lag monitoring only, when possible; failures are only logged."""

    def check_topic(self) -> None:
        """Check that everything delivered so far came from the topic that `topic_ids` names.

        Raises LogMismatch if it may have come from another topic of the same name, and BrokerUnavailable if the broker
        cannot be asked now.
        """

    def read_at(self, partition: Partition, offsets: Sequence[int]) -> dict[int, Record | None]:
        """Records by offset, without affecting `poll`; None for an offset that has no readable record (any longer)."""

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """The first readable offset, and the end, which is one past the last readable (committed) offset."""

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """The first offset stamped at or after a time (UTC ms), else the end; with files, the chunk at that time."""

    def readable_offsets(self, partition: Partition, begin: int, end: int) -> Iterator[int]:
        """Offsets in [begin, end) with a readable record, so without aborted, compacted or control records."""

    def finished(self, partition: Partition) -> bool:
        """Whether everything was delivered and nothing can follow; always False with Kafka."""

    def close(self) -> None:
        """Revoke what is assigned (as not lost), send the last commits and release all resources. Call it once."""
