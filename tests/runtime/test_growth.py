"""A topic that gets more partitions during a run, which some workers know earlier than others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import bad_media, runs
from helpers.kafka import Broker

from streamfx.pipeline import load_config
from streamfx.runtime.worker import Lane, Worker


def entries(dataset: Path) -> list[tuple[str, int]]:
    """Kind and partition count of the log's entries."""
    logged = [json.loads(path.read_text()) for path in sorted((dataset / "_commits").glob("*/*/*.json"))]
    return [(entry["kind"], entry["partition_count"]) for entry in logged]


def open_first(worker: Worker) -> Lane:
    """The first partition's lane, as when the group has assigned it to this worker."""
    lane = Lane(worker.engine.source.partitions()[0])
    worker.open_lane(lane)
    return lane


@pytest.mark.kafka
def test_a_partition_that_moves_between_older_and_newer_workers_gets_one_config_entry(
    tmp_path: Path, broker: Broker
) -> None:
    topic = broker.create_topic(partitions=4)
    broker.put(topic, [bad_media.healthy_chunk(bad_media.RECIPES[0])])
    tree: dict[str, Any] = runs.tree(tmp_path, [])
    tree["source"] = {"kafka": {"bootstrap": broker.bootstrap, "topic": topic}}
    older = Worker(load_config(tree))
    lane = open_first(older)
    assert lane.line is not None
    for record in older.engine.source.read_at(lane.partition, [0]).values():
        assert record is not None
        lane.line.process(record)
    older.commit_lane(lane)
    admin = broker.admin()
    try:
        admin.create_partitions({topic: 8})
    finally:
        admin.close()
    newer = Worker(load_config(tree))
    for worker in (older, newer, older, newer, older):
        open_first(worker)
    assert entries(tmp_path / "data") == [("data", 4), ("config", 8)]
    for worker in (older, newer):
        worker.engine.source.close()
        worker.engine.close()


def test_a_worker_reports_the_current_number_of_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = runs.REPO / "streamfx" / "assets" / "story.mp4"
    worker = Worker(load_config(runs.tree(tmp_path, [clip])))
    there = worker.engine.source.partitions()
    assert worker.status().partitions_total == len(there) == 1
    monkeypatch.setattr(worker.engine.source, "partitions", lambda: there * 2)
    assert worker.status().partitions_total == 2
    worker.engine.close()
