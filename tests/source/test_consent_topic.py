"""The consent table as a Kafka topic, against a real broker: what it says, how soon, and when it lets nothing pass."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers.chaos import Brokers
from helpers.kafka import Broker, require_killable_kafka, wait_until

from streamfx.errors import BrokerUnavailable, PrivacyRefusal
from streamfx.privacy.consent import ConsentFile
from streamfx.source import consent_topic
from streamfx.source.consent_topic import ConsentTopic

pytestmark = pytest.mark.kafka

NOW_US = 1_800_000_000_000_000
REFUSED, GRANTED = {"consent": "refused"}, {"consent": "granted"}


class Author:
    """Whoever writes into a consent topic."""

    def __init__(self, broker: Broker, partitions: int = 1, **configs: str):
        self.broker = broker
        self.topic = broker.create_topic(partitions, append_time=False, **{"cleanup.policy": "compact"} | configs)
        self.connect()

    def connect(self) -> None:
        """Connect, anew where need be: a producer learns of a new partition only after minutes."""
        self._producer = self.broker.producer()

    def says(self, stream: str | bytes | None, what: object, partition: int = 0) -> None:
        """Write a record: `what` as JSON; bytes as they are, None without a value."""
        value = what if what is None or isinstance(what, bytes) else json.dumps(what).encode()
        key = stream.encode() if isinstance(stream, str) else stream
        self._producer.send(self.topic, value, key=key, partition=partition).get(30)

    def read(self, **changes: Any) -> ConsentTopic:
        """The table that the topic is; the caller closes it."""
        return ConsentTopic(self.broker.settings("media", **changes), self.topic)

    def close(self) -> None:
        """Disconnect."""
        self._producer.close(timeout=5)


@pytest.fixture
def authors(broker: Broker) -> Iterator[Callable[..., Author]]:
    """Makes authors, each with a new topic."""
    made: list[Author] = []

    def make(partitions: int = 1, **configs: str) -> Author:
        made.append(Author(broker, partitions, **configs))
        return made[-1]

    yield make
    for author in made:
        author.close()


@pytest.fixture
def author(authors: Callable[..., Author]) -> Author:
    return authors()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the broker each time, so that no test has to wait."""
    monkeypatch.setattr(consent_topic, "FRESH_S", 0.0)


def test_a_record_says_what_the_lines_of_a_file_say(author: Author, tmp_path: Path) -> None:
    author.says("all", REFUSED)
    author.says("part", {"consent": "refused", "from": "2026-01-01", "until": "2026-02-01T00:00:00+01:00"})
    author.says("back", [REFUSED, {"consent": "granted", "from": None, "until": ""}])
    author.says("käse", [{"consent": "refused", "from": "2026-01-01"}, {"consent": "granted", "from": "2026-01-02"}])
    file = tmp_path / "consent.csv"
    file.write_text(
        "stream,consent,from,until\nall,refused,,\npart,refused,2026-01-01,2026-02-01T00:00:00+01:00\n"
        "back,refused,,\nback,granted,,\nkäse,refused,2026-01-01,\nkäse,granted,2026-01-02,\n"
    )
    with closing(author.read()) as table:
        assert table.said() == ConsentFile(file).said()
        assert table.withdrawn(NOW_US) == ConsentFile(file).withdrawn(NOW_US) != []
        assert table.of("all", 0) == "refused" and table.of("nobody", 0) is None


@pytest.mark.usefixtures("at_once")
def test_the_last_record_of_a_stream_replaces_all_before_and_one_without_a_value_takes_it_back(author: Author) -> None:
    author.says("cam", [GRANTED, REFUSED])
    with closing(author.read()) as table:
        assert table.of("cam", 0) == "refused"
        author.says("cam", GRANTED)
        assert table.of("cam", 0) == "granted"
        author.says("cam", REFUSED)
        assert table.of("cam", 0) == "refused"
        author.says("cam", None)
        assert table.of("cam", 0) is None and table.said() == {}


def test_a_withdrawal_holds_for_whatever_is_judged_a_second_after_the_broker_took_it(author: Author) -> None:
    with closing(author.read()) as table:
        for answer in ("refused", "granted") * 3:
            author.says("cam", {"consent": answer})
            time.sleep(consent_topic.FRESH_S)
            assert table.of("cam", 0) == answer
    assert consent_topic.FRESH_S == 1.0


@pytest.mark.usefixtures("at_once")
def test_where_a_stream_has_records_in_several_partitions_the_stricter_counts(authors: Callable[..., Author]) -> None:
    author = authors(partitions=3)
    author.says("cam", REFUSED, partition=1)
    author.says("cam", GRANTED, partition=2)
    author.says("other", GRANTED, partition=0)
    with closing(author.read()) as table:
        assert table.of("cam", 0) == "refused" and table.of("other", 0) == "granted"
        assert table.withdrawn(NOW_US) == [("cam", None, NOW_US)]
        author.says("cam", None, partition=1)
        assert table.of("cam", 0) == "granted"


@pytest.mark.usefixtures("at_once")
def test_a_partition_that_is_added_is_read_too(author: Author) -> None:
    author.says("cam", GRANTED)
    with closing(author.read()) as table, closing(author.broker.admin()) as admin:
        assert table.of("cam", 0) == "granted"
        admin.create_partitions({author.topic: 2})

        def refused() -> bool:
            try:
                return table.of("cam", 0) == "refused"
            except BrokerUnavailable:  # not every broker knows the partition at once
                return False

        author.close()
        author.connect()
        author.says("cam", REFUSED, partition=1)
        wait_until(refused, "the new partition is read")


@pytest.mark.slow
def test_a_topic_that_was_compacted_says_the_same(authors: Callable[..., Author]) -> None:
    quick = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "100"}
    author = authors(**quick | {"max.compaction.lag.ms": "200"})
    author.says("cam", REFUSED)
    for number in range(20):
        author.says("gone", REFUSED if number % 2 else GRANTED)
        time.sleep(0.02)
    author.says("gone", None)

    def compacted() -> bool:
        author.says("tick", GRANTED)  # what is compacted lies before the last segment
        return offsets_left(author)[:2] != [0, 1]

    wait_until(compacted, "the broker compacts the topic")
    with closing(author.read()) as table:
        assert table.of("cam", 0) == "refused" and table.of("gone", 0) is None


def offsets_left(author: Author) -> list[int]:
    """The offsets that are left in the topic's only partition."""
    from kafka import KafkaConsumer, TopicPartition

    place = TopicPartition(author.topic, 0)
    with closing(KafkaConsumer(bootstrap_servers=author.broker.bootstrap)) as reader:
        reader.assign([place])
        reader.seek_to_beginning(place)
        return [message.offset for message in reader.poll(timeout_ms=5000).get(place, [])]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("Ada", b"\xff", "offset 1: expected a key in UTF-8 and a value in JSON"),
        ("Ada", b"", "offset 1: expected a key in UTF-8 and a value in JSON"),
        ("Ada", b"[" * 100_000, "offset 1: expected a key in UTF-8 and a value in JSON"),
        (b"Ada\xff", REFUSED, "offset 1: expected a key in UTF-8"),
        (b"", REFUSED, "offset 1: expected a stream id as the key, got an empty one"),
        (b"Ada ", REFUSED, "offset 1: expected a stream id as the key, got an empty one or one with a space around it"),
        ("Ada", "refused", "offset 1, item 1: expected an object with consent, from, until"),
        ("Ada", [GRANTED, {"consent": "refused", "form": "2026-01-01"}], "offset 1, item 2: expected an object"),
        ("Ada", {"consent": "refused", "from": 0}, "offset 1, item 1: expected texts"),
        ("Ada", {"from": "2026-01-01"}, "offset 1, item 1: consent: expected granted or refused"),
        ("Ada", {"consent": "Ada"}, "offset 1, item 1: consent: expected granted or refused"),
        ("Ada", {"consent": "refused", "from": "Ada"}, "offset 1, item 1: expected a time such as"),
        (
            "Ada",
            {"consent": "refused", "from": "2026-01-02", "until": "2026-01-01"},
            "offset 1, item 1: expected `until`",
        ),
    ],
)
@pytest.mark.usefixtures("at_once")
def test_a_record_that_cannot_be_understood_lets_nothing_pass_until_it_is_replaced_and_names_nobody(
    author: Author, caplog: pytest.LogCaptureFixture, key: str | bytes, value: object, said: str
) -> None:
    author.says("other", GRANTED)
    with closing(author.read()) as table:
        author.says(key, value)
        author.says("other", GRANTED)
        for _ in range(2):
            with pytest.raises(PrivacyRefusal, match=rf"privacy.consent_topic: {author.topic}/0, {said}") as refused:
                table.of("other", 0)
            assert "Ada" not in str(refused.value) and refused.value.__cause__ is None
        with pytest.raises(PrivacyRefusal):  # nor does a run start
            author.read()
        author.says(key, None)
        assert table.of("other", 0) == "granted"
        author.says("Ada", REFUSED)
        assert table.of("Ada", 0) == "refused"
    assert "Ada" not in caplog.text


def test_a_record_without_a_key_is_refused(authors: Callable[..., Author]) -> None:
    author = authors(**{"cleanup.policy": "delete"})
    author.says(None, REFUSED)
    author.says("cam", REFUSED)
    with pytest.raises(PrivacyRefusal, match="offset 0: expected a stream id as the key, got none"):
        author.read()


def test_a_topic_that_is_not_there_is_refused(broker: Broker) -> None:
    said = r"privacy.consent_topic: nowhere cannot be read: there is no topic nowhere.*cleanup.policy=compact"
    with pytest.raises(PrivacyRefusal, match=said) as refused:
        ConsentTopic(broker.settings("media"), "nowhere")
    assert "publish" not in str(refused.value)


@pytest.mark.usefixtures("at_once")
def test_a_topic_that_loses_records_or_is_made_anew_lets_nothing_pass(author: Author) -> None:
    author.says("cam", REFUSED)
    with closing(author.read()) as table, closing(author.broker.admin()) as admin:
        admin.delete_topics([author.topic])
        with pytest.raises(PrivacyRefusal, match="there is no topic"):
            wait_until(lambda: table.said() is None, "the topic is gone")
        wait_until(lambda: author.topic not in admin.list_topics(), "the topic is gone")
        admin.create_topics({author.topic: {"num_partitions": 1}}, wait_for_metadata=True)
        for _ in range(2):
            with pytest.raises(PrivacyRefusal, match="it was deleted and created again"):
                table.of("cam", 0)


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_while_no_broker_answers_nothing_passes_and_afterwards_it_is_followed_as_before() -> None:
    require_killable_kafka()
    brokers = Brokers()
    author = Author(Broker(brokers.bootstrap), partitions=2)
    try:
        author.says("cam", GRANTED, partition=1)
        with closing(author.read(connect_timeout_s=2.0)) as table:
            assert table.of("cam", 0) == "granted"
            brokers.kill(1)
            for _ in range(3):
                with pytest.raises(BrokerUnavailable, match=brokers.bootstrap):
                    table.of("cam", 0)
            brokers.start()
            author.says("cam", REFUSED, partition=1)

            def answered() -> bool:
                try:
                    return table.of("cam", 0) == "refused"
                except BrokerUnavailable:
                    return False

            wait_until(answered, "the table is read again")
            author.says("cam", None, partition=1)
            assert table.of("cam", 0) is None
    finally:
        author.close()
        brokers.delete()
