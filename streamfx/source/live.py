"""Publishes a live input: reconnects when it is lost, marks gaps, and limits how much may wait for Kafka.

A gap is marked by an end mark, which is a last chunk without a body. It closes the stream's open windows, so that no
window spans the gap, and the stream continues with the next number. An end mark is sent at the start (an earlier run
may have left windows open), where a connection is lost, where chunks were dropped, and at the end. A mark that
replaces dropped chunks has the number of the first one. The numbers of the others are not used, so readers count them
as missing.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from streamfx.errors import BrokerUnavailable, SourceError
from streamfx.media.chunk_writer import CONTENT_TYPE
from streamfx.media.live import KeyframesTooRare, LiveInput, LivePiece, waits_for_sender
from streamfx.media.sound_track import SoundChoice
from streamfx.media.tracks import VideoTrack
from streamfx.records import MICROSECONDS
from streamfx.source.chunk import Consent, headers_for
from streamfx.source.publish import Destination
from streamfx.source.streams import StreamChunk

log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.5


@dataclass(slots=True)
class LivePublished:
    """What became of a live input: numbers of chunks, bytes of media, marked gaps, and openings after the first."""

    chunks: int = 0
    media_bytes: int = 0
    dropped: int = 0
    gaps: int = 0
    reconnects: int = 0


class LiveMetrics:
    """Prometheus metrics of one publisher, in a registry of its own, and the same counts as plain numbers in `totals`:
    metrics are only written here."""

    def __init__(self) -> None:
        self.totals = LivePublished()
        registry = self.registry = CollectorRegistry()
        self.chunks = Counter(
            "streamfx_publish_chunks", "Chunks acknowledged, end marks not counted", registry=registry
        )
        self.bytes = Counter("streamfx_publish_bytes", "Bytes of media acknowledged", registry=registry)
        self.dropped = Counter(
            "streamfx_publish_dropped_chunks", "Chunks dropped because the buffer was full", registry=registry
        )
        self.dropped_bytes = Counter("streamfx_publish_dropped_bytes", "Bytes of media dropped", registry=registry)
        self.gaps = Counter("streamfx_publish_gaps", "Interruptions of the stream that were marked", registry=registry)
        self.reconnects = Counter("streamfx_publish_reconnects", "Times the input was opened again", registry=registry)
        self.connected = Gauge("streamfx_publish_connected", "1 while pictures arrive", registry=registry)
        self.buffered = Gauge("streamfx_publish_buffered_bytes", "Bytes waiting for Kafka", registry=registry)
        self.lag_s = Gauge(
            "streamfx_publish_lag_seconds",
            "Age of the newest acknowledged picture at the time of its acknowledgement",
            registry=registry,
        )

    def count_sent(self, media_bytes: int) -> None:
        """A chunk was acknowledged."""
        self.totals.chunks += 1
        self.totals.media_bytes += media_bytes
        self.chunks.inc()
        self.bytes.inc(media_bytes)

    def count_dropped(self, media_bytes: int) -> None:
        """A chunk gave way, since the buffer was full."""
        self.totals.dropped += 1
        self.dropped.inc()
        self.dropped_bytes.inc(media_bytes)

    def count_gap(self) -> None:
        """An interruption of the stream was marked."""
        self.totals.gaps += 1
        self.gaps.inc()

    def count_reconnect(self) -> None:
        """The input is opened again."""
        self.totals.reconnects += 1
        self.reconnects.inc()


class ChunkBuffer:
    """A buffer of at most `max_bytes` between one reader and one sender. When it is full, the oldest chunk is dropped.

    The chunk that is being sent counts but is never dropped. Dropped chunks are replaced by an end mark.
    """

    def __init__(self, stream_id: str, max_bytes: int, metrics: LiveMetrics, consent: Consent | None = None):
        self._stream_id, self._max_bytes, self._metrics, self._consent = stream_id, max_bytes, metrics, consent
        self._chunks: deque[StreamChunk] = deque()
        self._sending: StreamChunk | None = None
        self._change = threading.Condition()
        self._closed = False
        self._seq = 0
        self._end_us = 0
        self._broken = True

    @property
    def held_bytes(self) -> int:
        """Bytes of media in the buffer."""
        with self._change:
            return self._bytes()

    @property
    def stored(self) -> int:
        """Number of chunks in the buffer, including end marks."""
        with self._change:
            return len(self._chunks) + (self._sending is not None)

    def put(self, piece: LivePiece) -> None:
        """Number a piece and add it without waiting. A start before the end of the last chunk is moved to that end."""
        with self._change:
            start_us = max(piece.start_us, self._end_us)
            if self._broken and self._end_us == 0:
                self._add(start_us, start_us, b"")
            elif not self._broken and not piece.joined:
                self._interrupt()
            self._broken = False
            self._add(start_us, start_us + piece.end_us - piece.start_us, piece.body)
            while self._bytes() > self._max_bytes and self._drop_oldest():
                pass
            self._metrics.buffered.set(self._bytes())

    def interrupt(self) -> None:
        """Mark an interruption of the stream, unless no chunk came since the last one."""
        with self._change:
            self._interrupt()

    def close(self) -> None:
        """Declare that nothing follows; the sender still gets what is left."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def take(self, timeout_s: float) -> StreamChunk | None:
        """The oldest chunk, which is kept and returned again until `sent`. None if there is none in time."""
        with self._change:
            if self._sending is None:
                self._change.wait_for(lambda: self._chunks or self._closed, timeout_s)
                self._sending = self._chunks.popleft() if self._chunks else None
            return self._sending

    def sent(self) -> None:
        """Declare that the taken chunk is stored durably."""
        with self._change:
            self._sending = None
            self._metrics.buffered.set(self._bytes())

    @property
    def finished(self) -> bool:
        """Whether the buffer is closed and nothing is left."""
        with self._change:
            return self._closed and not self._chunks and self._sending is None

    def _bytes(self) -> int:
        return sum(len(chunk.body) for chunk in self._chunks) + len(self._sending.body if self._sending else b"")

    def _interrupt(self) -> None:
        if not self._broken:
            self._broken = True
            self._metrics.count_gap()
            self._add(self._end_us, self._end_us, b"")

    def _add(self, start_us: int, end_us: int, body: bytes) -> None:
        self._chunks.append(self._chunk(self._seq, start_us, end_us, body))
        self._seq += 1
        self._end_us = end_us
        self._change.notify_all()

    def _chunk(self, seq: int, start_us: int, end_us: int, body: bytes) -> StreamChunk:
        headers = headers_for(self._stream_id, seq, start_us, CONTENT_TYPE, end=not body, consent=self._consent)
        return StreamChunk(seq, start_us, end_us, headers, body)

    def _drop_oldest(self) -> bool:
        """Replace the oldest chunk and the marks next to it by one end mark. Returns False if there is no chunk."""
        marks: list[StreamChunk] = []
        while self._chunks and not self._chunks[0].body:
            marks.append(self._chunks.popleft())
        if not self._chunks:
            self._chunks.extend(marks)
            return False
        oldest = self._chunks.popleft()
        while self._chunks and not self._chunks[0].body:
            marks.append(self._chunks.popleft())
        # The mark gets the lowest number and time, because a reader closes its windows at the mark, whatever follows.
        first = min([oldest, *marks], key=lambda chunk: chunk.seq)
        self._chunks.appendleft(self._chunk(first.seq, first.start_us, first.start_us, b""))
        if not marks:
            self._metrics.count_gap()
        self._metrics.count_dropped(len(oldest.body))
        return True


def publish_live(
    url: str,
    open_destination: Callable[[], Destination],
    stop: threading.Event,
    *,
    stream_id: str,
    chunk_s: float = 2.0,
    consent: Consent | None = None,
    track: VideoTrack = "auto",
    reconnect_max_s: float = 30.0,
    buffer_bytes: int = 64 << 20,
    metrics: LiveMetrics | None = None,
    sound_track: SoundChoice = "auto",
) -> LivePublished:
    """Publish a live input until `stop` is set, then send what is left and return.

    `track` is the number of the video track, as `pick_video` counts. A lost input is opened again after a pause that
    doubles up to `reconnect_max_s`. After a lost broker the same applies, and the chunk is sent again. Every chunk is
    acknowledged before the next one is sent. Raises SourceError for errors that a retry cannot solve (no such topic, a
    chunk that is too large), and if the broker is unavailable when publishing should end.
    """
    metrics = metrics or LiveMetrics()
    buffer = ChunkBuffer(stream_id, buffer_bytes, metrics, consent)
    with ThreadPoolExecutor(1, "live-reader") as pool:
        chunk_us = round(chunk_s * MICROSECONDS)
        reading = pool.submit(
            _read, url, chunk_us, buffer_bytes, track, buffer, stop, reconnect_max_s, metrics, sound_track
        )
        try:
            _send(buffer, open_destination, stream_id, stop, reconnect_max_s, metrics)
        finally:
            stop.set()
        reading.result()
    return metrics.totals


def backoff_s(failures: int, most_s: float) -> float:
    """Seconds to wait after this number of consecutive failures: doubling from FIRST_WAIT_S up to `most_s`.

    The time is reduced at random by up to one half, so that many publishers do not all reconnect at once.
    """
    return min(most_s, FIRST_WAIT_S * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)


def _read(
    url: str,
    chunk_us: int,
    max_bytes: int,
    track: VideoTrack,
    buffer: ChunkBuffer,
    stop: threading.Event,
    reconnect_max_s: float,
    metrics: LiveMetrics,
    sound_track: SoundChoice,
) -> None:
    """Runs in the reader's thread, which opens one connection after the other."""
    failures, encode = 0, False
    # When we wait for a sender, retrying costs nothing, and a longer pause would miss what it sends.
    most_s = min(FIRST_WAIT_S, reconnect_max_s) if waits_for_sender(url) else reconnect_max_s
    try:
        while not stop.is_set():
            live = LiveInput(url, chunk_us, max_bytes, stop.is_set, encode=encode, track=track, sound_track=sound_track)
            try:
                for piece in live.pieces():
                    failures = 0
                    metrics.connected.set(1)
                    buffer.put(piece)
            except KeyframesTooRare as error:
                log.warning("%s; pictures are encoded from now on", error)
                encode = True
            except SourceError as error:
                failures += 1
                log.warning("%s; trying again (consecutive failures: %d)", error, failures)
            metrics.connected.set(0)
            buffer.interrupt()
            if failures:
                stop.wait(backoff_s(failures, most_s))
            if not stop.is_set():
                metrics.count_reconnect()
    finally:
        buffer.interrupt()
        buffer.close()


def _send(
    buffer: ChunkBuffer,
    open_destination: Callable[[], Destination],
    stream_id: str,
    stop: threading.Event,
    reconnect_max_s: float,
    metrics: LiveMetrics,
) -> None:
    """Sends one chunk at a time and waits until it is acknowledged."""
    destination: Destination | None = None
    failures, noted_s = 0, time.monotonic()
    try:
        while not buffer.finished:
            try:
                if destination is None:
                    destination = open_destination()
                    destination.open(stream_id)
                chunk = buffer.take(1.0)
                if chunk is None:
                    continue
                destination.put(stream_id, chunk)
                destination.flush()
            except BrokerUnavailable as error:
                if stop.is_set():
                    raise SourceError(f"{buffer.stored} chunks could not be sent: {error}") from error
                failures += 1
                log.warning("%s; trying again, with %d MiB waiting", error, buffer.held_bytes >> 20)
                if destination is not None:
                    destination.close()
                    destination = None
                stop.wait(backoff_s(failures, reconnect_max_s))
                continue
            failures = 0
            buffer.sent()
            _count(chunk, metrics)
            if time.monotonic() - noted_s > 60:
                noted_s = time.monotonic()
                _note(metrics.totals)
    finally:
        if destination is not None:
            destination.close()


def _count(chunk: StreamChunk, metrics: LiveMetrics) -> None:
    if chunk.body:
        metrics.count_sent(len(chunk.body))
        metrics.lag_s.set(time.time() - chunk.end_us / MICROSECONDS)


def _note(totals: LivePublished) -> None:
    log.info(
        "%d chunks, %.1f MB sent, %d dropped, %d gaps, %d reconnects",
        totals.chunks,
        totals.media_bytes / 1e6,
        totals.dropped,
        totals.gaps,
        totals.reconnects,
    )
