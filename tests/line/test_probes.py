"""A run answers health and readiness probes."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from helpers import runs
from helpers.ports import free_port

from streamfx.pipeline import load_config
from streamfx.runtime.supervisor import run_pipeline
from streamfx.runtime.worker import RunRange, Status


def test_a_working_run_is_healthy_and_ready(tmp_path: Path, clip: Path) -> None:
    port = free_port()
    config = load_config(runs.tree(tmp_path, [clip], runtime={"health_port": port}))
    answers: list[int] = []

    def ask(statuses: Sequence[Status]) -> None:
        for path in ("/healthz", "/readyz"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                answers.append(answer.status)

    run_pipeline(config, RunRange(), None, threading.Event(), ask)
    assert len(answers) >= 2 and set(answers) == {200}
