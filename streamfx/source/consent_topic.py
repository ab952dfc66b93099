"""The consent table as a Kafka topic: read to its end before the first chunk is judged, and followed from there.

A record's key is a raw stream id in UTF-8, and its value replaces all that its partition said about that stream before:

    {"consent": "refused", "from": "2026-01-01T00:00:00Z", "until": null}

or a list of such objects; `from` and `until` may be left out. A record without a value takes back what was said.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors

from streamfx.config.source import KafkaSection
from streamfx.errors import BrokerUnavailable, PrivacyRefusal, SourceError
from streamfx.privacy.consent import ConsentLine, ConsentTable, Said, consent_line
from streamfx.source.kafka_client import TopicWatch, broker_error, connect
from streamfx.source.kafka_headers import ForgivingConsumer

FRESH_S = 1.0
"""A chunk is judged by all that was in the topic so many seconds before its turn, and perhaps by more; or it waits."""
WORDS = ("consent", "from", "until")


class ConsentTopic(ConsentTable):
    """The table in a topic, on the brokers and by the login of `kafka`. It belongs to no consumer group, and leaves
    nothing behind on the brokers."""

    def __init__(self, kafka: KafkaSection, topic: str):
        """Reads the topic to its end. Raises as `said` does."""
        self.where = f"the topic {topic}"
        self._kafka = kafka
        self._topic = topic
        self._watch = TopicWatch(kafka, topic)
        self._topic_id: str | None = None
        self._reader: ForgivingConsumer | None = None
        self._next: dict[int, int] = {}
        self._said: dict[str, dict[int, Sequence[ConsentLine]]] = {}
        self._faults: dict[tuple[int, bytes | int], str] = {}
        self._fresh_until = -math.inf
        self.said()

    def said(self) -> Said:
        """What the topic says: all that was in it when the brokers were last asked, which is at most `FRESH_S` seconds before
        the call.

        Raises BrokerUnavailable while no broker answers, and PrivacyRefusal for a record that cannot be understood, until
        another one with its key takes its place, and for a topic that is gone, is another one, or has lost records.
        """
        now = time.monotonic()
        if now >= self._fresh_until:
            self._catch_up()
            self._fresh_until = now + FRESH_S
        for fault in self._faults.values():
            raise PrivacyRefusal(fault)
        return self._said

    def close(self) -> None:
        """Disconnect from the brokers."""
        self._watch.close()
        self._shut()

    def _catch_up(self) -> None:
        try:
            reader = self._open_reader()
            places = [self._place(number) for number in self._next]
            ends = {at.partition: end for at, end in reader.end_offsets(places, self._timeout_ms()).items()}
            if any(end < self._next[number] for number, end in ends.items()):
                raise self._refusal("it has lost records")
            self._read_to(reader, ends)
        except kafka_errors.OffsetOutOfRangeError as error:
            raise self._refusal("it has lost records") from error
        except kafka_errors.KafkaError as error:
            self.close()  # a client that has lost its last broker does not always recover
            raise broker_error(self._kafka, error) from error
        except BrokerUnavailable:
            self.close()
            raise

    def _open_reader(self) -> ForgivingConsumer:
        """A reader that is assigned to all partitions that the topic has by now, each at the record to read next."""
        try:
            found = self._watch.ask()
        except BrokerUnavailable:
            raise
        except SourceError as error:
            raise self._refusal(str(error)) from error
        self._topic_id = self._topic_id or found.topic_id
        if found.topic_id != self._topic_id:
            raise self._refusal("it was deleted and created again")
        if self._reader is not None and len(self._reader.assignment()) < found.partitions:
            self._shut()  # what it knows of the topic is older than the new partition
        return self._reader or self._new_reader(found.partitions)

    def _new_reader(self, partitions: int) -> ForgivingConsumer:
        reader = self._reader = connect(
            ForgivingConsumer, self._kafka, group_id=None, enable_auto_commit=False, auto_offset_reset="none",
            isolation_level="read_committed", allow_auto_create_topics=False, max_poll_records=2000,
        )  # fmt: skip
        places = [self._place(number) for number in range(partitions)]
        if len(reader.partitions_for_topic(self._topic) or ()) < partitions:
            raise BrokerUnavailable(
                f"the Kafka broker at {self._kafka.bootstrap} does not know all {partitions} partitions of {self._topic} yet"
            )
        firsts = reader.beginning_offsets(places, self._timeout_ms())
        reader.assign(places)
        for place in places:
            self._next.setdefault(place.partition, firsts[place])
            reader.seek(place, self._next[place.partition])
        return reader

    def _read_to(self, reader: ForgivingConsumer, ends: Mapping[int, int]) -> None:
        """Take all records below these offsets, and perhaps some after them."""
        heard = time.monotonic()
        while any(self._next[number] < end for number, end in ends.items()):
            for messages in reader.poll(timeout_ms=500).values():
                for message in messages:
                    self._take(message)
            # A position also passes offsets that compaction or the end of a transaction has left without a record.
            at = {n: reader.position(self._place(n), timeout_ms=self._timeout_ms()) or self._next[n] for n in ends}
            if at != self._next:
                self._next, heard = at, time.monotonic()
            elif time.monotonic() - heard > self._kafka.connect_timeout_s:
                raise BrokerUnavailable(
                    f"the Kafka broker at {self._kafka.bootstrap} sent nothing of {self._topic} for "
                    f"{self._kafka.connect_timeout_s:g} s"
                )

    def _take(self, message: Any) -> None:
        """Put a record in the place of the one before with its key. What cannot be understood is noted and not raised,
        because the record that mends it may follow."""
        # A record without a key can be replaced by none.
        what = message.partition, message.offset if message.key is None else message.key
        self._faults.pop(what, None)
        try:
            lines = _lines(message.key, message.value)
        except PrivacyRefusal as fault:
            self._faults[what] = (
                f"privacy.consent_topic: {self._topic}/{message.partition}, offset {message.offset}{fault}. Nothing is "
                "processed until then"
            )
            return
        # Of a key that is no UTF-8 this makes no stream's id.
        stream = message.key.decode(errors="surrogateescape")
        places = self._said.setdefault(stream, {})
        places.pop(message.partition, None)
        if lines:
            places[message.partition] = lines
        if not places:
            del self._said[stream]

    def _refusal(self, why: str) -> PrivacyRefusal:
        return PrivacyRefusal(
            f"privacy.consent_topic: {self._topic} cannot be read: {why}. Nothing is processed without it; create it with "
            "cleanup.policy=compact, write into it who has agreed, then start again"
        )

    def _shut(self) -> None:
        if self._reader is not None:
            with suppress(kafka_errors.KafkaError):
                self._reader.close(autocommit=False, timeout_ms=1000)
            self._reader = None

    def _place(self, number: int) -> TopicPartition:
        return TopicPartition(self._topic, number)

    def _timeout_ms(self) -> int:
        return round(self._kafka.connect_timeout_s * 1000)


def _lines(key: bytes | None, value: bytes | None) -> Sequence[ConsentLine]:
    """What a record says; nothing for one without a value. PrivacyRefusal, whose text follows the record's place, for one
    that cannot be understood. It shows nothing of key and value, which name streams."""
    if key is None:
        raise PrivacyRefusal(": expected a stream id as the key, got none; remove it with kafka-delete-records.sh")
    if value is None:
        return ()
    mend = "; write a record with the same key to the same partition that is right, or has no value"
    try:
        if not (stream := key.decode()) or stream != stream.strip():
            # It would be no stream's, and so a withdrawal that holds for nobody.
            raise PrivacyRefusal(
                f": expected a stream id as the key, got an empty one or one with a space around it{mend}"
            )
        said = json.loads(value)
    except (ValueError, RecursionError):
        raise PrivacyRefusal(f": expected a key in UTF-8 and a value in JSON, got something else{mend}") from None
    lines = []
    for number, item in enumerate(said if isinstance(said, list) else [said], 1):
        where = f", item {number}"
        if not isinstance(item, dict) or not item.keys() <= {*WORDS}:
            raise PrivacyRefusal(f"{where}: expected an object with {', '.join(WORDS)}, got something else{mend}")
        answer, begin, end = ("" if item.get(word) is None else item[word] for word in WORDS)
        if not all(isinstance(text, str) for text in (answer, begin, end)):
            raise PrivacyRefusal(f"{where}: expected texts for {', '.join(WORDS)}, got something else{mend}")
        try:
            lines.append(consent_line(answer, begin, end, where))
        except PrivacyRefusal as fault:
            raise PrivacyRefusal(f"{fault}{mend}") from None
    return lines
