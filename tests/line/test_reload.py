"""A configuration that changes during a run: live knobs are applied, others refused, and rows stay the same."""

from __future__ import annotations

import contextlib
import fcntl
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import runs
from helpers.config_map import ConfigMapFolder
from helpers.kafka import Broker
from helpers.ports import free_ports

from streamfx.cli.main import main

HELD = 3
"""The chunk that is held back until the configuration has changed."""


class HeldStream:
    """A folder of chunks that holds back the chunk HELD until `release`: a process that opens it waits.

    A lease on the file makes the kernel block it, for /proc/sys/fs/lease-break-time seconds at most, 45 by default.
    """

    def __init__(self, folder: Path, clip: Path):
        cut = ("--to", folder, "--chunk-s", "0.5", "--start", runs.START)
        done = CliRunner().invoke(main, [str(argument) for argument in ("publish", clip, *cut)])
        assert done.exit_code == 0, done.output
        [self.path] = [child for child in folder.iterdir() if child.is_dir()]
        self.chunks = len(list(self.path.glob("*.json")))
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # signals that a process waits
        self._held = (self.path / f"{HELD}.mp4").open("r+b")
        fcntl.fcntl(self._held, fcntl.F_SETLEASE, fcntl.F_WRLCK)

    def release(self) -> None:
        """Release the chunk for good."""
        fcntl.fcntl(self._held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        self._held.close()


def served(port: int) -> str:
    """The run's metrics, from two ports where worker and supervisor are separate processes."""
    text = ""
    for number in (port, port + 1):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{number}/metrics") as answer:
            text += answer.read().decode()
    return text


def counted(port: int, name: str) -> dict[str, float]:
    """The values of a counter by its one label, without zeros."""
    found = re.findall(rf'^{name}\{{\w+="(\w+)"\}} (\S+)$', served(port), re.MULTILINE)
    return {label: float(value) for label, value in found if float(value)}


def gauge(port: int, name: str) -> float | None:
    """The value of a gauge without labels; None while it is not served."""
    found = re.search(rf"^{name} (\S+)$", served(port), re.MULTILINE)
    return float(found[1]) if found else None


def wait_for(what: Callable[[], object], expected: object) -> None:
    give_up = time.monotonic() + runs.PATIENCE_S
    while (seen := what()) != expected:
        assert time.monotonic() < give_up, f"expected {expected}, got {seen}"
        time.sleep(0.3)


def entries(dataset: Path) -> list[Path]:
    return sorted((dataset / "_commits").rglob("*.json"))


@pytest.mark.parametrize(
    "engine",
    ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(900)])],
)
@pytest.mark.slow
def test_knobs_change_while_chunks_flow_and_the_rows_stay_the_same(
    tmp_path: Path, clip: Path, quickstart: Path, engine: str
) -> None:
    stream = HeldStream(tmp_path / "chunks", clip)
    dataset = tmp_path / "data"
    port, *_ = free_ports(3)  # the supervisor's, and one for each of up to two workers
    runtime = {"engine": engine, "metrics_port": port}
    seldom = {"roll_chunks": 1000, "idle_flush_s": 3600}

    def tree(**sections: Mapping[str, Any]) -> dict[str, Any]:
        return runs.tree(tmp_path, [stream.path], **({"runtime": runtime, "sink": seldom} | sections))

    def reloads() -> dict[str, float]:
        return counted(port, "streamfx_config_reloads_total")

    mounted = ConfigMapFolder(tmp_path / "mounted", tree())
    running = runs.start("run", mounted.file, "--quiet")
    try:
        wait_for(lambda: sum(counted(port, "streamfx_chunks_total").values()), HELD)
        mounted.update(tree(windows={"hop_s": 0.5}))
        wait_for(reloads, {"refused": 1})
        mounted.update(tree(sink={**seldom, "rol_chunks": 1}))
        wait_for(reloads, {"refused": 1, "invalid": 1})
        assert entries(dataset) == []
        mounted.update(tree(sink={**seldom, "roll_chunks": 1}))
        wait_for(reloads, {"refused": 1, "invalid": 1, "applied": 1})
        wait_for(lambda: len(entries(dataset)), 1)
        stream.release()
        _, said = running.communicate(timeout=runs.PATIENCE_S)
    finally:
        running.kill()
    assert running.returncode == 0, said
    assert "windows.hop_s 1.0 -> 0.5" in said and "sink.rol_chunks: unknown key" in said
    # The first entry has all chunks before the change; after it each chunk has its own entry.
    assert len(entries(dataset)) == 1 + stream.chunks - HELD
    assert runs.keys(dataset) == runs.keys(quickstart / "data") != {}
    runs.verified(dataset)


@pytest.mark.kafka
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_bounds_of_the_number_of_workers_change_while_running(tmp_path: Path, broker: Broker) -> None:
    topic = broker.create_topic(partitions=2)
    port, *_ = free_ports(3)  # the supervisor's, and one for each of up to two workers

    def tree(workers: int) -> dict[str, Any]:
        scaling = {"min_workers": workers, "max_workers": workers}
        runtime = {"engine": "ray", "worker_cpus": 0.5, "metrics_port": port, "scaling": scaling}
        config = runs.tree(tmp_path, [], runtime=runtime)
        config["source"] = {"kafka": {"bootstrap": broker.bootstrap, "topic": topic, "session_timeout_s": 6}}
        return config

    def running() -> float | None:
        return gauge(port, "streamfx_workers_running")

    mounted = ConfigMapFolder(tmp_path / "mounted", tree(1))
    run = runs.start("run", mounted.file, "--quiet")
    try:
        wait_for(running, 1)
        mounted.update(tree(2))
        wait_for(running, 2)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=runs.PATIENCE_S)
    finally:
        run.kill()
    assert run.returncode == 0, said
    assert "runtime.scaling.max_workers 1 -> 2" in said and "2 workers in place of 1" in said
