"""Workers by lag: a backlog brings workers, who leave again when it is done, and the rows are those of a fixed number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.kafka import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

STREAMS = 6


def publish_backlog(broker: Broker, folder: Path, clip: Path) -> str:
    """A clip under many stream ids in a topic of four partitions."""
    topic = broker.create_topic(partitions=4)
    folder.mkdir()
    for number in range(STREAMS):
        (folder / f"stream-{number}{clip.suffix}").symlink_to(clip)
    done = runs.streamfx(
        "publish", folder, "--topic", topic, "--bootstrap", broker.bootstrap, "--chunk-s", "0.5", "--start", runs.START
    )
    assert done.returncode == 0, done.stderr
    return topic


def run(folder: Path, broker: Broker, topic: str, idle: str, **runtime: Any) -> str:
    """A whole run by two or more workers of this topic into `folder`; what it logged."""
    folder.mkdir()
    tree = runs.tree(folder, [], sink={"roll_chunks": 4}, runtime={"engine": "ray", "worker_cpus": 0.5, **runtime})
    kafka = {"bootstrap": broker.bootstrap, "topic": topic, "group": f"g-{folder.name}", "session_timeout_s": 6}
    tree["source"] = {"kafka": kafka}
    done = runs.streamfx("run", runs.write_config(folder, tree), "--until-idle", idle)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_backlog_brings_workers_who_leave_again_and_changes_no_row(
    tmp_path: Path, broker: Broker, clip: Path
) -> None:
    topic = publish_backlog(broker, tmp_path / "streams", clip)
    scaling = {"min_workers": 1, "max_workers": 3, "target_lag_s": 1, "grow_every_s": 10, "shrink_after_s": 10}
    log = run(tmp_path / "scaled", broker, topic, "25s", scaling=scaling)
    changes = [(int(before), int(after)) for after, before in re.findall(r"(\d+) workers in place of (\d+)", log)]
    assert any(after > before == 1 for before, after in changes), log
    assert any(after < before for before, after in changes), log
    run(tmp_path / "fixed", broker, topic, "6s", workers=2)
    for name in ("scaled", "fixed"):
        runs.verified(tmp_path / name / "data", "--bootstrap", broker.bootstrap, "--topic", topic)
    scaled, fixed = (runs.keys(tmp_path / name / "data") for name in ("scaled", "fixed"))
    assert scaled == fixed and set(scaled.values()) == {1}
    assert runs.fates(tmp_path / "scaled" / "data") == runs.fates(tmp_path / "fixed" / "data")
