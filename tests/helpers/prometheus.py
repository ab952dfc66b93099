"""Prometheus for tests: the shipped alerts and queries as they are in one namespace, promtool, and a server of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.runs import REPO

NAMESPACE = "video"
ALERTS = REPO / "k8s" / "chart" / "files" / "alerts.yaml"
DASHBOARDS = sorted((REPO / "k8s" / "dashboards").glob("*.json"))

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("prometheus") is None,
    reason="promtool or prometheus is not installed: apt-get install prometheus",
)


def rules() -> dict[str, Any]:
    """The chart's alerts as an installation in `NAMESPACE` has them."""
    tree: dict[str, Any] = yaml.safe_load(ALERTS.read_text().replace("{{ .Release.Namespace }}", NAMESPACE))
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
                found[f"{file.stem}: {panel['title']} {i}"] = target["expr"].replace("$namespace", NAMESPACE)
    return found


def promtool(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """`promtool ARGUMENTS` in `folder`, whatever it says."""
    command = ["promtool", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
