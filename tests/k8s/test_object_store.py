"""Rows in an object store: the run gets its address, only pods of the line have credentials, no pod mounts a claim."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helpers.chart import CHART, SMALLEST, Template, Tree, by_kind, named, render, rendered, sets, templates

from streamfx.pipeline import load_config

VALUES = CHART / "ci" / "object-store.yaml"
LOCAL = ("-f", VALUES, "--set", "overrides.runtime.engine=local")
UPKEEP = ("retain", "verify")
KEYS = {"AWS_ACCESS_KEY_ID": "access-key-id", "AWS_SECRET_ACCESS_KEY": "secret-access-key"}


def logs_in(template: Template) -> dict[str, Tree]:
    """The variables of a pod that concern the store."""
    every = (variable for container in template.spec["containers"] for variable in container.get("env", []))
    return {variable["name"]: variable for variable in every if variable["name"].startswith("AWS_")}


@pytest.mark.parametrize("how", [("-f", VALUES), LOCAL], ids=["ray", "local"])
def test_only_pods_of_the_line_have_credentials_and_only_by_reference(how: tuple[object, ...]) -> None:
    objects = render(*how)
    line = "worker" if by_kind(objects, "RayCluster") else "supervisor"
    for template in templates(objects):
        variables = logs_in(template)
        assert set(variables) == (set(KEYS) if template.role in (line, *UPKEEP) else set()), template.owner
        for name, variable in variables.items():
            assert variable["valueFrom"] == {"secretKeyRef": {"name": "bucket", "key": KEYS[name]}}


@pytest.mark.parametrize("how", [("-f", VALUES), LOCAL], ids=["ray", "local"])
def test_no_pod_mounts_a_claim(how: tuple[object, ...]) -> None:
    objects = render(*how)
    assert not by_kind(objects, "PersistentVolumeClaim")
    for template in templates(objects):
        volumes = {volume["name"] for volume in template.spec["volumes"] if "persistentVolumeClaim" not in volume}
        assert len(volumes) == len(template.spec["volumes"]), template.owner
        for container in template.spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, template.owner
            assert container["workingDir"] == "/tmp", "the only writable folder"


def test_the_configuration_names_the_bucket(tmp_path: Path) -> None:
    objects = rendered(VALUES)
    file = tmp_path / "pipeline.yaml"
    file.write_text(named(objects, "ConfigMap", "demo-pipeline")["data"]["pipeline.yaml"])
    [supervisor] = [t.spec["containers"][0] for t in templates(objects) if t.role == "supervisor"]
    config = load_config(file, sets(supervisor))
    assert config.sink.location == "s3://streamfx/shop-12" and config.sink.folder is None
    assert config.sink.s3.endpoint == "https://minio.storage:9000" and config.sink.s3.region == "eu-central-1"
    assert config.dead_letter.topic == "dead-letters" and config.dead_letter_path is None


def test_only_the_line_may_reach_the_store() -> None:
    policies = {tree["metadata"]["name"]: tree["spec"] for tree in by_kind(rendered(VALUES), "NetworkPolicy")}
    store = policies["demo-worker-to-object-store"]
    assert store["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "worker"
    [rule] = store["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 9000}]
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "storage"}}}]
    others = {name for name, spec in policies.items() if spec is not store and "9000" in yaml.safe_dump(spec)}
    assert others == {f"demo-{kind}-to-object-store" for kind in UPKEEP}
    assert not any("object-store" in tree["metadata"]["name"] for tree in rendered(SMALLEST))


def test_an_identity_replaces_keys() -> None:
    role = "arn:aws:iam::123456789012:role/streamfx"
    annotation = f"storage.s3.serviceAccountAnnotations.eks\\.amazonaws\\.com/role-arn={role}"
    objects = render("-f", VALUES, "--set", "storage.s3.credentials.secretName=", "--set", annotation)
    assert not any(logs_in(template) for template in templates(objects))
    annotated = {
        account["metadata"]["name"]: account["metadata"]["annotations"]
        for account in by_kind(objects, "ServiceAccount")
        if "annotations" in account["metadata"]
    }
    assert annotated == {name: {"eks.amazonaws.com/role-arn": role} for name in ("demo-worker", "demo-maintenance")}
