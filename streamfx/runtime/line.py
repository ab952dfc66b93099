"""The line of one partition: record -> chunk -> segment -> faces -> windows -> scores -> rows -> commit.

It decides what becomes of each offset, holds what is not committed yet, and knows when to roll. `resume.py` brings it
back after a restart.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from streamfx.config.tree import Config
from streamfx.detection.also import film_detector
from streamfx.errors import BadChunk, BrokerUnavailable, StreamfxError
from streamfx.media.decode import Decoder
from streamfx.operator import FaceOperator, Operator, RedactOperator, ScoreOperator, WindowOperator
from streamfx.patience import outlast
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.privacy.rows import PublicRow, Rows
from streamfx.records import Chunk, Fault, Partition, Record, Segment, TrackedFrame, Window
from streamfx.redaction.surrogates import Drawing
from streamfx.runtime.attempts import Attempts
from streamfx.runtime.films import Films, drawing_here
from streamfx.runtime.metrics import Metrics
from streamfx.runtime.pending import Asked, Decoded, Outcome, Pending
from streamfx.runtime.reload import Active
from streamfx.runtime.streams import StreamBook
from streamfx.runtime.totals import Totals
from streamfx.runtime.traces import ChunkTrace, Traces
from streamfx.sink.commit import Batch, Head, PartitionWriter
from streamfx.source.chunk import parse_record
from streamfx.source.claim_check import ClaimCheckReader
from streamfx.source.dead_letter import DeadLetters

log = logging.getLogger(__name__)

NO_DEAD_LETTER = frozenset({"refused", "duplicate", "processed", "no_face"})
MOST_AHEAD_S = 86_400
"""Seconds that a chunk may begin after the broker took it. A wrong time zone stays below; a camera that has lost its
clock does not."""
_NO_PIXELS = np.empty((0,), np.uint8)
_NO_SOUND = np.empty((0,), np.float32)


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
    totals: Totals
    stamped_on_append: bool
    traces: Traces = field(default_factory=Traces)
    drawing: Callable[[], Drawing] = field(default_factory=lambda: cache(drawing_here))
    """What draws faces in films: one for all lines, which share a thread, and made when the first of them needs it."""

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.active.config


class PartitionLine:
    """One partition's way through the pipeline. Used by one thread; nothing in it outlives the loss of the
    partition."""

    def __init__(self, partition: Partition, parts: LineParts, writer: PartitionWriter, start: int):
        self.partition = partition
        self.parts = parts
        self.writer = writer
        self.book = StreamBook(parts.pseudonyms)
        operators = list(parts.operators.values())
        self.faces = next(o for o in operators if isinstance(o, FaceOperator))
        self.windows = next(o for o in operators if isinstance(o, WindowOperator))
        self.redact = next(o for o in operators if isinstance(o, RedactOperator))
        self.films: Films | None = None
        if self.redact.films:
            self.films = Films(
                partition, parts.rows, film_detector(self.redact.also), parts.config.media, parts.pseudonyms, parts.metrics,
                parts.drawing() if self.redact.drawn_faces else None,
            )  # fmt: skip
        self.scorers = [o for o in operators if isinstance(o, ScoreOperator)]
        self.pending = Pending(start, start)
        self._attempts = Attempts(parts.config.sink.beside / "_attempts", partition)
        self.busy_since_cpu_s: float | None = None
        """CPU time of the line's thread when it began with the chunk at hand; None between chunks. The polling thread
        looks at it, since a line that hangs in a decoder can report nothing itself."""
        kafka = parts.config.source.kafka
        self._max_bytes = kafka.max_chunk_bytes if kafka else None

    @property
    def next_offset(self) -> int:
        """The offset to read next."""
        return self.pending.end

    # The way of a record, from top to bottom: what it becomes, its windows' scores, the pending batch.

    def process(self, record: Record) -> Outcome | None:
        """Take the partition's next record; whatever it is, it leaves one row in `chunks`. None for one that is pending
        or committed already."""
        if record.offset < self.pending.end:
            return None
        idle = self._close_idle(record)
        outcome, closed = self._attempt(record)
        # Only now: a wait for the model server is no reason to suspect the chunk, should the worker be killed in it.
        asked = self._submit([*idle, *closed], outcome.trace)
        outcome.trace.processed()
        self.pending.add(record, outcome, asked, self.films.take() if self.films else ())
        self.parts.totals.count(outcome, len(asked))
        return outcome

    def _close_idle(self, record: Record) -> list[Window]:
        """End the streams that the record's append time has passed by; the windows that this closes."""
        if not self.parts.stamped_on_append:
            return []
        silent = self.book.idle(record.timestamp_ms, self.windows.config.idle_s)
        return [window for stream_id in silent for window in self._end_stream(stream_id, record.offset)]

    def _attempt(self, record: Record) -> tuple[Outcome, list[Window]]:
        """What becomes of the record, and the windows that it closed, under the mark by which a death counts against
        it.

        Only a worker that dies leaves the mark behind, not one that an error stops.
        """
        deaths = self._attempts.begin(record.offset)
        self.busy_since_cpu_s = time.thread_time()
        try:
            decided = self._decide(record, deaths)
        except StreamfxError:
            self._attempts.end()
            raise
        finally:
            self.busy_since_cpu_s = None
        self._attempts.end()
        return decided

    def _decide(self, record: Record, deaths: int) -> tuple[Outcome, list[Window]]:
        rows, chunk, trace = self.parts.rows, None, ChunkTrace()
        try:
            if deaths >= self.parts.config.source.poison_after:
                self.parts.metrics.deaths.inc()
                raise BadChunk("killed_its_worker", f"{deaths} workers died while they worked on this chunk")
            if record.fault is not None and not record.headers:
                raise _as_bad(record.fault)
            with self.parts.totals.timed("parse"):
                chunk = self._parse(record)
            trace = self.parts.traces.chunk(record, chunk.traceparent)
            self._check_clock(record, chunk)
            if record.fault is not None:
                self.recognise(chunk.stream_id)
                self._check_consent(record, chunk)
                self.pending.count("missing_media_ms", record.fault.missing_ms)
                raise _as_bad(record.fault)
            return self._process_chunk(record, chunk, trace)
        except BadChunk as bad:
            log.warning("%s offset %d: %s (%s)", self.partition.topic, record.offset, bad.fate, bad)
            if bad.fate not in NO_DEAD_LETTER:
                self.parts.dead_letters.write(record, bad)
            closed = self._end_after_failure(chunk, record.offset, bad)
            row = rows.publish_chunk(record, chunk, bad.fate, bad.reason, windows=len(closed))
            return Outcome(bad.fate, row, trace), closed

    def _parse(self, record: Record) -> Chunk:
        claims = self.parts.claims
        return claims.outlast(lambda: parse_record(record, claims, self._max_bytes), self._pause_at(record))

    def _check_consent(self, record: Record, chunk: Chunk) -> None:
        """Raise BadChunk for a chunk that may not be used. While no broker tells what the consent table says, wait, as
        the source does for its records."""
        outlast(lambda: self.parts.rows.check_consent(chunk), BrokerUnavailable, pause=self._pause_at(record))

    def _pause_at(self, record: Record) -> Callable[[float], None]:
        """Waits without the record's mark: waiting is no reason to suspect it, should the worker be killed meanwhile."""

        def pause(seconds: float) -> None:
            self._attempts.end()
            time.sleep(seconds)
            self._attempts.begin(record.offset)

        return pause

    def _check_clock(self, record: Record, chunk: Chunk) -> None:
        """Refuse a chunk from the future: the stream's watermark would follow it, and all that comes after be late."""
        ahead_s = chunk.start_us / 1e6 - record.timestamp_ms / 1e3
        if self.parts.stamped_on_append and ahead_s > MOST_AHEAD_S:
            raise BadChunk(
                "start_in_future",
                f"the chunk begins {ahead_s:.0f} s after its append, allowed are {MOST_AHEAD_S}; set the "
                "producer's clock",
            )

    def _process_chunk(self, record: Record, chunk: Chunk, trace: ChunkTrace) -> tuple[Outcome, list[Window]]:
        parts, totals, stream_id = self.parts, self.parts.totals, chunk.stream_id
        self.recognise(stream_id)
        missing = self.book.judge(chunk)
        parts.metrics.missing.inc(missing)
        self.pending.count("missing_chunks", missing)
        stream = self.book.saw(chunk)
        self._check_consent(record, chunk)
        if not chunk.body:
            closed = self._end_stream(stream_id, record.offset)
            row = parts.rows.publish_chunk(record, chunk, "processed", "end_mark", windows=len(closed))
            return Outcome("processed", row, trace), closed
        with totals.timed("decode"), trace.span("decode"):
            segment = parts.decoder.decode(chunk.body, chunk.start_us)
        if segment.end_us <= stream.watermark_us:
            raise BadChunk("late", "the stream's event time has passed this chunk", fate="lost")
        with totals.timed("faces"):
            tracked = self.faces.track(stream_id, record.offset, segment)
        parts.metrics.redaction_failures.inc(sum(frame.regions is None for frame in tracked))
        with totals.timed("windows"):
            closed = self.windows.add(stream_id, record.offset, segment, tracked)
        with totals.timed("redact"):
            self.redact.observe(stream_id, tracked)
        if self.films is not None:
            with totals.timed("films"):
                self.films.add(record.offset, chunk)
        stream.advance(segment.end_us)
        if chunk.end:
            closed += self._end_stream(stream_id, record.offset)
        decoded = _summary(stream_id, segment, tracked)
        fate, reason = ("processed", None) if decoded.faces else ("no_face", _why_no_face(tracked))
        row = parts.rows.publish_chunk(
            record, chunk, fate, reason, decoded.end_us, decoded.frames, decoded.faces, len(closed)
        )
        return Outcome(fate, row, trace, decoded), closed

    def _end_after_failure(self, chunk: Chunk | None, offset: int, bad: BadChunk) -> list[Window]:
        """A stream's last chunk ends it even if its media cannot be used; the windows that this closes."""
        if chunk is None or not chunk.end or bad.fate == "duplicate" or chunk.stream_id not in self.book.live:
            return []
        return self._end_stream(chunk.stream_id, offset)

    def _end_stream(self, stream_id: str, offset: int) -> list[Window]:
        windows = self.windows.end_stream(stream_id, offset)
        self.faces.end_stream(stream_id)
        self.redact.end_stream(stream_id)
        if self.films is not None:
            with self.parts.totals.timed("films"):
                self.films.end_stream(stream_id)
        self.book.end(stream_id)
        return windows

    def _submit(self, closed: Sequence[Window], trace: ChunkTrace) -> list[Asked]:
        """Ask for the scores of windows that have closed; waits where too many requests are under way."""
        asked: list[Asked] = []
        with self.parts.totals.timed("submit"):
            for window in closed:
                futures = [self._ask(scorer, window, trace) for scorer in self.scorers]
                # What was made of the frames for the models goes as their answers come; other windows are still to be
                # asked.
                window.sized.clear()
                asked.append((replace(window, frames=_NO_PIXELS, fbank=_NO_SOUND), futures))
        return asked

    def _ask(self, scorer: ScoreOperator, window: Window, trace: ChunkTrace) -> Future[Mapping[str, Any]]:
        future = scorer.submit(window)
        self.parts.metrics.follow(scorer.name, future)
        trace.follow(scorer.name, future)
        return future

    # The commit of what is pending.

    def due(self, idle: bool) -> bool:
        """True when what is pending should be committed, by the limits as they are now; `idle`: by wall clock too."""
        return self.pending.due(self.parts.config.sink, idle)

    def commit(self) -> Head | None:
        """Commit what is pending; None where there is nothing. Raises CommitLost when another writer was first."""
        pending = self.pending
        if not pending.records:
            return None
        snapshot, since_ns = self.snapshot(), time.time_ns()
        with self.parts.totals.timed("scores"):
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
            details=dict(pending.details),
            films=pending.films,
        )
        with self.parts.totals.timed("commit"):
            head = self.writer.commit(batch)
        for trace in pending.traces:
            trace.committed(since_ns)
        metrics = self.parts.metrics
        metrics.commits.inc()
        metrics.rows.labels("windows").inc(len(rows))
        metrics.rows.labels("chunks").inc(len(pending.chunk_rows))
        if pending.films:
            metrics.rows.labels("films").inc(len(pending.films))
        self.pending = Pending(pending.end, pending.end)
        return head

    def _window_row(self, window: Window, futures: list[Future[Mapping[str, Any]]]) -> PublicRow:
        scores: dict[str, Any] = {}
        for future in futures:
            scores.update(future.result())
        return self.parts.rows.publish_window(window, scores, self.partition)

    def snapshot(self) -> Mapping[str, Any]:
        """Every operator's decisions as of `next_offset`, without raw ids."""
        operators = {}
        for stream_id in self.book.live:
            states = {"faces": self.faces.snapshot(stream_id), "windows": self.windows.snapshot(stream_id)}
            if self.films is not None:
                states["films"] = self.films.snapshot(stream_id)
            operators[stream_id] = {name: state for name, state in states.items() if state is not None}
        return self.book.snapshot(operators)

    def recognise(self, stream_id: str) -> None:
        """Bring back the face tracks of a stream of the snapshot whose raw id has just been read again."""
        states = self.book.recognise(stream_id)
        if states and "faces" in states:
            self.faces.restore(stream_id, states["faces"])

    def close(self) -> None:
        """Release the operators. What is pending is dropped: no entry names it, so it is read again."""
        for operator in self.parts.operators.values():
            operator.close()


def _summary(stream_id: str, segment: Segment, tracked: Sequence[TrackedFrame]) -> Decoded:
    return Decoded(
        stream_id,
        segment.start_us,
        segment.end_us,
        frames=len(tracked),
        skipped=max(0, segment.frames_decoded - len(tracked)),
        faces=sum(len(frame.faces) for frame in tracked),
    )


def _as_bad(fault: Fault) -> BadChunk:
    return BadChunk(fault.reason, fault.detail, fault.fate)


def _why_no_face(tracked: Sequence[TrackedFrame]) -> str | None:
    if any(frame.regions is None for frame in tracked):
        return "detector_failed"
    return None if tracked else "no_new_frames"
