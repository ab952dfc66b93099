"""A Ray cluster of real processes on this machine, like the chart's pods: a head without tasks, and worker nodes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from helpers.ports import free_ports

START_S = 120.0
TOKEN = "0123456789abcdef" * 4


class RayCluster:
    """Starts nothing by itself; `close` ends what was started."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sfx-ray-", dir="/tmp"))  # Ray's sockets need a short path
        self.gcs, self.client = free_ports(2)
        self.environment = os.environ | {
            "HOME": str(self._folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "10",
            "GRPC_ENABLE_FORK_SUPPORT": "0",
        }
        self._nodes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """The value for `runtime.ray_address`."""
        return f"ray://127.0.0.1:{self.client}"

    def start_head(self) -> subprocess.Popen[bytes]:
        """Start a head on which no worker fits."""
        return self._start(
            "--head", f"--port={self.gcs}", f"--ray-client-server-port={self.client}", "--num-cpus=0",
            "--include-dashboard=false", f"--temp-dir={self._folder / 'ray'}",
        )  # fmt: skip

    def start_node(self, workers: int) -> subprocess.Popen[bytes]:
        """Start a node with room for `workers` workers."""
        return self._start(f"--address=127.0.0.1:{self.gcs}", f"--num-cpus={workers}")

    def close(self) -> None:
        """End every node, then remove the files that they left."""
        for node in self._nodes:
            end(node)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, *flags: str) -> subprocess.Popen[bytes]:
        agent, agent_grpc, environment, metrics = free_ports(4)
        node = subprocess.Popen(
            [
                sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--object-store-memory=134217728", *flags,
                f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}",
                f"--runtime-env-agent-port={environment}", f"--metrics-export-port={metrics}",
            ],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._nodes.append(node)
        give_up = time.monotonic() + START_S
        while not self._healthy(agent):
            assert node.poll() is None and time.monotonic() < give_up, "Ray did not start"
            time.sleep(0.5)
        return node

    @staticmethod
    def _healthy(agent: int) -> bool:
        """The check of the chart's probes, without a token."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{agent}/api/local_raylet_healthz", timeout=2) as answer:
                return bool(answer.read() == b"success")
        except OSError:
            return False


def end(node: subprocess.Popen[bytes]) -> None:
    """Kill a node and the processes of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()
