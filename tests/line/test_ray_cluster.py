"""A run on a separate Ray cluster, as on Kubernetes: if the head dies, no row is lost or doubled."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from helpers import runs
from helpers.astronaut import make_video
from helpers.ports import free_ports
from helpers.ray_cluster import RayCluster, end

from streamfx.runtime.health import wait_ready

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    started = RayCluster()
    yield started
    started.close()


def test_losing_the_head_ends_the_run_with_one_sentence_and_loses_no_row(cluster: RayCluster, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    make_video(clip, seconds=60)  # so that the run is still working once it is ready
    [health] = free_ports(1)
    tree = runs.tree(
        tmp_path, [clip],
        sink={"roll_chunks": 2},
        runtime={"engine": "ray", "workers": 1, "ray_address": cluster.address, "health_port": health},
    )  # fmt: skip
    tree["source"]["files"]["chunk_s"] = 0.2
    config = runs.write_config(tmp_path, tree)
    head = cluster.start_head()
    node = cluster.start_node(workers=1)

    first = runs.start("run", config, "--quiet", env=cluster.environment)
    assert wait_ready([f"http://127.0.0.1:{health}/readyz"], 240) is None
    end(head)
    died = time.monotonic()
    _, errors = first.communicate(timeout=200)
    assert first.returncode == 1, errors
    assert "the Ray cluster at" in errors and "Traceback" not in errors, errors
    assert time.monotonic() - died < 60
    end(node)

    cluster.start_head()
    cluster.start_node(workers=1)
    second = runs.streamfx("run", config, "--quiet", env=cluster.environment)
    assert second.returncode == 0, second.stderr
    runs.verified(tmp_path / "data")
    alone = tmp_path / "alone"
    alone.mkdir()
    local = runs.write_config(alone, {**runs.tree(alone, [clip]), "source": tree["source"]})
    assert runs.streamfx("run", local, "--quiet").returncode == 0
    assert runs.keys(tmp_path / "data") == runs.keys(alone / "data")


def test_a_connection_whose_process_on_the_head_dies_is_tried_again(cluster: RayCluster, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    make_video(clip, seconds=3)
    tree = runs.tree(
        tmp_path, [clip],
        runtime={"engine": "ray", "workers": 1, "ray_address": cluster.address, "ray_timeout_s": 200.0},
    )  # fmt: skip
    head = cluster.start_head()
    cluster.start_node(workers=1)
    killed: list[int] = []

    def kill_first() -> None:
        while not killed:
            for process in psutil.Process(head.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "--mode=specific-server" in process.cmdline():
                        process.kill()
                        killed.append(process.pid)
                        break
            time.sleep(0.05)

    killer = threading.Thread(target=kill_first, daemon=True)
    killer.start()
    run = runs.streamfx("run", runs.write_config(tmp_path, tree), "--quiet", env=cluster.environment)
    assert run.returncode == 0, run.stderr
    assert killed
    runs.verified(tmp_path / "data")
