"""Publishing: the chunks that are cut are sent, inputs advance side by side, and failures are reported."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from helpers.kafka import Broker, wait_until

from streamfx.cli.publish import publish as publish_command
from streamfx.config.source import ClaimCheck
from streamfx.errors import BadChunk, ConfigError, SourceError
from streamfx.records import CLAIM_CHECK_TYPE, Chunk, Partition
from streamfx.source.chunk import parse_record
from streamfx.source.claim_check import ClaimCheckReader
from streamfx.source.kafka import KafkaSource
from streamfx.source.kafka_client import ask_topic, create_topic
from streamfx.source.publish import FolderDestination, KafkaDestination, publish
from streamfx.source.streams import StreamChunk

START_US = 1_769_860_800_000_000


class Collected:
    """A destination that stores its chunks with the times at which they came."""

    def __init__(self) -> None:
        self.chunks: list[tuple[str, StreamChunk]] = []
        self.times: list[float] = []
        self.flushed = False

    def open(self, stream_id: str) -> None:
        pass

    def put(self, stream_id: str, chunk: StreamChunk) -> bool:
        self.chunks.append((stream_id, chunk))
        self.times.append(time.monotonic())
        return False

    def flush(self) -> None:
        self.flushed = True

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two noisy videos of 3 s with one keyframe per second."""
    folder = tmp_path_factory.mktemp("videos")
    noise = np.random.default_rng(1)
    for name in ("hall", "door"):
        with av.open(str(folder / f"{name}.mp4"), "w") as container:
            track = container.add_stream("libx264", rate=10, options={"g": "10", "bf": "0", "preset": "ultrafast"})
            track.width = track.height = 96
            track.pix_fmt = "yuv420p"
            for _ in range(30):
                picture = noise.integers(0, 256, (96, 96, 3), dtype=np.uint8)
                container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(track.encode(None))
    return folder


def read_topic(broker: Broker, topic: str, count: int, claims: ClaimCheck | None = None) -> list[Chunk]:
    """The chunks of a topic, read through the source."""
    reader = ClaimCheckReader(claims or ClaimCheck())
    with closing(KafkaSource(broker.settings(topic))) as source:

        def assigned(partitions: Sequence[Partition]) -> None:
            for partition in partitions:
                source.seek(partition, 0)

        source.subscribe(assigned, lambda partitions, lost: None)
        chunks: list[Chunk] = []

        def step() -> bool:
            chunks.extend(parse_record(record, reader) for record in source.poll(0.05))
            return len(chunks) >= count

        wait_until(step, f"{count} chunks came")
    return chunks


def test_several_inputs_advance_side_by_side(videos: Path) -> None:
    collected = Collected()
    done = publish([videos], collected, chunk_s=1.0)
    assert (done.streams, done.chunks, done.claim_checks) == (2, 6, 0)
    assert done.media_bytes == sum(len(chunk.body) for _, chunk in collected.chunks)
    assert collected.flushed
    order = [chunk.seq for _, chunk in collected.chunks]
    assert order == sorted(order)
    assert {name for name, _ in collected.chunks} == {"hall", "door"}


def test_in_real_time_no_chunk_comes_before_its_last_frame_was_filmed(videos: Path) -> None:
    collected = Collected()
    began = time.monotonic()
    publish([videos / "hall.mp4"], collected, chunk_s=1.0, realtime=True)
    assert all(at - began >= chunk.seq + 1 for at, (_, chunk) in zip(collected.times, collected.chunks, strict=True))


def test_a_stream_id_start_and_consent_can_be_given(videos: Path) -> None:
    collected = Collected()
    publish([videos / "hall.mp4"], collected, chunk_s=1.0, start_us=START_US, stream_id="Straße/1", consent="granted")
    headers = [dict(chunk.headers) for _, chunk in collected.chunks]
    assert {header["streamfx-stream-id"].decode() for header in headers} == {"Straße/1"}
    assert {header["streamfx-consent"] for header in headers} == {b"granted"}
    assert headers[1]["streamfx-start-us"] == str(START_US + 1_000_000).encode()
    assert [header.get("streamfx-end") for header in headers] == [None, None, b"1"]


def test_settings_that_do_not_apply_to_the_inputs_are_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one video, and there are 2"):
        publish([videos], Collected(), stream_id="both")
    publish([videos], FolderDestination(tmp_path), chunk_s=1.0)
    with pytest.raises(ConfigError, match="contains chunks, whose headers set"):
        publish([tmp_path], Collected(), consent="granted")


@pytest.mark.parametrize("stream_id", ["..", ".", "a/b", "../up", "Straße 1", "%2E"])
def test_every_stream_id_gets_its_own_folder_inside_the_destination(
    videos: Path, tmp_path: Path, stream_id: str
) -> None:
    root = tmp_path / "root"
    publish([videos / "hall.mp4"], FolderDestination(root), chunk_s=1.0, stream_id=stream_id)
    (folder,) = root.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{seq}.{suffix}" for seq, suffix in itertools.product(range(3), ("json", "mp4"))
    )
    assert json.loads((folder / "0.json").read_text())["streamfx-stream-id"] == stream_id
    assert {path.name for path in tmp_path.iterdir()} == {"root"}
    with pytest.raises(SourceError, match="not empty"):
        publish([videos / "hall.mp4"], FolderDestination(root), stream_id=stream_id)


def test_chunks_in_folders_are_published_unchanged(videos: Path, tmp_path: Path) -> None:
    cut, again = Collected(), Collected()
    publish([videos], cut, chunk_s=1.0, consent="granted")
    publish([videos], FolderDestination(tmp_path), chunk_s=1.0, consent="granted")
    publish([tmp_path], again)

    def content(collected: Collected) -> list[tuple[object, ...]]:
        return sorted((name, chunk.seq, chunk.headers, chunk.body) for name, chunk in collected.chunks)

    assert content(again) == content(cut)


def test_the_command_reports_what_it_did_and_what_it_needs(videos: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(publish_command, [str(videos), "--to", str(tmp_path / "out"), "--chunk-s", "1"])
    assert done.exit_code == 0, done.output
    assert "published 6 chunks of 2 streams" in done.output
    for arguments, message in (
        ([], "expected a destination"),
        (["--to", "x", "--topic", "t"], "none of the options for Kafka"),
    ):
        wrong = runner.invoke(publish_command, [str(videos), *arguments])
        assert wrong.exit_code == 2 and message in wrong.output


@pytest.mark.kafka
def test_the_consumed_chunks_are_the_ones_that_were_cut(broker: Broker, videos: Path) -> None:
    topic = f"test-{uuid.uuid4().hex[:12]}"
    arguments = [
        str(videos),
        "--topic",
        topic,
        "--bootstrap",
        broker.bootstrap,
        "--create-topic",
        "3",
        "--chunk-s",
        "1",
    ]
    done = CliRunner().invoke(publish_command, arguments)
    assert done.exit_code == 0, done.output
    facts = ask_topic(broker.settings(topic), topic)
    assert facts.stamped_on_append and facts.partitions == 3
    cut = Collected()
    publish([videos], cut, chunk_s=1.0)
    chunks = read_topic(broker, topic, 6)
    assert sorted((c.stream_id, c.seq, c.body, c.end) for c in chunks) == sorted(
        (name, chunk.seq, chunk.body, chunk.seq == 2) for name, chunk in cut.chunks
    )
    for name in ("hall", "door"):
        mine = [chunk for chunk in chunks if chunk.stream_id == name]
        assert len({chunk.partition for chunk in mine}) == 1
        assert [chunk.seq for chunk in mine] == [0, 1, 2]


@pytest.mark.kafka
def test_a_chunk_too_large_for_the_topic_becomes_a_claim_check(broker: Broker, videos: Path, tmp_path: Path) -> None:
    topic = broker.create_topic(**{"max.message.bytes": "4000"})
    with (
        closing(KafkaDestination(broker.settings(topic))) as nowhere,
        pytest.raises(SourceError, match="--claim-check-dir"),
    ):
        publish([videos / "hall.mp4"], nowhere, chunk_s=1.0)
    with closing(KafkaDestination(broker.settings(topic), str(tmp_path / "claims"))) as destination:
        done = publish([videos / "hall.mp4"], destination, chunk_s=1.0)
    assert done.claim_checks == 3
    cut = Collected()
    publish([videos / "hall.mp4"], cut, chunk_s=1.0)
    chunks = read_topic(broker, topic, 3, ClaimCheck(allowed_prefixes=[str(tmp_path / "claims")]))
    assert [chunk.body for chunk in chunks] == [chunk.body for _, chunk in cut.chunks]
    assert {chunk.content_type for chunk in chunks} == {"video/mp4"}
    assert CLAIM_CHECK_TYPE not in {chunk.content_type for chunk in chunks}
    with pytest.raises(BadChunk, match="claim_check_forbidden"):
        read_topic(broker, topic, 3)


@pytest.mark.kafka
def test_an_existing_topic_is_used_if_it_is_as_requested(broker: Broker) -> None:
    topic = broker.create_topic(partitions=2)
    create_topic(broker.settings(topic), topic, 2)
    with pytest.raises(SourceError, match="already exists, with 2 partitions"):
        create_topic(broker.settings(topic), topic, 3)
    unstamped = broker.create_topic(append_time=False)
    with pytest.raises(SourceError, match="creation times"):
        create_topic(broker.settings(unstamped), unstamped, 1)
