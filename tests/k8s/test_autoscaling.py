"""Model servers scale by the time in their queues: the cluster's own autoscaler reads the chart's metric."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.chart import CHART, SMALLEST
from helpers.metrics_api import MetricsApi, metrics_api

pytestmark = [pytest.mark.k8s, pytest.mark.timeout(1200)]

SCALED = (
    "triton.autoscaling.enabled=true,triton.autoscaling.max=3,monitoring.serviceMonitor=true,"
    "monitoring.prometheusRule=true,storage.keep=false,"
    "triton.autoscaling.growStabilizationSeconds=0,triton.autoscaling.shrinkStabilizationSeconds=0,"
    "triton.autoscaling.step.seconds=5"
)
WAIT_S = 240.0


@pytest.fixture
def api(cluster: Any, namespace: str, tmp_path: Path) -> Iterator[MetricsApi]:
    """A metrics API that the cluster uses."""
    with metrics_api(tmp_path) as serving:
        objects = serving.objects(namespace)
        done = cluster.kubectl("create", "-f", "-", objects=objects)
        assert done.returncode == 0, done.stderr
        yield serving
        cluster.kubectl("delete", "apiservice", objects[-1]["metadata"]["name"])


def test_servers_are_added_while_requests_wait_and_removed_afterwards(
    cluster: Any, namespace: str, api: MetricsApi
) -> None:
    where = ("--namespace", namespace)
    metric = (namespace, "streamfx_triton_queue_seconds", "service=demo-triton")

    def wait_for(replicas: int) -> None:
        give_up = time.monotonic() + WAIT_S
        while (is_now := servers()) != replicas:
            assert time.monotonic() < give_up, cluster.kubectl("describe", "hpa", "-n", namespace).stdout
            assert is_now <= 3
            time.sleep(1)

    def servers() -> int:
        return int(cluster.get("deployment/demo-triton", "-n", namespace)["spec"]["replicas"])

    done = cluster.helm("install", "demo", CHART, *where, "-f", SMALLEST, "--set", SCALED)
    assert done.returncode == 0, done.stderr
    api.values[metric] = "200m"
    wait_for(3)
    done = cluster.helm(
        "upgrade", "demo", CHART, *where, "-f", SMALLEST, "--set", SCALED, "--set", "overrides.sink.roll_chunks=32"
    )
    assert done.returncode == 0, done.stderr
    assert servers() == 3, "an upgrade leaves the number to the autoscaler"
    api.values[metric] = "1m"
    wait_for(1)
    cluster.helm("uninstall", "demo", *where)
