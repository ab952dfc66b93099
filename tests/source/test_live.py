"""Live inputs: pictures of real local senders are published in chunks, gaps are marked, and memory is bounded."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import av
import pytest
from click.testing import CliRunner
from helpers.camera import filming
from helpers.kafka import Broker, wait_until
from helpers.ports import free_port
from helpers.runs import PATIENCE_S
from hypothesis import given
from hypothesis import strategies as st

from streamfx.cli.main import main
from streamfx.cli.publish import publish as publish_command
from streamfx.config.media import Media
from streamfx.errors import BrokerUnavailable, SourceError
from streamfx.media.decode import decode
from streamfx.media.live import LivePiece, is_live, shown, waits_for_sender
from streamfx.runtime.metrics import serve
from streamfx.source.live import ChunkBuffer, LiveMetrics, LivePublished, backoff_s, publish_live
from streamfx.source.publish import FolderDestination, KafkaDestination
from streamfx.source.streams import StreamChunk

MEDIA = Media()


class Kept:
    """A destination that stores its chunks; while `gate` is closed it accepts nothing."""

    def __init__(self) -> None:
        self.chunks: list[StreamChunk] = []
        self.gate = threading.Event()
        self.gate.set()

    def open(self, stream_id: str) -> None:
        pass

    def put(self, stream_id: str, chunk: StreamChunk) -> bool:
        self.gate.wait()
        self.chunks.append(chunk)
        return False

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def bodies(self) -> list[StreamChunk]:
        return [chunk for chunk in self.chunks if chunk.body]

    def marks(self) -> list[StreamChunk]:
        return [chunk for chunk in self.chunks if dict(chunk.headers).get("streamfx-end") == b"1"]


class Running:
    """A live publisher that runs in a thread."""

    def __init__(self, url: str, kept: Kept, buffer_bytes: int):
        self.kept, self.metrics, self.stop = kept, LiveMetrics(), threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._done: Future[LivePublished] = self._pool.submit(
            publish_live, url, lambda: kept, self.stop, stream_id="hall", chunk_s=1.0, reconnect_max_s=0.2,
            buffer_bytes=buffer_bytes, metrics=self.metrics,
        )  # fmt: skip

    def value(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"streamfx_publish_{name}") or 0.0

    def end(self) -> LivePublished:
        self.stop.set()
        self.kept.gate.set()
        return self._done.result(timeout=PATIENCE_S)


@contextmanager
def publishing(url: str, kept: Kept, buffer_bytes: int = 64 << 20) -> Iterator[Running]:
    running = Running(url, kept, buffer_bytes)
    try:
        yield running
    finally:
        running.stop.set()
        kept.gate.set()


def shades(chunk: StreamChunk) -> list[int]:
    """The numbers (modulo 50) that a chunk's pictures show."""
    with av.open(io.BytesIO(chunk.body)) as container:
        pictures = [frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)]
    return [round((float(picture.mean()) - 16) / 4) for picture in pictures]


def follow(numbers: list[int]) -> bool:
    """Whether the numbers are consecutive, so that no picture of the sender is missing."""
    return all(after == (before + 1) % 50 for before, after in pairwise(numbers))


def chunks_come(kept: Kept, count: int) -> Callable[[], bool]:
    return lambda: len(kept.bodies()) >= count


def address(scheme: str, port: int) -> tuple[str, str]:
    """The URL that is published, and the URL to which the camera sends."""
    if scheme == "udp":
        return f"udp://127.0.0.1:{port}", f"udp://127.0.0.1:{port}?pkt_size=1316"
    if scheme == "tcp":
        return f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}?listen=1"
    return f"rtsp://viewer:secret@127.0.0.1:{port}/door", f"rtsp://127.0.0.1:{port}/door"


@pytest.mark.parametrize("scheme", ["udp", "tcp", "rtsp"])
def test_a_cameras_pictures_are_published_in_chunks_that_join(scheme: str) -> None:
    url, camera = address(scheme, free_port())
    kept, before_us = Kept(), time.time_ns() // 1000
    with filming(camera), publishing(url, kept) as running:
        wait_until(chunks_come(kept, 3), "three chunks came")
        done = running.end()
    first, *_ = kept.chunks
    assert not first.body and first in kept.marks(), "windows of an earlier run are closed"
    assert [chunk.seq for chunk in kept.chunks] == list(range(len(kept.chunks)))
    whole = kept.bodies()
    assert whole[0].start_us >= before_us and whole[-1].end_us <= time.time_ns() // 1000 + 1_000_000
    assert all(a.end_us == b.start_us for a, b in pairwise(whole))
    assert follow([number for chunk in whole for number in shades(chunk)])
    sound = [decode(chunk.body, chunk.start_us, MEDIA).sound for chunk in whole[1:3]]
    assert all((piece is not None) == (scheme != "rtsp") for piece in sound)
    assert kept.marks()[-1] is kept.chunks[-1]
    assert (done.chunks, done.dropped, done.media_bytes) == (len(whole), 0, sum(len(c.body) for c in whole))


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_a_camera_that_reconnects_leaves_a_marked_gap(scheme: str) -> None:
    url, camera = address(scheme, free_port())
    kept = Kept()
    with publishing(url, kept) as running:
        with filming(camera):
            wait_until(chunks_come(kept, 2), "two chunks came")
        wait_until(lambda: len(kept.marks()) == 2, "the gap is marked while the camera is away")
        before = list(kept.chunks)
        back_us = time.time_ns() // 1000
        with filming(camera, shade=25):
            wait_until(chunks_come(kept, len([c for c in before if c.body]) + 2), "two more chunks came")
            done = running.end()
    assert [chunk.seq for chunk in kept.chunks] == list(range(len(kept.chunks))), "the numbers go on"
    assert not before[-1].body and before[-1].start_us == before[-2].end_us
    assert follow([number for chunk in before if chunk.body for number in shades(chunk)]), "all before the gap is there"
    after = [chunk for chunk in kept.bodies() if chunk not in before]
    assert after[0].start_us >= back_us
    assert follow([number for chunk in after for number in shades(chunk)])
    assert all(a.end_us <= b.start_us for a, b in pairwise(kept.chunks))
    assert done.gaps == 2 and done.reconnects >= 1


def test_a_destination_that_blocks_costs_the_oldest_chunks_but_no_memory() -> None:
    url, camera = address("tcp", free_port())
    kept, bound = Kept(), 40_000
    with filming(camera), publishing(url, kept, bound) as running:
        wait_until(chunks_come(kept, 1), "a chunk came")
        kept.gate.clear()
        most = 0.0

        def dropped() -> bool:
            nonlocal most
            most = max(most, running.value("buffered_bytes"))
            return running.value("dropped_chunks_total") >= 2

        wait_until(dropped, "chunks were dropped")
        kept.gate.set()
        got = len(kept.bodies())
        wait_until(chunks_come(kept, got + 2), "it goes on")
        done = running.end()
    assert 0 < most <= bound
    seqs = [chunk.seq for chunk in kept.chunks]
    assert seqs == sorted(set(seqs)) and len(seqs) == seqs[-1] + 1 - (done.dropped - 1)
    assert done.dropped >= 2 and done.gaps == 2
    assert all(a.end_us <= b.start_us for a, b in pairwise(kept.chunks))


def test_garbage_is_refused_repeatedly_and_a_later_camera_is_accepted(caplog: pytest.LogCaptureFixture) -> None:
    port, kept = free_port(), Kept()
    url, camera = address("tcp", port)
    with publishing(url, kept) as running:
        with socket.create_server(("127.0.0.1", port)) as server:
            for _ in range(2):
                connection, _ = server.accept()
                connection.sendall(b"no video at all\n" * 4000)
                connection.close()
        assert not kept.chunks
        with filming(camera):
            wait_until(chunks_come(kept, 1), "a chunk came")
            done = running.end()
    assert done.reconnects >= 2
    assert f"tcp://127.0.0.1:{port}: Invalid data" in caplog.text
    assert "hall" not in caplog.text


def test_a_broker_that_was_unavailable_gets_the_same_chunk_again() -> None:
    url, camera = address("udp", free_port())

    class Fails(Kept):
        fails = 2

        def flush(self) -> None:
            if len(self.chunks) == 2 and self.fails:
                self.fails -= 1
                self.chunks.pop()
                raise BrokerUnavailable("no broker")

    kept = Fails()
    with filming(camera), publishing(url, kept) as running:
        wait_until(chunks_come(kept, 2), "two chunks came")
        running.end()
    assert kept.fails == 0
    assert [chunk.seq for chunk in kept.chunks] == list(range(len(kept.chunks)))


def test_a_permanent_error_ends_publishing_before_a_picture_comes() -> None:
    def refuse() -> KafkaDestination:
        raise SourceError("there is no topic")

    url, _ = address("tcp", free_port())
    with pytest.raises(SourceError, match="no topic"):
        publish_live(url, refuse, threading.Event(), stream_id="hall")


def piece(start_us: int, length_us: int, size: int, joined: bool) -> LivePiece:
    return LivePiece(start_us, start_us + length_us, bytes([1]) * size, joined)


@given(
    st.lists(st.tuples(st.sampled_from("ptsi"), st.integers(0, 100), st.integers(1, 60), st.booleans()), max_size=60)
)
def test_the_buffer_keeps_its_limit_and_order_and_marks_every_gap(steps: list[tuple[str, int, int, bool]]) -> None:
    """Steps: p, a piece arrives; t, the sender takes one; s, it is sent; i, the input is interrupted."""
    metrics = LiveMetrics()
    buffer, sent, holding = ChunkBuffer("hall", 100, metrics), [], None
    pieces = end_us = 0
    for step, start_us, size, joined in steps:
        if step == "p":
            start_us = end_us if joined else start_us
            buffer.put(piece(start_us, 10, size, joined))
            pieces, end_us = pieces + 1, start_us + 10
        elif step == "i":
            buffer.interrupt()
        elif step == "t":
            holding = buffer.take(0)
        elif holding is not None:
            sent.append(holding)
            buffer.sent()
            holding = None
        assert buffer.held_bytes <= 100 or buffer.stored == 1
    buffer.interrupt()
    buffer.close()
    while (rest := buffer.take(0)) is not None:
        sent.append(rest)
        buffer.sent()
    assert buffer.finished
    for before, after in pairwise(sent):
        assert before.seq < after.seq and before.end_us <= after.start_us
        assert after.seq == before.seq + 1 or not before.body, "a number is left out only after a mark"
        assert not after.body or not before.body or before.end_us == after.start_us, "a hole without a mark"
    whole = sum(1 for chunk in sent if chunk.body)
    assert whole + round(metrics.registry.get_sample_value("streamfx_publish_dropped_chunks_total") or 0) == pieces
    assert not sent or (not sent[0].body and not sent[-1].body)


@given(st.integers(1, 10_000), st.floats(0.1, 3600))
def test_the_wait_grows_and_is_bounded(failures: int, most_s: float) -> None:
    wait_s = backoff_s(failures, most_s)
    assert 0 < wait_s <= most_s
    assert failures < 20 or wait_s >= most_s / 2


def test_a_url_is_logged_without_its_secrets() -> None:
    assert shown("rtsp://user:pass@10.0.0.7:554/ward-3?token=x") == "rtsp://10.0.0.7:554"
    assert shown("rtsp://user:12#34@10.0.0.7/ward-3") == "rtsp://…"
    assert waits_for_sender("udp://0.0.0.0:5000") and waits_for_sender("tcp://0.0.0.0:5000?listen=1")
    assert not waits_for_sender("tcp://camera:5000") and not waits_for_sender("/dev/video0")
    assert not is_live("clips/door.mp4") and is_live("/dev/video0") and not is_live("file:///etc/passwd")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["udp://127.0.0.1:9"], "--stream-id"),
        (["udp://127.0.0.1:9", "a.mp4", "--stream-id", "x"], "alone"),
        (["file:///etc/passwd", "--stream-id", "x"], "file://"),
        (["RTSP://camera/x", "--stream-id", "x"], "RTSP:// is not a scheme"),
        (["udp://127.0.0.1:9", "--stream-id", "x", "--realtime"], "own time"),
    ],
)
def test_a_wrong_command_is_refused(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(publish_command, [*arguments, "--to", str(tmp_path)])
    assert done.exit_code == 2 and says in done.output


@pytest.mark.parametrize(
    "url", ["rtsp://[::1/x", "http://[x/", "rtsp://user:s3#cret@10.0.0.7/x", "tcp://", "udp://host", "tcp://host:0"]
)
def test_a_url_that_cannot_be_read_is_refused_without_being_repeated(url: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["publish", url, "--stream-id", "x", "--to", str(tmp_path)])
    assert done.exit_code == 1 and done.output.startswith("Error: the live input's URL cannot be read")
    assert "s3" not in done.output


@pytest.mark.parametrize("option", ["--chunk-s", "--reconnect-max-s"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_length_that_is_not_a_number_is_refused(option: str, value: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        publish_command, ["udp://127.0.0.1:9", "--stream-id", "x", "--to", str(tmp_path), option, value]
    )
    assert done.exit_code == 2 and option in done.output


def test_a_metrics_port_in_use_does_not_end_publishing(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        port = holder.getsockname()[1]
        serve(range(port, port + 1), LiveMetrics().registry, "--metrics-port")
    assert "(--metrics-port): Address already in use" in caplog.text


def test_chunks_in_a_folder_are_a_stream_with_its_marks(tmp_path: Path) -> None:
    with closing(FolderDestination(tmp_path)) as folder:
        folder.open("hall")
        buffer = ChunkBuffer("hall", 1000, LiveMetrics())
        buffer.put(piece(5, 10, 3, False))
        buffer.interrupt()
        while (chunk := buffer.take(0)) is not None:
            folder.put("hall", chunk)
            buffer.sent()
    assert sorted(path.name for path in (tmp_path / "hall").glob("*.mp4")) == ["0.mp4", "1.mp4", "2.mp4"]


@pytest.mark.kafka
def test_a_camera_into_kafka(broker: Broker) -> None:
    from source.test_publish import read_topic

    from streamfx.source.kafka_client import create_topic

    topic = f"live-{time.time_ns()}"
    kafka = broker.settings(topic)
    create_topic(kafka, topic, 1)
    url, camera = address("udp", free_port())
    stop = threading.Event()
    with filming(camera), ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            publish_live, url, lambda: KafkaDestination(kafka), stop, stream_id="hall", chunk_s=1.0, consent="granted"
        )
        try:
            chunks = read_topic(broker, topic, 3)
        finally:
            stop.set()
        done = running.result(timeout=PATIENCE_S)
    assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.consent for chunk in chunks} == {"granted"}
    every = read_topic(broker, topic, done.chunks + 2)
    assert every[-1].end and not every[-1].body


def test_sigterm_ends_publishing_with_everything_written(tmp_path: Path) -> None:
    url, camera = address("udp", free_port())
    command = [
        sys.executable,
        "-m",
        "streamfx",
        "publish",
        "--stream-id",
        "hall",
        "--chunk-s",
        "1",
        "--to",
        str(tmp_path),
    ]
    environment = os.environ | {"STREAMFX_PUBLISH_INPUT": url}
    with filming(camera):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        try:
            wait_until(lambda: (tmp_path / "hall" / "2.json").exists(), "two chunks are there")
            process.terminate()
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 0, err
    headers = [json.loads(file.read_text()) for file in (tmp_path / "hall").glob("*.json")]
    last = max(headers, key=lambda header: int(header["streamfx-seq"]))
    assert last["streamfx-end"] == "1"
    assert f"published {len(headers) - 2} chunks" in out and "0 dropped, 1 gaps" in out
    assert "hall" not in err
