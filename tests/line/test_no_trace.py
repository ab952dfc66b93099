"""Nothing of a face, a voice or a name is left anywhere, though workers die, a model server is killed and chunks are bad.

Looked at are the dataset, dead letters, logs, metrics, traces, the working directory with its core dumps, temporary
files, Ray's own folder, and shared memory.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from helpers import runs
from helpers.astronaut import make_video
from helpers.chaos import Model
from helpers.kafka import FIRST_START_US, Broker
from helpers.marks import Pieces, named, pieces_of, texts, traces
from helpers.ports import free_ports
from helpers.triton import require_triton

from streamfx.media.cut import CutChunk, cut_video
from streamfx.source.chunk import headers_for

STREAMS = 4
METRICS_PORTS = free_ports(3)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of which no other test leaves anything in this machine's shared memory."""
    path = tmp_path_factory.mktemp("clip") / "mirrored.mp4"
    make_video(path, mirrored=True)
    return path


@pytest.fixture(scope="module")
def chunks(clip: Path) -> list[CutChunk]:
    return list(islice(cut_video(clip, 1.0, FIRST_START_US), 8))


@pytest.fixture(scope="module")
def pieces(clip: Path, chunks: list[CutChunk], tmp_path_factory: pytest.TempPathFactory) -> Pieces:
    return pieces_of(clip, chunks, tmp_path_factory.mktemp("pieces") / "quiet")


def test_the_search_finds_what_is_left(tmp_path: Path, chunks: list[CutChunk], pieces: Pieces) -> None:
    (tmp_path / "body").write_bytes(named(chunks[0]))
    with av.open(io.BytesIO(chunks[0].body)) as container:
        np.save(tmp_path / "picture", next(container.decode(video=0)).to_ndarray(format="rgb24"))
    inputs = [piece for what, piece in pieces.items() if what.startswith("input ")]
    (tmp_path / "region").write_bytes(bytes(999) + inputs[0])
    found = traces(pieces, [tmp_path])
    for what in ("name", "media 0", "picture 0 0 rgb24", "input"):
        assert any(line.startswith(what) for line in found), what
    assert {what.split()[1] for what in pieces if what.startswith("input ")} >= {"frames", "fbank"}
    assert any(what.startswith("sound") for what in pieces)


def feed(broker: Broker, topic: str, chunks: list[CutChunk]) -> None:
    """Streams that go well, one without consent, one that is damaged, and a message that is no chunk, each with the name."""
    producer = broker.producer()
    try:
        for number in range(STREAMS):
            for seq, chunk in enumerate(chunks):
                who = f"wanda.Kowalska-{number}"
                headers = headers_for(who, seq, chunk.start_us, chunk.content_type, end=seq == len(chunks) - 1)
                producer.send(topic, named(chunk), key=who.encode(), headers=list(headers))
        for seq, chunk in enumerate(chunks[:3]):
            who = "jan.kowalska"
            headers = headers_for(who, seq, chunk.start_us, chunk.content_type, consent="refused")
            producer.send(topic, named(chunk), key=who.encode(), headers=list(headers))
            who = "kowalska-damaged"
            headers = headers_for(who, seq, chunk.start_us, chunk.content_type)
            body = named(chunk)
            producer.send(topic, body[: len(body) // 2] + body[-40:], key=who.encode(), headers=list(headers))
        producer.send(topic, b"Wanda Kowalska", key=b"kowalska", headers=[("who", b"kowalska")])
        producer.flush(timeout=30)
    finally:
        producer.close()


class _Collector(BaseHTTPRequestHandler):
    """Keeps what is sent to it."""

    kept: bytearray

    def do_POST(self) -> None:
        self.kept += self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextlib.contextmanager
def collector() -> Iterator[tuple[str, bytearray]]:
    """A collector of OpenTelemetry spans: its address, and what came."""
    kept = bytearray()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Collector", (_Collector,), {"kept": kept}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", kept
    finally:
        server.shutdown()


def configured(folder: Path, broker: Broker, topic: str, triton: str, spans: str) -> Path:
    config = runs.tree(folder, [], windows={"idle_s": 3600.0})
    config["source"] = {
        "kafka": {"bootstrap": broker.bootstrap, "topic": topic, "group": topic, "session_timeout_s": 6}
    }
    key = folder / "letters.key"
    key.touch(mode=0o600)
    key.write_bytes(base64.b64encode(bytes(range(32))))
    config |= {
        "serving": {
            "backend": "triton",
            "triton": {"url": triton},
            "threads": 1,
            "retries": 20,
            "deadline_s": runs.PATIENCE_S,
        },
        "dead_letter": {"path": str(folder / "letters"), "encryption_key": f"file:{key}"},
        "redact": {"films": True},
        "tracing": {"endpoint": spans, "sample_share": 1.0},
        "runtime": {
            "engine": "ray",
            "workers": 2,
            "worker_cpus": 0.5,
            "log_level": "debug",
            "metrics_port": METRICS_PORTS[0],
        },
    }
    config["sink"] |= {"roll_chunks": 4, "idle_flush_s": 1}
    return runs.write_config(folder, config)


def allow_core_dumps() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


class Watched:
    """A run in a working directory and with temporary folders of its own; metrics are read while it works."""

    def __init__(self, config: Path, folder: Path, ray: Path, model: Model):
        for name in ("tmp", "cwd"):
            (folder / name).mkdir()
        self._model = model
        self._log, self._metrics = (folder / "log").open("ab"), folder / "metrics"
        self.commits = config.parent / "data" / "_commits"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamfx", "run", str(config), "--until-idle", "6s"],
            stdout=self._log,
            stderr=self._log,
            cwd=folder / "cwd",
            env={**os.environ, "TMPDIR": str(folder / "tmp"), "RAY_TMPDIR": str(ray)},
            preexec_fn=allow_core_dumps,
        )

    def wait_for_commits(self, more: int) -> None:
        """Wait until there are that many more entries in the log."""
        wanted = len(list(self.commits.glob("*/*/*.json"))) + more
        while len(list(self.commits.glob("*/*/*.json"))) < wanted:
            assert self.process.poll() is None, "the run has ended before it was disturbed"
            self._look()

    def end(self) -> int:
        """Wait for the end."""
        while self.process.poll() is None:
            self._look()
        self._log.close()
        return self.process.returncode

    def strike(self, number: signal.Signals) -> None:
        """Send a signal to one worker."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "WorkerActor" in " ".join(child.cmdline()):
                    child.send_signal(number)
                    return
        raise AssertionError("no worker is running")

    def _look(self) -> None:
        self._model.tend()
        with self._metrics.open("ab") as out:
            for port in METRICS_PORTS:
                with (
                    contextlib.suppress(OSError),
                    urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=2) as page,
                ):
                    out.write(page.read())
        time.sleep(0.2)


@pytest.mark.kafka
@pytest.mark.ray
@pytest.mark.triton
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_of_a_face_a_voice_or_a_name_is_left_whatever_fails(
    tmp_path: Path, broker: Broker, chunks: list[CutChunk], pieces: Pieces
) -> None:
    require_triton()
    topic, ray = broker.create_topic(partitions=4), Path(tempfile.mkdtemp(prefix="sfx-ray-"))
    feed(broker, topic, chunks)
    (tmp_path / "model").mkdir()
    before, model = set(Path("/dev/shm").iterdir()), Model(tmp_path / "model")
    try:
        with collector() as (address, spans):
            config = configured(tmp_path, broker, topic, model.url, address)
            run = Watched(config, tmp_path, ray, model)
            run.wait_for_commits(1)
            run.strike(signal.SIGABRT)
            run.wait_for_commits(1)
            model.kill()
            time.sleep(2)
            model.start()
            run.wait_for_commits(1)
            run.strike(signal.SIGKILL)
            assert run.end() == 0, (tmp_path / "log").read_text()[-3000:]
            (tmp_path / "spans").write_bytes(spans)
        left = [
            path for path in set(Path("/dev/shm").iterdir()) - before if not path.name.startswith("streamfx-triton-")
        ]
    finally:
        model.close()
    left += set(Path("/dev/shm").glob("streamfx-triton-*")) - before
    assert runs.fates(tmp_path / "data") == {
        "processed": STREAMS * len(chunks),
        "refused:consent_refused": 3,
        "undecodable:truncated": 3,
        "undecodable:header_missing": 1,
    }
    assert runs.rows(tmp_path / "data", "windows") and runs.rows(tmp_path / "data", "films")
    places = ["data", "letters", "log", "metrics", "spans", "tmp", "cwd", "model/triton.log"]
    for place in ("log", "metrics", "spans", "letters"):
        assert traces({"anything": b"a"}, [tmp_path / place]), f"{place} has nothing in it to be searched"
    looked_at = [*(tmp_path / place for place in places), texts(tmp_path / "data", tmp_path / "texts"), ray, *left]
    assert traces(pieces, looked_at) == []
    shutil.rmtree(ray)
