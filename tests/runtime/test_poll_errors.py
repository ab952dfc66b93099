"""An error in the polling thread ends the run with that error at once, without waiting for the ended thread."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from helpers import bad_media, odd_files, runs
from helpers.kafka import Broker

from streamfx.errors import SourceError
from streamfx.pipeline import load_config
from streamfx.runtime.worker import Worker

NEVER_S = 60.0


def worker(tmp_path: Path, paths: list[Path], source: dict[str, Any] | None = None) -> Worker:
    tree = runs.tree(tmp_path, paths, runtime={"drain_s": 3600})
    tree["pipeline"] = ["faces", "windows", "redact"]
    return Worker(load_config(tree | ({"source": source} if source else {})))


def ended_with(running: Worker, error: type[BaseException]) -> None:
    """Assert that the run raises the error long before `drain_s`, an hour, has passed."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            running.run()
        except BaseException as failure:
            raised.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(NEVER_S)
    assert not thread.is_alive(), "the run waits for records that never come"
    assert [type(failure) for failure in raised] == [error]


@pytest.mark.parametrize("error", [SourceError, OSError, RuntimeError])
@pytest.mark.parametrize("after", [0, 3])
def test_an_error_while_reading_files_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], after: int
) -> None:
    running = worker(tmp_path, [odd_files.film(tmp_path / "a.mp4"), odd_files.film(tmp_path / "b.mp4")])
    poll, polls = running.engine.source.poll, iter(range(10**6))

    def failing(timeout_s: float) -> Any:
        if next(polls) >= after:
            raise error("the disk is gone")
        return poll(timeout_s)

    monkeypatch.setattr(running.engine.source, "poll", failing)
    ended_with(running, error)


def test_an_error_while_seeking_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = worker(tmp_path, [odd_files.film(tmp_path / "a.mp4")])

    def failing(*_: Any) -> None:
        raise SourceError("no seek")

    monkeypatch.setattr(running.engine.source, "seek", failing)
    ended_with(running, SourceError)


@pytest.mark.kafka
def test_an_error_while_polling_kafka_ends_the_run(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = broker.create_topic()
    broker.put(topic, [bad_media.healthy_chunk(bad_media.RECIPES[0])] * 3)
    running = worker(tmp_path, [], {"kafka": {"bootstrap": broker.bootstrap, "topic": topic, "session_timeout_s": 6}})
    poll = running.engine.source.poll

    def failing(timeout_s: float) -> Any:
        if poll(timeout_s):
            raise SourceError("the topic is gone")
        return []

    monkeypatch.setattr(running.engine.source, "poll", failing)
    ended_with(running, SourceError)
