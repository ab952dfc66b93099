"""The liveness probe of the chart's Triton detects a dead model process, which its health endpoints do not."""

from __future__ import annotations

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


@pytest.mark.triton
@pytest.mark.timeout(240)
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
        assert (tmp_path / "kept").read_text() == "1", "the model's process was seen"
        for children in Path(f"/proc/{server.pid}/task").glob("*/children"):
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGKILL)
        done = ask()
        assert done.returncode == 1 and "0 of 1 model processes are left" in done.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{ports.http}/v2/health/ready", timeout=10) as answer:
            assert answer.status == 200
