"""Chunks from a Kafka topic: a consumer group whose reading the commit log directs, one partition in order."""

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
from streamfx.source.kafka_member import Member, NewsFirst, RebalanceListener

log = logging.getLogger(__name__)

SHORTEST_WAIT_S = 0.01
JOIN_WAIT_S = 1.0
FETCH_BYTES = 8 * 1024 * 1024
"""Most that is fetched ahead of one partition; one larger message still comes through."""
FETCH_ALL_BYTES = 32 * 1024 * 1024
LEAVE_S = 5.0
READ_AHEAD = 16
"""Offsets within this distance are read on to; beyond it a seek is cheaper."""


class KafkaSource:
    """A `Source` over one topic. `instance_id` makes the member static: restarted under the same id within the session
    timeout it has its partitions again at once, and a process still running under that id is fenced off."""

    def __init__(self, section: KafkaSection, max_records: int = 8, instance_id: str | None = None):
        """Raises BrokerUnavailable, or SourceError where there is no such topic. Joins the group with `subscribe`."""
        self._section = section
        self._max_records = max_records
        self._instance_id = instance_id
        self._facts = ask_topic(section, section.topic)
        self._consumer: Member | None = None
        self._reader: ForgivingConsumer | None = None
        self._watch = TopicWatch(section)
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
        """Topic -> number of partitions, asked at the opening and where the group deals one that was not there then."""
        return {self._section.topic: self._facts.partitions}

    def partitions(self) -> list[Partition]:
        """All partitions of the topic."""
        return [self._partition(number) for number in range(self._facts.partitions)]

    def describe(self, partition: Partition) -> str:
        """Topic and number."""
        return f"{partition.topic} partition {partition.number}"

    def left_out(self) -> list[str]:
        """None: what cannot be used has its fate in the `chunks` table."""
        return []

    def subscribe(self, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        """Join the group; the callbacks come inside `poll` and `close`, in the caller's thread."""
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

        A rebalance under way is waited for, up to the session timeout longer: kafka-python forgets a join that ends
        between two polls and would start the whole group's rebalance anew. Raises OffsetGone, LogMismatch, SourceError.
        """
        if self._consumer is None:
            raise SourceError("poll before subscribe")
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
        """Continue at `offset`. Nothing fetched before is delivered after."""
        number = partition.number
        if self._consumer is None or number not in self._owned:
            return
        self._seeks[number] = self._seeks.get(number, 0) + 1
        try:
            self._consumer.seek(self._kafka(number), offset)
        except ValueError:  # it was taken away; the callback comes with the next poll
            return
        self._placed.add(number)
        self._apply_pause([number])

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing more of these until `resume`."""
        numbers = self._owned.intersection(partition.number for partition in partitions)
        self._paused |= numbers
        self._apply_pause(numbers)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Undo `pause`."""
        numbers = self._owned.intersection(partition.number for partition in partitions)
        self._paused -= numbers
        self._apply_pause(numbers)

    def commit(self, partition: Partition, offset: int) -> None:
        """Send the group's offset, without waiting; what could not be sent is tried again at `close`."""
        if self._consumer is None or partition.number not in self._owned:
            return
        hint = {self._kafka(partition.number): OffsetAndMetadata(offset, "", -1)}
        self._hints |= hint
        try:
            self._consumer.commit_async(hint, callback=_log_commit)
        except kafka_errors.KafkaError as error:
            log.info("Kafka offset not committed: %s", error)

    def check_topic(self) -> None:
        """LogMismatch where the topic was deleted and created again; BrokerUnavailable where no broker can say.

        A fetch names the topic, not its id, so a broker goes on serving from the new one.
        """
        self._refuse_another(self._watch.topic_id())

    def read_at(self, partition: Partition, offsets: Sequence[int]) -> dict[int, Record | None]:
        """Records by offset; None where there is none that can be read."""
        found: dict[int, Record | None] = dict.fromkeys(offsets)
        first, end = self.bounds(partition)
        wanted = sorted(offset for offset in found if first <= offset < end)
        while wanted:
            last = next((b for b, c in pairwise(wanted) if c - b > READ_AHEAD), wanted[-1])
            try:
                for record in self._read(self._open_reader(), partition, wanted[0], last + 1):
                    if record.offset in found:
                        found[record.offset] = record
            except OffsetGone:  # retention was quicker; the rest may still be there
                wanted = [offset for offset in wanted if offset >= self.bounds(partition)[0]]
                continue
            wanted = [offset for offset in wanted if offset > last]
        return found

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """First readable offset, and the last stable offset."""
        place = self._kafka(partition.number)
        timeout_ms = self._timeout_ms()
        try:
            reader = self._open_reader()
            return reader.beginning_offsets([place], timeout_ms)[place], reader.end_offsets([place], timeout_ms)[place]
        except kafka_errors.KafkaError as error:
            raise broker_error(self._section, error) from error

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """First offset stamped at or after a time (UTC ms), else the end."""
        place = self._kafka(partition.number)
        try:
            found = self._open_reader().offsets_for_times({place: timestamp_ms}, self._timeout_ms())[place]
        except kafka_errors.KafkaError as error:
            raise broker_error(self._section, error) from error
        return int(found.offset) if found else self.bounds(partition)[1]

    def readable_offsets(self, partition: Partition, begin: int, end: int) -> Iterator[int]:
        """Offsets in [begin, end) that hold a readable record, by reading them all."""
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
        """Leave the group (a static member stays on its books until the session timeout), after the last commits."""
        if self._consumer is not None:
            try:
                hints = {place: hint for place, hint in self._hints.items() if place.partition in self._owned}
                if hints:
                    self._consumer.commit(hints, timeout_ms=round(LEAVE_S * 1000))
            except kafka_errors.KafkaError as error:
                log.info("Kafka offsets not committed at the end: %s", error)
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
        except NewsFirst:
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
        """Tell the runtime, in its own thread, what the listener heard in kafka-python's."""
        while self._consumer is not None and self._consumer.news:
            kind, places = self._consumer.news.popleft()
            numbers = {place.partition for place in places}
            if kind == "assigned":
                if max(numbers, default=0) >= self._facts.partitions:
                    self._ask_again()
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
            self._ask_again()
            first, end = self.bounds(partition)
            if offset > end:
                raise LogMismatch(
                    f"{partition.topic}/{number}: reading should continue at offset {offset}, but the topic ends at {end}: "
                    "it lost records, or it is not the topic that this dataset was made from"
                )
            raise OffsetGone(partition, offset, first)

    def _ask_again(self) -> None:
        """What the broker says of the topic by now; LogMismatch where that is another topic."""
        now = ask_topic(self._section, self._section.topic)
        self._refuse_another(now.topic_id)
        self._facts = now

    def _refuse_another(self, topic_id: str) -> None:
        if topic_id != self._facts.topic_id:
            raise LogMismatch(
                f"the topic {self._section.topic} was deleted and created again: its id is {topic_id}, "
                f"was {self._facts.topic_id}"
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
        """Readable records in [begin, end); `end` must not be past the last stable offset."""
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
                    f"the Kafka broker at {self._section.bootstrap} sent nothing of {partition.topic}/{partition.number} "
                    f"at offset {at} for {self._section.connect_timeout_s:g} s"
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
            log.info("Kafka: closing: %s", error)


def _log_commit(offsets: object, answer: object) -> None:
    if isinstance(answer, Exception):
        log.info("Kafka offsets not committed: %s", answer)
