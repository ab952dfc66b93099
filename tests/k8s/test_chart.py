"""The chart without a cluster: it passes helm lint, objects match their schemas, wrong values are refused by name."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from helpers import chart
from helpers.chart import (
    CHART,
    REPO,
    SMALLEST,
    VALUES_FILES,
    Tree,
    by_kind,
    call,
    named,
    render,
    rendered,
    sets,
    templates,
    tool,
)
from pydantic import BaseModel

from streamfx.config.messages import section_of
from streamfx.config.section import is_reloadable
from streamfx.config.tree import Config
from streamfx.models.expression import ExpressionModel
from streamfx.pipeline import load_config

CONFIGS = sorted((REPO / "config").glob("*.yaml"))
QUICKSTART = CHART / "ci" / "quickstart.yaml"
EVERYTHING = CHART / "ci" / "everything.yaml"
SCALED = "triton.autoscaling.enabled=true,monitoring.serviceMonitor=true,monitoring.prometheusRule=true"
FREE = (
    "labels",
    "annotations",
    "data",
    "matchLabels",
    "selector",
    "requests",
    "limits",
    "nodeSelector",
    "rayStartParams",
)
"""Maps whose keys are free."""


def title(file: Path) -> str:
    return "-".join(file.relative_to(REPO / "k8s").with_suffix("").parts)


every_values_file = pytest.mark.parametrize("values", VALUES_FILES, ids=title)


@every_values_file
def test_the_chart_passes_helm_lint(values: Path) -> None:
    done = call("helm", "lint", "--strict", CHART, "-f", SMALLEST, "-f", values)
    assert done.returncode == 0, done.stdout + done.stderr


@every_values_file
def test_every_object_matches_its_schema(values: Path) -> None:
    for tree in rendered(values):
        problem = chart.problem_of(tree)
        assert problem is None, f"{tree['kind']}/{tree['metadata']['name']}: {problem}"


def mappings(tree: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every mapping whose keys the schema defines."""
    if isinstance(tree, dict):
        if path != ("metadata",) and tree:
            yield path
        for key, below in tree.items():
            if key not in FREE or (key == "selector" and "matchLabels" in (below or ())):
                yield from mappings(below, (*path, key))
    elif isinstance(tree, list):
        for i, below in enumerate(tree):
            yield from mappings(below, (*path, i))


def test_a_misspelt_key_is_found_anywhere() -> None:
    kinds = set()
    for tree in rendered(EVERYTHING):
        seen = {tuple(part for part in path if isinstance(part, str)): path for path in mappings(tree)}
        if tree["kind"] in kinds and tree["kind"] == "NetworkPolicy":
            continue
        kinds.add(tree["kind"])
        for path in seen.values():
            wrong = copy.deepcopy(tree)
            here = wrong
            for part in path:
                here = here[part]
            here["imagePullPolcy"] = "Always"
            assert chart.problem_of(wrong), f"{tree['kind']}: a misspelt key at {path} is not reported"
    assert kinds >= {"Deployment", "RayCluster", "PodMonitor", "ServiceMonitor", "PrometheusRule", "NetworkPolicy"}


@pytest.mark.parametrize(
    ("wrong", "named_as"),
    [
        ("ray.worker.cuont=3", "cuont"),
        ("tritn.replicas=2", "tritn"),
        ("triton.replicas=0", "/triton/replicas"),
        ("triton.server=vllm", "/triton/server"),
        ("ray.worker.gpus=half", "/ray/worker/gpus"),
        ("kafka.bootstrap=kafka", "/kafka/bootstrap"),
        ("supervisor.resources.limits.memory=lots", "/supervisor/resources/limits/memory"),
        ("storage.accessMode=Often", "/storage/accessMode"),
        ("streamIdKey.secretName=Key_1", "/streamIdKey/secretName"),
        ("monitoring.podMonitor=yes", "/monitoring/podMonitor"),
        ("pipeline=quikstart", "quikstart"),
        ("ray.worker.max=1", "ray.worker.max"),
        ("overrides.runtime.worker_cpus=2", "runtime.worker_cpus"),
        ("overrides.runtime.worker_cpus=0.5", "runtime.worker_cpus"),
        ("publishers[0].name=door", "/publishers/0"),
        ("ray.worker.scaling.min=none", "/ray/worker/scaling/min"),
        ("ray.worker.scaling.enabled=true,ray.worker.scaling.max=9", "ray.worker.max"),
        ("triton.autoscaling.enabled=true", "monitoring.serviceMonitor"),
        (f"{SCALED},triton.autoscaling.min=5", "triton.autoscaling: min 5"),
        ("triton.autoscaling.targetQueueMilliseconds=0", "/triton/autoscaling/targetQueueMilliseconds"),
        ("triton.autoscaling.step.pod=2", "pod"),
        ("storage.kind=gcs", "/storage/kind"),
        ("storage.kind=s3", "/storage/s3/url"),
        ("storage.s3.url=https://bucket", "/storage/s3/url"),
        ("storage.s3.endpoint=https://me:secret@store", "/storage/s3/endpoint"),
        ("storage.s3.credentials.secretAccessKey=AKIA", "secretAccessKey"),
        ("storage.kind=s3,storage.s3.url=s3://bucket", "dead_letter.topic"),
        ("storage.kind=s3,storage.s3.url=s3://bucket,pipeline=quickstart", "source.kafka"),
        ("ray.worker.scaling.enabled=true,ray.worker.scaling.min=9,ray.worker.max=9", "ray.worker.scaling"),
        ("image.repository=registry.example:5000/worker:0.1.0", "/image/repository"),
        ("triton.image.repository=registry.example/triton@sha256:0123", "/triton/image/repository"),
        ("image.tag=0.1.0@sha256:0123", "/image/tag"),
        ("ray.worker.tolerations[0].efect=NoSchedule", "efect"),
        ("triton.tolerations[0].effect=NoScheduling", "/triton/tolerations/0/effect"),
        ("networkPolicy.kafka.to[0].namespaceSelecter.matchLabels.a=b", "namespaceSelecter"),
    ],
)
def test_a_wrong_value_is_refused_by_name(wrong: str, named_as: str) -> None:
    done = chart.template("--set", wrong)
    assert done.returncode != 0 and named_as in done.stderr, done.stderr


@pytest.mark.parametrize(
    "right",
    [
        {"image": {"repository": "registry.example:5000/worker", "tag": f"0.1.0@sha256:{'0a' * 32}"}},
        {"kafka": {"bootstrap": "[fd00::5]:9092,[fd00::6]:9092"}},
        {"triton": {"resources": {"requests": {"cpu": 0.5, "memory": 2147483648}}}},
        {"networkPolicy": {"kafka": {"to": [{"ipBlock": {"cidr": "fd00::/64"}}]}}},
    ],
    ids=lambda values: next(iter(values)),
)
def test_a_right_value_is_accepted(right: Tree, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(right))
    for tree in (objects := render("-f", file)):
        assert chart.problem_of(tree) is None
    images = {container["image"] for template in templates(objects) for container in template.spec["containers"]}
    if "image" in right:
        assert f"registry.example:5000/worker:0.1.0@sha256:{'0a' * 32}" in images


def test_a_file_that_begins_with_an_indented_line_is_mounted_unchanged(tmp_path: Path) -> None:
    text = "  # Ours, since 2026\n\n" + (REPO / "config" / "kafka-triton.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text)
    objects = render("--set-file", f"pipeline={tmp_path / 'mine.yaml'}")
    assert named(objects, "ConfigMap", "demo-pipeline")["data"]["pipeline.yaml"] == text


@pytest.mark.parametrize("config", CONFIGS, ids=lambda file: file.stem)
@pytest.mark.parametrize("by", ["name", "text"])
def test_every_shipped_configuration_is_usable_unchanged(config: Path, by: str, tmp_path: Path) -> None:
    how = ("--set", f"pipeline={config.stem}") if by == "name" else ("--set-file", f"pipeline={config}")
    objects = render(*how)
    text = named(objects, "ConfigMap", "demo-pipeline")["data"]["pipeline.yaml"]
    assert text == config.read_text()
    mounted = tmp_path / "pipeline.yaml"
    mounted.write_text(text)
    [supervisor] = [t.spec["containers"][0] for t in templates(objects) if t.role == "supervisor"]
    assert supervisor["command"] == ["streamfx", "run", "/etc/streamfx/pipeline/pipeline.yaml"]
    checked = load_config(mounted, sets(supervisor))
    assert checked.config_id == load_config(config).config_id, "only the file decides the rows"
    assert bool(by_kind(objects, "RayCluster")) == (checked.runtime.engine == "ray")
    served = {tree["metadata"]["name"] for tree in by_kind(objects, "Service")}
    assert ("demo-triton" in served) == (checked.serving.backend == "triton")


@every_values_file
def test_the_configuration_with_the_charts_overrides_is_valid(values: Path, tmp_path: Path) -> None:
    objects = rendered(values)
    file = tmp_path / "pipeline.yaml"
    file.write_text(named(objects, "ConfigMap", "demo-pipeline")["data"]["pipeline.yaml"])
    roles = {t.role: t for t in templates(objects)}
    config = load_config(file, sets(roles["supervisor"].spec["containers"][0]))
    assert sets(roles["test"].spec["containers"][0]) == sets(roles["supervisor"].spec["containers"][0])
    line = roles["worker" if config.runtime.engine == "ray" else "supervisor"].spec
    mounts = [Path(mount["mountPath"]) for mount in line["containers"][0]["volumeMounts"]]
    security = config.source.kafka.security if config.source.kafka else None
    files = [config.sink.folder, config.serving.triton.ca_file]
    files += [security.ca_file, security.cert_file, security.key_file, security.password_file] if security else []
    files += [config.privacy.stream_id_key_file] if config.source.kafka else []
    for path in filter(None, files):
        assert any(path.is_relative_to(mount) for mount in mounts), (
            f"{path} is not in a mount of the pod that runs the line"
        )
    if config.runtime.engine == "ray":
        assert config.runtime.ray_address == "ray://demo-head-svc:10001"


def worker_group(objects: Sequence[Tree]) -> Tree:
    [cluster] = by_kind(objects, "RayCluster")
    group: Tree = cluster["spec"]["workerGroupSpecs"][0]
    return group


@pytest.mark.parametrize("by", ["values", "overrides"])
def test_workers_by_lag_reach_the_run_and_the_autoscaler(by: str, tmp_path: Path) -> None:
    values = {"enabled": True, "min": 2, "max": 4, "targetLagSeconds": 12.5}
    section = {"min_workers": 2, "max_workers": 4, "target_lag_s": 12.5}
    key, given = ("ray.worker.scaling", values) if by == "values" else ("overrides.runtime.scaling", section)
    objects = render("--set-json", f"{key}={json.dumps(given)}")
    file = tmp_path / "pipeline.yaml"
    file.write_text(named(objects, "ConfigMap", "demo-pipeline")["data"]["pipeline.yaml"])
    [supervisor] = [t.spec["containers"][0] for t in templates(objects) if t.role == "supervisor"]
    scaling = load_config(file, sets(supervisor)).runtime.scaling
    assert scaling is not None and scaling.model_dump().items() >= section.items()
    group = worker_group(objects)
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 4)
    assert "replicas" not in group, "Ray's autoscaler writes it, so applying the manifest again must not change it"


def test_model_servers_follow_the_time_in_their_queues() -> None:
    [scaler] = by_kind(render("--set", SCALED), "HorizontalPodAutoscaler")
    spec = scaler["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "demo-triton"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 4)
    [metric] = spec["metrics"]
    assert metric["external"]["target"] == {"type": "Value", "value": "50m"}, "50 ms, in seconds"
    assert metric["external"]["metric"]["selector"] == {"matchLabels": {"service": "demo-triton"}}
    up, down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
    assert (up["stabilizationWindowSeconds"], down["stabilizationWindowSeconds"]) == (60, 600)
    assert up["policies"] == down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]
    assert not by_kind(rendered(VALUES_FILES[0]), "HorizontalPodAutoscaler"), "off by default"


def test_a_fixed_number_of_workers_is_that_of_the_values() -> None:
    group = worker_group(render("--set", "ray.worker.count=3"))
    assert (group["replicas"], group["maxReplicas"]) == (3, 4)


def test_overrides_reach_the_run_and_win(tmp_path: Path) -> None:
    objects = rendered(EVERYTHING)
    file = tmp_path / "pipeline.yaml"
    file.write_text(named(objects, "ConfigMap", "demo-pipeline")["data"]["pipeline.yaml"])
    [supervisor] = [t.spec["containers"][0] for t in templates(objects) if t.role == "supervisor"]
    config = load_config(file, sets(supervisor))
    assert config.privacy.purpose == 'Queue lengths in shop 12, with commas, "quotes" and = signs'
    assert config.sink.roll_chunks == 128
    assert config.source.claim_check.allowed_prefixes == ["s3://chunks/", "https://media.example/"]
    assert config.source.kafka and config.source.kafka.security.username == "streamfx"


def test_a_changed_file_restarts_the_supervisor_and_a_changed_image_rays_pods() -> None:
    def annotation(*how: object) -> str:
        [supervisor] = [t for t in templates(render(*how)) if t.role == "supervisor"]
        return str(supervisor.metadata["annotations"]["streamfx/pipeline-sha256"])

    text = (REPO / "config" / "kafka-triton.yaml").read_text()
    assert annotation() != annotation("--set-literal", f"pipeline={text.replace('group: streamfx', 'group: other')}")
    assert annotation() == annotation("--set-literal", f"pipeline={text.replace('roll_chunks: 64', 'roll_chunks: 65')}")
    [cluster] = by_kind(rendered(VALUES_FILES[0]), "RayCluster")
    assert cluster["spec"]["upgradeStrategy"] == {"type": "Recreate"}


def test_the_chart_knows_the_live_knobs_of_the_code() -> None:
    def paths(section: type[BaseModel], path: str = "") -> Iterator[str]:
        for name, field in section.model_fields.items():
            below = section_of(field.annotation)
            if below is not None:
                yield from paths(below, f"{path}{name}.")
            elif is_reloadable(field):
                yield f"{path}{name}"

    assert yaml.safe_load((CHART / "files" / "live.yaml").read_text()) == sorted(paths(Config))


@every_values_file
def test_the_file_is_mounted_so_that_the_run_sees_changes(values: Path) -> None:
    [supervisor] = [t for t in templates(rendered(values)) if t.role == "supervisor"]
    container = supervisor.spec["containers"][0]
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "pipeline"]
    assert "subPath" not in mount, "a file that is mounted by subPath never changes"
    assert container["command"][-1] == f"{mount['mountPath']}/pipeline.yaml"


def test_versions_agree_with_the_package() -> None:
    project = (REPO / "pyproject.toml").read_text()
    about = {
        line.split(":")[0]: line.split(":")[1].strip() for line in (CHART / "Chart.yaml").read_text().splitlines()[1:]
    }
    assert f'version = "{about["appVersion"]}"' in project
    [cluster] = by_kind(rendered(VALUES_FILES[0]), "RayCluster")
    assert f'"ray[default]=={cluster["spec"]["rayVersion"]}"' in project


@pytest.mark.parametrize("overlay", ["cpu", "one-gpu", "many-gpus"])
def test_an_overlay_builds_and_is_valid_once_it_is_filled_in(overlay: str, tmp_path: Path) -> None:
    tool("helm")  # kubectl calls it
    for folder in ("chart", f"overlays/{overlay}"):
        shutil.copytree(REPO / "k8s" / folder, tmp_path / folder)
    build = ("kubectl", "kustomize", "--enable-helm", tmp_path / "overlays" / overlay)
    done = call(*build)
    assert done.returncode and "overrides.privacy.purpose" in done.stderr and "image.registry" in done.stderr
    site = tmp_path / "overlays" / overlay / "site.yaml"
    text = site.read_text().replace('registry: ""', "registry: registry.example")
    site.write_text(text.replace('purpose: ""', "purpose: Queue lengths in shop 12"))
    done = call(*build)
    assert done.returncode == 0, done.stderr
    objects: list[Tree] = [tree for tree in yaml.safe_load_all(done.stdout) if tree]
    assert by_kind(objects, "RayCluster") and all(tree["metadata"].get("namespace") == "streamfx" for tree in objects)
    assert not by_kind(objects, "Pod"), "the pod of `helm test` is for `helm test`"
    gpus = sum(
        int(container["resources"]["limits"].get("nvidia.com/gpu", 0))
        for template in templates(objects)
        for container in template.spec["containers"]
    )
    assert gpus == (0 if overlay == "cpu" else 1)
    # The default image is built without CUDA and cannot use a GPU.
    assert {t.spec["containers"][0]["command"][0] for t in templates(objects) if t.role == "triton"} == {
        "streamfx" if overlay == "cpu" else "tritonserver"
    }
    for tree in objects:
        assert chart.problem_of(tree) is None


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_exist() -> None:
    import re

    from streamfx.runtime.metrics import FleetMetrics, Metrics
    from streamfx.source.live import LiveMetrics

    families = [family for each in (Metrics, FleetMetrics, LiveMetrics) for family in each().registry.collect()]
    ours = {sample.name for family in families for sample in family.samples}
    ours |= {family.name + suffix for family in families for suffix in ("", "_total", "_sum", "_count", "_bucket")}
    texts = [json.dumps(json.loads((CHART / "files/dashboards/streamfx.json").read_text()))]
    texts.append((CHART / "files" / "alerts.yaml").read_text())
    asked = {name for text in texts for name in re.findall(r"\b(streamfx_[a-z_]+)\b", text)}
    assert asked and asked <= ours, asked - ours


def test_the_notes_say_what_to_do_next() -> None:
    done = call("helm", "install", "demo", CHART, "-f", SMALLEST, "--dry-run=client", "--namespace", "streamfx")
    assert done.returncode == 0, done.stderr
    for words in (
        "create secret generic streamfx-stream-id",
        "expression-faces learned from synthetic faces, and the expert in it from photographs of faces.",
        "helm -n streamfx test demo",
    ):
        assert words in done.stdout


def test_the_notes_say_what_a_shipped_model_has_learned_from() -> None:
    def notes(model: str) -> str:
        both = ("--set", f"triton.model={model}", "--set", f"overrides.expression.model={model}")
        return call("helm", "install", "demo", CHART, "-f", SMALLEST, "--dry-run=client", *both).stdout

    assert "expression-small learned from synthetic faces only." in notes("expression-small")
    assert "learned from" not in notes("/models/mine")


def test_the_chart_compares_its_model_with_the_default_of_a_pipeline_that_names_none(tmp_path: Path) -> None:
    text = (REPO / "config" / "kafka-triton.yaml").read_text()
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(re.sub(r"^expression:\n  model: .*\n", "", text, flags=re.MULTILINE))
    assert chart.template("--set-file", f"pipeline={pipeline}").returncode == 0
    done = chart.template("--set-file", f"pipeline={pipeline}", "--set", "triton.model=expression-small")
    default = ExpressionModel.spec.default_weights
    assert done.returncode and f'expression.model of the pipeline is "{default}"' in done.stderr


def test_triton_computes_in_the_precision_of_the_pipeline(tmp_path: Path) -> None:
    def environment(serving: Tree) -> dict[str, str]:
        values = tmp_path / "values.yaml"
        values.write_text(yaml.safe_dump({"overrides": {"serving": serving} if serving else {}}))
        [server] = [one for one in templates(render("-f", values)) if one.role == "triton"]
        return {one["name"]: one["value"] for one in server.spec["containers"][0]["env"] if "PRECISION" in one["name"]}

    assert environment({}) == {}
    assert environment({"precision": "int8", "models": {"action_units": {"precision": "fp32"}}}) == {
        "STREAMFX_PRECISION": "int8",
        "STREAMFX_PRECISION_ACTION_UNITS": "fp32",
    }
