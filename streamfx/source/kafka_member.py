"""A member of a consumer group that reports each step of a rebalance before it takes the next, which kafka-python does
not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.structs import MemberState

from streamfx.source.kafka_headers import ForgivingConsumer


class EventsPending(Exception):
    """There are rebalance events that must be delivered to the runtime before the next step."""


class Member(ForgivingConsumer):
    """A member of the group that starts the second step of a rebalance only after the runtime knows of the first.

    Cooperative rebalancing frees a partition in its second step; before that, the thread that polls tells the runtime,
    which must release it first. kafka-python has no public hook for this; its version is pinned.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.events: deque[tuple[str, list[TopicPartition]]] = deque()

    @property
    def joining(self) -> bool:
        """Whether a rebalance is in progress."""
        return bool(self._coordinator.rejoining or self.group_metadata().state == MemberState.REBALANCING)

    @property
    def fenced(self) -> bool:
        """Whether another process has joined under our static id, which kafka-python only logs."""
        stable = self.group_metadata().state == MemberState.STABLE and not self._coordinator.rejoining
        return stable and not self._coordinator._heartbeat_enabled

    def _poll_once(self, timer: Any, max_records: int, update_offsets: bool = True) -> Any:
        if self.events:
            raise EventsPending
        if self._coordinator.rejoining:
            # If a join takes longer than one poll and metadata arrive, the next poll drops it and heartbeats stop.
            self._coordinator.request_rejoin()
        if not self._fetcher._next_partition_records:
            # Records of a resumed partition are returned only if this is None, and an emptied batch is not None.
            self._fetcher._next_partition_records = None
        return super()._poll_once(timer, max_records, update_offsets=update_offsets)


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Stores the rebalance events from kafka-python's own thread for the thread that polls.

    A newly assigned partition is paused at a placeholder offset, so that neither the broker's offset nor a reset
    policy decides where reading begins.
    """

    def __init__(self, member: Member):
        self._member = member

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called in kafka-python's thread."""
        places = list(assigned)
        for place in places:
            self._member.pause(place)
            self._member.seek(place, 0)
        self._member.events.append(("assigned", places))

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called in kafka-python's thread."""
        self._member.events.append(("revoked", list(revoked)))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Called in kafka-python's thread."""
        self._member.events.append(("lost", list(lost)))
