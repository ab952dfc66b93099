"""The line of one partition: record -> chunk -> segment -> faces -> windows -> scores -> rows -> commit.

It decides what becomes of each offset, holds what is not committed yet, and knows when to roll. `resume.py` brings it
back after a restart.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from streamfx.config.tree import Config
from streamfx.errors import BadChunk, StreamfxError
from streamfx.media.decode import Decoder
from streamfx.operator import FaceOperator, Operator, RedactOperator, ScoreOperator, WindowOperator
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.privacy.rows import PublicRow, Rows
from streamfx.records import Chunk, Fault, Partition, Record, Segment, TrackedFrame, Window
from streamfx.runtime.attempts import Attempts
from streamfx.runtime.metrics import Metrics
from streamfx.runtime.reload import Active
from streamfx.runtime.streams import StreamBook
from streamfx.runtime.traces import ChunkTrace, Traces
from streamfx.sink.commit import Batch, Head, PartitionWriter
from streamfx.source.chunk import parse_record
from streamfx.source.claim_check import ClaimCheckReader
from streamfx.source.dead_letter import DeadLetters

log = logging.getLogger(__name__)

NO_DEAD_LETTER = frozenset({"refused", "duplicate", "processed", "no_face"})
MOST_AHEAD_S = 86_400
"""Seconds that a chunk may begin after the broker took it. A wrong time zone stays below; a camera that has lost its clock
does not."""
_NO_PIXELS = np.empty((0,), np.uint8)
_NO_SOUND = np.empty((0,), np.float32)


@dataclass(slots=True)
class Pending:
    """What was processed since the last commit. `start` is the first offset that it covers, `end` the next to read."""

    start: int
    end: int
    records: int = 0
    bytes: int = 0
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """First and last event time of each raw stream id, UTC microseconds: streams may be years apart."""
    chunk_rows: list[PublicRow] = field(default_factory=list)
    windows: list[tuple[Window, list[Future[Mapping[str, Any]]]]] = field(default_factory=list)
    last_record: dict[str, Any] | None = None
    traces: list[ChunkTrace] = field(default_factory=list)
    since: float = 0.0
    """Monotonic time of the first record, seconds."""


@dataclass(frozen=True, slots=True)
class LineParts:
    """What a line is built from; `operators` in pipeline order."""

    active: Active
    pseudonyms: Pseudonyms
    rows: Rows
    decoder: Decoder
    claims: ClaimCheckReader
    operators: Mapping[str, Operator]
    dead_letters: DeadLetters
    metrics: Metrics
    stamped_on_append: bool
    traces: Traces = field(default_factory=Traces)

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.active.config


class PartitionLine:
    """One partition's way through the pipeline. Used by one thread; nothing in it outlives the loss of the partition."""

    def __init__(self, partition: Partition, parts: LineParts, writer: PartitionWriter, start: int):
        self.partition = partition
        self.parts = parts
        self.writer = writer
        self.book = StreamBook(parts.pseudonyms)
        operators = list(parts.operators.values())
        self.faces = next(o for o in operators if isinstance(o, FaceOperator))
        self.windows = next(o for o in operators if isinstance(o, WindowOperator))
        self.redact = next(o for o in operators if isinstance(o, RedactOperator))
        self.scorers = [o for o in operators if isinstance(o, ScoreOperator)]
        self.pending = Pending(start, start)
        self._attempts = Attempts(parts.config.sink.beside / "_attempts", partition)
        self._details: dict[str, int] = {}
        self._closed: list[Window] = []
        self.media_s = 0.0
        """Seconds of media decoded so far."""
        self._trace = ChunkTrace()
        self.busy_since_cpu_s: float | None = None
        """CPU time of the line's thread when it began with the chunk at hand; None between chunks."""
        kafka = parts.config.source.kafka
        self._max_bytes = kafka.max_chunk_bytes if kafka else None

    @property
    def next_offset(self) -> int:
        """The offset to read next."""
        return self.pending.end

    def process(self, record: Record) -> None:
        """Take the partition's next record; whatever it is, it leaves one row in `chunks`. Earlier offsets are ignored."""
        if record.offset < self.pending.end:
            return
        if self.parts.stamped_on_append:
            self._close_idle(record)
        self._trace = ChunkTrace()
        row = self._attempt(record)
        # Only now: a wait for the model server is no reason to suspect the chunk, should the worker be killed in it.
        self._submit_closed()
        self._trace.processed()
        pending = self.pending
        if not pending.records:
            pending.since = time.monotonic()
        pending.chunk_rows.append(row)
        pending.traces.append(self._trace)
        pending.end = record.offset + 1
        pending.records += 1
        pending.bytes += len(record.value)
        pending.last_record = fingerprint(record)
        self.parts.metrics.chunks.labels(row.values["fate"]).inc()

    def due(self, idle: bool) -> bool:
        """True when what is pending should be committed: by count, bytes, event time, or wall clock when `idle`."""
        sink, pending = self.parts.config.sink, self.pending
        if not pending.records:
            return False
        span_us = max((last - first for first, last in pending.spans.values()), default=0)
        return (
            pending.records >= sink.roll_chunks
            or pending.bytes >= sink.roll_bytes
            or span_us >= sink.roll_event_s * 1e6
            or (idle and time.monotonic() - pending.since >= sink.idle_flush_s)
        )

    def commit(self) -> Head | None:
        """Commit what is pending; None where there is nothing. Raises CommitLost when another writer was first."""
        pending = self.pending
        if not pending.records:
            return None
        snapshot, since_ns = self.snapshot(), time.time_ns()
        with self.parts.metrics.timed("scores"):
            for scorer in self.scorers:
                scorer.flush()
            rows = [self._window_row(window, futures) for window, futures in pending.windows]
        batch = Batch(
            kind="data",
            start=pending.start,
            end=pending.end,
            rows=[*rows, *pending.chunk_rows],
            records=pending.records,
            snapshot=snapshot,
            last_record=pending.last_record,
            details=dict(self._details),
        )
        with self.parts.metrics.timed("commit"):
            head = self.writer.commit(batch)
        for trace in pending.traces:
            trace.committed(since_ns)
        metrics = self.parts.metrics
        metrics.commits.inc()
        metrics.rows.labels("windows").inc(len(rows))
        metrics.rows.labels("chunks").inc(len(pending.chunk_rows))
        self._details = {}
        self.pending = Pending(pending.end, pending.end)
        return head

    def snapshot(self) -> Mapping[str, Any]:
        """Every operator's decisions as of `next_offset`, without raw ids."""
        operators = {}
        for stream_id in self.book.live:
            states = {"faces": self.faces.snapshot(stream_id), "windows": self.windows.snapshot(stream_id)}
            operators[stream_id] = {name: state for name, state in states.items() if state is not None}
        return self.book.snapshot(operators)

    def count(self, name: str, number: int) -> None:
        """Add to a number in the next entry's details (`windows_lost_input`, `missing_chunks`, `missing_media_ms`)."""
        if number:
            self._details[name] = self._details.get(name, 0) + number

    def recognise(self, stream_id: str) -> None:
        """Bring back the face tracks of a stream of the snapshot whose raw id has just been read again."""
        states = self.book.recognise(stream_id)
        if states and "faces" in states:
            self.faces.restore(stream_id, states["faces"])

    def close(self) -> None:
        """Release the operators. What is pending is dropped: it was never said to exist."""
        for operator in self.parts.operators.values():
            operator.close()

    def _attempt(self, record: Record) -> PublicRow:
        """The record's row. Only a worker that dies leaves the mark behind, not one that an error stops."""
        deaths = self._attempts.begin(record.offset)
        self.busy_since_cpu_s = time.thread_time()
        try:
            row = self._fate_of(record, deaths)
        except StreamfxError:
            self._attempts.end()
            raise
        finally:
            self.busy_since_cpu_s = None
        self._attempts.end()
        return row

    def _fate_of(self, record: Record, deaths: int) -> PublicRow:
        rows, chunk = self.parts.rows, None
        try:
            if deaths >= self.parts.config.source.poison_after:
                self.parts.metrics.deaths.inc()
                raise BadChunk("killed_its_worker", f"{deaths} workers died while they worked on this chunk")
            if record.fault is not None and not record.headers:
                raise _as_bad(record.fault)
            with self.parts.metrics.timed("parse"):
                chunk = self._parse(record)
            self._trace = self.parts.traces.chunk(record, chunk.traceparent)
            self._check_clock(record, chunk)
            if record.fault is not None:
                self.recognise(chunk.stream_id)
                rows.check_consent(chunk)
                self.count("missing_media_ms", record.fault.missing_ms)
                raise _as_bad(record.fault)
            return self._process_chunk(record, chunk)
        except BadChunk as bad:
            log.warning("%s offset %d: %s (%s)", self.partition.topic, record.offset, bad.fate, bad)
            if bad.fate not in NO_DEAD_LETTER:
                self.parts.dead_letters.write(record, bad)
            windows = self._end_after_failure(chunk, record.offset, bad)
            return rows.publish_chunk(record, chunk, bad.fate, bad.reason, windows=windows)

    def _parse(self, record: Record) -> Chunk:
        def pause(seconds: float) -> None:
            # Waiting for storage is no reason to suspect the chunk, should the worker be killed meanwhile.
            self._attempts.end()
            time.sleep(seconds)
            self._attempts.begin(record.offset)

        return self.parts.claims.outlast(lambda: parse_record(record, self.parts.claims, self._max_bytes), pause)

    def _process_chunk(self, record: Record, chunk: Chunk) -> PublicRow:
        parts = self.parts
        self.recognise(chunk.stream_id)
        missing = self.book.judge(chunk)
        parts.metrics.missing.inc(missing)
        self.count("missing_chunks", missing)
        state = self.book.saw(chunk)
        parts.rows.check_consent(chunk)
        if not chunk.body:
            windows = self._end_stream(chunk.stream_id, record.offset)
            self._closed += windows
            return parts.rows.publish_chunk(record, chunk, "processed", "end_mark", windows=len(windows))
        with parts.metrics.timed("decode"), self._trace.span("decode"):
            segment = parts.decoder.decode(chunk.body, chunk.start_us)
        if segment.end_us <= state.watermark_us:
            raise BadChunk("late", "the stream's event time has passed this chunk", fate="lost")
        with parts.metrics.timed("faces"):
            tracked = self.faces.track(chunk.stream_id, record.offset, segment)
        self._count_frames(segment, tracked)
        with parts.metrics.timed("windows"):
            windows = self.windows.add(chunk.stream_id, record.offset, segment, tracked)
        with parts.metrics.timed("redact"):
            self.redact.observe(chunk.stream_id, tracked)
        self.media_s += (segment.end_us - segment.start_us) / 1e6
        state.watermark_us = max(state.watermark_us, segment.end_us)
        self._note_time(chunk.stream_id, segment)
        if chunk.end:
            windows += self._end_stream(chunk.stream_id, record.offset)
        self._closed += windows
        faces = sum(len(frame.faces) for frame in tracked)
        fate, reason = ("processed", None) if faces else ("no_face", _why_no_face(tracked))
        return parts.rows.publish_chunk(record, chunk, fate, reason, segment.end_us, len(tracked), faces, len(windows))

    def _check_clock(self, record: Record, chunk: Chunk) -> None:
        """Refuse a chunk from the future: the stream's watermark would follow it, and all that comes after be late."""
        ahead_s = chunk.start_us / 1e6 - record.timestamp_ms / 1e3
        if self.parts.stamped_on_append and ahead_s > MOST_AHEAD_S:
            raise BadChunk(
                "start_in_future",
                f"the chunk begins {ahead_s:.0f} s after its append, allowed are {MOST_AHEAD_S}; set the producer's clock",
            )

    def _end_after_failure(self, chunk: Chunk | None, offset: int, bad: BadChunk) -> int:
        """A stream's last chunk ends it even if its media cannot be used; returns how many windows that closed."""
        if chunk is None or not chunk.end or bad.fate == "duplicate" or chunk.stream_id not in self.book.live:
            return 0
        windows = self._end_stream(chunk.stream_id, offset)
        self._closed += windows
        return len(windows)

    def _end_stream(self, stream_id: str, offset: int) -> list[Window]:
        windows = self.windows.end_stream(stream_id, offset)
        self.faces.end_stream(stream_id)
        self.redact.end_stream(stream_id)
        self.book.end(stream_id)
        return windows

    def _close_idle(self, record: Record) -> None:
        for stream_id in self.book.idle(record.timestamp_ms, self.windows.config.idle_s):
            self._closed += self._end_stream(stream_id, record.offset)

    def _submit_closed(self) -> None:
        """Ask for the scores of the windows that have closed; waits where too many are under way."""
        closed, self._closed = self._closed, []
        self.parts.metrics.count_windows(len(closed))
        with self.parts.metrics.timed("submit"):
            for window in closed:
                futures = [self._ask(scorer, window) for scorer in self.scorers]
                kept = replace(window, frames=_NO_PIXELS, fbank=_NO_SOUND)
                self.pending.windows.append((kept, futures))

    def _ask(self, scorer: ScoreOperator, window: Window) -> Future[Mapping[str, Any]]:
        future = scorer.submit(window)
        self.parts.metrics.follow(future)
        self._trace.follow(future)
        return future

    def _window_row(self, window: Window, futures: list[Future[Mapping[str, Any]]]) -> PublicRow:
        scores: dict[str, Any] = {}
        for future in futures:
            scores.update(future.result())
        return self.parts.rows.publish_window(window, scores, self.partition)

    def _count_frames(self, segment: Segment, tracked: Sequence[TrackedFrame]) -> None:
        frames = self.parts.metrics.frames
        frames.labels("looked_at").inc(len(tracked))
        frames.labels("skipped").inc(max(0, segment.frames_decoded - len(tracked)))
        self.parts.metrics.redaction_failures.inc(sum(frame.regions is None for frame in tracked))

    def _note_time(self, stream_id: str, segment: Segment) -> None:
        first, last = self.pending.spans.get(stream_id, (segment.start_us, segment.end_us))
        self.pending.spans[stream_id] = min(first, segment.start_us), max(last, segment.end_us)


def fingerprint(record: Record) -> dict[str, Any]:
    """What an entry holds of its last record, so that a recreated topic is noticed at the next start."""
    digest = hashlib.sha256(record.value)
    digest.update(record.key or b"")
    return {"offset": record.offset, "timestamp_ms": record.timestamp_ms, "sha256": digest.hexdigest()}


def _as_bad(fault: Fault) -> BadChunk:
    return BadChunk(fault.reason, fault.detail, fault.fate)


def _why_no_face(tracked: list[Any]) -> str | None:
    if any(frame.regions is None for frame in tracked):
        return "detector_failed"
    return None if tracked else "no_new_frames"
