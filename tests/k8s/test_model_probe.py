"""The liveness probe of the chart's Triton detects a dead model process, which its health endpoints do not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from helpers.chart import render, templates
from helpers.triton import free_ports, require_triton

from streamfx.serving.triton_server import LocalTriton


def probe(server: str) -> dict[str, Any]:
    objects = render("--set", f"triton.server={server}")
    [found] = [t.spec["containers"][0]["livenessProbe"] for t in templates(objects) if t.role == "triton"]
    return dict(found)


def test_a_plain_triton_server_is_probed_by_its_model_processes() -> None:
    assert "exec" in probe("tritonserver") and "httpGet" not in probe("tritonserver")
    assert "httpGet" in probe("bundled") and "exec" not in probe("bundled")


def model_processes(server: int) -> list[int]:
    """Process ids of the Python models that the server with this process id runs."""
    children = [p for found in Path(f"/proc/{server}/task").glob("*/children") for p in found.read_text().split()]
    return [int(c) for c in children if Path(f"/proc/{c}/comm").read_text().startswith("triton_python_b")]


@pytest.mark.triton
def test_a_dead_model_process_fails_the_probe_but_not_the_health_endpoint(tmp_path: Path) -> None:
    require_triton()
    *start, port, pid, _ = probe("tritonserver")["exec"]["command"]
    assert (port, pid) == ("8000", "1")
    ports = free_ports()
    with (tmp_path / "log").open("wb") as log, ExitStack() as stack:
        server = LocalTriton(ports, log=log)
        stack.callback(server.stop)

        def ask() -> subprocess.CompletedProcess[str]:
            command = [*start, str(ports.http), str(server.pid), str(tmp_path / "kept")]
            return subprocess.run(command, capture_output=True, text=True, check=False)

        assert ask().returncode == 0 and ask().returncode == 0
        index = urllib.request.Request(f"http://127.0.0.1:{ports.http}/v2/repository/index", b"{}", method="POST")
        with urllib.request.urlopen(index, timeout=10) as answer:
            models = len(json.load(answer))
        assert models >= 3
        assert (tmp_path / "kept").read_text() == str(models), "each model's process was seen"
        os.kill(model_processes(server.pid)[0], signal.SIGKILL)
        done = ask()
        assert done.returncode == 1 and f"{models - 1} of {models} model processes are left" in done.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{ports.http}/v2/health/ready", timeout=10) as answer:
            assert answer.status == 200
