"""Values that are valid alone but contradict each other are refused at render, by path, with advice."""

from __future__ import annotations

import pytest
from helpers.chart import CHART, REPO, by_kind, call, render, template, templates

OVERLAYS = REPO / "k8s" / "overlays"
GPU = ("-f", OVERLAYS / "one-gpu" / "values.yaml")
MINE = ("--set", "image.registry=registry.example")
NETWORK = '{"cidr": "192.0.2.7/32", "ports": [554]}'
DOOR = f'[{{"name": "door", "url": "rtsp://192.0.2.7/s", "streamId": "door", "topic": "%s", "network": {NETWORK}}}]'
OFFLINE = ("--namespace", "streamfx")


def refused(*arguments: object, least: bool = True) -> str:
    """Helm's error; without `least` only `arguments` are passed."""
    done = template(*arguments) if least else call("helm", "template", "demo", CHART, *OFFLINE, *arguments)
    assert done.returncode, "it was rendered"
    return done.stderr


@pytest.mark.parametrize("overlay", [None, "cpu", "one-gpu", "many-gpus"])
def test_nothing_is_rendered_without_a_purpose_and_a_registry(overlay: str | None) -> None:
    values = ("-f", OVERLAYS / overlay / "values.yaml") if overlay else ()
    said = refused(*values, least=False)
    for line in (
        "overrides.privacy.purpose: expected",
        "image.repository: expected",
        "triton.image.repository: expected",
    ):
        assert line in said, said
    assert "placeholder" in said and "image.registry" in said


@pytest.mark.parametrize("purpose", ["State here why this is done", "state here: x", "", "  "])
def test_a_placeholder_or_empty_purpose_is_refused(purpose: str) -> None:
    assert "overrides.privacy.purpose: expected" in refused("--set", f"overrides.privacy.purpose={purpose}")


def test_the_purpose_may_be_given_in_the_pipeline() -> None:
    text = (REPO / "config" / "kafka-triton.yaml").read_text()
    mine = text.replace("State here why this is done", "Queue lengths in shop 12")
    done = call("helm", "template", "demo", CHART, *MINE, "--set-literal", f"pipeline={mine}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["streamfx/worker", "worker", "docker.io/streamfx/worker", "someone/worker"])
def test_an_image_without_a_registry_of_your_own_is_refused(name: str) -> None:
    said = refused("--set", f"image.registry=,triton.image.repository=registry.example/t,image.repository={name}")
    assert "image.repository: expected" in said and name in said and "push the images" in said


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ("image.registry=registry.example/video", "registry.example/video/streamfx/worker:0.1.0"),
        ("image.registry=localhost", "localhost/streamfx/worker:0.1.0"),
        ("image.repository=other.example:5000/worker", "other.example:5000/worker:0.1.0"),
        ("image.repository=docker.io/someone/worker,image.tag=v7", "docker.io/someone/worker:v7"),
        ("ray.worker.gpus=1", "registry.example/streamfx/worker:0.1.0-gpu"),
    ],
)
def test_all_pods_of_the_line_have_the_named_image(values: str, image: str) -> None:
    found = [
        t for t in templates(render("--set", values, "--set", "maintenance.verify.enabled=true")) if t.role != "triton"
    ]
    assert {c["image"] for t in found for c in t.spec["containers"]} == {image}


def test_a_gpu_gets_the_image_that_can_use_one() -> None:
    [triton] = [t for t in templates(render(*GPU)) if t.role == "triton"]
    assert triton.spec["containers"][0]["image"] == "registry.example/streamfx/triton:0.1.0-tritonserver"
    said = refused(*GPU, "--set", "triton.server=bundled")
    assert "triton.gpus: expected 0" in said and "triton.server=tritonserver" in said
    assert "triton.image.tag: expected" in refused(*GPU, "--set", "triton.image.tag=0.1.0")
    assert "image.tag: expected" in refused("--set", "ray.worker.gpus=1,image.tag=0.1.0")
    assert "tag_suffix" in (REPO / "k8s" / "images" / "build.sh").read_text().lower()


@pytest.mark.parametrize(
    ("path", "request_", "limit"),
    [
        ("supervisor", ("cpu", "1500m"), "1"),
        ("ray.head", ("memory", "3Gi"), "2048Mi"),
        ("ray.worker", ("cpu", "2.5"), "2"),
        ("ray.autoscaler", ("memory", "1G"), "512Mi"),
        ("triton", ("memory", "5G"), "4Gi"),
        ("maintenance", ("cpu", "2"), "1"),
    ],
)
def test_a_request_above_its_limit_is_refused(path: str, request_: tuple[str, str], limit: str) -> None:
    what, amount = request_
    said = refused(
        "--set", f"{path}.resources.requests.{what}={amount},{path}.resources.limits.{what}={limit}",
        "--set", "maintenance.verify.enabled=true",
    )  # fmt: skip
    assert f"{path}.resources.requests.{what}: expected at most its limit, {limit}; got {amount}" in said


@pytest.mark.parametrize("amounts", ["requests.cpu=1000m,supervisor.resources.limits.cpu=1", "limits.memory=512Mi"])
def test_a_request_as_large_as_its_limit_is_accepted(amounts: str) -> None:
    assert render("--set", f"supervisor.resources.{amounts}")


@pytest.mark.parametrize(
    ("override", "instead"),
    [
        ("runtime.health_port=9301", "Take it out"),
        ("runtime.metrics_port=0", "Take it out"),
        ("runtime.drain_s=99", "supervisor.drainSeconds"),
        ("runtime.worker_gpus=1", "ray.worker.gpus"),
        ("runtime.ray_address=ray://elsewhere:10001", "Take it out"),
        ("serving.triton.url=elsewhere:8001", "Take it out"),
        ("serving.triton.shared_memory=auto", "Take it out"),
        ("source.kafka.bootstrap=elsewhere:9092", "kafka.bootstrap"),
        ("privacy.stream_id_key_file=/tmp/key", "streamIdKey"),
    ],
)
def test_an_override_of_what_the_chart_owns_is_refused(override: str, instead: str) -> None:
    path, _, value = override.partition("=")
    said = refused("--set", f"overrides.{override}")
    assert f"overrides.{path}: expected to be left to the chart" in said and instead in said and value in said


def test_one_bound_of_scaling_cannot_be_given_twice() -> None:
    scaled = "ray.worker.scaling.enabled=true"
    said = refused("--set", f"{scaled},overrides.runtime.scaling.max_workers=3")
    assert "ray.worker.scaling.max" in said
    assert render("--set", f"{scaled},overrides.runtime.scaling.grow_every_s=60")


@pytest.mark.parametrize("path", ["/tmp/rows", "/var/lib/streamfx", "../rows", "s3://bucket/rows"])
def test_a_dataset_outside_the_claim_is_refused(path: str) -> None:
    said = refused("--set", f"overrides.sink.path={path}")
    assert "overrides.sink.path: expected a folder below /var/lib/streamfx" in said and path in said


@pytest.mark.parametrize(
    ("path", "place"),
    [("/var/lib/streamfx/second", "/var/lib/streamfx/second"), ("second", "/var/lib/streamfx/second")],
)
def test_a_dataset_elsewhere_on_the_claim_is_used_by_upkeep_too(path: str, place: str) -> None:
    [job] = by_kind(render("--set", f"overrides.sink.path={path},maintenance.compact.enabled=true"), "CronJob")
    command = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[:3] == ["streamfx", "compact", place]


def test_rows_are_kept_as_long_as_the_pipeline_says_where_no_age_is_given() -> None:
    values = "maintenance.retain.enabled=true,overrides.privacy.retention_days=30"
    [job] = by_kind(render("--set", values), "CronJob")
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert "--config" in container["command"] and container["args"] == ["--yes"]


def test_a_publisher_to_a_topic_that_the_pipeline_does_not_read_is_refused() -> None:
    said = refused("--set-json", f"publishers={DOOR % 'chunks'}")
    assert "publishers[0].topic: expected media" in said and "got chunks" in said
    assert render("--set-json", f"publishers={DOOR % 'chunks'}", "--set", "overrides.source.kafka.topic=chunks")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("storage.accessMode=ReadWriteOncePod", "storage.accessMode: expected ReadWriteMany"),
        ("maintenance.retain.enabled=true", "maintenance.retain.olderThan: expected an age"),
        ("maintenance.retain.olderThan=9d,overrides.privacy.retention_days=9", "retain.olderThan: expected nothing"),
        ("maintenance.retain.olderThan=soon", "/maintenance/retain/olderThan"),
        ("maintenance.retain.schedule=nightly", "/maintenance/retain/schedule"),
        ("maintenance.prune.enabled=true", "prune"),
        ("commonLabels.app\\.kubernetes\\.io/name=x", "commonLabels: expected labels of your own"),
        ("triton.podLabels.app\\.kubernetes\\.io/name=x", "triton.podLabels: expected labels of your own"),
        ("ray.head.extraEnv[0].name=HOME", "ray.head.extraEnv: expected variables that the chart does not set"),
        ("ray.worker.extraEnv[0].nmae=A", "nmae"),
        ("triton.extraVolumes[0].name=shm,triton.extraVolumes[0].emptyDir.medium=Memory", "triton.extraVolumes: expected"),
        ("supervisor.extraVolumeMounts[0].name=a,supervisor.extraVolumeMounts[0].mountPath=/tmp/", "extraVolumeMounts: exp"),
        ("supervisor.nodeSelector=pool", "/supervisor/nodeSelector"),
        ("supervisor.affinity.nodeAffinty.a=b", "nodeAffinty"),
        ("ray.head.topologySpreadConstraints[0].topologyKey=a", "/ray/head/topologySpreadConstraints/0"),
        ("test.toleration=x", "toleration"),
        ("monitoring.runbookUrl=docs/runbooks.md", "/monitoring/runbookUrl"),
        ("image.registry=registry", "/image/registry"),
        ("triton.autoscaling.by=vpa", "/triton/autoscaling/by"),
    ],
)  # fmt: skip
def test_other_contradictions_are_refused_by_path(values: str, says: str) -> None:
    assert says in refused("--set", values)


def test_all_faults_are_named_at_once() -> None:
    said = refused("--set", "overrides.runtime.health_port=1,supervisor.resources.requests.cpu=9,image.registry=")
    assert said.count(": expected") == 4, said


@pytest.mark.parametrize("more", ["workers=3", "scaling.max_workers=3"])
def test_several_workers_without_ray_are_refused(more: str) -> None:
    local = "overrides.runtime.engine=local"
    assert "overrides.runtime: expected one worker with engine local" in refused(
        "--set", f"{local},overrides.runtime.{more}"
    )
    assert render("--set", local), "the chart leaves out the file's number of Ray workers"
    assert render("--set", f"{local},overrides.runtime.workers=1")
