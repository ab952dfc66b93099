"""Commands that are run by hand in a pod have configuration, dataset and key there; also the way of traces out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.chart import CHART, REPO, VALUES_FILES, by_kind, named, render, rendered, sets, templates

from streamfx.cli.main import main
from streamfx.pipeline import load_config

VALUES = [*VALUES_FILES, CHART / "ci" / "everything.yaml", CHART / "ci" / "object-store.yaml"]
EFFECTIVE = "/etc/streamfx/pipeline/effective.yaml"
TRACED = ("--set", "overrides.tracing.endpoint=http://collector.observe:4318/v1/traces")


def container_of(objects: Any, role: str) -> dict[str, Any]:
    [found] = [t.spec["containers"][0] for t in templates(objects) if t.role == role]
    return dict(found)


def mounted(container: dict[str, Any]) -> set[str]:
    return {mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("values", VALUES, ids=lambda file: file.stem)
def test_the_effective_configuration_is_the_one_that_runs(values: Path, tmp_path: Path) -> None:
    objects = rendered(values)
    data = named(objects, "ConfigMap", "demo-pipeline")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    running = load_config(tmp_path / "pipeline.yaml", sets(container_of(objects, "supervisor")))
    assert load_config(tmp_path / "effective.yaml").model_dump() == running.model_dump()


@pytest.mark.parametrize("values", VALUES, ids=lambda file: file.stem)
def test_config_check_accepts_the_mounted_files(values: Path, tmp_path: Path) -> None:
    objects = rendered(values)
    for name, text in named(objects, "ConfigMap", "demo-pipeline")["data"].items():
        (tmp_path / name).write_text(text)
    overrides = [
        word for text in sets(container_of(objects, "supervisor")) for word in ("--set", text.replace("$$", "$"))
    ]
    for arguments in ([str(tmp_path / "effective.yaml")], [str(tmp_path / "pipeline.yaml"), *overrides]):
        done = CliRunner().invoke(main, ["config", "check", "--elsewhere", *arguments])
        assert done.exit_code == 0, done.output


def test_dollar_signs_reach_the_configuration_unchanged() -> None:
    objects = render("--set-string", "overrides.privacy.purpose=$$5 of $(HOME)")
    [text] = [text for text in sets(container_of(objects, "supervisor")) if text.startswith("privacy.purpose=")]
    assert text == 'privacy.purpose="$$$$5 of $$(HOME)"', "the kubelet turns $$ into $ and expands no variable after it"


@pytest.mark.parametrize("values", VALUES, ids=lambda file: file.stem)
def test_pods_of_the_line_have_all_that_the_documented_command_needs(values: Path, tmp_path: Path) -> None:
    text = (REPO / "docs" / "operate.md").read_text()
    assert re.search(rf"exec -c ray-worker .* -- streamfx erase {EFFECTIVE} --stream", text)
    objects = rendered(values)
    (tmp_path / "effective.yaml").write_text(named(objects, "ConfigMap", "demo-pipeline")["data"]["effective.yaml"])
    config = load_config(tmp_path / "effective.yaml")
    role = "worker" if by_kind(objects, "RayCluster") else "supervisor"
    container = container_of(objects, role)
    there = mounted(container)
    assert str(Path(EFFECTIVE).parent) in there
    places = [config.privacy.stream_id_key_file, config.sink.location]
    for place in [Path(container["workingDir"]) / path for path in places if path and "://" not in str(path)]:
        assert any(place.is_relative_to(folder) for folder in there), place


def test_traces_may_reach_the_collector_where_one_is_set() -> None:
    def ways(*how: object) -> dict[str, Any]:
        objects = render("-f", CHART / "ci" / "everything.yaml", *how)
        policies = {tree["metadata"]["name"]: tree["spec"] for tree in by_kind(objects, "NetworkPolicy")}
        return {name: spec["egress"] for name, spec in policies.items() if name.endswith("-to-tracing")}

    assert ways() == {}
    found = ways(*TRACED, "--set-json", 'networkPolicy.tracing.to=[{"namespaceSelector": {}}]')
    assert "demo-worker-to-tracing" in found and any("publisher" in name for name in found)
    for egress in found.values():
        assert egress == [{"ports": [{"protocol": "TCP", "port": 4318}], "to": [{"namespaceSelector": {}}]}]


def test_the_image_can_send_traces() -> None:
    file = (REPO / "k8s" / "images" / "worker.Dockerfile").read_text()
    assert re.search(r"\[s3,otel\].*\[s3,otel,gpu\]", file)
