"""A member of a consumer group that reports each step of a rebalance before it takes the next, which kafka-python does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.structs import MemberState

from streamfx.source.kafka_headers import ForgivingConsumer


class NewsFirst(Exception):
    """There is news of a rebalance; no further step before the runtime knows of it."""


class Member(ForgivingConsumer):
    """A member of the group that takes no second step of a rebalance before the first was told.

    Cooperative rebalancing frees a partition in its second step: the runtime, which must let go of it first, is told in
    the thread that polls, between the two. kafka-python has no public seam there; its version is pinned.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.news: deque[tuple[str, list[TopicPartition]]] = deque()

    @property
    def joining(self) -> bool:
        """Whether a rebalance is under way."""
        return bool(self._coordinator.rejoining or self.group_metadata().state == MemberState.REBALANCING)

    @property
    def fenced(self) -> bool:
        """Whether another process has joined under our static id, which kafka-python logs and keeps to itself."""
        stable = self.group_metadata().state == MemberState.STABLE and not self._coordinator.rejoining
        return stable and not self._coordinator._heartbeat_enabled

    def _poll_once(self, timer: Any, max_records: int, update_offsets: bool = True) -> Any:
        if self.news:
            raise NewsFirst
        if self._coordinator.rejoining:
            # A join that outlasts one poll is dropped by the next when metadata arrive in between, heartbeats left off.
            self._coordinator.request_rejoin()
        if not self._fetcher._next_partition_records:
            # Records of a resumed partition are given out only where this is None, and an emptied batch is not None.
            self._fetcher._next_partition_records = None
        return super()._poll_once(timer, max_records, update_offsets=update_offsets)


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what kafka-python's own thread tells of a rebalance, for the thread that polls.

    What is newly assigned rests at a placeholder offset, so that neither the broker's offset nor any reset decides where
    reading begins.
    """

    def __init__(self, member: Member):
        self._member = member

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called in kafka-python's thread."""
        places = list(assigned)
        for place in places:
            self._member.pause(place)
            self._member.seek(place, 0)
        self._member.news.append(("assigned", places))

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called in kafka-python's thread."""
        self._member.news.append(("revoked", list(revoked)))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Called in kafka-python's thread."""
        self._member.news.append(("lost", list(lost)))
