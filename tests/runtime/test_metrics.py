"""The metrics are exactly those of the table in docs/metrics.md, and count what a run does."""

from __future__ import annotations

import re
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.astronaut import make_video
from helpers.default_model import default_model
from prometheus_client import CollectorRegistry

from streamfx.errors import BrokerUnavailable
from streamfx.pipeline import load_config
from streamfx.records import Partition
from streamfx.runtime.broker_watch import BrokerWatch
from streamfx.runtime.metrics import FleetMetrics, Metrics
from streamfx.runtime.worker import Worker
from streamfx.serving.uploads import count_upload
from streamfx.source.live import LiveMetrics

DOCUMENT = runs.REPO / "docs" / "metrics.md"
BESIDE_THE_LINE = {"fetch", "inference"}


def documented() -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Type, labels and meaning of each metric according to the table."""
    table = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `streamfx_"):
            name, kind, labels, unit, meaning = cells
            assert unit, name
            table[name.strip("`")] = (kind, tuple(re.findall(r"`([a-z_]+)`", labels)), meaning)
    return table


def made(registry: CollectorRegistry) -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Type, labels and meaning of each metric in a registry."""
    table = {}
    for collector in registry._collector_to_names:
        [family] = collector.describe()  # type: ignore[attr-defined]
        name = family.name + "_total" if family.type == "counter" else family.name
        table[name] = (family.type, collector._labelnames, family.documentation)  # type: ignore[attr-defined]
    return table


def test_the_documented_metrics_are_those_of_the_code() -> None:
    registries = (Metrics().registry, FleetMetrics().registry, LiveMetrics().registry)
    served = {name: entry for registry in registries for name, entry in made(registry).items()}
    assert documented() == served


def test_a_request_is_in_flight_until_it_is_answered_or_fails() -> None:
    metrics = Metrics()
    asked: list[tuple[str, Future[Any]]] = [("expression", Future()), ("light", Future()), ("light", Future())]
    for operator, future in asked:
        metrics.follow(operator, future)

    def by_operator(name: str) -> list[float | None]:
        return [metrics.registry.get_sample_value(name, {"operator": one}) for one in ("expression", "light")]

    assert by_operator("streamfx_inflight_requests") == [1, 2]
    assert by_operator("streamfx_inference_seconds_count") == [None, None]
    asked[0][1].set_result({})
    asked[1][1].set_exception(RuntimeError("the server went away"))
    assert by_operator("streamfx_inflight_requests") == [0, 1]
    assert by_operator("streamfx_inference_seconds_count") == [1, 1]
    assert metrics.registry.get_sample_value("streamfx_stage_seconds_count", {"stage": "inference"}) == 2


def test_what_this_process_has_uploaded_is_counted_by_tensor_and_way() -> None:
    registry, labels = Metrics().registry, {"tensor": "a-tensor-of-this-test", "way": "shared_memory"}
    for size in (5, 7):
        count_upload(labels["tensor"], "shared_memory", size)
    assert registry.get_sample_value("streamfx_uploads_total", labels) == 2
    assert registry.get_sample_value("streamfx_uploaded_bytes_total", labels) == 12
    assert registry.get_sample_value("streamfx_uploads_total", labels | {"way": "message"}) is None


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Worker, Path]:
    """The worker and the dataset of a finished run."""
    folder = tmp_path_factory.mktemp("metrics")
    make_video(folder / "astronaut.mp4")
    worker = Worker(load_config(runs.tree(folder, [folder / "astronaut.mp4"])))
    worker.run()
    return worker, folder / "data"


def value(worker: Worker, name: str, **labels: str) -> float:
    found = worker.engine.parts.metrics.registry.get_sample_value(name, labels)
    assert found is not None, f"{name} {labels} was not served"
    return found


def test_a_run_counts_its_chunks_windows_and_frames(finished: tuple[Worker, Path]) -> None:
    worker, dataset = finished
    for table in ("windows", "chunks"):
        assert value(worker, "streamfx_rows_total", table=table) == len(runs.rows(dataset, table)) > 0
    fates = runs.fates(dataset)
    assert sum(value(worker, "streamfx_chunks_total", fate=fate.split(":")[0]) for fate in fates) >= sum(fates.values())
    looked_at = sum(row["frames"] for row in runs.rows(dataset, "chunks"))
    assert value(worker, "streamfx_frames_total", use="looked_at") == looked_at
    assert value(worker, "streamfx_frames_total", use="skipped") > looked_at, "8 of 25 or more frames a second"
    assert value(worker, "streamfx_redaction_failures_total") == 0
    assert value(worker, "streamfx_inflight_requests", operator="expression") == 0


def test_every_documented_stage_is_timed(finished: tuple[Worker, Path]) -> None:
    worker, _ = finished
    stages = set(re.findall(r"^\| `([a-z]+)` \|", DOCUMENT.read_text(), re.MULTILINE))
    assert set(worker.status().stage_seconds) == stages - BESIDE_THE_LINE
    for stage in stages:
        assert value(worker, "streamfx_stage_seconds_count", stage=stage) > 0
    windows = value(worker, "streamfx_windows_total")
    assert value(worker, "streamfx_stage_seconds_count", stage="inference") == windows
    assert value(worker, "streamfx_inference_seconds_count", operator="expression") == windows


def test_the_model_that_scores_is_named(finished: tuple[Worker, Path]) -> None:
    worker, dataset = finished
    row = runs.rows(dataset, "windows")[0]
    labels = {"operator": "expression", "model": default_model(), "version": row["expression_model_version"]}
    assert value(worker, "streamfx_model_info", **labels) == 1


class DeafBroker:
    """A source that only gives bounds, and whose broker answers only while `answers` is true."""

    cluster = "a-cluster"
    answers = True

    def partitions(self) -> list[Partition]:
        return [Partition("t", "id", 0)]

    def bounds(self, partition: Partition) -> tuple[int, int]:
        if not self.answers:
            raise BrokerUnavailable("nobody there")
        return 0, 1


def test_seconds_without_the_broker_are_reported_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e9]
    monkeypatch.setattr("streamfx.runtime.broker_watch.time.monotonic", lambda: now[0])
    metrics, broker = Metrics(), DeafBroker()
    watch = BrokerWatch(broker)  # type: ignore[arg-type]
    metrics.broker_away_s.set_function(watch.away_s)

    def away_after(seconds: float, answers: bool) -> float | None:
        now[0] += seconds
        broker.answers = answers
        watch.ask()
        return metrics.registry.get_sample_value("streamfx_broker_away_seconds")

    seen = [away_after(5, answers) for answers in (True, False, False, False, True, False)]
    assert seen == [0, 0, 5, 10, 0, 0]


def test_the_broker_is_not_silent_while_nobody_can_ask_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e9]
    monkeypatch.setattr("streamfx.runtime.broker_watch.time.monotonic", lambda: now[0])
    watch = BrokerWatch(DeafBroker())  # type: ignore[arg-type]
    now[0] += 5
    assert watch.silent_s() == 5
    with watch.at_work():
        now[0] += 100
        assert watch.silent_s() == 0
    now[0] += 3
    assert watch.silent_s() == 3
