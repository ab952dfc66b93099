"""Runs rendered manifests as local processes, with each container's command, environment and files as in the manifest.

Pods have addresses, ports and file systems of their own; here they share those of one machine. So in every text the
names of services, the ports and the paths of mounts are replaced by this machine's, by one table per pod, and nothing
else changes.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from helpers.chart import Template, Tree, by_kind, templates
from helpers.ports import free_ports

from streamfx.runtime.health import wait_ready
from streamfx.serving.triton_server import VENV_ENV, find_venv

Secrets = Mapping[str, Mapping[str, str]]
"""Values, before base64, by the names of Secret and key."""
RESTART_S = 0.5
START_S = 400.0
METRICS = 9400
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "m": 1e-3}


@dataclass(frozen=True)
class Pod:
    """A planned pod: its labels, its volumes and its single container."""

    name: str
    labels: Tree
    volumes: Sequence[Tree]
    container: Tree

    @property
    def ports(self) -> set[int]:
        """The ports on which it listens according to the manifest."""
        named = {port["containerPort"] for port in self.container.get("ports", ())}
        return named | {
            probe["httpGet"]["port"] for probe in self._probes() if isinstance(probe["httpGet"]["port"], int)
        }

    @property
    def probe(self) -> tuple[int, str]:
        """Port and path of its readiness probe."""
        asked = self.container["readinessProbe"]["httpGet"]
        return self.port(asked["port"]), asked["path"]

    def port(self, name: str | int) -> int:
        """The number of a port that may be given by name."""
        numbers = {port["name"]: port["containerPort"] for port in self.container.get("ports", ())}
        return name if isinstance(name, int) else int(numbers[name])

    def _probes(self) -> list[Tree]:
        return [self.container[kind] for kind in ("startupProbe", "readinessProbe") if kind in self.container]


def pods_of(objects: Sequence[Tree]) -> Iterator[Pod]:
    """The pods of the release except its test pod; Ray's are as KubeRay makes them."""
    for template in templates(objects):
        if template.owner.startswith("Deployment/"):
            yield _pod(template.role, template, template.spec["containers"][0])
        elif template.owner.startswith("RayCluster/"):
            [cluster] = by_kind(objects, "RayCluster")
            head = template.role == "head"
            group = cluster["spec"]["headGroupSpec"] if head else cluster["spec"]["workerGroupSpecs"][0]
            container = ray_container(cluster, group, template.spec["containers"][0], head)
            for i in range(1 if head else group.get("replicas", group["minReplicas"])):
                yield _pod("head" if head else f"worker-{i}", template, container)


def _pod(name: str, template: Template, container: Tree) -> Pod:
    return Pod(name, template.metadata["labels"], template.spec["volumes"], container)


def ray_container(cluster: Tree, group: Tree, container: Tree, head: bool) -> Tree:
    """A container of a RayCluster with the command and the environment that KubeRay adds."""
    name, spec = cluster["metadata"]["name"], cluster["spec"]
    flags = {
        "block": "",
        "memory": str(int(amount(container["resources"]["limits"]["memory"]))),
        "dashboard-agent-listen-port": "52365",
        "metrics-export-port": "8080",
        **({"head": "", "dashboard-host": "0.0.0.0"} if head else {"address": f"{name}-head-svc:6379"}),
        **({"no-monitor": ""} if head and spec.get("enableInTreeAutoscaling") else {}),
        **group["rayStartParams"],
    }
    words = [f"--{flag}={value}" if value else f"--{flag}" for flag, value in flags.items()]
    environment = [*container["env"], {"name": "RAY_enable_autoscaler_v2", "value": "1"}]
    if spec["authOptions"]["mode"] == "token":
        secret = {"name": spec["authOptions"].get("secretName", name), "key": "auth_token"}
        environment += [
            {"name": "RAY_AUTH_MODE", "value": "token"},
            {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": secret}},
        ]
    start = f"ulimit -n 65536; exec ray start {' '.join(words)}"
    return {**container, "command": ["/bin/bash", "-c", "--"], "args": [start], "env": environment}


RAYS_OWN = {"port": 6379, "ray-client-server-port": 10001, "dashboard-port": 8265}
RAYS_NODE = {"dashboard-agent-grpc-port": 52366, "runtime-env-agent-port": 52367}
"""Ray's default ports, which nodes that share a machine must change."""


def amount(quantity: str | int) -> float:
    """A Kubernetes quantity as a number."""
    found = re.fullmatch(r"([\d.]+)(\w*)", str(quantity))
    assert found, quantity
    return float(found[1]) * _UNITS.get(found[2], 1)


@dataclass
class _Running:
    process: subprocess.Popen[bytes] | None = None
    wanted: bool = True
    again: float | None = None
    met: set[psutil.Process] = field(default_factory=set)


class Machine:
    """Runs pods on this machine and restarts each whenever it ends, as a kubelet does."""

    def __init__(self, objects: Sequence[Tree], folder: Path, secrets: Secrets):
        """`folder` gets the mounted volumes and the logs; its path must be short because Ray's sockets lie in it."""
        self._objects, self._folder, self._secrets = objects, folder, secrets
        self.pods = {pod.name: pod for pod in pods_of(objects)}
        self._running: dict[str, _Running] = {}
        self.restarts: Counter[str] = Counter()
        self._ports = self._deal_ports()
        self._mounts = {pod.name: dict(self._mounted(pod)) for pod in self.pods.values()}

    def port(self, pod: str, port: int) -> int:
        """This machine's port for a pod's port."""
        return self._ports[pod, port]

    def place(self, path: str) -> Path:
        """This machine's path for a path that some pod mounts."""
        return Path(self.here("worker-0", path))

    def here(self, pod: str, text: str) -> str:
        """A text from the manifest with this machine's addresses, ports and paths."""
        table = {path: str(place) for mounts in self._mounts.values() for path, place in mounts.items()}
        table |= {path: str(place) for path, place in self._mounts[pod].items()}
        table |= {str(number): str(here) for (name, number), here in self._ports.items() if name == pod}
        table |= {f"{service}:{number}": f"127.0.0.1:{self._ports[to]}" for service, number, to in self._services()}
        table["0.0.0.0"] = "127.0.0.1"
        longest_first = "|".join(map(re.escape, sorted(table, key=len, reverse=True)))
        return re.sub(rf"(?<![\w.])(?:{longest_first})(?![\w.])", lambda found: table[found[0]], text)

    def words(self, pod: str) -> list[str]:
        """A pod's command line on this machine."""
        container = self.pods[pod].container
        words = [self.here(pod, word) for word in [*container["command"], *container.get("args", ())]]
        if "ray start" in words[-1]:
            ports = RAYS_NODE | (RAYS_OWN if "--head" in words[-1] else {})
            flags = " ".join(f"--{flag}={number}" for flag, number in ports.items())
            words[-1] += self.here(pod, f" --node-ip-address=127.0.0.1 {flags}")
        return words

    def environment(self, pod: str) -> dict[str, str]:
        """The environment from the image and from the manifest."""
        tmp = str(self._mounts[pod]["/tmp"])
        image = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TMPDIR": tmp,
            "RAY_TMPDIR": tmp,
            **{name: value for name, value in os.environ.items() if name.startswith("PYTHON")},
        }
        if pod == "triton":
            image[VENV_ENV] = str(find_venv())
        container = self.pods[pod].container
        return image | {entry["name"]: self._value(pod, container, entry) for entry in container["env"]}

    def start(self, *names: str) -> None:
        """Start pods and keep them running from now on."""
        for name in names:
            self._running[name] = _Running(self._start(name))

    def wait_ready(self, *names: str) -> None:
        """Call the readiness probes of pods until they succeed; restart pods that end meanwhile."""
        give_up = time.monotonic() + START_S
        for name in names:
            port, path = self.pods[name].probe
            while (problem := wait_ready([f"http://127.0.0.1:{self.port(name, port)}{path}"], 0)) is not None:
                self.tend()
                assert time.monotonic() < give_up, f"{name}: {problem}\n{self.log(name)}"
                time.sleep(0.5)

    def tend(self) -> None:
        """Restart pods that have ended; must be called often."""
        for name, running in self._running.items():
            if not running.wanted or running.process is None or running.process.poll() is None:
                continue
            if running.again is None:
                self._end_all(running)
                running.again = time.monotonic() + RESTART_S
            elif time.monotonic() > running.again:
                running.again = None
                running.process = self._start(name)
                self.restarts[name] += 1

    def kill(self, name: str) -> None:
        """Send SIGKILL to all processes of a container."""
        self._end_all(self._running[name])

    def stop(self, name: str, grace_s: float = 60.0) -> int:
        """End a pod for good by SIGTERM, or by SIGKILL after the grace period; return its main process's exit
        status."""
        running = self._running[name]
        running.wanted = False
        assert running.process is not None
        self._meet(running)
        running.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(grace_s)
        self._end_all(running)
        return int(running.process.returncode)

    def log(self, name: str) -> str:
        """The end of a pod's log."""
        return (self._folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def close(self) -> None:
        """End all pods, and remove what killed processes leave in shared memory."""
        for running in self._running.values():
            running.wanted = False
            self._end_all(running)
        for layout in (self._folder / "triton").rglob("streamfx-triton-*"):
            for left in Path("/dev/shm").glob(f"{layout.name}*"):
                left.unlink(missing_ok=True)

    def scraped(self) -> list[Tree]:
        """Prometheus's configuration as its operator derives it from the release's PodMonitors and ServiceMonitors."""
        jobs = []
        for monitor in [*by_kind(self._objects, "PodMonitor"), *by_kind(self._objects, "ServiceMonitor")]:
            wanted = monitor["spec"]["selector"]["matchLabels"]
            [endpoint] = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
            found: set[tuple[str, int]] = set()
            if monitor["kind"] == "PodMonitor":
                found = {
                    (p.name, p.port(endpoint["port"])) for p in self.pods.values() if wanted.items() <= p.labels.items()
                }
            for service in by_kind(self._objects, "Service") if monitor["kind"] == "ServiceMonitor" else ():
                if wanted.items() <= service["metadata"]["labels"].items():
                    [port] = [p for p in service["spec"]["ports"] if p["name"] == endpoint["port"]]
                    found |= set(self._behind(service, port["targetPort"]))
            labels = {"namespace": monitor["metadata"]["namespace"]}
            labels |= {rule["targetLabel"]: rule["replacement"] for rule in endpoint.get("relabelings", ())}
            targets = [
                {"targets": [f"127.0.0.1:{self._ports[pod, port]}"], "labels": labels | {"pod": pod}}
                for pod, port in found
            ]
            jobs.append({"job_name": f"{monitor['kind']}/{monitor['metadata']['name']}", "static_configs": targets})
        return jobs

    def _services(self) -> Iterator[tuple[str, int, tuple[str, int]]]:
        """(name, port, (pod, port)) of the release's Services and of the head's Service, which KubeRay makes."""
        for service in by_kind(self._objects, "Service"):
            for port in service["spec"]["ports"]:
                for behind in self._behind(service, port["targetPort"]):
                    yield service["metadata"]["name"], port["port"], behind
        for cluster in by_kind(self._objects, "RayCluster"):
            for number in self.pods["head"].ports:
                yield f"{cluster['metadata']['name']}-head-svc", number, ("head", number)

    def _behind(self, service: Tree, port: str | int) -> list[tuple[str, int]]:
        wanted = service["spec"]["selector"].items()
        return [(pod.name, pod.port(port)) for pod in self.pods.values() if wanted <= pod.labels.items()]

    def _deal_ports(self) -> dict[tuple[str, int], int]:
        numbers = {pod.name: set(pod.ports) for pod in self.pods.values()}
        for name in numbers:
            if name == "head" or name.startswith("worker-"):
                numbers[name] |= {8080, *RAYS_NODE.values()}
        wanted = sorted((name, number) for name, each in numbers.items() for number in each)
        dealt = dict(zip(wanted, free_ports(len(wanted)), strict=True))
        # The workers of a run share the supervisor's setting: the next one on a machine takes the next port.
        line = [
            name
            for name in sorted(numbers, key=lambda n: n != "supervisor")
            if name == "supervisor" or "worker" in name
        ]
        dealt |= {(name, METRICS): port for name, port in zip(line, free_ports(len(line)), strict=True)}
        return dealt

    def _mounted(self, pod: Pod) -> Iterator[tuple[str, Path]]:
        volumes = {volume["name"]: volume for volume in pod.volumes}
        for mount in pod.container["volumeMounts"]:
            yield mount["mountPath"], self._volume(pod, volumes[mount["name"]]) / mount.get("subPath", "")

    def _volume(self, pod: Pod, volume: Tree) -> Path:
        """The folder of a volume, filled as by a kubelet."""
        if "persistentVolumeClaim" in volume:
            folder = self._folder / "claims" / volume["persistentVolumeClaim"]["claimName"]
        else:
            folder = self._folder / pod.name / volume["name"]
        if folder.exists():
            return folder
        folder.mkdir(parents=True)
        contents: Mapping[str, str] = {}
        if "secret" in volume:
            secret = self._secrets[volume["secret"]["secretName"]]
            items = volume["secret"].get("items") or [{"key": key, "path": key} for key in secret]
            contents = {item["path"]: secret[item["key"]] for item in items}
        elif "configMap" in volume:
            [contents] = [
                tree["data"]
                for tree in by_kind(self._objects, "ConfigMap")
                if tree["metadata"]["name"] == volume["configMap"]["name"]
            ]
        if contents:
            (folder / "..2026").mkdir()
            (folder / "..data").symlink_to("..2026")
        for name, text in contents.items():
            (folder / "..2026" / name).write_text(text)
            (folder / name).symlink_to(f"..data/{name}")
        return folder

    def _value(self, pod: str, container: Tree, entry: Tree) -> str:
        source = entry.get("valueFrom", {})
        if "secretKeyRef" in source:
            return self._secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
        if "resourceFieldRef" in source:
            kind, _, name = source["resourceFieldRef"]["resource"].partition(".")
            return str(math.ceil(amount(container["resources"][kind][name])))
        return self.here(pod, entry["value"])

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        folder = self.here(name, self.pods[name].container.get("workingDir", "/tmp"))
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self.words(name), cwd=folder, env=self.environment(name), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _meet(self, running: _Running) -> None:
        assert running.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            main = psutil.Process(running.process.pid)
            running.met |= {main, *main.children(recursive=True)}

    def _end_all(self, running: _Running) -> None:
        self._meet(running)
        for process in running.met:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if running.process is not None:
            running.process.wait()
        running.met.clear()
