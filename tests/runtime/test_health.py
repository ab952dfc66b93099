"""Probes: a run is sick if a restart would help, unready until a model has answered, and never stopped by a probe."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from helpers.ports import free_port

from streamfx.runtime.health import Health, health_server, wait_ready
from streamfx.runtime.metrics import Metrics
from streamfx.runtime.worker import Status


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_starting_run_is_neither_sick_nor_ready() -> None:
    health = Health(drain_s=30)
    assert health.sick() is None
    assert "model" in (health.unready() or "")


def test_a_worker_that_waits_to_be_placed_is_not_sick() -> None:
    health = Health(drain_s=30)
    health.note([Status(0), Status(1)])
    assert health.sick() is None and health.unready()


def test_one_worker_with_a_model_makes_the_run_ready() -> None:
    health = Health(drain_s=30)
    health.note([Status(0), Status(1, ready=True, poll_age_s=0.1)])
    assert health.unready() is None and health.sick() is None


def test_a_stuck_poll_loop_is_sick_and_is_named() -> None:
    health = Health(drain_s=30)
    health.note([Status(0, ready=True, poll_age_s=0.1), Status(3, ready=True, poll_age_s=61.0)])
    assert health.sick() == "worker 3 has not polled for 61 s"


def test_a_poll_loop_that_waits_for_a_drain_is_not_sick() -> None:
    health = Health(drain_s=30)
    health.note([Status(0, ready=True, poll_age_s=45.0)])
    assert health.sick() is None


def test_a_stuck_watch_loop_is_sick(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health(drain_s=0)
    health.note([])
    monkeypatch.setattr("streamfx.runtime.health.time.monotonic", lambda: 1e9)
    assert "watch loop" in (health.sick() or "")


def test_probes_are_answered_by_status_and_by_reason() -> None:
    health, port = Health(drain_s=30), free_port()
    with health_server(health, port):
        assert ask(port, "/healthz") == (200, "ok\n")
        assert ask(port, "/readyz")[0] == 503
        health.note([Status(0, ready=True, poll_age_s=100.0)])
        assert ask(port, "/readyz") == (200, "ok\n")
        assert ask(port, "/healthz") == (503, "worker 0 has not polled for 100 s\n")
        assert ask(port, "/secrets")[0] == 404
        assert wait_ready([f"http://127.0.0.1:{port}/readyz"], 5) is None
        assert "has not polled" in (wait_ready([f"http://127.0.0.1:{port}/healthz"], 0) or "")
    assert wait_ready([f"http://127.0.0.1:{port}/readyz"], 0)


def test_a_taken_port_does_not_stop_the_run(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        with health_server(Health(drain_s=30), holder.getsockname()[1]):
            pass
    assert "runtime.health_port" in caplog.text


def test_workers_of_one_machine_share_a_range_of_metrics_ports(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        Metrics(range(taken, taken + 1))
        assert "runtime.metrics_port" in caplog.text
        Metrics(range(taken, taken + 8))
    answers = []
    for port in range(taken + 1, taken + 8):
        try:
            answers.append("streamfx_windows_total" in ask(port, "/metrics")[1])
        except OSError:
            continue
    assert any(answers)


def test_a_range_of_metrics_ports_beyond_the_last_port_does_not_stop_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as holder:
        holder.bind(("", 65535))
        holder.listen()
        Metrics(range(65535, 65538))
    assert "no metrics on ports 65535 to 65537 (runtime.metrics_port)" in caplog.text
