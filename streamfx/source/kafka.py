"""Chunks from a Kafka topic, read by a consumer group. The commit log decides where reading begins."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from streamfx.config.source import KafkaSection
from streamfx.errors import BrokerUnavailable, LogMismatch, SourceError
from streamfx.records import Partition, Record
from streamfx.source.base import OffsetGone, OnAssigned, OnRevoked
from streamfx.source.kafka_client import TopicWatch, ask_topic, broker_error, connect
from streamfx.source.kafka_headers import ForgivingConsumer
from streamfx.source.kafka_member import EventsPending, Member, RebalanceListener

log = logging.getLogger(__name__)

SHORTEST_WAIT_S = 0.01
JOIN_WAIT_S = 1.0
FETCH_BYTES = 8 * 1024 * 1024
"""Most bytes that are fetched ahead from one partition; a single larger message is still delivered."""
FETCH_ALL_BYTES = 32 * 1024 * 1024
LEAVE_S = 5.0
READ_AHEAD = 16
"""Gaps between wanted offsets up to this distance are read through; beyond it a seek is cheaper."""


class KafkaSource:
    """A `Source` that reads one topic. `instance_id` makes the member static: restarted under the same id within the
    session timeout, it gets its partitions back at once, and a process still running under that id is fenced."""

    def __init__(self, section: KafkaSection, max_records: int = 8, instance_id: str | None = None):
        """Raises BrokerUnavailable, or SourceError if there is no such topic. `subscribe` joins the group."""
        self._section = section
        self._max_records = max_records
        self._instance_id = instance_id
        self._facts = ask_topic(section, section.topic)
        self._consumer: Member | None = None
        self._reader: ForgivingConsumer | None = None
        self._watch = TopicWatch(section, section.topic)
        self._callbacks: tuple[OnAssigned, OnRevoked] | None = None
        self._owned: set[int] = set()
        self._placed: set[int] = set()
        self._paused: set[int] = set()
        self._seeks: dict[int, int] = {}
        self._hints: dict[TopicPartition, OffsetAndMetadata] = {}

    @property
    def cluster(self) -> str:
        """Kafka's cluster id."""
        return self._facts.cluster

    @property
    def stamped_on_append(self) -> bool:
        """Whether the topic has `message.timestamp.type=LogAppendTime`."""
        return self._facts.stamped_on_append

    def topic_ids(self) -> dict[str, str]:
        """Topic -> topic id."""
        return {self._section.topic: self._facts.topic_id}

    def partition_counts(self) -> dict[str, int]:
        """Topic -> number of partitions, as of the start, and updated when the group assigns a newer partition."""
        return {self._section.topic: self._facts.partitions}

    def partitions(self) -> list[Partition]:
        """All partitions of the topic."""
        return [self._partition(number) for number in range(self._facts.partitions)]

    def describe(self, partition: Partition) -> str:
        """Topic and number."""
        return f"{partition.topic} partition {partition.number}"

    def left_out(self) -> list[str]:
        """Always empty, because the `chunks` table holds the fate of chunks that cannot be used."""
        return []

    def subscribe(self, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        """Join the group; the callbacks are called within `poll` and `close`, in the caller's thread."""
        section = self._section
        self._callbacks = on_assigned, on_revoked
        self._consumer = connect(
            Member,
            section,
            group_id=section.group,
            group_instance_id=self._instance_id,
            partition_assignment_strategy=[CooperativeStickyAssignor],
            session_timeout_ms=round(section.session_timeout_s * 1000),
            heartbeat_interval_ms=round(min(3.0, section.session_timeout_s / 6) * 1000),
            max_poll_interval_ms=round(section.max_poll_interval_s * 1000),
            **self._reading(),
        )
        self._consumer.subscribe([section.topic], listener=RebalanceListener(self._consumer))

    def poll(self, timeout_s: float) -> list[Record]:
        """Records in the order of their partition; empty after `timeout_s` without any.

        During a rebalance it waits longer, by up to the session timeout, because kafka-python drops a join that ends
        between two polls and would restart the whole group's rebalance. Raises OffsetGone, LogMismatch, SourceError.
        """
        if self._consumer is None:
            raise SourceError("expected a call of `subscribe` before `poll`, got none")
        deadline = time.monotonic() + timeout_s
        patience = deadline + self._section.session_timeout_s
        while True:
            joining = self._consumer.joining
            wait_s = JOIN_WAIT_S if joining else max(SHORTEST_WAIT_S, deadline - time.monotonic())
            records = self._step(self._consumer, wait_s)
            now = time.monotonic()
            if records or now >= patience or (now >= deadline and not self._consumer.joining):
                return records

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue at `offset`, and discard what was fetched before."""
        number = partition.number
        if self._consumer is None or number not in self._owned:
            return
        self._seeks[number] = self._seeks.get(number, 0) + 1
        try:
            self._consumer.seek(self._kafka(number), offset)
        except ValueError:  # it was revoked; the callback is called in the next poll
            return
        self._placed.add(number)
        self._apply_pause([number])

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing more from these until `resume`."""
        numbers = self._owned.intersection(partition.number for partition in partitions)
        self._paused |= numbers
        self._apply_pause(numbers)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Undo `pause`."""
        numbers = self._owned.intersection(partition.number for partition in partitions)
        self._paused -= numbers
        self._apply_pause(numbers)

    def commit(self, partition: Partition, offset: int) -> None:
        """Send the group's offset without waiting; what could not be sent is sent again at `close`."""
        if self._consumer is None or partition.number not in self._owned:
            return
        hint = {self._kafka(partition.number): OffsetAndMetadata(offset, "", -1)}
        self._hints |= hint
        try:
            self._consumer.commit_async(hint, callback=_log_commit)
        except kafka_errors.KafkaError as error:
            log.info("Kafka offset could not be committed: %s", error)

    def check_topic(self) -> None:
        """Raise LogMismatch if the topic was deleted and created again, and BrokerUnavailable if no broker answers.

        A fetch request names the topic and not its id, so a broker continues to serve records from the new topic.
        """
        self._check_topic_id(self._watch.ask().topic_id)

    def read_at(self, partition: Partition, offsets: Sequence[int]) -> dict[int, Record | None]:
        """Records by offset; None for an offset without a readable record."""
        found: dict[int, Record | None] = dict.fromkeys(offsets)
        first, end = self.bounds(partition)
        wanted = sorted(offset for offset in found if first <= offset < end)
        while wanted:
            last = next((b for b, c in pairwise(wanted) if c - b > READ_AHEAD), wanted[-1])
            try:
                for record in self._read(self._open_reader(), partition, wanted[0], last + 1):
                    if record.offset in found:
                        found[record.offset] = record
            except OffsetGone:  # retention removed it meanwhile; the rest may still be readable
                wanted = [offset for offset in wanted if offset >= self.bounds(partition)[0]]
                continue
            wanted = [offset for offset in wanted if offset > last]
        return found

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """The first readable offset, and the last stable offset."""
        place = self._kafka(partition.number)
        timeout_ms = self._timeout_ms()
        try:
            reader = self._open_reader()
            return reader.beginning_offsets([place], timeout_ms)[place], reader.end_offsets([place], timeout_ms)[place]
        except kafka_errors.KafkaError as error:
            raise broker_error(self._section, error) from error

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """The first offset stamped at or after a time (UTC ms), else the end."""
        place = self._kafka(partition.number)
        try:
            found = self._open_reader().offsets_for_times({place: timestamp_ms}, self._timeout_ms())[place]
        except kafka_errors.KafkaError as error:
            raise broker_error(self._section, error) from error
        return int(found.offset) if found else self.bounds(partition)[1]

    def readable_offsets(self, partition: Partition, begin: int, end: int) -> Iterator[int]:
        """The offsets in [begin, end) with a readable record, found by reading them all."""
        reader = self._new_reader()
        try:
            first, last = self.bounds(partition)
            for record in self._read(reader, partition, max(begin, first), min(end, last)):
                yield record.offset
        finally:
            reader.close()

    def finished(self, partition: Partition) -> bool:
        """A topic is never finished."""
        return False

    def close(self) -> None:
        """Leave the group after the last commits (the group keeps a static member until the session timeout)."""
        if self._consumer is not None:
            try:
                hints = {place: hint for place, hint in self._hints.items() if place.partition in self._owned}
                if hints:
                    self._consumer.commit(hints, timeout_ms=round(LEAVE_S * 1000))
            except kafka_errors.KafkaError as error:
                log.info("Kafka offsets could not be committed at the end: %s", error)
            self._deliver_revoked(self._owned.copy(), lost=False)
            self._shut(self._consumer)
            self._consumer = None
        if self._reader is not None:
            self._shut(self._reader)
            self._reader = None
        self._watch.close()

    def _step(self, consumer: Member, wait_s: float) -> list[Record]:
        if consumer.fenced:
            raise self._replaced()
        seeks = self._seeks.copy()
        batches: dict[TopicPartition, list[Any]] = {}
        try:
            batches = consumer.poll(timeout_ms=round(wait_s * 1000), max_records=self._max_records)
        except EventsPending:
            pass
        except kafka_errors.OffsetOutOfRangeError as error:
            self._deliver_rebalance()
            self._out_of_range(error)
        except kafka_errors.FencedInstanceIdError as error:
            raise self._replaced() from error
        except kafka_errors.KafkaError as error:
            if not getattr(error, "retriable", False):
                raise broker_error(self._section, error) from error
            log.warning("Kafka: %s; trying again", error)
        self._deliver_rebalance()
        return [
            self._record(message)
            for place, messages in batches.items()
            if place.partition in self._placed and self._seeks.get(place.partition) == seeks.get(place.partition)
            for message in messages
        ]

    def _replaced(self) -> SourceError:
        return SourceError(f"another process took over this worker's place ({self._instance_id}) in the group")

    def _deliver_rebalance(self) -> None:
        """Report to the runtime, in its own thread, what the listener received in kafka-python's thread."""
        while self._consumer is not None and self._consumer.events:
            kind, places = self._consumer.events.popleft()
            numbers = {place.partition for place in places}
            if kind == "assigned":
                if max(numbers, default=0) >= self._facts.partitions:
                    self._refresh_facts()
                self._owned |= numbers
                if self._callbacks and numbers:
                    self._callbacks[0](self._named(numbers))
            else:
                self._deliver_revoked(numbers & self._owned, lost=kind == "lost")

    def _deliver_revoked(self, numbers: set[int], lost: bool) -> None:
        if self._callbacks and numbers:
            self._callbacks[1](self._named(numbers), lost)
        self._owned -= numbers
        self._placed -= numbers
        self._paused -= numbers

    def _out_of_range(self, error: kafka_errors.OffsetOutOfRangeError) -> None:
        for place, offset in error.args[0].items():
            number = place.partition
            if number not in self._placed:
                continue
            self._placed.discard(number)
            self._apply_pause([number])
            partition = self._partition(number)
            self._refresh_facts()
            first, end = self.bounds(partition)
            if offset > end:
                raise LogMismatch(
                    f"{partition.topic}/{number}: expected to continue at offset {offset}, but the partition ends at "
                    f"{end}: the topic lost records, or is not the one of this dataset; check source.kafka.topic"
                )
            raise OffsetGone(partition, offset, first)

    def _refresh_facts(self) -> None:
        """Ask the broker again about the topic. Raises LogMismatch if it is another topic by now."""
        now = ask_topic(self._section, self._section.topic)
        self._check_topic_id(now.topic_id)
        self._facts = now

    def _check_topic_id(self, topic_id: str) -> None:
        if topic_id != self._facts.topic_id:
            raise LogMismatch(
                f"the topic {self._section.topic} was deleted and created again: its id is {topic_id}, and it was "
                f"{self._facts.topic_id}; write the new topic into a new dataset"
            )

    def _apply_pause(self, numbers: Iterable[int]) -> None:
        if self._consumer is None:
            return
        for number in numbers:
            place = self._kafka(number)
            if place not in self._consumer.assignment():
                continue
            if number in self._paused or number not in self._placed:
                self._consumer.pause(place)
            else:
                self._consumer.resume(place)

    def _read(self, reader: ForgivingConsumer, partition: Partition, begin: int, end: int) -> Iterator[Record]:
        """The readable records in [begin, end). `end` must not be past the last stable offset."""
        place = self._kafka(partition.number)
        reader.assign([place])
        reader.seek(place, begin)
        heard = time.monotonic()
        while (at := reader.position(place, timeout_ms=self._timeout_ms())) is None or at < end:
            try:
                messages = reader.poll(timeout_ms=500).get(place, [])
            except kafka_errors.OffsetOutOfRangeError as error:
                raise OffsetGone(partition, begin, self.bounds(partition)[0]) from error
            except kafka_errors.KafkaError as error:
                raise broker_error(self._section, error) from error
            for message in messages:
                if message.offset < end:
                    yield self._record(message)
            if messages or reader.position(place, timeout_ms=self._timeout_ms()) != at:
                heard = time.monotonic()
            elif time.monotonic() - heard > self._section.connect_timeout_s:
                raise BrokerUnavailable(
                    f"the Kafka broker at {self._section.bootstrap} sent nothing from {partition.topic}/"
                    f"{partition.number} at offset {at} for {self._section.connect_timeout_s:g} s"
                )

    def _open_reader(self) -> ForgivingConsumer:
        if self._reader is None:
            self._reader = self._new_reader()
        return self._reader

    def _new_reader(self) -> ForgivingConsumer:
        return connect(ForgivingConsumer, self._section, group_id=None, **self._reading())

    def _reading(self) -> dict[str, Any]:
        return {
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "allow_auto_create_topics": False,
            "max_partition_fetch_bytes": min(FETCH_BYTES, self._section.max_chunk_bytes),
            "fetch_max_bytes": FETCH_ALL_BYTES,
            "max_poll_records": self._max_records,
        }

    def _record(self, message: Any) -> Record:
        return Record(
            partition=self._partition(message.partition),
            offset=message.offset,
            timestamp_ms=message.timestamp,
            key=message.key,
            headers=tuple((name, value if value is not None else b"") for name, value in message.headers),
            value=message.value or b"",
        )

    def _partition(self, number: int) -> Partition:
        return Partition(self._section.topic, self._facts.topic_id, number)

    def _named(self, numbers: Iterable[int]) -> list[Partition]:
        return [self._partition(number) for number in sorted(numbers)]

    def _kafka(self, number: int) -> TopicPartition:
        return TopicPartition(self._section.topic, number)

    def _timeout_ms(self) -> int:
        return round(self._section.connect_timeout_s * 1000)

    @staticmethod
    def _shut(consumer: ForgivingConsumer) -> None:
        try:
            consumer.close(autocommit=False, timeout_ms=round(LEAVE_S * 1000))
        except kafka_errors.KafkaError as error:
            log.info("Kafka: the consumer could not be closed properly: %s", error)


def _log_commit(offsets: object, answer: object) -> None:
    if isinstance(answer, Exception):
        log.info("Kafka offsets could not be committed: %s", answer)
