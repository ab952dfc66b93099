"""Where the supervisor of a Ray cluster should run: kill and cut off its surroundings, and time the recovery of rows.

Three network namespaces represent three pods: the head, a node for workers, and the supervisor. Arrangements:

- `client`: `streamfx run` is alone in its pod and joins by `ray://`, as the chart installs it;
- `node`: it runs beside a Ray node of its own that offers no CPUs, and joins by the cluster's address;
- `head`: it runs inside the head's pod, like a job submitted to the head, and dies with the head.

A pod's processes end together and are started again after half a second, as by a kubelet. A real Kafka is fed at a
steady pace, so that a pause in the commits is the outage. Needs root (namespaces) and Java. Prints JSON; exits with 1
where a row is lost or doubled.

    sudo python benchmarks/ray_driver.py > out/bench/ray-driver.json                # 25 minutes on 2 cores
    sudo python benchmarks/ray_driver.py --arrangements client --strikes head,cut_15
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests"))
sys.path.insert(0, str(REPO / "benchmarks"))

from chaos import FACES, START_US, quiet_windows  # noqa: E402
from helpers import runs  # noqa: E402
from helpers.astronaut import make_video  # noqa: E402
from helpers.chaos import Brokers, Feeder, Progress, judge  # noqa: E402
from helpers.ports import free_ports  # noqa: E402
from helpers.ray_cluster import TOKEN  # noqa: E402

from streamfx.media.cut import CutChunk, cut_video  # noqa: E402

PARTITIONS = 2
CHUNKS_A_STREAM = 6
PACE_S = 0.25
RESTART_S = 0.5
SETTLE_S = 5.0
WATCH_S = 30.0
RECOVER_S = 240.0
LOOK_S = 0.1
GCS, CLIENT, HEALTH = 6379, 10001, 9300
NETWORK = "10.213.7"
ADDRESS = {"head": f"{NETWORK}.2", "supervisor": f"{NETWORK}.3", "worker": f"{NETWORK}.1"}


class Network:
    """A bridge in this machine's own namespace, with the workers and Kafka, and a namespace per other pod."""

    def __init__(self) -> None:
        self._name = f"sfx{os.getpid() % 10000}"
        ip("link", "add", self._name, "type", "bridge")
        ip("addr", "add", f"{ADDRESS['worker']}/24", "dev", self._name)
        ip("link", "set", self._name, "up")
        for pod in ("head", "supervisor"):
            space = self.space(pod)
            ip("netns", "add", space)
            ip("link", "add", f"{space}o", "type", "veth", "peer", "name", f"{space}i")
            ip("link", "set", f"{space}o", "master", self._name, "up")
            ip("link", "set", f"{space}i", "netns", space)
            ip("-n", space, "addr", "add", f"{ADDRESS[pod]}/24", "dev", f"{space}i")
            for link in ("lo", f"{space}i"):
                ip("-n", space, "link", "set", link, "up")
            # Ray finds its own address by a route to the outside.
            ip("-n", space, "route", "add", "default", "via", ADDRESS["worker"])

    def space(self, pod: str) -> str:
        """Name of the pod's namespace."""
        return f"{self._name}{pod[0]}"

    def into(self, pod: str) -> list[str]:
        """Prefix of a command that runs in the pod's namespace."""
        return [] if pod == "worker" else ["ip", "netns", "exec", self.space(pod)]

    def cut(self, pod: str, cut: bool) -> None:
        """Take the pod off the network without closing its connections, or put it back."""
        ip("link", "set", f"{self.space(pod)}o", "down" if cut else "up")

    def close(self) -> None:
        """Remove the bridge and the namespaces."""
        for pod in ("head", "supervisor"):
            subprocess.run(["ip", "netns", "del", self.space(pod)], check=False)
        subprocess.run(["ip", "link", "del", self._name], check=False)


def ip(*words: str) -> None:
    """Run `ip`, which must succeed."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


_ONE_AT_A_TIME = threading.Lock()


class Pod(threading.Thread):
    """Commands that run and end together, and are started again whenever one of them ends."""

    def __init__(
        self, name: str, commands: Sequence[Sequence[str]], folder: Path, ready: Callable[[], bool] | None = None
    ):
        super().__init__(name=name, daemon=True)
        self._commands, self._folder, self._ready = commands, folder, ready
        self._log = (folder / f"{name}.log").open("ab")
        self._over = threading.Event()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.starts = 0
        self.start()

    def run(self) -> None:
        """Keep the commands running until `close`."""
        while not self._over.is_set():
            self.starts += 1
            self.processes = []
            for number, command in enumerate(self._commands):
                if number == 0 and self._ready:
                    # The pods share a disk here, on which Ray nodes that start together would use the same names.
                    with _ONE_AT_A_TIME:
                        self._begin(command)
                        while not self._ready() and self._all_run() and not self._over.is_set():
                            time.sleep(LOOK_S)
                else:
                    self._begin(command)
            while self._all_run() and not self._over.is_set():
                time.sleep(LOOK_S)
            self.kill()
            self._over.wait(RESTART_S)

    def _begin(self, command: Sequence[str]) -> None:
        streams: dict[str, Any] = {"stdout": self._log, "stderr": self._log}
        started = subprocess.Popen(command, env=environment(self._folder), start_new_session=True, **streams)
        self.processes.append(started)

    def _all_run(self) -> bool:
        return all(process.poll() is None for process in self.processes)

    def kill(self) -> None:
        """Send SIGKILL to every process of the pod."""
        for process in list(self.processes):
            members = [psutil.Process(process.pid)] if psutil.pid_exists(process.pid) else []
            for member in list(members):
                with contextlib.suppress(psutil.Error):
                    members += member.children(recursive=True)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for member in members:
                with contextlib.suppress(psutil.Error):
                    member.kill()
            process.wait()

    def close(self) -> None:
        """End the pod for good."""
        self._over.set()
        self.join(30)
        self.kill()


def environment(folder: Path) -> dict[str, str]:
    """The environment that the chart sets for Ray."""
    return os.environ | {
        "HOME": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "10",
        "GRPC_ENABLE_FORK_SUPPORT": "0",
        "OMP_NUM_THREADS": "1",
    }


class World:
    """A cluster and a supervisor in one of the arrangements, with everything that can be broken."""

    def __init__(self, arrangement: str, folder: Path, network: Network, config: Path):
        self.arrangement, self.network = arrangement, network
        address = f"ray://{ADDRESS['head']}:{CLIENT}" if arrangement == "client" else f"{ADDRESS['head']}:{GCS}"
        run = [
            sys.executable, "-m", "streamfx", "run", str(config), "--quiet", "--set", f"runtime.ray_address={address}",
        ]  # fmt: skip
        head = [
            *network.into("head"), *ray_start("head", folder, "--head", f"--port={GCS}", "--num-cpus=0"),
            f"--ray-client-server-port={CLIENT}", "--include-dashboard=false",
        ]  # fmt: skip
        joined = f"--address={ADDRESS['head']}:{GCS}"
        in_head = arrangement == "head"
        commands = [head, [*network.into("head"), *run]] if in_head else [head]
        self.pods = {"head": Pod("head", commands, folder, lambda: answers(network, "head"))}
        while not answers(network, "head"):
            time.sleep(LOOK_S)
        node = ray_start("worker", folder, joined, f"--num-cpus={PARTITIONS}")
        self.pods["worker"] = Pod("worker", [node], folder, lambda: answers(network, "worker"))
        while not answers(network, "worker"):
            time.sleep(LOOK_S)
        if not in_head:
            own = [[*network.into("supervisor"), *ray_start("supervisor", folder, joined, "--num-cpus=0")]]
            commands = [*(own if arrangement == "node" else []), [*network.into("supervisor"), *run]]
            ready = (lambda: answers(network, "supervisor")) if arrangement == "node" else None
            self.pods["supervisor"] = Pod("supervisor", commands, folder, ready)

    @property
    def driver(self) -> subprocess.Popen[bytes]:
        """The supervisor's process, which is always the last of its pod."""
        return self.pods["head" if self.arrangement == "head" else "supervisor"].processes[-1]

    def ready(self) -> bool:
        """Whether the supervisor's readiness probe succeeds."""
        pod = "head" if self.arrangement == "head" else "supervisor"
        url = f"http://127.0.0.1:{HEALTH}/readyz"
        ask = [*self.network.into(pod), sys.executable, "-S", "-c", _ASK, url]
        return subprocess.run(ask, capture_output=True, check=False, timeout=10).returncode == 0

    def workers(self) -> set[int]:
        """Process ids of all workers, of whichever supervisor."""
        found = set()
        for process in psutil.process_iter(["cmdline", "environ"]):
            with contextlib.suppress(psutil.Error):
                if "WorkerActor" in " ".join(process.info["cmdline"] or ()) and str(TOKEN) in str(
                    process.info["environ"]
                ):
                    found.add(process.pid)
        return found

    def close(self) -> None:
        """End everything, the supervisor first and gracefully."""
        with contextlib.suppress(ProcessLookupError, IndexError):
            self.driver.send_signal(signal.SIGTERM)
            self.driver.wait(60)
        for pod in reversed(self.pods.values()):
            pod.close()


_ASK = "import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=2).read()"


def answers(network: Network, pod: str) -> bool:
    """Whether the pod's raylet is up, according to the port of its agent."""
    ask = [
        *network.into(pod),
        sys.executable,
        "-S",
        "-c",
        _ASK,
        f"http://127.0.0.1:{AGENT[pod]}/api/local_raylet_healthz",
    ]
    return subprocess.run(ask, capture_output=True, check=False, timeout=10).returncode == 0


AGENT = {"head": 52365, "supervisor": 52366, "worker": 52367}


def ray_start(pod: str, folder: Path, *flags: str) -> list[str]:
    """The command `ray start` of one pod."""
    agent_grpc, env_agent, metrics = free_ports(3)
    return [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--object-store-memory=134217728",
        f"--node-ip-address={ADDRESS[pod]}", *flags, f"--dashboard-agent-listen-port={AGENT[pod]}",
        f"--dashboard-agent-grpc-port={agent_grpc}", f"--runtime-env-agent-port={env_agent}",
        f"--metrics-export-port={metrics}",
        *([f"--temp-dir={folder / 'ray'}"] if "--head" in flags else []),
    ]  # fmt: skip


def supervisor(world: World) -> None:
    """kill -9 of the supervisor."""
    world.driver.kill()


def sigterm(world: World) -> None:
    """SIGTERM to the supervisor, as an upgrade of its pod."""
    world.driver.send_signal(signal.SIGTERM)


def head(world: World) -> None:
    """kill -9 of all in the head's pod."""
    world.pods["head"].kill()


def worker(world: World) -> None:
    """kill -9 of all in the workers' pod."""
    world.pods["worker"].kill()


def own_raylet(world: World) -> None:
    """kill -9 of the Ray node beside the supervisor (`node` only)."""
    for process in world.pods["supervisor"].processes[:1]:
        os.killpg(process.pid, signal.SIGKILL)


def cut(seconds: float) -> Callable[[World], None]:
    """Make a strike that takes the supervisor's pod off the network for a while."""

    def strike(world: World) -> None:
        pod = "head" if world.arrangement == "head" else "supervisor"
        world.network.cut(pod, True)
        threading.Timer(seconds, world.network.cut, (pod, False)).start()

    strike.__doc__ = f"The supervisor's pod is off the network for {seconds:g} s."
    return strike


CUTS = {"cut_5": 5.0, "cut_15": 15.0, "cut_40": 40.0}
# Ray's nodes keep running for a minute without their head.
WATCH_MORE_S = CUTS | {"head": 60.0}
STRIKES: dict[str, Callable[[World], None]] = {
    "sigterm": sigterm, "supervisor": supervisor, "head": head, "worker": worker, "own_raylet": own_raylet,
    **{name: cut(seconds) for name, seconds in CUTS.items()},
}  # fmt: skip


class SteadyFeeder(Feeder):
    """Feeds at a pace with which the workers keep up."""

    def _feed(self, partition: int, under_way: Any) -> None:
        time.sleep(PACE_S)
        super()._feed(partition, under_way)


def strike(name: str, world: World, progress: Progress) -> dict[str, Any]:
    """Strike once, and observe for WATCH_S and until all partitions have advanced and the supervisor is ready."""
    supervisor_pod = world.pods["head" if world.arrangement == "head" else "supervisor"]
    old, driver_starts = world.workers(), supervisor_pod.starts
    node_starts = world.pods["worker"].starts
    STRIKES[name](world)
    struck = time.monotonic()
    moved = dict.fromkeys(range(PARTITIONS), struck)
    pause = dict.fromkeys(range(PARTITIONS), 0.0)
    ends, ready_at, next_ask = progress.ends(), None, struck
    leftover_until = struck
    while True:
        now = time.monotonic()
        for partition, end in progress.ends().items():
            if end != ends.get(partition):
                pause[partition] = max(pause[partition], now - moved[partition])
                moved[partition], ends[partition] = now, end
        if now >= next_ask:
            next_ask = now + 1.0
            if supervisor_pod.starts > driver_starts and world.workers() & old:
                leftover_until = now
            with contextlib.suppress(subprocess.TimeoutExpired):
                if not world.ready():
                    ready_at = None
                elif ready_at is None:
                    ready_at = now
        still = max(now - at for at in moved.values())
        settled = still < 10 and ready_at is not None
        watched = now - struck
        if (watched > WATCH_S + WATCH_MORE_S.get(name, 0) and settled) or watched > RECOVER_S:
            break
        time.sleep(LOOK_S)
    result = {
        "strike": name,
        "what": (STRIKES[name].__doc__ or "").strip(),
        "longest_pause_s": round(max(max(pause.values()), still), 1),
        "supervised_again_s": None if ready_at is None else round(ready_at - struck, 1),
        "supervisor_restarts": supervisor_pod.starts - driver_starts,
        "worker_node_restarts": world.pods["worker"].starts - node_starts,
        "old_workers_left_for_s": round(leftover_until - struck, 1),
        "workers_at_the_end": len(world.workers()),
        "recovered": settled,
    }
    print(world.arrangement, result, file=sys.stderr, flush=True)
    return result


def campaign(
    arrangement: str, names: Sequence[str], folder: Path, brokers: Brokers, network: Network,
    chunks: Sequence[CutChunk], expected: Any,
) -> dict[str, Any]:  # fmt: skip
    """Run all strikes on one arrangement, and return what became of the rows."""
    folder.mkdir()
    topic = f"driver-{arrangement}"
    brokers.create_topic(topic, PARTITIONS)
    tree = runs.tree(folder, [], faces=FACES, windows={"idle_s": 3600.0})
    tree["source"] = {
        "kafka": {"bootstrap": brokers.bootstrap, "topic": topic, "group": topic, "session_timeout_s": 6}, "queue_chunks": 4,
    }  # fmt: skip
    tree["sink"] = {"path": str(folder / "data"), "roll_chunks": 2, "idle_flush_s": 1}
    tree["runtime"] = {
        "engine": "ray", "workers": PARTITIONS, "drain_s": 20, "health_port": HEALTH, "ray_timeout_s": 60.0,
    }  # fmt: skip
    config = runs.write_config(folder, tree)
    progress = Progress(folder / "data")
    feeder = SteadyFeeder(brokers.bootstrap, topic, PARTITIONS, chunks, progress)
    world = World(arrangement, folder, network, config)
    strikes: list[dict[str, Any]] = []
    try:
        begun = time.monotonic()
        while len(progress.ends()) < PARTITIONS and time.monotonic() - begun < RECOVER_S:
            time.sleep(LOOK_S)
        first_rows_s = round(time.monotonic() - begun, 1)
        for name in names:
            time.sleep(SETTLE_S)
            strikes.append(strike(name, world, progress))
        feeder._stop_asked.set()
        feeder.join(120)
        drained = time.monotonic()
        while progress.ends() != feeder.sent and time.monotonic() - drained < RECOVER_S:
            time.sleep(LOOK_S)
    finally:
        world.close()
    found = judge(folder / "data", brokers.bootstrap, topic, feeder.streams, expected)
    result = {"arrangement": arrangement, "first_rows_s": first_rows_s, "strikes": strikes, "rows": found}
    result["rows"].pop("odd_streams")
    print(result, file=sys.stderr, flush=True)
    return result


@contextlib.contextmanager
def _stage() -> Iterator[tuple[Path, Brokers, Network]]:
    with tempfile.TemporaryDirectory(prefix="sfx-rd-", dir="/tmp", ignore_cleanup_errors=True) as name:
        brokers, network = Brokers(), Network()
        try:
            yield Path(name), brokers, network
        finally:
            network.close()
            brokers.delete()


def main() -> int:
    """Print the report; return 1 where a row was lost or doubled, or the line did not recover from a strike."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--arrangements", default="client,node,head")
    arguments.add_argument("--strikes", default=",".join(STRIKES))
    asked = arguments.parse_args()
    with _stage() as (folder, brokers, network):
        clip = folder / "clip.mp4"
        make_video(clip, seconds=CHUNKS_A_STREAM)
        chunks = list(islice(cut_video(clip, 1.0, START_US), CHUNKS_A_STREAM))
        expected = quiet_windows(folder / "quiet", clip)
        campaigns = []
        for arrangement in asked.arrangements.split(","):
            names = [name for name in asked.strikes.split(",") if name != "own_raylet" or arrangement == "node"]
            # A cut would take the head away too, which is a different strike.
            names = [name for name in names if arrangement != "head" or not name.startswith("cut")]
            campaigns.append(campaign(arrangement, names, folder / arrangement, brokers, network, chunks, expected))
    import ray

    whole = all(run["rows"]["lost"] == run["rows"]["doubled"] == 0 for run in campaigns)
    report = {
        "tool": "benchmarks/ray_driver.py",
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "ray": ray.__version__,
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()},
        "campaigns": campaigns,
    }
    print(json.dumps(report, indent=1))
    return 0 if whole and all(one["recovered"] for run in campaigns for one in run["strikes"]) else 1


if __name__ == "__main__":
    sys.exit(main())
