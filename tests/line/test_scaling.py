"""Workers by lag: a backlog adds workers, which are removed afterwards, and the rows are those of one worker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import runs
from helpers.kafka import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

STREAMS = 5


def publish_backlog(broker: Broker, folder: Path, clip: Path) -> str:
    """Publish a clip under many stream ids to a topic of four partitions; return the topic."""
    topic = broker.create_topic(partitions=4)
    folder.mkdir()
    for number in range(STREAMS):
        (folder / f"stream-{number}{clip.suffix}").symlink_to(clip)
    done = runs.streamfx(
        "publish", folder, "--topic", topic, "--bootstrap", broker.bootstrap, "--chunk-s", "0.5", "--start", runs.START
    )
    assert done.returncode == 0, done.stderr
    return topic


def test_a_backlog_adds_workers_that_are_removed_again_and_changes_no_row(
    tmp_path: Path, broker: Broker, clip: Path
) -> None:
    topic = publish_backlog(broker, tmp_path / "streams", clip)
    scaled, fixed = tmp_path / "scaled", tmp_path / "fixed"
    scaled.mkdir()
    scaling = {"min_workers": 1, "max_workers": 3, "target_lag_s": 1, "grow_every_s": 10, "shrink_after_s": 10}
    runtime = {"engine": "ray", "worker_cpus": 0.5, "scaling": scaling}
    tree = runs.tree(scaled, [], sink={"roll_chunks": 4}, runtime=runtime)
    tree["source"] = {"kafka": {"bootstrap": broker.bootstrap, "topic": topic, "session_timeout_s": 6}}
    with (scaled / "log").open("w") as log:
        command = [sys.executable, "-m", "streamfx", "run", str(runs.write_config(scaled, tree)), "--until-idle", "40s"]
        done = subprocess.run(command, stdout=log, stderr=log, text=True, timeout=600, check=False)
    text = (scaled / "log").read_text()
    assert done.returncode == 0, text
    changes = [(int(before), int(after)) for after, before in re.findall(r"(\d+) workers in place of (\d+)", text)]
    assert any(after > before == 1 for before, after in changes), text
    assert any(after < before for before, after in changes), text
    runs.verified(scaled / "data", "--bootstrap", broker.bootstrap, "--topic", topic)

    fixed.mkdir()
    chunks = tmp_path / "chunks"
    done = runs.streamfx("publish", tmp_path / "streams", "--to", chunks, "--chunk-s", "0.5", "--start", runs.START)
    assert done.returncode == 0, done.stderr
    done = runs.streamfx("run", runs.write_config(fixed, runs.tree(fixed, [chunks])))
    assert done.returncode == 0, done.stderr
    keys = runs.keys(scaled / "data")
    assert keys == runs.keys(fixed / "data") and set(keys.values()) == {1}
    assert runs.fates(scaled / "data") == runs.fates(fixed / "data")
