"""A real Kubernetes API server with simulated nodes, started once if a test uses it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.chart import CLUSTER, call
from helpers.lacking import lacks

WAIT_S = 180.0
DEFINITIONS = ("ray.io_rayclusters", "keda.sh_scaledobjects", "*podmonitors", "*servicemonitors", "*prometheusrules")
VOLUME = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "spec": {
        "accessModes": ["ReadWriteMany"],
        "capacity": {"storage": "100Gi"},
        "persistentVolumeReclaimPolicy": "Delete",
        "hostPath": {"path": "/tmp"},
    },
}


SANDBOX = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": "sandboxed"},
    "handler": "runc",
}
"""The runtime class that k8s/chart/ci/policies.yaml uses."""


class Cluster:
    """The API server, through kubectl and Helm."""

    def __init__(self, kubeconfig: Path):
        self._environment = {"KUBECONFIG": str(kubeconfig)}

    def helm(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run Helm, whatever its exit status."""
        return call("helm", *arguments, env=self._environment)

    def kubectl(self, *arguments: object, objects: object = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl, whatever its exit status; `objects` go to its standard input."""
        tree = {"apiVersion": "v1", "kind": "List", "items": objects} if isinstance(objects, list) else objects
        return call("kubectl", *arguments, env=self._environment, input=json.dumps(tree))

    def get(self, *arguments: object) -> Any:
        """The output of `kubectl get` as a tree."""
        done = self.kubectl("get", *arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def wait(self, *arguments: object) -> None:
        """Run `kubectl wait` until it succeeds; kubectl alone gives up on an object that has no status yet."""
        give_up = time.monotonic() + WAIT_S
        while (done := self.kubectl("wait", "--timeout=20s", *arguments)).returncode:
            assert time.monotonic() < give_up, done.stdout + done.stderr
            time.sleep(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running control plane that knows Ray's and Prometheus's kinds; its processes end afterwards."""
    program = CLUSTER / "cluster.py"
    if not program.exists():
        lacks("a Kubernetes control plane", "the development folder's shared/k8s beside the checkout")
    folder = tmp_path_factory.mktemp("control-plane")
    try:
        start = [sys.executable, str(program), "start", str(folder), "--timeout", "500"]
        done = subprocess.run(start, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        running = Cluster(folder / "kubeconfig")
        files = [file for pattern in DEFINITIONS for file in sorted((CLUSTER / "crds").glob(f"{pattern}.yaml"))]
        applied = running.kubectl("apply", "--server-side", *(part for file in files for part in ("-f", file)))
        assert applied.returncode == 0, applied.stderr
        running.wait("--for=condition=Established", "crd", "--all")
        created = running.kubectl("create", "-f", "-", objects=SANDBOX)
        assert created.returncode == 0, created.stderr
        yield running
    finally:
        subprocess.run([sys.executable, str(program), "delete", str(folder)], check=False, capture_output=True)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace that enforces the restricted standard, with a volume for its claim; both are deleted afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    cluster.kubectl(
        "create", "-f", "-",
        objects=[
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": levels}},
            {**VOLUME, "metadata": {"name": name}},
        ],
    )  # fmt: skip
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
    cluster.kubectl("delete", "pv", name, "--wait=false")


@pytest.fixture
def left(cluster: Cluster, namespace: str) -> Callable[[], set[str]]:
    """A function that lists the objects in the namespace, except those that every namespace has."""
    done = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name")
    kinds = [kind for kind in done.stdout.split() if not kind.startswith(("events", "leases", "endpoint"))]

    def ask() -> set[str]:
        found = cluster.kubectl("get", ",".join(kinds), "-n", namespace, "-o", "name", "--ignore-not-found")
        assert found.returncode == 0, found.stderr
        return set(found.stdout.split()) - {"configmap/kube-root-ca.crt", "serviceaccount/default"}

    return ask
