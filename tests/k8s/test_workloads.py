"""Each workload accepts the same keys, upkeep runs on a schedule with least rights, nothing overrides autoscalers."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from helpers import chart
from helpers.chart import CHART, REPO, SMALLEST, Template, Tree, by_kind, call, named, render, rendered, templates

from streamfx.cli.main import main
from streamfx.pipeline import load_config

POLICIES = CHART / "ci" / "policies.yaml"
EVERYTHING = CHART / "ci" / "everything.yaml"
OBJECT_STORE = CHART / "ci" / "object-store.yaml"
GIVEN: dict[str, Any] = yaml.safe_load(POLICIES.read_text())["supervisor"]
UPKEEP = ("retain", "compact", "verify")
ROLES = ["supervisor", "head", "worker", "triton", "publisher-door", *UPKEEP]
ALL_ON = ",".join(f"maintenance.{kind}.enabled=true" for kind in UPKEEP) + ",maintenance.retain.olderThan=36h"
MEASURED = "triton.autoscaling.enabled=true,monitoring.serviceMonitor=true,monitoring.prometheusRule=true"


def of(objects: Any, role: str) -> Template:
    [found] = [t for t in templates(objects) if t.role == role]
    return found


def jobs(objects: Any) -> dict[str, Tree]:
    return {tree["metadata"]["name"].removeprefix("demo-"): tree["spec"] for tree in by_kind(objects, "CronJob")}


@pytest.mark.parametrize("role", [*ROLES, "test"])
def test_every_workload_is_scheduled_by_its_values(role: str) -> None:
    found = of(rendered(POLICIES), role)
    for key in ("priorityClassName", "runtimeClassName", "nodeSelector", "tolerations"):
        assert found.spec[key] == GIVEN[key], key
    assert found.spec["imagePullSecrets"] == [{"name": "registry-login"}]
    assert found.metadata["labels"].items() >= {"team": "video", "cost-center": "4711"}.items()
    assert found.metadata["annotations"].items() >= GIVEN["podAnnotations"].items()
    if role != "test":
        assert found.spec["affinity"] == GIVEN["affinity"]
        [spread] = found.spec["topologySpreadConstraints"]
        selector = spread.pop("labelSelector") if "labelSelector" in spread else None
        spread["labelSelector"] = selector
        assert selector["matchLabels"].items() <= found.metadata["labels"].items(), (
            "its own pods, where nothing is said"
        )


@pytest.mark.parametrize("role", ROLES)
def test_every_workload_accepts_extra_variables_volumes_and_containers(role: str) -> None:
    spec = of(rendered(POLICIES), role).spec
    main_container = spec["containers"][0]
    assert main_container["image"].startswith("registry.example:5000/video/"), (
        "KubeRay and kubectl treat the first container as the main one"
    )
    assert GIVEN["extraEnv"][0] in main_container["env"] and main_container["envFrom"] == GIVEN["extraEnvFrom"]
    assert GIVEN["extraVolumeMounts"][0] in main_container["volumeMounts"]
    assert GIVEN["extraVolumes"][0] in spec["volumes"]
    names = [c["name"] for c in spec.get("initContainers", [])], [c["name"] for c in spec["containers"]]
    if role in UPKEEP:  # a sidecar that keeps running would keep a Job from ending
        assert names == (["audit", "wait"], [role]) and spec["initContainers"][0]["restartPolicy"] == "Always"
    else:
        assert names[0] == ["wait"] and names[1][1:] == ["audit"]


def test_the_names_that_are_refused_are_those_that_the_chart_uses() -> None:
    checks = (CHART / "templates" / "_checks.tpl").read_text()
    for values in (EVERYTHING, OBJECT_STORE, CHART / "ci" / "quickstart.yaml"):
        for found in templates(rendered(values)):
            for container in [*found.spec.get("initContainers", []), *found.spec["containers"]][-1:]:
                assert {e["name"] for e in container.get("env", [])} <= set(
                    checks.replace(",", " ").replace("[", " ").replace("]", " ").split()
                )
                assert all(f'"{mount["mountPath"]}"' in checks for mount in container["volumeMounts"]), container[
                    "name"
                ]
            assert all(f'"{volume["name"]}"' in checks for volume in found.spec["volumes"]), found.owner


def test_upkeep_is_off_by_default_and_never_runs_twice_at_once() -> None:
    assert not jobs(rendered(SMALLEST))
    found = jobs(render("--set", ALL_ON))
    assert set(found) == set(UPKEEP)
    for kind, spec in found.items():
        assert spec["concurrencyPolicy"] == "Forbid" and spec["timeZone"] == "Etc/UTC"
        assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (1, 3)
        job = spec["jobTemplate"]["spec"]
        assert job["activeDeadlineSeconds"] == 7200 and job["template"]["spec"]["restartPolicy"] == "Never"
        assert job["backoffLimit"] == (0 if kind == "verify" else 1)
    assert len({spec["schedule"] for spec in found.values()}) == 3


@pytest.mark.parametrize(
    "values", [EVERYTHING, OBJECT_STORE, CHART / "ci" / "quickstart.yaml"], ids=lambda file: file.stem
)
def test_upkeep_runs_valid_commands_on_the_runs_own_dataset(values: Path, tmp_path: Path) -> None:
    objects = rendered(values)
    file = tmp_path / "effective.yaml"
    file.write_text(named(objects, "ConfigMap", "demo-pipeline")["data"]["effective.yaml"])
    config = load_config(file)
    assert jobs(objects)
    for kind in jobs(objects):
        container = of(objects, kind).spec["containers"][0]
        words = [*container["command"][1:], *container.get("args", [])]
        command = main.get_command(click.Context(main), words[0])
        assert command is not None, words
        given = command.make_context(kind, words[1:]).params
        assert given["dataset"] == config.sink.location
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert str(Path(given["config_file"]).parent) in mounts
        if kind == "verify":
            assert given["topic"] == (config.source.kafka.topic if config.source.kafka else None)
            assert mounts.get("/var/lib/streamfx", {"readOnly": True})["readOnly"], "it reads only"
        else:
            assert kind == "compact" or given["older_than"] in (90 * 86_400, 30 * 86_400)


@pytest.mark.parametrize("values", [EVERYTHING, OBJECT_STORE], ids=lambda file: file.stem)
def test_upkeep_has_an_account_of_its_own_and_least_rights(values: Path) -> None:
    objects = rendered(values)
    assert named(objects, "ServiceAccount", "demo-maintenance")["automountServiceAccountToken"] is False
    assert not by_kind(objects, "Role") and not by_kind(objects, "RoleBinding")
    policies = {tree["metadata"]["name"]: tree["spec"] for tree in by_kind(objects, "NetworkPolicy")}
    for kind in jobs(objects):
        spec = of(objects, kind).spec
        assert spec["serviceAccountName"] == "demo-maintenance" and spec["automountServiceAccountToken"] is False
        secrets = {volume["name"] for volume in spec["volumes"] if "secret" in volume}
        assert secrets <= ({"kafka"} if kind == "verify" else set())
        ways = {name for name in policies if name.startswith(f"demo-{kind}-to-")}
        store = {f"demo-{kind}-to-object-store"} if values == OBJECT_STORE else set()
        assert ways == store | ({"demo-verify-to-kafka"} if kind == "verify" else set())


def test_upkeep_prefers_the_node_that_mounts_a_claim_of_one_node() -> None:
    objects = render("--set", f"{ALL_ON},storage.accessMode=ReadWriteOnce")
    [term] = of(objects, "verify").spec["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    selector = term["podAffinityTerm"]["labelSelector"]["matchLabels"].items()
    assert selector <= of(objects, "worker").metadata["labels"].items()


@pytest.mark.parametrize("by", ["hpa", "keda", "external"])
def test_a_scaled_deployment_states_no_number_of_replicas(by: str) -> None:
    how = (
        f"{MEASURED},triton.autoscaling.by={by},triton.autoscaling.keda.serverAddress=http://prometheus.monitoring:9090"
    )
    objects = render(
        "--set", how if by != "external" else "triton.autoscaling.enabled=true,triton.autoscaling.by=external"
    )
    assert "replicas" not in named(objects, "Deployment", "demo-triton")["spec"]
    scalers = {kind: len(by_kind(objects, kind)) for kind in ("HorizontalPodAutoscaler", "ScaledObject")}
    assert scalers == {"HorizontalPodAutoscaler": by == "hpa", "ScaledObject": by == "keda"}
    assert named(objects, "PodDisruptionBudget", "demo-triton")


def test_keda_uses_the_query_that_the_adapter_would_offer() -> None:
    how = f"{MEASURED},triton.autoscaling.by=keda,triton.autoscaling.max=6"
    done = chart.template("--set", how)
    assert done.returncode and "triton.autoscaling.keda.serverAddress: expected" in done.stderr
    login = "triton.autoscaling.keda.triggerAuthentication=prometheus,triton.autoscaling.keda.authModes=bearer"
    address = "triton.autoscaling.keda.serverAddress=https://prometheus.monitoring:9090"
    [scaled] = by_kind(render("--set", f"{how},{address},{login}"), "ScaledObject")
    assert chart.problem_of(scaled) is None
    spec = scaled["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "demo-triton"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 6)
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]
    [trigger] = spec["triggers"]
    assert trigger["type"] == "prometheus" and trigger["metricType"] == "Value"
    assert trigger["authenticationRef"] == {"name": "prometheus"}
    asked = trigger["metadata"]
    assert (asked["threshold"], asked["ignoreNullValues"], asked["authModes"]) == ("0.05", "false", "bearer")
    assert asked["query"] == 'max(streamfx:triton_queue_seconds:mean2m{namespace="streamfx",service="demo-triton"})'


def expressions(objects: Any) -> Iterator[str]:
    [rule] = by_kind(objects, "PrometheusRule")
    yield from (one["expr"] for group in rule["spec"]["groups"] for one in group["rules"])


def test_two_releases_of_a_namespace_share_no_series() -> None:
    how = ("--set", "monitoring.podMonitor=true,monitoring.serviceMonitor=true,monitoring.prometheusRule=true")
    for release in ("demo", "other"):
        objects = render(*how, release=release)
        for tree in [*by_kind(objects, "PodMonitor"), *by_kind(objects, "ServiceMonitor")]:
            endpoints = tree["spec"].get("podMetricsEndpoints") or tree["spec"]["endpoints"]
            [label] = [r for e in endpoints for r in e["relabelings"] if r["targetLabel"] == "release"]
            assert label["replacement"] == release
        for expression in expressions(objects):
            series = expression.count("{")
            own = expression.count(f'release="{release}"') + expression.count(f'cronjob=~"{release}-(')
            assert own == series > 0, expression
        [rule] = by_kind(objects, "PrometheusRule")
        alerts = [one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one]
        assert all(one["labels"].items() >= {"release": release, "namespace": "streamfx"}.items() for one in alerts)
    dashboard = (CHART / "files" / "dashboards" / "streamfx.json").read_text()
    assert dashboard.count('namespace=\\"$namespace\\",release=\\"$release\\"') > 20
    assert 'namespace=\\"$namespace\\"}' not in dashboard.replace("streamfx_partitions{", "", 1).replace(
        'namespace=\\"$namespace\\"}, release)', "", 1
    )


def test_an_alert_links_to_the_configured_runbooks_or_has_no_link() -> None:
    def links(objects: Any) -> dict[str, str | None]:
        [rule] = by_kind(objects, "PrometheusRule")
        found = [one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one]
        assert not any("runbook" in one["annotations"] for one in found)
        return {one["alert"]: one["annotations"].get("runbook_url") for one in found}

    on = "monitoring.prometheusRule=true"
    assert set(links(render("--set", on)).values()) == {None}
    for alert, url in links(render("--set", f"{on},monitoring.runbookUrl=https://wiki.example/r")).items():
        assert url == f"https://wiki.example/r#{alert.lower()}"


def test_the_packaged_chart_is_complete_and_has_no_symbolic_links(tmp_path: Path) -> None:
    assert not [path for path in CHART.rglob("*") if path.is_symlink()], "archives and GitOps sources leave out links"
    shipped = sorted((REPO / "config").glob("*.yaml"))
    copies = sorted((CHART / "files" / "config").iterdir())
    assert [file.name for file in copies] == [file.name for file in shipped]
    for copy, file in zip(copies, shipped, strict=True):
        assert filecmp.cmp(copy, file, shallow=False), f"run: cp {file.relative_to(REPO)} {copy.relative_to(REPO)}"
    done = call("helm", "package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("*.tgz")
    done = call("helm", "template", "demo", package, "-f", SMALLEST, "--set", "monitoring.dashboard=true")
    assert done.returncode == 0 and "streamfx.json: " in done.stdout and "What binds?" in done.stdout, done.stderr


def test_every_example_publishes_to_the_topic_that_the_shipped_pipeline_reads() -> None:
    config = load_config(REPO / "config" / "kafka-triton.yaml")
    assert config.source.kafka
    pages = [
        REPO / "README.md",
        REPO / "k8s" / "README.md",
        *(REPO / "docs").glob("*.md"),
        *(REPO / "config").glob("*.yaml"),
    ]
    found = {
        (file.name, topic)
        for file in [*pages, CHART / "values.yaml", *(CHART / "ci").glob("*.yaml")]
        for line in file.read_text().splitlines()
        if "publish" in line or "streamId" in line or re.match(r"#? *topic:", line)
        for topic in re.findall(r"(?:--topic |\btopic: )([-\w]+)", line)
    }
    assert {topic for _, topic in found} <= {config.source.kafka.topic, "TOPIC"}, found
    assert len(found) >= 4
