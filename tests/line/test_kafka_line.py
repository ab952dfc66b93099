"""Kafka, two Ray workers and Triton give the same rows as files in one process, whatever is killed meanwhile."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import runs
from helpers.kafka import Broker
from helpers.triton import expression_alone, running_triton

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.triton, pytest.mark.timeout(1500)]

KILLS = 10
STREAMS = 62


@pytest.fixture(scope="module")
def clips(clip: Path) -> list[Path]:
    """All real clips if the development folder exists, else the demo's."""
    return sorted(runs.CLIPS.glob("*.mp*")) or [clip]


@pytest.fixture(scope="module")
def triton() -> Iterator[str]:
    """A running Triton with the shipped model; its gRPC address."""
    with running_triton(repository=expression_alone()) as url:
        yield url


def kafka_config(folder: Path, broker: Broker, topic: str, triton: str | None, workers: int = 2) -> dict[str, Any]:
    config = runs.tree(folder, [])
    kafka = {"bootstrap": broker.bootstrap, "topic": topic, "group": f"g-{topic}", "session_timeout_s": 6}
    config["source"] = {"kafka": kafka}
    config["runtime"] = {"engine": "ray", "workers": workers, "worker_cpus": 0.5}
    if triton:
        config["serving"] = {
            "backend": "triton",
            "triton": {"url": triton},
            "threads": 1,
            "deadline_s": runs.PATIENCE_S,
        }
    return config


def publish(broker: Broker, topic: str, *inputs: object) -> None:
    done = runs.streamfx("publish", *inputs, "--topic", topic, "--bootstrap", broker.bootstrap)
    assert done.returncode == 0, done.stderr


def test_every_clip_gives_the_rows_of_a_run_over_files(
    tmp_path: Path, broker: Broker, triton: str, clips: list[Path]
) -> None:
    topic = broker.create_topic(partitions=4)
    publish(broker, topic, *clips, "--start", runs.START)
    (tmp_path / "kafka").mkdir()
    config = runs.write_config(tmp_path / "kafka", kafka_config(tmp_path / "kafka", broker, topic, triton))
    done = runs.streamfx("run", config, "--until-idle", "5s")
    assert done.returncode == 0, done.stderr
    report = runs.verified(tmp_path / "kafka" / "data", "--bootstrap", broker.bootstrap, "--topic", topic)
    keys = runs.keys(tmp_path / "kafka" / "data")
    assert report["rows"]["windows"] > 0 and report["rows"]["windows"] == sum(keys.values())
    # A file that is read in place may be copied where a publisher encodes, so pixels are compared over the same chunks.
    done = runs.streamfx("publish", *clips, "--to", tmp_path / "chunks", "--start", runs.START)
    assert done.returncode == 0, done.stderr
    for name, inputs in ("files", clips), ("folder", sorted((tmp_path / "chunks").iterdir())):
        (tmp_path / name).mkdir()
        done = runs.streamfx("run", runs.write_config(tmp_path / name, runs.tree(tmp_path / name, inputs)))
        assert done.returncode == 0, done.stderr
        assert runs.keys(tmp_path / name / "data") == keys
    compare_scores(tmp_path / "kafka" / "data", tmp_path / "folder" / "data")


def compare_scores(one: Path, other: Path, tolerance: float = 1e-4) -> None:
    """Assert that served scores agree with in-process ones within the stated tolerance."""

    def by_key(dataset: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
        return {tuple(row[k] for k in runs.KEY_COLUMNS): row for row in runs.rows(dataset, "windows")}

    first, second = by_key(one), by_key(other)
    for key, row in first.items():
        assert row["expression_model_version"] == second[key]["expression_model_version"]
        for name in row:
            if name.startswith("p_"):
                assert abs(row[name] - second[key][name]) < tolerance


@pytest.fixture(scope="module")
def many_streams(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips under many stream ids, as a folder of at least 200 chunks."""
    copies, folder = tmp_path_factory.mktemp("copies"), tmp_path_factory.mktemp("streams")
    for number in range(STREAMS):
        clip = clips[number % len(clips)]
        (copies / f"stream-{number}{clip.suffix}").symlink_to(clip)
    done = runs.streamfx("publish", copies, "--to", folder, "--chunk-s", "1", "--start", runs.START)
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("*/*.json"))) >= 200
    return folder


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The Ray worker processes of a run."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "WorkerActor" in " ".join(child.cmdline()):
                found.append(child)
    return found


def open_windows(dataset: Path) -> int:
    """Number of streams with open windows in the newest entries of all partitions."""
    newest = {p.parent: p for p in sorted((dataset / "_commits").glob("*/*/*.json"))}
    snapshots = [json.loads(p.read_text())["snapshot"] for p in newest.values()]
    return sum("windows" in stream["operators"] for s in snapshots for stream in s.get("streams", ()))


@pytest.mark.slow
def test_kills_of_workers_change_no_row(tmp_path: Path, broker: Broker, many_streams: Path, triton: str) -> None:
    """A worker is killed ten times by kill -9, each time after another commit and with open windows."""
    topic = broker.create_topic(partitions=4)
    publish(broker, topic, many_streams)
    config = kafka_config(tmp_path, broker, topic, triton)
    config["sink"] |= {"roll_chunks": 4, "idle_flush_s": 2}
    file = runs.write_config(tmp_path, config)
    data, chance, kills = tmp_path / "data", random.Random(11), 0
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "streamfx", "run", str(file), "--quiet", "--until-idle", "8s"]
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True)
        seen = 0
        while process.poll() is None:
            entries = len(list((data / "_commits").glob("*/*/*.json")))
            victims = workers_of(process)
            if kills < KILLS and entries > seen and victims and open_windows(data):
                time.sleep(chance.random())
                with contextlib.suppress(psutil.NoSuchProcess):
                    chance.choice(victims).send_signal(signal.SIGKILL)
                    kills += 1
                seen = len(list((data / "_commits").glob("*/*/*.json")))
            time.sleep(0.1)
    assert process.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    assert kills == KILLS, "the run was over before all kills were done"
    report = runs.verified(data, "--bootstrap", broker.bootstrap, "--topic", topic)
    assert report["rows"]["chunks"] >= 200
    (tmp_path / "files").mkdir()
    files = runs.write_config(tmp_path / "files", runs.tree(tmp_path / "files", [many_streams]))
    assert runs.streamfx("run", files).returncode == 0
    assert runs.keys(data) == runs.keys(tmp_path / "files" / "data")
    assert {name for name in runs.fates(data)} <= {"processed", "no_face"}
