"""A platform team's requirements for every pod and for the whole release, with every values file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.chart import CHART, VALUES_FILES, Template, Tree, by_kind, rendered, templates

EVERYTHING = CHART / "ci" / "everything.yaml"
every_values_file = pytest.mark.parametrize("values", VALUES_FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
UPKEEP = {"retain": {"data"}, "compact": {"data"}, "verify": {"data", "kafka"}}
"""Volumes of the line that the pods of maintenance mount."""
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def containers(template: Template) -> list[Tree]:
    return [*template.spec.get("initContainers", []), *template.spec["containers"]]


def restricted(security: Mapping[str, Any]) -> bool:
    return (
        security["allowPrivilegeEscalation"] is False
        and security["readOnlyRootFilesystem"] is True
        and security["runAsNonRoot"] is True
        and security["capabilities"] == {"drop": ["ALL"]}
        and security["seccompProfile"] == {"type": "RuntimeDefault"}
        and not security.get("privileged")
    )


@every_values_file
def test_no_container_runs_as_root_or_writes_its_root(values: Path) -> None:
    for template in templates(rendered(values)):
        pod = template.spec["securityContext"]
        assert pod["runAsNonRoot"] and pod["runAsUser"] == pod["fsGroup"] == 10001, template.owner
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(template.spec)
        for container in containers(template):
            assert restricted(container["securityContext"]), f"{template.owner}/{container['name']}"
    for cluster in by_kind(rendered(values), "RayCluster"):
        assert restricted(cluster["spec"]["autoscalerOptions"]["securityContext"])


@every_values_file
def test_every_container_has_requests_and_limits(values: Path) -> None:
    every = [c["resources"] for template in templates(rendered(values)) for c in containers(template)]
    every += [c["spec"]["autoscalerOptions"]["resources"] for c in by_kind(rendered(values), "RayCluster")]
    for resources in every:
        assert {"cpu", "memory"} <= set(resources["requests"]) and {"cpu", "memory"} <= set(resources["limits"])


@every_values_file
def test_volumes_are_bounded_and_none_is_on_the_node(values: Path) -> None:
    for template in templates(rendered(values)):
        for volume in template.spec.get("volumes", []):
            kind = next(key for key in volume if key != "name")
            assert kind in ("emptyDir", "configMap", "secret", "persistentVolumeClaim", "projected"), template.owner
            assert kind != "emptyDir" or "sizeLimit" in volume["emptyDir"], f"{template.owner}: {volume['name']}"


@every_values_file
def test_kuberay_adds_no_volume(values: Path) -> None:
    """KubeRay adds unbounded volumes at these places if nothing is mounted there."""
    for cluster in by_kind(rendered(values), "RayCluster"):
        autoscaler = {mount["mountPath"] for mount in cluster["spec"]["autoscalerOptions"]["volumeMounts"]}
        for template in templates([cluster]):
            mounts = {mount["mountPath"] for mount in template.spec["containers"][0]["volumeMounts"]}
            assert "/dev/shm" in mounts
            assert template.role != "head" or "/tmp/ray" in mounts & autoscaler


@every_values_file
def test_a_removed_ray_node_does_not_restart(values: Path) -> None:
    """Versions of KubeRay have different defaults here, and Ray's autoscaler needs a pod that ends with its node."""
    for template in templates(by_kind(rendered(values), "RayCluster")):
        assert template.spec["restartPolicy"] == "Never", template.owner


@every_values_file
def test_only_the_autoscaler_has_a_token(values: Path) -> None:
    for template in templates(rendered(values)):
        assert template.spec["automountServiceAccountToken"] is False, template.owner
        mounts = {mount["mountPath"] for container in containers(template) for mount in container["volumeMounts"]}
        assert TOKEN_PATH not in mounts, template.owner
        has_token = any("projected" in volume for volume in template.spec["volumes"])
        assert has_token == (template.role == "head")
    for account in by_kind(rendered(values), "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for cluster in by_kind(rendered(values), "RayCluster"):
        assert TOKEN_PATH in {m["mountPath"] for m in cluster["spec"]["autoscalerOptions"]["volumeMounts"]}
        assert cluster["spec"]["authOptions"]["mode"] == "token"


@every_values_file
def test_no_manifest_holds_a_secret_and_only_the_line_mounts_the_datas(values: Path) -> None:
    objects = rendered(values)
    assert not by_kind(objects, "Secret")
    line = "worker" if by_kind(objects, "RayCluster") else "supervisor"
    for template in templates(objects):
        names = {volume["name"] for volume in template.spec["volumes"]}
        # Publishers log in to Kafka too, and upkeep mounts the dataset, but neither needs the key of the pseudonyms.
        allowed = UPKEEP.get(template.role, {"kafka"} if template.role.startswith("publisher-") else set())
        assert template.role == line or not names & {"data", "stream-id", "kafka", "dead-letter"} - allowed, (
            template.owner
        )


@every_values_file
def test_all_traffic_is_denied_except_named_flows(values: Path) -> None:
    policies = [tree["spec"] for tree in by_kind(rendered(values), "NetworkPolicy")]
    [deny] = [
        p for p in policies if set(p["policyTypes"]) == {"Ingress", "Egress"} and not {"ingress", "egress"} & set(p)
    ]
    for template in templates(rendered(values)):
        labels = template.metadata["labels"]

        def selects(policy: Tree, labels: Tree = labels) -> bool:
            return policy["podSelector"]["matchLabels"].items() <= labels.items()

        assert selects(deny), template.owner
        assert any(selects(p) for p in policies if p.get("egress")), f"{template.owner} cannot resolve names"
    for policy in policies:
        for rule in [*policy.get("ingress", []), *policy.get("egress", [])]:
            assert rule, "an empty rule allows everything"


def test_both_ends_of_a_flow_inside_the_release_allow_it() -> None:
    policies = {tree["metadata"]["name"]: tree["spec"] for tree in by_kind(rendered(EVERYTHING), "NetworkPolicy")}
    inside = [
        ("supervisor", "head"),
        ("head", "worker"),
        ("worker", "head"),
        ("worker", "triton"),
        ("test", "supervisor"),
    ]
    for source, target in inside:
        out, into = policies[f"demo-{source}-to-{target}"], policies[f"demo-{target}-from-{source}"]
        assert out["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == source
        assert into["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == target
        assert out["egress"][0]["to"][0]["podSelector"] == into["podSelector"]
        assert out["egress"][0].get("ports") == into["ingress"][0].get("ports")


@every_values_file
def test_workloads_with_replicas_have_a_budget_and_are_spread(values: Path) -> None:
    objects = rendered(values)
    budgets = [tree["spec"] for tree in by_kind(objects, "PodDisruptionBudget")]
    replicas = {tree["metadata"]["name"]: tree["spec"].get("replicas") for tree in by_kind(objects, "Deployment")}
    for scaler in by_kind(objects, "HorizontalPodAutoscaler"):
        name = scaler["spec"]["scaleTargetRef"]["name"]
        assert replicas[name] is None, "an upgrade would undo the autoscaler's changes"
        replicas[name] = scaler["spec"]["maxReplicas"]
    workers = {
        c["metadata"]["name"]: (group := c["spec"]["workerGroupSpecs"][0]).get("replicas", group["minReplicas"])
        for c in by_kind(objects, "RayCluster")
    }
    for template in templates(objects):
        name = template.owner.split("/")[1]
        number = workers[name] if template.role == "worker" else replicas.get(name, 1)
        if template.role == "head":
            number = 1
        labels = template.metadata["labels"].items()
        found = [budget for budget in budgets if budget["selector"]["matchLabels"].items() <= labels]
        assert len(found) == (number > 1), template.owner
        # If a drain may evict no pod, a node can never be emptied.
        assert all(budget.get("minAvailable", 0) < number for budget in found), template.owner
        assert "topologySpreadConstraints" in template.spec or number == 1, template.owner


@every_values_file
def test_a_pod_may_take_as_long_as_its_drain(values: Path) -> None:
    for template in templates(rendered(values)):
        if template.role == "supervisor":
            drain = next(a for a in template.spec["containers"][0]["args"] if a.startswith("runtime.drain_s="))
            assert template.spec["terminationGracePeriodSeconds"] > int(drain.split("=")[1])


@every_values_file
def test_serving_containers_have_probes(values: Path) -> None:
    for template in templates(rendered(values)):
        if template.role not in ("test", *UPKEEP):
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(template.spec["containers"][0]), (
                template.owner
            )
