"""A run is over when everything is committed, even if another writer takes the number of the last entry."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import bad_media, runs
from helpers.kafka import Broker

from streamfx.pipeline import load_config
from streamfx.runtime.fleet import nothing_left
from streamfx.runtime.line import PartitionLine
from streamfx.runtime.worker import POLL_S, RunRange, Status, Worker
from streamfx.sink.commit import Batch, Head, PartitionWriter
from streamfx.sink.erasure import Rule
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.maintain import forget

BODY = bad_media.healthy_chunk(bad_media.RECIPES[0])


@pytest.fixture
def five(tmp_path: Path) -> Path:
    """A folder with one stream of five chunks."""
    folder = tmp_path / "in" / "s"
    folder.mkdir(parents=True)
    for seq in range(5):
        headers = {"stream-id": "s", "seq": str(seq), "start-us": str(1_767_323_045_000_000 + seq * 2_000_000)}
        named = {f"streamfx-{name}": value for name, value in headers.items()}
        (folder / f"{seq}.json").write_text(json.dumps(named | {"content-type": "video/mp4"}))
        (folder / f"{seq}.mp4").write_bytes(BODY)
    return folder.parent


def overtake_the_last(dataset: Path, monkeypatch: pytest.MonkeyPatch, end: int) -> None:
    """Let an erasure take the entry's number just before the range up to `end` is committed for the first time."""
    commit = PartitionWriter.commit

    def overtaken(writer: PartitionWriter, batch: Batch) -> Head:
        if batch.end == end:
            monkeypatch.undo()
            # Long enough for the polling thread to look, while all is read and the last range is not committed.
            time.sleep(5 * POLL_S)
            assert forget(LocalFileSystem(dataset), str(dataset), Rule(frozenset({"nobody"}), None, 1)).entries == 1
        return commit(writer, batch)

    monkeypatch.setattr(PartitionWriter, "commit", overtaken)


def offsets(dataset: Path) -> list[int]:
    return sorted(row["offset"] for row in runs.rows(dataset, "chunks"))


@pytest.mark.parametrize("end", [5, 3])
def test_files_are_finished_once_their_last_entry_exists(
    tmp_path: Path, five: Path, monkeypatch: pytest.MonkeyPatch, end: int
) -> None:
    overtake_the_last(tmp_path / "data", monkeypatch, end)
    tree = runs.tree(tmp_path, [five], sink={"roll_chunks": 2})
    assert Worker(load_config(tree), run_range=RunRange(0, end)).run().finished
    assert offsets(tmp_path / "data") == list(range(end))


@pytest.mark.kafka
@pytest.mark.parametrize("run_range", [RunRange(), RunRange(0, 3)], ids=["until idle", "a range"])
def test_a_topic_is_finished_once_its_last_entry_exists(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, run_range: RunRange
) -> None:
    topic = broker.create_topic()
    broker.put(topic, [BODY] * 5)
    end = run_range.end or 5
    overtake_the_last(tmp_path / "data", monkeypatch, end)
    tree = runs.tree(tmp_path, [], sink={"roll_chunks": 2, "idle_flush_s": 60})
    tree["source"] = {"kafka": {"bootstrap": broker.bootstrap, "topic": topic, "session_timeout_s": 6}}
    Worker(load_config(tree), run_range=run_range).run(until_idle_s=1.0)
    assert offsets(tmp_path / "data") == list(range(end))


@pytest.mark.parametrize(("uncommitted", "idle"), [(0, True), (1, False)])
def test_workers_with_something_to_commit_are_not_idle(tmp_path: Path, uncommitted: int, idle: bool) -> None:
    status = Status(0, owned=["t@id/0"], idle_s=9.0, uncommitted=uncommitted, partitions_total=1)
    config = load_config(runs.tree(tmp_path, [tmp_path]))
    assert nothing_left([status], False, config, 5.0) is idle


@pytest.mark.kafka
@pytest.mark.parametrize("slow", [(PartitionLine, "process"), (PartitionWriter, "commit")], ids=["chunk", "commit"])
def test_work_that_takes_long_is_no_silence_of_the_broker(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, slow: tuple[type, str]
) -> None:
    """A worker cannot ask the broker while it waits for a model server, or for an object store."""
    topic = broker.create_topic()
    broker.put(topic, [BODY])
    work = getattr(*slow)

    def slowly(*given: Any) -> Any:
        time.sleep(6)
        return work(*given)

    monkeypatch.setattr(*slow, slowly)
    tree = runs.tree(tmp_path, [])
    tree["pipeline"] = ["faces", "windows", "redact"]
    tree["source"] = {"kafka": {"bootstrap": broker.bootstrap, "topic": topic, "connect_timeout_s": 2}}
    done = Worker(load_config(tree)).run(until_idle_s=1)
    assert done.chunks == 1 and offsets(tmp_path / "data") == [0]
