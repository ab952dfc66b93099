"""Publishers of live sources in the chart: each is a Deployment with its own source that reaches nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.chart import CHART, Template, by_kind, named, rendered, sets, template, templates

from streamfx.cli.publish import publish
from streamfx.pipeline import load_config

EVERYTHING = CHART / "ci" / "everything.yaml"
DOOR: dict[str, Any] = {
    "name": "door",
    "url": "rtsp://192.0.2.7/stream",
    "streamId": "door",
    "topic": "media",
    "network": {"cidr": "192.0.2.7/32", "ports": [554]},
}


def publishers() -> dict[str, Template]:
    return {t.role: t for t in templates(rendered(EVERYTHING)) if t.role.startswith("publisher-")}


def refused(*items: dict[str, Any], how: tuple[str, ...] = ()) -> str:
    done = template("--set-json", f"publishers={json.dumps(items)}", *how)
    assert done.returncode != 0
    return done.stderr


def test_each_publisher_is_one_deployment_with_a_valid_command(tmp_path: Path) -> None:
    assert set(publishers()) == {"publisher-door", "publisher-hall"}
    file = tmp_path / "pipeline.yaml"
    file.write_text(named(rendered(EVERYTHING), "ConfigMap", "demo-pipeline")["data"]["pipeline.yaml"])
    for role, one in publishers().items():
        container = one.spec["containers"][0]
        assert container["command"][:2] == ["streamfx", "publish"]
        words = [*container["command"][2:], *container["args"], "rtsp://192.0.2.7"]
        given = publish.make_context("publish", words).params
        assert given["topic"] == "media" and given["metrics_port"] == container["ports"][0]["containerPort"]
        assert given["stream_id"] == {"publisher-door": "door", "publisher-hall": "hall, first floor"}[role]
        kafka = load_config(file, sets(container)).source.kafka
        assert kafka and kafka.bootstrap.startswith("kafka-0.kafka:9093")
        mounts = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
        assert kafka.security.password_file and any(kafka.security.password_file.is_relative_to(m) for m in mounts)
        deployment = named(rendered(EVERYTHING), "Deployment", f"demo-{role}")
        assert deployment["spec"]["replicas"] == 1 and deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_the_url_is_in_the_environment_by_value_or_by_reference() -> None:
    found = {
        role: next(e for e in t.spec["containers"][0]["env"] if e["name"] == "STREAMFX_PUBLISH_INPUT")
        for role, t in publishers().items()
    }
    assert found["publisher-door"] == {"name": "STREAMFX_PUBLISH_INPUT", "value": "rtsp://192.0.2.7:554/stream"}
    assert found["publisher-hall"]["valueFrom"] == {"secretKeyRef": {"name": "hall-camera", "key": "url"}}


def test_a_publisher_reaches_only_kafka_its_source_and_dns() -> None:
    policies = [tree["spec"] for tree in by_kind(rendered(EVERYTHING), "NetworkPolicy")]
    labels = publishers()["publisher-hall"].metadata["labels"]
    mine = [p for p in policies if p["podSelector"]["matchLabels"].items() <= labels.items()]
    ways = [(rule.get("to"), [port["port"] for port in rule["ports"]]) for p in mine for rule in p.get("egress", [])]
    kafka = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kafka"}}}]
    expected = [(None, [53, 53]), (kafka, [9093]), ([{"ipBlock": {"cidr": "192.0.2.8/32"}}], [322, 8322])]
    assert sorted(ways, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"url": "udp://0.0.0.0:5000"}, "/publishers/0/url"),
        ({"url": "rtsp://user:password@192.0.2.7/stream"}, "/publishers/0/url"),
        ({"url": "/dev/video0"}, "/publishers/0/url"),
        ({"urlSecret": {"name": "a", "key": "b"}}, "/publishers/0"),
        ({"network": {"cidr": "everywhere", "ports": [554]}}, "/publishers/0/network/cidr"),
        ({"strem": "x"}, "strem"),
        ({"topic": "a topic"}, "/publishers/0/topic"),
    ],
)
def test_a_wrong_publisher_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    assert says in refused(DOOR | change)


def test_two_publishers_of_one_name_and_a_pipeline_without_kafka_are_refused() -> None:
    assert "two are named" in refused(DOOR, DOOR)
    assert "no source.kafka" in refused(DOOR, how=("--set", "pipeline=quickstart"))
