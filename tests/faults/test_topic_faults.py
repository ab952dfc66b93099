"""A recreated topic is a clear error, and records removed by retention before they are read are a counted gap."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import bad_media, runs
from helpers.kafka import Broker

from streamfx.errors import BrokerUnavailable, LogMismatch
from streamfx.pipeline import load_config
from streamfx.runtime.worker import Lane, Worker
from streamfx.source.kafka import KafkaSource

pytestmark = pytest.mark.kafka


def configured(folder: Path, broker: Broker, topic: str) -> Path:
    config = runs.tree(folder, [], sink={"roll_chunks": 2, "idle_flush_s": 1}, faces={"detect_px": 64})
    config["source"] = {
        "kafka": {"bootstrap": broker.bootstrap, "topic": topic, "group": f"g-{topic}", "session_timeout_s": 6}
    }
    return runs.write_config(folder, config)


def bodies(count: int) -> list[bytes]:
    return [bad_media.healthy_chunk(bad_media.RECIPES[0])] * count


def entries(data: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((data / "_commits").glob("*/*/*.json"))]


def test_records_removed_by_retention_are_a_counted_gap(tmp_path: Path, broker: Broker) -> None:
    topic = broker.create_topic()
    config = configured(tmp_path, broker, topic)
    broker.put(topic, bodies(3))
    assert runs.streamfx("run", config, "--until-idle", "2s").returncode == 0
    broker.put(topic, bodies(6), first=3)
    broker.delete_records(topic, 0, before=7)
    done = runs.streamfx("run", config, "--until-idle", "2s")
    assert done.returncode == 0, done.stderr
    assert "retention took offsets 3 to 7" in done.stderr
    (gap,) = [entry for entry in entries(tmp_path / "data") if entry["kind"] == "gap"]
    assert (gap["start"], gap["end"]) == (3, 7)
    assert gap["details"] == {"reason": "retention", "offsets_lost": 4}
    runs.verified(tmp_path / "data", "--bootstrap", broker.bootstrap, "--topic", topic)
    assert sorted(row["offset"] for row in runs.rows(tmp_path / "data", "chunks")) == [0, 1, 2, 7, 8]


def test_retention_that_overtakes_a_range_before_it_is_read_is_a_gap_too(tmp_path: Path, broker: Broker) -> None:
    """Retention removes all records, and no new ones arrive."""
    topic = broker.create_topic()
    config = configured(tmp_path, broker, topic)
    broker.put(topic, bodies(2))
    assert runs.streamfx("run", config, "--until-idle", "2s").returncode == 0
    broker.put(topic, bodies(3), first=2)
    broker.delete_records(topic, 0, before=5)
    assert runs.streamfx("run", config, "--until-idle", "2s").returncode == 0
    assert [(entry["kind"], entry["start"], entry["end"]) for entry in entries(tmp_path / "data")][-1] == ("gap", 2, 5)


def test_records_removed_before_the_first_entry_are_a_gap_too(tmp_path: Path, broker: Broker) -> None:
    """Only a worker that has begun to read knows about these records."""
    topic = broker.create_topic()
    broker.put(topic, bodies(5))
    worker = Worker(load_config(configured(tmp_path, broker, topic)))
    lane = Lane(worker.engine.source.partitions()[0])
    worker.open_lane(lane)
    broker.delete_records(topic, 0, before=3)
    worker.open_lane(lane)
    assert lane.line is not None and lane.line.next_offset == 3
    (gap,) = entries(tmp_path / "data")
    assert (gap["kind"], gap["start"], gap["end"]) == ("gap", 0, 3)
    worker.engine.source.close()
    worker.engine.close()


def test_a_recreated_topic_is_refused(tmp_path: Path, broker: Broker) -> None:
    topic = broker.create_topic()
    config = configured(tmp_path, broker, topic)
    broker.put(topic, bodies(3))
    assert runs.streamfx("run", config, "--until-idle", "2s").returncode == 0
    before = entries(tmp_path / "data")
    admin = broker.admin()
    try:
        admin.delete_topics([topic])
        recreate(broker, topic)
    finally:
        admin.close()
    broker.put(topic, bodies(4))
    done = runs.streamfx("run", config, "--until-idle", "2s")
    assert done.returncode == 1 and topic in done.stderr and "Traceback" not in done.stderr
    assert entries(tmp_path / "data") == before


@pytest.fixture
def lane(tmp_path: Path, broker: Broker) -> Iterator[tuple[Worker, Lane]]:
    """A worker and the lane of its partition, with three chunks processed and none committed."""
    topic = broker.create_topic()
    broker.put(topic, bodies(3))
    worker = Worker(load_config(configured(tmp_path, broker, topic)))
    lane = Lane(worker.engine.source.partitions()[0])
    worker.open_lane(lane)
    assert lane.line is not None
    for record in worker.engine.source.read_at(lane.partition, range(3)).values():
        assert record is not None
        lane.line.process(record)
    yield worker, lane
    worker.engine.source.close()
    worker.engine.close()


def test_nothing_is_committed_once_the_topic_was_recreated(
    tmp_path: Path, broker: Broker, lane: tuple[Worker, Lane]
) -> None:
    """A broker serves fetches by the topic's name, so the records that were read may belong to the new topic."""
    worker, its_lane = lane
    admin = broker.admin()
    try:
        admin.delete_topics([its_lane.partition.topic])
        recreate(broker, its_lane.partition.topic)
    finally:
        admin.close()
    with pytest.raises(LogMismatch, match="deleted and created again"):
        worker.commit_lane(its_lane)
    assert entries(tmp_path / "data") == []


def test_a_commit_waits_while_no_broker_can_identify_the_topic(
    tmp_path: Path, lane: tuple[Worker, Lane], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(source: KafkaSource) -> None:
        raise BrokerUnavailable("nobody answers")

    worker, its_lane = lane
    with monkeypatch.context() as patched:
        patched.setattr(KafkaSource, "check_topic", nobody)
        worker.commit_lane(its_lane)
    assert entries(tmp_path / "data") == []
    worker.commit_lane(its_lane)
    assert [(entry["start"], entry["end"]) for entry in entries(tmp_path / "data")] == [(0, 3)]


def recreate(broker: Broker, topic: str) -> None:
    """Create the topic again under the same name, once the broker has deleted the old one."""
    from helpers.kafka import wait_until
    from kafka import errors

    admin = broker.admin()

    def created() -> bool:
        try:
            admin.create_topics(
                {topic: {"num_partitions": 1, "configs": {"message.timestamp.type": "LogAppendTime"}}},
                wait_for_metadata=True,
            )
            return True
        except errors.KafkaError:
            return False

    try:
        wait_until(created, "the topic is created again")
    finally:
        admin.close()
