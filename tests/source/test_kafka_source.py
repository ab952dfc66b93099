"""The Kafka source against a real broker: order, offsets, back-pressure, rebalances, retention, transactions."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import socketserver
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.kafka import Broker, BytesName, wait_until

from streamfx.config.source import KafkaSecurity
from streamfx.errors import BrokerUnavailable, LogMismatch, SourceError
from streamfx.records import Partition, Record
from streamfx.source import OffsetGone
from streamfx.source.kafka import KafkaSource

pytestmark = pytest.mark.kafka


class Worker:
    """Reads its assigned partitions from `first` on (or from where it was), and stores the records."""

    def __init__(self, source: KafkaSource, first: int = 0):
        self.source = source
        self.first = first
        self.owned: list[Partition] = []
        self.lost: list[Partition] = []
        self.records: list[Record] = []
        source.subscribe(self._assigned, self._revoked)

    def _assigned(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self.owned.append(partition)
            self.source.seek(partition, self.first)

    def _revoked(self, partitions: Sequence[Partition], lost: bool) -> None:
        for partition in partitions:
            self.owned.remove(partition)
            if lost:
                self.lost.append(partition)

    def poll(self) -> bool:
        self.records += self.source.poll(0.05)
        return True

    def read(self, count: int) -> list[Record]:
        """Poll until `count` records have come."""
        wait_until(lambda: self.poll() and len(self.records) >= count, f"{count} records came, not {len(self.records)}")
        return self.records


@contextmanager
def worker(
    broker: Broker, topic: str, first: int = 0, instance_id: str | None = None, **changes: Any
) -> Iterator[Worker]:
    with closing(KafkaSource(broker.settings(topic, **changes), instance_id=instance_id)) as source:
        yield Worker(source, first)


def bodies(count: int, first: int = 0) -> list[bytes]:
    return [f"body {i}".encode() for i in range(first, first + count)]


def test_the_source_reports_its_cluster_and_topic(broker: Broker) -> None:
    topic = broker.create_topic(partitions=3)
    with closing(KafkaSource(broker.settings(topic))) as source:
        assert source.cluster
        assert source.stamped_on_append
        assert source.partition_counts() == {topic: 3}
        assert [partition.number for partition in source.partitions()] == [0, 1, 2]
        topic_id = source.topic_ids()[topic]
        assert topic_id and not set(topic_id) & set("/@ ")
    with closing(KafkaSource(broker.settings(broker.create_topic(append_time=False)))) as other:
        assert not other.stamped_on_append
        assert other.topic_ids() != {topic: topic_id}


def test_records_of_each_partition_come_in_order_and_complete(broker: Broker) -> None:
    topic = broker.create_topic(partitions=3)
    for number in range(3):
        broker.put(topic, bodies(20), stream_id=f"cam-{number}", partition=number)
    with worker(broker, topic) as reader:
        records = reader.read(60)
    for number in range(3):
        mine = [record for record in records if record.partition.number == number]
        assert [record.offset for record in mine] == list(range(20))
        assert [record.value for record in mine] == bodies(20)
        assert {record.key for record in mine} == {f"cam-{number}".encode()}
        assert mine[0].headers[:2] == (("streamfx-stream-id", f"cam-{number}".encode()), ("streamfx-seq", b"0"))


def test_a_message_larger_than_the_fetch_size_is_delivered(broker: Broker) -> None:
    topic = broker.create_topic()
    big = os.urandom(20 * 1024 * 1024)
    broker.put(topic, [b"before", big, b"after"])
    with worker(broker, topic) as reader:
        assert [record.value for record in reader.read(3)] == [b"before", big, b"after"]


def test_a_header_name_that_is_not_utf_8_does_not_stop_reading(broker: Broker) -> None:
    topic = broker.create_topic()
    producer = broker.producer(linger_ms=1000)
    for body, name in ((b"before", "x"), (b"odd", BytesName(b"x\xff")), (b"after", "x")):
        producer.send(topic, body, key=b"cam", headers=[(name, b"1")], partition=0)
    producer.close(timeout=30)
    with worker(broker, topic) as reader:
        records = reader.read(3)
        found = reader.source.read_at(reader.owned[0], [0, 1, 2])
        assert list(reader.source.readable_offsets(reader.owned[0], 0, 3)) == [0, 1, 2]
    assert [record.value for record in records] == [b"before", b"odd", b"after"]
    assert [record.headers for record in records] == [(("x", b"1"),), (("x\ufffd", b"1"),), (("x", b"1"),)]
    assert list(found.values()) == records


def test_nothing_is_delivered_before_the_first_seek_or_from_before_a_later_one(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.put(topic, bodies(30))
    with closing(KafkaSource(broker.settings(topic), max_records=4)) as source:
        owned: list[Partition] = []
        source.subscribe(owned.extend, lambda partitions, lost: None)
        wait_until(lambda: source.poll(0.05) == [] and bool(owned), "the partition is assigned")
        assert source.poll(0.3) == []
        for place in (10, 3, 29, 0):
            source.seek(owned[0], place)
            records: list[Record] = []
            wait_until(lambda r=records: r.extend(source.poll(0.05)) or bool(r), "records come")  # type: ignore[misc]
            assert records[0].offset == place


def test_a_paused_partition_keeps_its_position_and_membership_while_polling(broker: Broker) -> None:
    topic = broker.create_topic(partitions=2)
    broker.put(topic, bodies(30), partition=0)
    broker.put(topic, bodies(30), partition=1, stream_id="other")
    with closing(KafkaSource(broker.settings(topic, max_poll_interval_s=5), max_records=5)) as source:
        reader = Worker(source)
        reader.read(5)
        source.pause(source.partitions())
        before = len(reader.records)
        deadline = time.monotonic() + 6.5
        while time.monotonic() < deadline:
            reader.poll()
        assert len(reader.records) == before
        assert len(reader.owned) == 2 and not reader.lost
        source.resume(source.partitions())
        records = reader.read(60)
    for number in range(2):
        assert [record.offset for record in records if record.partition.number == number] == list(range(30))


def test_records_fetched_from_a_paused_partition_come_after_another_was_read(broker: Broker) -> None:
    topic = broker.create_topic(partitions=2)
    broker.put(topic, bodies(10), partition=0)
    broker.put(topic, bodies(2), partition=1)
    with closing(KafkaSource(broker.settings(topic), max_records=8)) as source:
        reader = Worker(source)
        reader.read(1)
        first = reader.records[0].partition
        source.pause([first])
        other = 2 if first.number == 0 else 10
        wait_until(
            lambda: reader.poll() and sum(r.partition != first for r in reader.records) == other,
            "the other is read out",
        )
        source.resume([first])
        assert len(reader.read(12)) == 12


def test_three_workers_share_six_partitions_and_one_that_leaves_returns_its_own(broker: Broker) -> None:
    topic = broker.create_topic(partitions=6)
    sources = [KafkaSource(broker.settings(topic)) for _ in range(3)]
    workers = [Worker(source) for source in sources]
    stop = [threading.Event() for _ in sources]

    def run(index: int) -> None:
        with closing(sources[index]):
            while not stop[index].is_set():
                workers[index].poll()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: sorted(len(w.owned) for w in workers) == [2, 2, 2], "six partitions are shared by three")
        assert len({partition.number for w in workers for partition in w.owned}) == 6
        stop[0].set()
        threads[0].join(timeout=30)
        assert workers[0].owned == []
        wait_until(lambda: sorted(len(w.owned) for w in workers[1:]) == [3, 3], "two share what three had")
        for number in range(6):
            broker.put(topic, bodies(4), partition=number, stream_id=f"cam-{number}")
        wait_until(lambda: sum(len(w.records) for w in workers) >= 24, "all records are read")
    finally:
        for event in stop:
            event.set()
        for thread in threads:
            thread.join(timeout=30)
    read = [(r.partition.number, r.offset) for w in workers for r in w.records]
    assert sorted(read) == sorted(itertools.product(range(6), range(4)))
    assert not any(w.lost for w in workers)


def test_added_partitions_count_as_soon_as_they_are_assigned(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = KafkaSource._reading
    monkeypatch.setattr(KafkaSource, "_reading", lambda source: reading(source) | {"metadata_max_age_ms": 500})
    topic = broker.create_topic(partitions=1)
    with worker(broker, topic) as reader:
        wait_until(lambda: reader.poll() and len(reader.owned) == 1, "the partition is assigned")
        admin = broker.admin()
        try:
            admin.create_partitions({topic: 3})
        finally:
            admin.close()
        wait_until(lambda: reader.poll() and len(reader.owned) == 3, "the new partitions are assigned")
        assert reader.source.partition_counts() == {topic: 3}
        assert [partition.number for partition in reader.source.partitions()] == [0, 1, 2]


def test_a_partition_is_released_before_another_member_gets_it(broker: Broker) -> None:
    topic = broker.create_topic(partitions=4)
    holders: dict[int, str] = {}
    overlaps: list[int] = []
    lock = threading.Lock()
    stop = threading.Event()
    counts = {"a": 0, "b": 0, "c": 0}

    def run(name: str) -> None:
        with closing(KafkaSource(broker.settings(topic))) as source:

            def assigned(partitions: Sequence[Partition]) -> None:
                with lock:
                    for partition in partitions:
                        if partition.number in holders:
                            overlaps.append(partition.number)
                        holders[partition.number] = name
                        counts[name] += 1

            def revoked(partitions: Sequence[Partition], lost: bool) -> None:
                time.sleep(0.3)  # flushing takes some time
                with lock:
                    for partition in partitions:
                        holders.pop(partition.number)
                        counts[name] -= 1

            source.subscribe(assigned, revoked)
            while not stop.is_set():
                source.poll(0.5)

    threads = []
    try:
        for name, shares in (("a", [4]), ("b", [2, 2]), ("c", [1, 1, 2])):
            threads.append(threading.Thread(target=run, args=(name,)))
            threads[-1].start()
            wait_until(lambda s=shares: sorted(c for c in counts.values() if c) == s, f"the shares are {shares}")  # type: ignore[misc]
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=30)
    assert overlaps == []


def _hold(settings: Any, ready: Any) -> None:
    with closing(KafkaSource(settings, instance_id="worker-0")) as source:
        reader = Worker(source)
        wait_until(lambda: reader.poll() and bool(reader.owned), "the partition is assigned")
        ready.set()
        while True:
            reader.poll()


def test_a_static_member_killed_and_restarted_has_its_partitions_again_before_the_session_ends(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.put(topic, bodies(3))
    settings = broker.settings(topic, session_timeout_s=120)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    held = context.Process(target=_hold, args=(settings, ready), daemon=True)
    held.start()
    assert ready.wait(60)
    os.kill(held.pid or 0, signal.SIGKILL)
    held.join()
    with closing(KafkaSource(settings, instance_id="worker-0")) as source:
        assert [record.offset for record in Worker(source).read(3)] == [0, 1, 2]


def test_a_static_member_that_was_replaced_is_fenced(broker: Broker) -> None:
    topic = broker.create_topic()
    with worker(broker, topic, instance_id="worker-0") as old, worker(broker, topic, instance_id="worker-0") as new:
        wait_until(lambda: old.poll() and bool(old.owned), "the first has the partition")
        wait_until(lambda: new.poll() and bool(new.owned), "the second has the partition")
        with pytest.raises(SourceError, match="took over"):
            wait_until(lambda: new.poll() and old.poll() and False, "the first is fenced")


def test_old_records_are_read_by_offset_without_affecting_poll(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.put(topic, bodies(60))
    broker.delete_records(topic, 0, before=5)
    with worker(broker, topic, first=50) as reader:
        first = reader.read(1)[0].offset
        found = reader.source.read_at(reader.owned[0], [2, 5, 6, 40, 59, 60, 1000])
        assert {offset: record and record.value for offset, record in found.items()} == {
            2: None,
            5: b"body 5",
            6: b"body 6",
            40: b"body 40",
            59: b"body 59",
            60: None,
            1000: None,
        }
        assert first == 50
        assert [record.offset for record in reader.read(10)] == list(range(50, 60))


def test_a_gap_from_retention_is_reported_once_with_the_first_readable_offset(broker: Broker) -> None:
    topic = broker.create_topic(partitions=2)
    broker.put(topic, bodies(20))
    broker.put(topic, bodies(5), partition=1)
    broker.delete_records(topic, 0, before=12)
    with worker(broker, topic) as reader:
        with pytest.raises(OffsetGone) as caught:
            wait_until(lambda: reader.poll() and False, "the gap is reported")
        gone = caught.value
        assert (gone.partition.number, gone.offset, gone.first_readable) == (0, 0, 12)
        reader.read(5)
        assert {record.partition.number for record in reader.records} == {1}
        reader.source.seek(gone.partition, gone.first_readable)
        records = reader.read(13)
        assert [record.offset for record in records if record.partition.number == 0] == list(range(12, 20))


def test_an_offset_beyond_the_end_is_a_mismatch_and_not_a_gap(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.put(topic, bodies(3))
    with worker(broker, topic, first=10) as reader, pytest.raises(LogMismatch, match="ends at 3"):
        wait_until(lambda: reader.poll() and False, "the mismatch is reported")


def test_aborted_transactions_are_invisible_everywhere(broker: Broker) -> None:
    topic = broker.create_topic()
    producer = broker.producer(transactional_id=f"tx-{topic}")
    try:
        producer.init_transactions()
        for name, commit in ((b"kept", True), (b"aborted", False), (b"kept too", True)):
            producer.begin_transaction()
            for _ in range(2):
                producer.send(topic, name, key=b"cam", partition=0)
            producer.flush()
            if commit:
                producer.commit_transaction()
            else:
                producer.abort_transaction()
        with worker(broker, topic) as reader:
            assert [record.value for record in reader.read(4)] == [b"kept", b"kept", b"kept too", b"kept too"]
            (partition,) = reader.source.partitions()
            offsets = [record.offset for record in reader.records]
            begin, end = reader.source.bounds(partition)
            assert list(reader.source.readable_offsets(partition, begin, end)) == offsets == [0, 1, 6, 7]
            assert list(reader.source.readable_offsets(partition, 1, 7)) == [1, 6]
            found = reader.source.read_at(partition, range(begin, end))
            assert [offset for offset, record in found.items() if record] == offsets
            producer.begin_transaction()
            producer.send(topic, b"open", key=b"cam", partition=0)
            producer.flush()
            assert reader.source.bounds(partition) == (begin, end)
            producer.abort_transaction()
    finally:
        producer.close(timeout=5)


def test_offsets_are_found_by_append_time(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.put(topic, bodies(3))
    time.sleep(0.05)
    between = round(time.time() * 1000)
    time.sleep(0.05)
    broker.put(topic, bodies(2, first=3), first=3)
    with closing(KafkaSource(broker.settings(topic))) as source:
        (partition,) = source.partitions()
        assert source.offset_at(partition, 0) == 0
        assert source.offset_at(partition, between) == 3
        assert source.offset_at(partition, between + 3_600_000) == 5


def test_committed_offsets_are_visible_in_the_group_and_never_decide_where_reading_begins(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.put(topic, bodies(10))
    with worker(broker, topic) as reader:
        reader.read(10)
        reader.source.commit(reader.owned[0], 7)
    admin = broker.admin()
    try:
        offsets = admin.list_group_offsets(f"group-{topic}")
    finally:
        admin.close()
    assert "7" in str(offsets)
    with worker(broker, topic, first=2) as again:
        assert again.read(8)[0].offset == 2


def test_a_missing_topic_is_reported_with_the_command_that_creates_it(broker: Broker) -> None:
    with pytest.raises(SourceError, match=r"no topic nowhere.*--create-topic"):
        KafkaSource(broker.settings("nowhere"))


def test_a_closed_port_gives_one_clear_sentence() -> None:
    settings = Broker("127.0.0.1:1").settings("any", connect_timeout_s=1.0)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1 within 1 s: nothing listens there"):
        KafkaSource(settings)


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "PLAINTEXT"])
def test_a_listener_that_closes_the_connection_suggests_a_check_of_the_login(protocol: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    security = KafkaSecurity(protocol=protocol, username="user", password_file=tmp_path / "password")
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as closing_server:
        threading.Thread(target=closing_server.serve_forever, daemon=True).start()
        broker = Broker(f"127.0.0.1:{closing_server.server_address[1]}")
        with pytest.raises(BrokerUnavailable, match=r"closes the connection.*security\.protocol") as closed:
            KafkaSource(broker.settings("any", connect_timeout_s=1.0, security=security))
        closing_server.shutdown()
    assert ("username, password and sasl_mechanism" in str(closed.value)) == (protocol != "PLAINTEXT")


def test_sasl_over_tls_accepts_the_password_and_reports_what_is_wrong(broker: Broker, tmp_path: Path) -> None:
    if broker.secure_bootstrap is None:
        pytest.skip("the broker named by STREAMFX_TEST_KAFKA has no secure listener that the tests know")
    topic = broker.create_topic()
    broker.put(topic, bodies(2))
    with closing(KafkaSource(broker.secure_settings(topic, tmp_path))) as source:
        assert len(Worker(source).read(2)) == 2
    refused = r"(refuses the login.*Invalid username or password|closes the connection).*check.*username, password and"
    with pytest.raises(BrokerUnavailable, match=refused):
        KafkaSource(broker.secure_settings(topic, tmp_path, password="wrong", connect_timeout_s=12.0))
    trusting_nobody = broker.secure_settings(topic, tmp_path, connect_timeout_s=2.0)
    security = trusting_nobody.security.model_copy(update={"ca_file": None})
    with pytest.raises(BrokerUnavailable, match="certificate is not trusted"):
        KafkaSource(trusting_nobody.model_copy(update={"security": security}))
    with pytest.raises(BrokerUnavailable, match=r"closes the connection.*security\.protocol"):
        KafkaSource(broker.settings(topic, bootstrap=broker.secure_bootstrap, connect_timeout_s=2.0))
