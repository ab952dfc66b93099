"""The chart on a real API server, in a namespace that enforces the restricted pod security standard."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.chart import CHART, SMALLEST, VALUES_FILES, Tree, by_kind, render, templates

pytestmark = [pytest.mark.k8s, pytest.mark.timeout(1200)]

MINE = ("-f", SMALLEST)
EVERYTHING = CHART / "ci" / "everything.yaml"


def in_namespace(objects: list[Tree], namespace: str) -> list[Tree]:
    return [{**tree, "metadata": {**tree["metadata"], "namespace": namespace}} for tree in objects]


def ray_pods(objects: list[Tree]) -> list[Tree]:
    """The pods that the operator makes of the RayCluster: the head with its autoscaler, the workers with their wait."""
    [cluster] = by_kind(objects, "RayCluster")
    options = cluster["spec"]["autoscalerOptions"]
    pods = []
    for template in templates([cluster]):
        [group] = cluster["spec"]["workerGroupSpecs"]
        count = group.get("replicas", group["minReplicas"]) if template.role == "worker" else 1
        for i in range(count):
            pod = copy.deepcopy(template.as_pod(f"{template.role}-{i}"))
            spec = pod["spec"]
            ray = spec["containers"][0]
            if template.role == "head":
                own = {key: options[key] for key in ("resources", "securityContext", "env", "volumeMounts")}
                spec["containers"].append({"name": "autoscaler", "image": ray["image"], **own})
            else:
                copied = {key: copy.deepcopy(ray[key]) for key in ("image", "securityContext", "env", "volumeMounts")}
                amounts = {"cpu": "200m", "memory": "256Mi"}
                wait = {"name": "wait-gcs-ready", "resources": {"requests": amounts, "limits": amounts}, **copied}
                spec.setdefault("initContainers", []).append(wait)
            pods.append(pod)
    return pods


@pytest.mark.parametrize("values", VALUES_FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_object_is_accepted_strictly_and_without_a_warning(cluster: Any, namespace: str, values: Path) -> None:
    objects = in_namespace(render("-f", values), namespace)
    done = cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", objects=objects)
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    assert len(done.stdout.splitlines()) == len(objects)


def test_kedas_scaled_object_is_accepted(cluster: Any, namespace: str) -> None:
    how = "monitoring.serviceMonitor=true,monitoring.prometheusRule=true,triton.autoscaling.enabled=true"
    keda = "triton.autoscaling.by=keda,triton.autoscaling.keda.serverAddress=http://prometheus.monitoring:9090"
    objects = in_namespace(by_kind(render("--set", f"{how},{keda}"), "ScaledObject"), namespace)
    done = cluster.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", objects=objects)
    assert done.returncode == 0 and "serverside-applied" in done.stdout, done.stderr


def test_upkeep_runs_to_its_end_in_a_pod_that_the_namespace_admits(cluster: Any, namespace: str) -> None:
    objects = in_namespace(render("-f", EVERYTHING, "--set", "storage.storageClassName="), namespace)
    wanted = [t for t in objects if t["kind"] in ("CronJob", "ServiceAccount", "PersistentVolumeClaim", "ConfigMap")]
    done = cluster.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", objects=wanted)
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    for kind in ("retain", "compact", "verify"):
        done = cluster.kubectl("-n", namespace, "create", "job", f"{kind}-now", f"--from=cronjob/demo-{kind}")
        assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
        cluster.wait("-n", namespace, "--for=condition=Complete", f"job/{kind}-now")


def test_a_misspelt_key_and_a_broken_rule_are_refused(cluster: Any, namespace: str) -> None:
    [ray] = in_namespace(by_kind(render(), "RayCluster"), namespace)
    ray["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["imagePullPolcy"] = "Always"
    done = cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", objects=ray)
    assert done.returncode != 0 and "imagePullPolcy" in done.stderr
    [ray] = in_namespace(by_kind(render(), "RayCluster"), namespace)
    ray["spec"]["managedBy"] = "somebody"
    done = cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", objects=ray)
    assert done.returncode != 0 and "managedBy" in done.stderr


def test_install_upgrade_rollback_uninstall(cluster: Any, namespace: str, left: Callable[[], set[str]]) -> None:
    where = ("--namespace", namespace)
    keep_nothing = ("--set", "storage.keep=false")

    def replicas() -> int:
        return int(cluster.get("deployment/demo-triton", "-n", namespace)["spec"]["replicas"])

    def workers() -> int:
        groups = cluster.get("raycluster/demo", "-n", namespace)["spec"]["workerGroupSpecs"]
        return int(groups[0]["replicas"])

    done = cluster.helm("install", "demo", CHART, *where, *keep_nothing, *MINE, "--wait=legacy", "--timeout=3m")
    assert done.returncode == 0, done.stderr
    assert (replicas(), workers()) == (1, 2)
    other_hands_write(cluster, namespace)
    bigger = (
        "--force-conflicts",
        "--set",
        "triton.replicas=2",
        "--set",
        "ray.worker.count=3",
        "--set",
        "overrides.sink.roll_chunks=32",
    )
    done = cluster.helm(
        "upgrade", "demo", CHART, *where, *keep_nothing, *MINE, *bigger, "--wait=legacy", "--timeout=3m"
    )
    assert done.returncode == 0, done.stderr
    assert (replicas(), workers()) == (2, 3)
    assert "poddisruptionbudget.policy/demo-triton" in left()
    other_hands_write(cluster, namespace)
    cluster.wait("-n", namespace, "--for=condition=Available", "deployment/demo-supervisor")
    done = cluster.helm("rollback", "demo", 1, *where, "--force-conflicts", "--wait=legacy", "--timeout=3m")
    assert done.returncode == 0, done.stderr
    assert (replicas(), workers()) == (1, 2)
    assert "poddisruptionbudget.policy/demo-triton" not in left()
    done = cluster.helm("uninstall", "demo", *where, "--wait")
    assert done.returncode == 0, done.stderr
    give_up = time.monotonic() + 120
    while left() and time.monotonic() < give_up:
        time.sleep(1)
    assert left() == set()


def test_an_upgrade_keeps_set_values_and_takes_the_new_charts_defaults(
    cluster: Any, namespace: str, tmp_path: Path
) -> None:
    newer = shutil.copytree(CHART, tmp_path / "chart")
    for name, old, new in (
        ("Chart.yaml", "appVersion: 0.1.0", "appVersion: 0.2.0"),
        ("values.yaml", "2.60.0", "2.61.0"),
    ):
        text = (newer / name).read_text()
        assert old in text
        (newer / name).write_text(text.replace(old, new))
    where = ("--namespace", namespace)
    done = cluster.helm("install", "demo", CHART, *MINE, *where, "--set", "storage.keep=false,ray.worker.count=3")
    assert done.returncode == 0, done.stderr
    done = cluster.helm("upgrade", "demo", newer, *where, "--reset-then-reuse-values", "--set", "triton.replicas=2")
    assert done.returncode == 0, done.stderr
    ray = cluster.get("raycluster/demo", "-n", namespace)["spec"]
    assert (ray["rayVersion"], ray["workerGroupSpecs"][0]["replicas"]) == ("2.61.0", 3)
    assert ray["headGroupSpec"]["template"]["spec"]["containers"][0]["image"].endswith("/streamfx/worker:0.2.0")
    cluster.helm("uninstall", "demo", *where)


def other_hands_write(cluster: Any, namespace: str) -> None:
    """Change the numbers of supervisors and workers, as a person and Ray's autoscaler do."""
    done = cluster.kubectl("-n", namespace, "scale", "deployment/demo-supervisor", "--replicas=0")
    assert done.returncode == 0, done.stderr
    patch = '[{"op": "replace", "path": "/spec/workerGroupSpecs/0/replicas", "value": 4}]'
    done = cluster.kubectl("-n", namespace, "patch", "raycluster/demo", "--type=json", "--patch", patch)
    assert done.returncode == 0, done.stderr


def test_the_dataset_outlives_the_release(cluster: Any, namespace: str, left: Callable[[], set[str]]) -> None:
    done = cluster.helm("install", "demo", CHART, *MINE, "--namespace", namespace)
    assert done.returncode == 0, done.stderr
    cluster.wait("-n", namespace, "--for=jsonpath={.status.phase}=Bound", "pvc/demo-data")
    done = cluster.helm("uninstall", "demo", "--namespace", namespace, "--wait")
    assert done.returncode == 0, done.stderr
    give_up = time.monotonic() + 120
    while len(left()) > 1 and time.monotonic() < give_up:
        time.sleep(1)
    assert left() == {"persistentvolumeclaim/demo-data"}
    done = cluster.helm("install", "demo", CHART, *MINE, "--namespace", namespace, "--take-ownership")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("values", [VALUES_FILES[0], EVERYTHING], ids=lambda file: file.stem)
def test_rays_pods_are_admitted_and_scheduled(cluster: Any, namespace: str, values: Path) -> None:
    objects = in_namespace(render("-f", values, "--set", "storage.storageClassName="), namespace)
    others = [
        tree for tree in objects if tree["kind"] in ("ServiceAccount", "PersistentVolumeClaim", "PodDisruptionBudget")
    ]
    pods = in_namespace(ray_pods(objects), namespace)
    done = cluster.kubectl("create", "--validate=strict", "-f", "-", objects=[*others, *pods])
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    cluster.wait("-n", namespace, "--for=condition=Ready", "pods", "--all")
    for pod in cluster.get("pods", "-n", namespace)["items"]:
        limits = pod["spec"]["containers"][0]["resources"]["limits"]
        assert "nvidia.com/gpu" not in limits or pod["spec"]["nodeName"] == "node-3", "only node-3 has GPUs"
    workers = [pod["metadata"]["name"] for pod in pods if pod["metadata"]["name"].startswith("worker")]
    # A controller computes the budget some time after the pods are ready.
    cluster.wait("-n", namespace, f"--for=jsonpath={{.status.currentHealthy}}={len(workers)}", "pdb/demo-worker")
    assert [evict(cluster, namespace, name) for name in workers[:2]] == [True, False], "one at a time"


def evict(cluster: Any, namespace: str, pod: str) -> bool:
    """Evict a pod as a node's drain does; return whether the budget allows it."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    done = cluster.kubectl("create", "--raw", path, "-f", "-", objects=eviction)
    assert done.returncode == 0 or "TooManyRequests" in done.stderr, done.stderr
    return bool(done.returncode == 0)


def test_a_privileged_pod_of_ours_is_refused(cluster: Any, namespace: str) -> None:
    objects = in_namespace(render(), namespace)
    cluster.kubectl("create", "-f", "-", objects=by_kind(objects, "ServiceAccount"))
    for pod in in_namespace(ray_pods(objects), namespace):
        security = pod["spec"]["containers"][0]["securityContext"]
        security |= {"privileged": True, "allowPrivilegeEscalation": True}
        done = cluster.kubectl("create", "-f", "-", objects=pod)
        assert done.returncode != 0 and "violates PodSecurity" in done.stderr and "privileged" in done.stderr


@pytest.mark.parametrize("role", ["supervisor", "triton", "test"])
def test_the_other_pods_are_admitted_and_scheduled(cluster: Any, namespace: str, role: str) -> None:
    objects = in_namespace(render(), namespace)
    [template] = [t for t in templates(objects) if t.role == role]
    pod = in_namespace([template.as_pod(role)], namespace)
    done = cluster.kubectl("create", "-f", "-", objects=[*by_kind(objects, "ServiceAccount"), *pod])
    assert done.returncode == 0, done.stderr
    cluster.wait("-n", namespace, "--for=condition=PodScheduled", f"pod/{role}")
