"""Every query of the dashboards and every alert is sent to a real Prometheus that scraped a real run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from helpers import runs
from helpers.astronaut import make_video
from helpers.film_camera import FilmCamera
from helpers.ports import free_ports
from helpers.prometheus import DASHBOARDS, NAMESPACE, RELEASE, Prometheus, alerts, needs_prometheus, queries, scraping

from streamfx.pipeline import load_config
from streamfx.runtime.metrics import FleetMetrics
from streamfx.runtime.worker import Worker

pytestmark = [pytest.mark.slow, needs_prometheus]

OPENING = ["Are we keeping up?", "Are we losing anything?", "What binds?"]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scraped a supervisor, and a worker and a publisher before, during and after one clip."""
    folder = tmp_path_factory.mktemp("prometheus")
    fleet_port, metrics_port, publisher_port, camera_port = free_ports(4)
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": NAMESPACE, "release": RELEASE, "pod": pod}}
        for pod, port in (("supervisor-0", fleet_port), ("worker-0", metrics_port), ("publisher-0", publisher_port))
    ]
    clip = folder / "astronaut.mp4"
    make_video(clip)
    FleetMetrics(range(fleet_port, fleet_port + 1))
    worker = Worker(load_config(runs.tree(folder, [clip], runtime={"metrics_port": metrics_port})))
    publisher = runs.start(
        "publish", f"tcp://127.0.0.1:{camera_port}?listen=1", "--stream-id", "door", "--to", folder / "published",
        "--metrics-port", publisher_port,
    )  # fmt: skip
    try:
        with scraping(folder, [{"job_name": "streamfx", "static_configs": targets}]) as running:
            running.wait_for("streamfx_partitions")
            running.wait_for("streamfx_publish_connected")
            with closing(FilmCamera(camera_port, [clip])) as camera:
                camera.show()
                worker.run()
                running.wait_for("streamfx_publish_chunks_total > 0")
            running.wait_for("count_over_time(streamfx_stage_seconds_count{stage='commit'}[1m]) > 2")
            yield running
    finally:
        publisher.kill()
        publisher.communicate()


def test_the_dashboard_opens_with_its_three_questions() -> None:
    for file in DASHBOARDS:
        rows = [panel["title"] for panel in json.loads(file.read_text())["panels"] if panel["type"] == "row"]
        assert rows[:3] == OPENING


@pytest.mark.parametrize("panel", queries())
def test_a_dashboard_query_is_valid_and_its_metrics_exist(panel: str, prometheus: Prometheus) -> None:
    query = queries()[panel]
    samples = prometheus.ask(query)
    of_triton = "nv_" in query
    assert bool(samples) != of_triton, f"{query}: the run had {'no' if of_triton else 'the'} metrics it asks for"


@pytest.mark.parametrize("alert", alerts())
def test_an_alerts_query_is_valid_and_its_metrics_exist(alert: str, prometheus: Prometheus) -> None:
    expression = alerts()[alert]["expr"]
    prometheus.ask(expression)
    if "kube_cronjob_" in expression:
        return  # the metric comes from kube-state-metrics, not from a run
    names = set(re.findall(r"\bstreamfx_[a-z_]+", expression))
    assert names
    for name in names:
        assert prometheus.ask(f'{name}{{namespace="{NAMESPACE}"}}'), f"no run serves {name}"
