"""An outage of the broker that is longer than any request's timeout: runs and publishers survive it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from helpers import bad_media, runs
from helpers.chaos import Brokers
from helpers.kafka import Broker, require_killable_kafka, wait_until

from streamfx.errors import BrokerUnavailable
from streamfx.source import kafka_client
from streamfx.source.kafka_client import Sender

pytestmark = pytest.mark.kafka

AWAY_S = 10.0
CONNECT_S = 5.0
BODIES = [bad_media.healthy_chunk(bad_media.RECIPES[0])] * 3


@pytest.fixture
def brokers() -> Iterator[Brokers]:
    """A cluster of one broker that can be killed."""
    require_killable_kafka()
    found = Brokers()
    try:
        found.create_topic("outage", 1)
        yield found
    finally:
        found.delete()


@pytest.mark.slow
@pytest.mark.ray
def test_a_run_continues_once_the_broker_is_back(tmp_path: Path, brokers: Brokers) -> None:
    settings = {"bootstrap": brokers.bootstrap, "topic": "outage", "group": "outage", "connect_timeout_s": CONNECT_S}
    config = runs.tree(tmp_path, [], sink={"roll_chunks": 1}, faces={"detect_px": 64}, runtime={"engine": "ray"})
    config["source"] = {"kafka": settings | {"session_timeout_s": 6}}
    run = runs.start("run", runs.write_config(tmp_path, config))
    broker = Broker(brokers.bootstrap)
    try:
        broker.put("outage", BODIES)
        wait_until(lambda: len(runs.rows(tmp_path / "data", "chunks")) == 3, "the first chunks are there")
        brokers.kill(1)
        time.sleep(AWAY_S)
        assert run.poll() is None
        brokers.start()
        broker.put("outage", BODIES, first=3)
        wait_until(lambda: len(runs.rows(tmp_path / "data", "chunks")) == 6, "the others are there too")
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=runs.PATIENCE_S)
    finally:
        run.kill()
    assert run.returncode == 0, said
    assert "the broker does not answer" in said
    runs.verified(tmp_path / "data", "--bootstrap", brokers.bootstrap, "--topic", "outage")


@pytest.mark.slow
@pytest.mark.ray
def test_a_run_on_ray_that_ends_once_idle_gives_up_a_broker_that_died(tmp_path: Path, brokers: Brokers) -> None:
    settings = {"bootstrap": brokers.bootstrap, "topic": "outage", "group": "outage", "connect_timeout_s": CONNECT_S}
    config = runs.tree(tmp_path, [], sink={"roll_chunks": 1}, faces={"detect_px": 64}, runtime={"engine": "ray"})
    config["source"] = {"kafka": settings | {"session_timeout_s": 6}}
    run = runs.start("run", runs.write_config(tmp_path, config), "--until-idle", "20s")
    try:
        Broker(brokers.bootstrap).put("outage", BODIES)
        wait_until(lambda: len(runs.rows(tmp_path / "data", "chunks")) == 3, "the chunks are there")
        brokers.kill(1)
        _, said = run.communicate(timeout=runs.PATIENCE_S)
    finally:
        run.kill()
    assert run.returncode == 1, said
    assert f"the broker at {brokers.bootstrap} has not answered for" in said


@pytest.mark.slow
def test_a_publishers_error_says_that_waiting_may_help(monkeypatch: pytest.MonkeyPatch, brokers: Brokers) -> None:
    monkeypatch.setattr(kafka_client, "SEND_TIMEOUT_S", 31)  # a request of kafka-python's may take 30
    settings = Broker(brokers.bootstrap).settings("outage", connect_timeout_s=CONNECT_S)
    with closing(Sender(settings, "outage")) as sender:
        sender.send(b"cam", (), b"before")
        sender.flush()
        brokers.kill(1)

        def send() -> None:
            sender.send(b"cam", (), b"meanwhile")
            sender.flush()

        with pytest.raises(BrokerUnavailable, match=brokers.bootstrap):
            send()
    brokers.start()
    with closing(Sender(settings, "outage")) as again:
        again.send(b"cam", (), b"after")
        again.flush()
