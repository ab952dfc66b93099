"""A silent stream is closed by the append times of later records, never by the wall clock."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.kafka import Broker

pytestmark = pytest.mark.kafka


def newest_snapshot(dataset: Path) -> dict[str, Any]:
    entry = max((dataset / "_commits").glob("*/0/*.json"))
    snapshot: dict[str, Any] = json.loads(entry.read_text())["snapshot"]
    return snapshot


def publish(broker: Broker, topic: str, folder: Path) -> None:
    done = runs.streamfx("publish", folder, "--topic", topic, "--bootstrap", broker.bootstrap)
    assert done.returncode == 0, done.stderr


def run(folder: Path, broker: Broker, topic: str) -> None:
    config = runs.tree(folder, [], windows={"idle_s": 1.0})
    kafka = {"bootstrap": broker.bootstrap, "topic": topic, "group": f"g-{topic}", "session_timeout_s": 6}
    config["source"] = {"kafka": kafka}
    done = runs.streamfx("run", runs.write_config(folder, config), "--until-idle", "3s")
    assert done.returncode == 0, done.stderr


def test_an_idle_streams_windows_are_written_once_another_stream_passes_it(
    tmp_path: Path, broker: Broker, clip: Path
) -> None:
    for stream in ("silent", "later"):
        shutil.copy(clip, tmp_path / f"{stream}.mp4")
        arguments = ("--to", tmp_path / stream, "--chunk-s", "1", "--start", runs.START)
        assert runs.streamfx("publish", tmp_path / f"{stream}.mp4", *arguments).returncode == 0
    for suffix in ("mp4", "json"):
        max((tmp_path / "silent").glob(f"*/*.{suffix}")).unlink()  # the chunk with the end header
    topic = broker.create_topic(partitions=1)
    publish(broker, topic, tmp_path / "silent")
    run(tmp_path, broker, topic)
    assert len(newest_snapshot(tmp_path / "data")["streams"]) == 1, "the wall clock must not close it"
    before = runs.keys(tmp_path / "data")
    time.sleep(1.5)
    publish(broker, topic, tmp_path / "later")
    run(tmp_path, broker, topic)
    snapshot = newest_snapshot(tmp_path / "data")
    assert snapshot["streams"] == [] and len(snapshot["ended"]) == 2
    silent = {key[0] for key in before}
    closed = {key for key in runs.keys(tmp_path / "data") if key[0] in silent} - set(before)
    assert closed, "its open windows with enough faces must be rows now"
    rows = [row for row in runs.rows(tmp_path / "data", "windows") if tuple(row[k] for k in runs.KEY_COLUMNS) in closed]
    first_later = len(list((tmp_path / "silent").glob("*/*.json")))
    assert {row["offset"] for row in rows} == {first_later}, "they belong to the record that passed the stream by"
    runs.verified(tmp_path / "data", "--bootstrap", broker.bootstrap, "--topic", topic)
