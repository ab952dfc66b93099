"""Publishes videos, cut into chunks, to a Kafka topic or to folders; several videos are published side by side."""

from __future__ import annotations

import heapq
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from streamfx.config.source import KafkaSection
from streamfx.errors import SourceError
from streamfx.media.sound_track import SoundChoice
from streamfx.media.tracks import VideoTrack
from streamfx.records import CLAIM_CHECK_TYPE, MICROSECONDS
from streamfx.source.chunk import CONTENT_TYPE, END, Consent, Headers
from streamfx.source.claim_check import ClaimCheckWriter
from streamfx.source.inputs import find_streams
from streamfx.source.kafka_client import Sender
from streamfx.source.streams import MEDIA_SUFFIXES, Stream, StreamChunk
from streamfx.terminal import ProgressBar
from streamfx.whole_files import write_whole

log = logging.getLogger(__name__)

__all__ = ["Destination", "FolderDestination", "KafkaDestination", "Published", "publish"]


@dataclass(frozen=True, slots=True)
class Published:
    """What was published: the numbers of streams, chunks and claim checks, and the bytes of media.

    `left_out` holds a sentence for each input, or part of an input, that could not be used.
    """

    streams: int
    chunks: int
    claim_checks: int
    media_bytes: int
    left_out: tuple[str, ...] = ()


class Destination(Protocol):
    """Where chunks are published to."""

    def open(self, stream_id: str) -> None:
        """Prepare for a stream. Raises SourceError if it cannot be accepted."""

    def put(self, stream_id: str, chunk: StreamChunk) -> bool:
        """Publish a chunk; returns True if it became a claim check. Raises SourceError."""

    def flush(self) -> None:
        """Wait until all chunks are stored durably. Raises SourceError."""

    def close(self) -> None:
        """Release all resources."""


class KafkaDestination:
    """A topic, with the stream id as message key. Media over the topic's limit are stored in `claim_check_dir`, a
    folder or URI prefix."""

    def __init__(self, kafka: KafkaSection, claim_check_dir: str | None = None):
        """Raises BrokerUnavailable, SourceError if there is no such topic, and ConfigError for a wrong prefix."""
        self._claims = ClaimCheckWriter(claim_check_dir) if claim_check_dir else None
        self._sender = Sender(kafka, kafka.topic)
        self._topic = kafka.topic

    def open(self, stream_id: str) -> None:
        """Does nothing, because a topic needs no preparation."""

    def put(self, stream_id: str, chunk: StreamChunk) -> bool:
        """Send a chunk, or a claim check if it is too large for a message."""
        key = stream_id.encode()
        if self._sender.fits(key, chunk.headers, chunk.body):
            self._sender.send(key, chunk.headers, chunk.body)
            return False
        if self._claims is None:
            raise SourceError(
                f"chunk {chunk.seq} has {len(chunk.body)} bytes, and the topic {self._topic} accepts messages up to "
                f"{self._sender.facts.max_message_bytes}: give --claim-check-dir, cut shorter chunks with --chunk-s, "
                "or raise the topic's max.message.bytes"
            )
        claim = self._claims.store(chunk.body, _suffix(chunk.headers))
        self._sender.send(key, _claimed(chunk.headers), claim)
        return True

    def flush(self) -> None:
        """Wait for all acknowledgements."""
        self._sender.flush()

    def close(self) -> None:
        """Disconnect."""
        self._sender.close()


class FolderDestination:
    """Folders `<stream>/<seq>.{mp4,ts}` with the headers in `<seq>.json`, which are written last."""

    def __init__(self, folder: Path):
        self._folder = folder

    def open(self, stream_id: str) -> None:
        """Create the stream's folder. Raises SourceError if it contains another run's chunks, which would be mixed."""
        place = self._place(stream_id)
        try:
            place.mkdir(parents=True, exist_ok=True)
            empty = not any(place.iterdir())
        except OSError as error:
            raise SourceError(f"cannot write to {place}: {error.strerror or error}") from error
        if not empty:
            raise SourceError(f"{place} is not empty; expected an empty folder: remove this one or choose another")

    def put(self, stream_id: str, chunk: StreamChunk) -> bool:
        """Write a chunk's media and headers."""
        place = self._place(stream_id)
        headers = {name: value.decode() for name, value in chunk.headers}
        try:
            write_whole(place / f"{chunk.seq}{_suffix(chunk.headers)}", chunk.body, durable=True)
            write_whole(place / f"{chunk.seq}.json", json.dumps(headers, ensure_ascii=False, indent=1), durable=True)
        except OSError as error:
            raise SourceError(f"cannot write to {place}: {error.strerror or error}") from error
        return False

    def flush(self) -> None:
        """Does nothing, because every chunk is already written."""

    def close(self) -> None:
        """Does nothing, because there are no resources to release."""

    def _place(self, stream_id: str) -> Path:
        name = quote(stream_id, safe=" ()+,=@[]~")
        return self._folder / (name.replace(".", "%2E") if name.strip(".") == "" else name)


def publish(
    inputs: Sequence[Path],
    destination: Destination,
    *,
    chunk_s: float = 2.0,
    start_us: int | None = None,
    stream_id: str | None = None,
    consent: Consent | None = None,
    track: VideoTrack = "auto",
    realtime: bool = False,
    progress: bool = False,
    sound_track: SoundChoice = "auto",
) -> Published:
    """Cut videos into chunks and publish them; folders of chunks are published unchanged.

    All inputs advance side by side. With `realtime`, a chunk is published when its last frame would have been filmed
    if all cameras had started now. `start_us` is the UTC time (microseconds) of the first frames, by default that of
    the container or file. `track` and `sound_track` choose the video track (as `pick_video` counts) and the sound
    track of each file. `progress` shows a bar on standard error. Files in a folder that cannot be read are left out,
    and a stream that breaks off ends with an empty last chunk. Raises SourceError, and ConfigError as `find_streams`
    does.
    """
    found = find_streams(inputs, chunk_s, start_us, stream_id, consent, track, sound_track)
    streams = [stream for stream in found if stream.usable]
    for stream in found:
        if not stream.usable:
            log.warning("left out: %s", stream.left_out[0])
    for stream in streams:
        destination.open(stream.stream_id)
    chunks = claim_checks = media_bytes = 0
    expected = sum(stream.expected_chunks() for stream in streams)
    with ProgressBar(" chunks", expected) if progress else nullcontext() as bar:
        for stream, chunk in _side_by_side(streams, _pacer() if realtime else None):
            if chunk.fault is not None and END not in dict(chunk.headers):
                continue
            claim_checks += destination.put(stream.stream_id, chunk)
            chunks += chunk.fault is None
            media_bytes += len(chunk.body)
            if bar:
                bar.update(figures=f"{media_bytes / 1e6:.1f} MB")
        destination.flush()
    left_out = tuple(sentence for stream in found for sentence in stream.left_out)
    return Published(len(streams), chunks, claim_checks, media_bytes, left_out)


def _side_by_side(
    streams: Sequence[Stream], wait_until_us: Callable[[int], None] | None
) -> Iterator[tuple[Stream, StreamChunk]]:
    """The streams' chunks, ordered by when each would be complete if all streams began together."""
    queue: list[tuple[int, int, int, StreamChunk, Iterator[StreamChunk]]] = []
    for index, stream in enumerate(streams):
        chunks = stream.chunks()
        first = next(chunks, None)
        if first is not None:
            _enqueue(queue, index, first.start_us, first, chunks)
    while queue:
        due_us, index, origin_us, chunk, chunks = heapq.heappop(queue)
        if wait_until_us:
            wait_until_us(due_us)
        yield streams[index], chunk
        following = next(chunks, None)
        if following is not None:
            _enqueue(queue, index, origin_us, following, chunks)


def _enqueue(
    queue: list[tuple[int, int, int, StreamChunk, Iterator[StreamChunk]]],
    index: int,
    origin_us: int,
    chunk: StreamChunk,
    chunks: Iterator[StreamChunk],
) -> None:
    heapq.heappush(queue, (chunk.end_us - origin_us, index, origin_us, chunk, chunks))


def _pacer() -> Callable[[int], None]:
    began = time.monotonic()

    def wait_until(due_us: int) -> None:
        time.sleep(max(0.0, began + due_us / MICROSECONDS - time.monotonic()))

    return wait_until


def _suffix(headers: Headers) -> str:
    content_type = dict(headers).get(CONTENT_TYPE, b"").decode("ascii", "replace").partition(";")[0].strip()
    return MEDIA_SUFFIXES.get(content_type, ".mp4")


def _claimed(headers: Headers) -> Headers:
    return tuple((name, CLAIM_CHECK_TYPE.encode() if name == CONTENT_TYPE else value) for name, value in headers)
