"""The rendered manifests run as processes of this machine, and each part is killed once."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import runs
from helpers.chaos import Progress
from helpers.chart import by_kind, render, sets
from helpers.film_camera import FilmCamera
from helpers.kafka import Broker, wait_until
from helpers.lacking import lacks
from helpers.manifests import Machine
from helpers.ports import free_ports
from helpers.prometheus import Prometheus, needs_prometheus, scraping
from helpers.triton import require_triton
from kafka import KafkaConsumer, TopicPartition

pytestmark = [
    pytest.mark.kafka, pytest.mark.ray, pytest.mark.triton, pytest.mark.k8s, pytest.mark.slow, pytest.mark.timeout(1200),
    needs_prometheus,
]  # fmt: skip

OVERLAY = runs.REPO / "k8s" / "overlays" / "cpu" / "values.yaml"
WAIT_S = 300.0
STREAMS = {"door": "door", "hall": "hall, second floor"}
"""Raw stream ids by publisher; of two partitions they have one each."""
SECRETS = {
    "streamfx-stream-id": {"key": "0123456789abcdef0123456789abcdef"},
    "demo": {"auth_token": "0123456789abcdef" * 4},
}


MONITORED = {
    "PodMonitor/demo-publisher-door publisher-door",
    "PodMonitor/demo-publisher-hall publisher-hall",
    "PodMonitor/demo-supervisor supervisor",
    "PodMonitor/demo-worker worker-0",
    "PodMonitor/demo-worker worker-1",
    "ServiceMonitor/demo-triton triton",
}


def url(port: int) -> str:
    """The URL on which a publisher listens for its camera, so that it receives the next clip at once."""
    return f"tcp://127.0.0.1:{port}?listen=1"


def values(bootstrap: str, topic: str, cameras: dict[str, int]) -> dict[str, Any]:
    """The values that a platform team would add to the overlay."""
    network = {"cidr": "127.0.0.1/32", "ports": sorted(cameras.values())}
    common = {"topic": topic, "consent": "granted", "network": network}
    return {
        "kafka": {"bootstrap": bootstrap},
        "overrides": {
            "privacy": {"purpose": "Try the manifests", "deployment_context": "research"},
            "source": {"kafka": {"topic": topic, "group": f"g-{topic}", "session_timeout_s": 6}},
            "sink": {"roll_chunks": 2, "idle_flush_s": 1},
        },
        "triton": {"resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "4Gi"}}},
        "publishers": [
            {"name": "door", "url": url(cameras["door"]), "streamId": STREAMS["door"], **common},
            {"name": "hall", "urlSecret": {"name": "hall-camera", "key": "url"}, "streamId": STREAMS["hall"], **common},
        ],
        "monitoring": {"podMonitor": True, "serviceMonitor": True, "prometheusRule": True},
    }


@dataclass
class Installation:
    """The release as processes, with its input and its monitoring."""

    machine: Machine
    prometheus: Prometheus
    consumer: KafkaConsumer
    bootstrap: str
    topic: str
    cameras: list[FilmCamera]

    @property
    def dataset(self) -> Path:
        return self.machine.place("/var/lib/streamfx/dataset")

    def published(self) -> dict[int, int]:
        """The end offset of each partition."""
        parts = [TopicPartition(self.topic, number) for number in range(2)]
        return {part.partition: end for part, end in self.consumer.end_offsets(parts).items()}

    def film(self) -> None:
        """Let each camera send a clip, and wait until part of it is in the topic."""
        before = self.published()
        for camera in self.cameras:
            camera.show()
        self.wait(
            lambda: all(end > before[number] for number, end in self.published().items()), "cameras are published"
        )

    def wait(self, condition: Any, what: str) -> None:
        """Wait while restarting ended processes as a kubelet does."""

        def tended() -> bool:
            self.machine.tend()
            time.sleep(0.2)
            return bool(condition())

        try:
            wait_until(tended, what, WAIT_S)
        except AssertionError as error:
            logs = "\n".join(f"--- {name}\n{self.machine.log(name)}" for name in self.machine.pods)
            raise AssertionError(f"{error}\n{logs}") from None

    def wait_rows(self, ends: dict[int, int], what: str) -> None:
        """Wait until all offsets before `ends` have their rows."""
        progress = Progress(self.dataset)
        self.wait(lambda: all(progress.ends().get(number, 0) >= end for number, end in ends.items()), what)


@pytest.fixture(scope="module")
def installation(broker: Broker) -> Iterator[Installation]:
    """The chart with its CPU overlay, two live publishers of the real clips, and Prometheus beside it."""
    require_triton()
    clips = sorted(runs.CLIPS.glob("*.mp*"))
    if not clips:
        lacks("the real clips", "the development folder's shared/data/clips beside the checkout")
    topic = broker.create_topic(partitions=2)
    folder = Path(tempfile.mkdtemp(prefix="sfx-", dir="/tmp"))  # Ray's sockets need a short path
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cameras = dict(zip(STREAMS, free_ports(2), strict=True))
        films = [FilmCamera(port, clips[i::2]) for i, port in enumerate(cameras.values())]
        for camera in films:
            stack.callback(camera.close)
        mine = folder / "values.yaml"
        mine.write_text(yaml.safe_dump(values(broker.bootstrap, topic, cameras)))
        objects = render("-f", OVERLAY, "-f", mine)
        secrets = SECRETS | {"hall-camera": {"url": url(cameras["hall"])}}
        machine = stack.enter_context(closing(Machine(objects, folder, secrets)))
        [rules] = by_kind(objects, "PrometheusRule")
        prometheus = stack.enter_context(scraping(folder, machine.scraped(), rules["spec"]))
        machine.start("head", "triton", "supervisor")
        machine.wait_ready("head")  # as the operator's init container does
        machine.start("worker-0", *(f"publisher-{name}" for name in STREAMS))
        machine.wait_ready("worker-0")  # two nodes that start together on one machine may use the same socket
        machine.start("worker-1")
        consumer = stack.enter_context(closing(KafkaConsumer(bootstrap_servers=broker.bootstrap)))
        yield Installation(machine, prometheus, consumer, broker.bootstrap, topic, films)


def scraped(installation: Installation) -> set[str]:
    """Monitor and pod of each target that answers Prometheus."""
    return {f"{sample['metric']['job']} {sample['metric']['pod']}" for sample in installation.prometheus.ask("up == 1")}


def strike(installation: Installation, *names: str) -> None:
    """Send SIGKILL to `names` during work, and wait until they run again and everything published has its rows."""
    machine, before = installation.machine, Counter(installation.machine.restarts)
    installation.film()
    machine.kill(names[0])
    installation.wait(lambda: all(machine.restarts[name] > before[name] for name in names), f"{names} start again")
    machine.wait_ready(*names)
    installation.wait_rows(installation.published(), f"the rows are there after the death of {names[0]}")


def quiet_run(installation: Installation, folder: Path) -> Path:
    """Run the same topic and configuration file in one undisturbed process; return its dataset."""
    machine = installation.machine
    overrides = [machine.here("supervisor", text) for text in sets(machine.pods["supervisor"].container)]
    overrides += [
        "runtime.engine=local",
        "runtime.workers=1",
        "runtime.ray_address=null",
        "serving.backend=in_process",
        f"sink.path={folder / 'data'}",
        "serving.threads=1",
    ]
    overrides += ["source.kafka.group=quiet", "runtime.metrics_port=0", "runtime.health_port=0"]
    config = machine.here("supervisor", "/etc/streamfx/pipeline/pipeline.yaml")
    done = runs.streamfx(
        "run", config, "--quiet", "--until-idle", "3s", *(w for text in overrides for w in ("--set", text))
    )
    assert done.returncode == 0, done.stderr
    return folder / "data"


def test_each_part_is_killed_and_every_row_exists_once(installation: Installation, tmp_path: Path) -> None:
    machine = installation.machine
    installation.film()
    machine.wait_ready("supervisor", "triton", "worker-0", "worker-1")
    installation.wait_rows(installation.published(), "the first rows are there")
    installation.wait(lambda: scraped(installation) == MONITORED, "every pod that a monitor selects is scraped")
    for metric in ("streamfx_rows_total", "streamfx_publish_chunks_total", "nv_inference_request_success"):
        installation.prometheus.wait_for(f'{metric}{{namespace="streamfx"}} > 0')

    strike(installation, "triton")
    strike(installation, "worker-1")
    strike(installation, "supervisor")
    strike(installation, "head", "supervisor")

    assert [machine.stop(f"publisher-{name}") for name in STREAMS] == [0, 0], "SIGTERM ends a publisher gracefully"
    installation.wait_rows(installation.published(), "the last rows are there")
    assert machine.stop("supervisor") == 0, machine.log("supervisor")
    runs.verified(installation.dataset, "--bootstrap", installation.bootstrap, "--topic", installation.topic)
    keys = runs.keys(installation.dataset)
    assert keys == runs.keys(quiet_run(installation, tmp_path))
    assert len({stream for stream, *_ in keys}) == len(STREAMS) and set(keys.values()) == {1}
    assert Counter(runs.fates(installation.dataset)).keys() <= {"processed", "processed:end_mark", "no_face"}
