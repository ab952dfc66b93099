"""The parts of a chaos run: breakable brokers and Triton, a run that is restarted, a feeder, and a final check."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from helpers import runs
from helpers.kafka import CLUSTER
from helpers.triton import expression_alone, free_ports
from kafka import KafkaAdminClient, KafkaProducer

from streamfx.media.cut import CutChunk
from streamfx.serving.triton_server import LocalTriton
from streamfx.source.chunk import headers_for

POLL_S = 0.05
RESTART_S = 0.5
"""Delay between the end of a run and its next start, as with a process manager."""
MODEL_FAULT = "STREAMFX_CHAOS_MODEL"

_FAULTY_MODEL = '''

import os
import time as _time
from pathlib import Path

_Honest = TritonPythonModel


class TritonPythonModel(_Honest):
    """The same model with the fault that the file named in the environment asks for."""

    def _response(self, items, outputs=None):
        fault = Path(os.environ["STREAMFX_CHAOS_MODEL"]).read_text()
        if outputs is not None and fault == "slow":
            _time.sleep(2.0)
        if outputs is not None and fault == "nan":
            outputs = {name: value * float("nan") for name, value in outputs.items()}
        if outputs is not None and fault == "shape":
            outputs = {name: value[:, :-1] for name, value in outputs.items()}
        return _Honest._response(self, items, outputs)
'''


class Brokers:
    """A real Kafka cluster on this machine whose brokers can be killed one by one."""

    def __init__(self, count: int = 1):
        self._folder = tempfile.mkdtemp(prefix="streamfx-chaos-kafka-")
        self.bootstrap = str(self._do("start", "--brokers", str(count))["bootstrap"])

    def kill(self, broker: int) -> None:
        """SIGKILL one broker."""
        self._do("kill", "--broker", str(broker))

    def start(self) -> None:
        """Start the stopped brokers with their data and ports."""
        self._do("start")

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic with log-append timestamps."""
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.bootstrap)) as admin:
            configs = {"message.timestamp.type": "LogAppendTime"}
            admin.create_topics({name: {"num_partitions": partitions, "configs": configs}}, wait_for_metadata=True)

    def leader(self, topic: str, partition: int) -> int:
        """The broker that currently leads a partition."""
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.bootstrap)) as admin:
            found = admin.describe_topics([topic])[0]["partitions"]
            return int(next(p["leader_id"] for p in found if p["partition_index"] == partition))

    def delete(self) -> None:
        """Stop all brokers and remove their data."""
        self._do("delete")

    def _do(self, action: str, *options: str) -> dict[str, Any]:
        command = [sys.executable, str(CLUSTER), action, self._folder, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=runs.PATIENCE_S, check=False)
        if done.returncode:
            raise RuntimeError(f"Kafka: {action} failed: {done.stderr[-500:]}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


class Model:
    """A Triton with the shipped model that can be killed, paused, slowed down, and made to answer wrongly."""

    def __init__(self, folder: Path):
        self._repository = folder / "models"
        shutil.copytree(expression_alone(), self._repository)
        code = self._repository / "expression" / "1" / "model.py"
        code.write_text(code.read_text() + _FAULTY_MODEL)
        self._fault = folder / "model-fault"
        self.answer("right")
        os.environ[MODEL_FAULT] = str(self._fault)
        # Threads that wait for each other take seconds where other processes compete for the same cores.
        os.environ["OMP_NUM_THREADS"] = "1"
        self._ports, self._log = free_ports(), (folder / "triton.log").open("ab")
        self._server = self._start()
        self.crashes = 0

    @property
    def url(self) -> str:
        """Its gRPC address, which never changes."""
        return self._server.grpc_url

    def answer(self, how: str) -> None:
        """Set how it answers from now on: `right`, `slow` (2 s each), `nan`, or `shape` (one label too few)."""
        beside = self._fault.with_suffix(".new")
        beside.write_text(how)
        beside.replace(self._fault)

    def kill(self) -> None:
        """SIGKILL the server and its model processes."""
        self._server.stop(gently=False)

    def start(self) -> None:
        """Start it again after `kill`."""
        self._server = self._start()

    def tend(self) -> None:
        """Start it again if it died by itself, which may happen after a long hang, as a process manager does."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(self._server.pid).status() == psutil.STATUS_ZOMBIE:
                self.crashes += 1
                self.kill()
                self.start()

    def hang(self, seconds: float) -> None:
        """Pause all its processes for a while."""
        os.killpg(self._server.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.killpg(self._server.pid, signal.SIGCONT)

    def close(self) -> None:
        """Kill the server."""
        self._server.stop(gently=False)

    def _start(self) -> LocalTriton:
        return LocalTriton(self._ports, repository=self._repository, log=self._log)


class Run:
    """`streamfx run`, restarted whenever it ends, as by a process manager; so is its model server, if given."""

    def __init__(self, config: Path, log: Path, model: Model | None = None):
        self._model = model
        self._command = [sys.executable, "-m", "streamfx", "run", str(config), "--quiet"]
        self._log = log.open("ab")
        self._met: set[psutil.Process] = set()
        self.exits: list[int] = []
        self.keep = True
        self._again = 0.0
        self.process = self._start()

    def tend(self) -> None:
        """Start the run again if it has ended; must be called often."""
        if self._model is not None:
            self._model.tend()
        if self.process.poll() is None:
            return
        if not self._again:
            self.exits.append(self.process.returncode)
            self._again = time.monotonic() + RESTART_S
        if self.keep and time.monotonic() >= self._again:
            self._again = 0.0
            self.process = self._start()

    def family(self, name: str) -> list[psutil.Process]:
        """The run's processes whose command line holds `name`: `WorkerActor`, `raylet/raylet`, ..."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._met.add(child)
                    if name in " ".join(child.cmdline()):
                        found.append(child)
        return found

    def end(self, timeout_s: float = 120.0) -> int:
        """Send SIGTERM and return the exit status; kill whatever remains of this run's processes."""
        self.family("")
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for left in self._met:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        return int(self.process.returncode)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=self._log, stderr=self._log)


class Progress:
    """A dataset's progress read from outside: the newest published entry of each partition's log."""

    def __init__(self, dataset: Path):
        self._dataset = dataset
        self._seen: dict[Path, tuple[str, int]] = {}

    def ends(self) -> dict[int, int]:
        """Maps each partition to the offset up to which its rows can be read."""
        found = {}
        for folder in self._dataset.glob("_commits/*/*"):
            newest = max((name for name in os.listdir(folder) if name.endswith(".json")), default=None)
            if newest is None:
                continue
            if self._seen.get(folder, ("", 0))[0] != newest and self._shows(entry := self._entry(folder / newest)):
                self._seen[folder] = newest, int(entry["end"])
            if folder in self._seen:
                found[int(folder.name)] = self._seen[folder][1]
        return found

    def _entry(self, file: Path) -> dict[str, Any]:
        entry: dict[str, Any] = json.loads(file.read_bytes())
        return entry

    def _shows(self, entry: Mapping[str, Any]) -> bool:
        return all((self._dataset / spec["final"]).exists() for spec in entry["files"])


class Feeder(threading.Thread):
    """Feeds streams into every partition slightly ahead of the run; all replicas acknowledge each message."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, chunks: Sequence[CutChunk], progress: Progress):
        super().__init__(name="feeder", daemon=True)
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=600_000,
            max_block_ms=600_000,
            max_request_size=64 << 20,
        )
        self._topic, self._chunks, self._progress = topic, chunks, progress
        self._stop_asked = threading.Event()
        self.sent = dict.fromkeys(range(partitions), 0)
        self.streams = 0
        self.failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Feed until `finish` is called, then to the end of every stream."""
        try:
            under_way: dict[int, tuple[str, list[CutChunk]]] = {}
            while not self._stop_asked.is_set() or under_way:
                done = self._progress.ends()
                for partition in self.sent:
                    if self.sent[partition] - done.get(partition, 0) < 3 * len(self._chunks):
                        self._feed(partition, under_way)
                time.sleep(POLL_S)
            self._producer.flush(timeout=600)
            self._producer.close()
        except BaseException as error:
            self.failure = error

    def finish(self, run: Run, timeout_s: float) -> bool:
        """End all streams while keeping the run alive; return whether everything was acknowledged in time."""
        self._stop_asked.set()
        done = wait_for(lambda: not self.is_alive(), timeout_s, run)
        if self.failure:
            raise self.failure
        return done

    def _feed(self, partition: int, under_way: dict[int, tuple[str, list[CutChunk]]]) -> None:
        if partition not in under_way:
            if self._stop_asked.is_set():
                return
            under_way[partition] = f"stream-{self.streams}", list(self._chunks)
            self.streams += 1
        name, left = under_way[partition]
        chunk = left.pop(0)
        headers = headers_for(name, chunk.seq, chunk.start_us, chunk.content_type, end=chunk.end)
        self._producer.send(self._topic, chunk.body, name.encode(), list(headers), partition).get(timeout=600)
        self.sent[partition] += 1
        if not left:
            del under_way[partition]


def wait_for(condition: Callable[[], bool], timeout_s: float, run: Run) -> bool:
    """Wait until `condition` holds while keeping the run alive; return False after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        run.tend()
        time.sleep(POLL_S)
    return True


def judge(
    dataset: Path, bootstrap: str, topic: str, streams: int, expected: Counter[Any], films: bool = False
) -> dict[str, Any]:
    """The findings of a separate `streamfx verify`, and whether every stream has exactly the windows of a quiet run.

    With `films` each chunk must have one redacted film too. `lost` and `doubled` count offsets, windows and films,
    `orphans` counts files. All are 0 where every row and film exists exactly once.
    """
    done = runs.streamfx("verify", dataset, "--bootstrap", bootstrap, "--topic", topic)
    if not done.stdout:
        raise RuntimeError(f"streamfx verify failed: {done.stderr[-800:]}")
    report = json.loads(done.stdout)
    lost = sum(max(1, gap["end"] - gap["start"]) for gap in report["gaps"])
    by_stream: dict[str, Counter[Any]] = {}
    for row in runs.rows(dataset, "windows"):
        by_stream.setdefault(row["stream_id"], Counter())[row["window_start"]] += 1
    missing_streams = max(0, streams - len(by_stream)) if expected else 0
    missing = sum((expected - found).total() for found in by_stream.values()) + missing_streams * expected.total()
    surplus = sum((found - expected).total() for found in by_stream.values())
    odd = [name for name, found in by_stream.items() if found != expected]
    if films:
        chunks, filmed = (
            Counter((row["partition"], row["offset"]) for row in runs.rows(dataset, table))
            for table in ("chunks", "films")
        )
        missing += (chunks - filmed).total()
        surplus += (filmed - chunks).total()
    fates = runs.fates(dataset)
    return {
        **({"films": report["rows"]["films"]} if films else {}),
        "chunks": report["rows"]["chunks"],
        "windows": report["rows"]["windows"],
        "streams": len(by_stream),
        "lost": lost + missing,
        "doubled": len(report["duplicates"]) + surplus,
        "orphans": len(report["orphans"]),
        "fates": dict(fates),
        "gaps": report["gaps"][:5],
        "odd_streams": {name: story(dataset, name) for name in odd[:3]},
    }


def story(dataset: Path, stream_id: str) -> dict[str, Any]:
    """A stream's rows and log entries, for debugging a failed run."""
    names = {
        "chunks": ("partition", "offset", "append_time", "fate", "reason", "frames", "faces", "windows"),
        "windows": ("offset", "window_start", "track_id", "frames"),
    }
    rows = {
        table: sorted(
            [str(row[name]) for name in names[table]]
            for row in runs.rows(dataset, table)
            if row["stream_id"] == stream_id
        )
        for table in names
    }
    partition = rows["chunks"][0][0] if rows["chunks"] else "0"
    entries = [json.loads(file.read_bytes()) for file in sorted(dataset.glob(f"_commits/*/{partition}/*.json"))]
    near = [
        {name: entry[name] for name in ("n", "kind", "start", "end", "records", "details", "written_at", "snapshot")}
        for entry in entries
        if any(entry["start"] - 8 <= int(row[1]) < entry["end"] + 8 for row in rows["chunks"])
    ]
    return {**rows, "entries": near}
