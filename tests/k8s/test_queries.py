"""Every query of the dashboards and every alert, asked of a real Prometheus that scraped a real run."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from helpers import runs
from helpers.astronaut import make_video
from helpers.prometheus import DASHBOARDS, NAMESPACE, alerts, needs_prometheus, queries

from streamfx.config import load_config
from streamfx.runtime.worker import Worker

pytestmark = [pytest.mark.slow, needs_prometheus]

WAIT_S = 60.0
OPENING = ["Are we keeping up?", "Are we losing anything?", "What binds?"]


class Prometheus:
    """A server that answers queries on `port`."""

    def __init__(self, port: int):
        self._url = f"http://127.0.0.1:{port}/api/v1/query"

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples that `query` gives now; a query that is not PromQL fails the test."""
        try:
            with urllib.request.urlopen(
                f"{self._url}?{urllib.parse.urlencode({'query': query})}", timeout=10
            ) as answer:
                tree = json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{query}: {error.read().decode()}")
        assert tree["status"] == "success" and not tree.get("warnings"), tree
        samples: list[dict[str, Any]] = tree["data"]["result"]
        return samples

    def wait_for(self, query: str) -> None:
        """Wait until `query` gives something."""
        give_up = time.monotonic() + WAIT_S
        while True:
            try:
                if self.ask(query):
                    return
            except OSError:
                pass
            assert time.monotonic() < give_up, f"{query} gave nothing in {WAIT_S:.0f} s"
            time.sleep(0.5)


def free_ports(number: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped a worker before, during and after its run over one clip."""
    folder = tmp_path_factory.mktemp("prometheus")
    port, metrics_port = free_ports(2)
    labels = {"namespace": NAMESPACE, "pod": "worker-0"}
    settings = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms"},
        "scrape_configs": [
            {
                "job_name": "streamfx",
                "static_configs": [{"targets": [f"127.0.0.1:{metrics_port}"], "labels": labels}],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    make_video(folder / "astronaut.mp4")
    tree = runs.tree(folder, [folder / "astronaut.mp4"], runtime={"metrics_port": metrics_port})
    worker = Worker(load_config(tree))
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        running = Prometheus(port)
        running.wait_for("streamfx_partitions")
        worker.run()
        running.wait_for("count_over_time(streamfx_stage_seconds_count{stage='commit'}[1m]) > 2")
        yield running
    finally:
        server.terminate()
        server.wait(30)


def test_the_dashboard_opens_with_its_three_questions() -> None:
    for file in DASHBOARDS:
        rows = [panel["title"] for panel in json.loads(file.read_text())["panels"] if panel["type"] == "row"]
        assert rows[:3] == OPENING


@pytest.mark.parametrize("panel", queries())
def test_a_dashboard_query(panel: str, prometheus: Prometheus) -> None:
    query = queries()[panel]
    samples = prometheus.ask(query)
    of_triton = "nv_" in query
    assert bool(samples) != of_triton, f"{query}: the run had {'no' if of_triton else 'the'} metrics it asks for"


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_can_be_asked_and_its_metrics_exist(alert: str, prometheus: Prometheus) -> None:
    expression = alerts()[alert]["expr"]
    prometheus.ask(expression)
    names = set(re.findall(r"\bstreamfx_[a-z_]+", expression))
    assert names
    for name in names:
        assert prometheus.ask(f'{name}{{namespace="{NAMESPACE}"}}'), f"no run serves {name}"
