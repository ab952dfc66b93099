"""Prometheus for tests: the shipped alerts and queries as rendered for one namespace, promtool, and a server."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.lacking import needs
from helpers.ports import free_ports
from helpers.runs import REPO

NAMESPACE = "video"
RELEASE = "demo"
WAIT_S = 60.0
ALERTS = REPO / "k8s" / "chart" / "files" / "alerts.yaml"
DASHBOARDS = sorted((REPO / "k8s" / "chart" / "files" / "dashboards").glob("*.json"))

needs_prometheus = needs("Prometheus")


def rules() -> dict[str, Any]:
    """The chart's alerts as in release `RELEASE` in `NAMESPACE`, with a quarter of an hour for upkeep."""
    text = ALERTS.read_text().replace("{{ .Release.Namespace }}", NAMESPACE).replace("{{ .Release.Name }}", RELEASE)
    text = text.replace('{{ include "streamfx.name" . }}', RELEASE)
    tree: dict[str, Any] = yaml.safe_load(text.replace("{{ .Values.maintenance.deadlineSeconds }}", "900"))
    return tree


def alerts() -> dict[str, Mapping[str, Any]]:
    """Each alert's rule by its name."""
    return {rule["alert"]: rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule}


def queries() -> dict[str, str]:
    """Each query of the dashboards, by dashboard and panel."""
    found = {}
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for i, target in enumerate(panel.get("targets", [])):
                found[f"{file.stem}: {panel['title']} {i}"] = (
                    target["expr"].replace("$namespace", NAMESPACE).replace("$release", RELEASE)
                )
    return found


def promtool(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `promtool ARGUMENTS` in `folder`, whatever its exit status."""
    command = ["promtool", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


class Prometheus:
    """A server that answers queries on `port`."""

    def __init__(self, port: int):
        self._url = f"http://127.0.0.1:{port}/api/v1/query"

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The current samples of `query`; a query that is not PromQL fails the test."""
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
        """Wait until `query` returns samples."""
        give_up = time.monotonic() + WAIT_S
        while True:
            try:
                if self.ask(query):
                    return
            except OSError:
                pass
            assert time.monotonic() < give_up, f"{query} returned no samples in {WAIT_S:.0f} s"
            time.sleep(0.5)


@contextmanager
def scraping(
    folder: Path, jobs: Sequence[Mapping[str, Any]], rules: Mapping[str, Any] | None = None
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes `jobs` (its scrape_configs) twice a second and evaluates `rules`; it ends on exit."""
    [port] = free_ports(1)
    settings: dict[str, Any] = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms", "evaluation_interval": "1s"},
        "scrape_configs": list(jobs),
    }
    if rules is not None:
        (folder / "rules.yml").write_text(yaml.safe_dump(dict(rules)))
        settings["rule_files"] = ["rules.yml"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("w") as log:
        server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield Prometheus(port)
    finally:
        server.terminate()
        server.wait(30)
