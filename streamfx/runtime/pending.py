"""What a line has processed and not committed yet, and when that is enough for an entry of the log."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from streamfx.config.sink import Sink
from streamfx.privacy.rows import PublicRow
from streamfx.records import MICROSECONDS, Record, Window
from streamfx.runtime.films import Film
from streamfx.runtime.traces import ChunkTrace

Asked = tuple[Window, list[Future[Mapping[str, Any]]]]
"""A closed window without its pixels and sound, and the answers of each scorer, which may still be under way."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a chunk held that could be decoded: its event time (UTC microseconds), the frames that were looked at and
    those that were not, and the faces in the former."""

    stream_id: str
    start_us: int
    end_us: int
    frames: int
    skipped: int
    faces: int

    @property
    def media_s(self) -> float:
        """Its length in seconds."""
        return (self.end_us - self.start_us) / MICROSECONDS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record. `decoded` is None where nothing of it could be used. It holds no pixels, so it may
    outlive the windows that the record closed."""

    fate: str
    row: PublicRow
    trace: ChunkTrace
    decoded: Decoded | None = None


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
    windows: list[Asked] = field(default_factory=list)
    films: list[Film] = field(default_factory=list)
    last_record: dict[str, Any] | None = None
    details: dict[str, int] = field(default_factory=dict)
    """Numbers for the entry: `windows_lost_input`, `films_lost_input`, `missing_chunks`, `missing_media_ms`."""
    traces: list[ChunkTrace] = field(default_factory=list)
    since: float = 0.0
    """Monotonic time of the first record, seconds."""

    def add(self, record: Record, outcome: Outcome, asked: Sequence[Asked], films: Sequence[Film] = ()) -> None:
        """Take the next record, what became of it, the windows that it closed, and the films that came with it."""
        if not self.records:
            self.since = time.monotonic()
        self.chunk_rows.append(outcome.row)
        self.windows += asked
        self.films += films
        self.traces.append(outcome.trace)
        if outcome.decoded is not None:
            one = outcome.decoded
            first, last = self.spans.get(one.stream_id, (one.start_us, one.end_us))
            self.spans[one.stream_id] = min(first, one.start_us), max(last, one.end_us)
        self.end = record.offset + 1
        self.records += 1
        self.bytes += len(record.value) + sum(len(film.body) for _, film in films)
        self.last_record = fingerprint(record)

    def count(self, name: str, number: int) -> None:
        """Add to one of the `details`."""
        if number:
            self.details[name] = self.details.get(name, 0) + number

    def due(self, sink: Sink, idle: bool) -> bool:
        """True when it should be committed: by count, bytes, event time, or wall clock when `idle`."""
        if not self.records:
            return False
        span_us = max((last - first for first, last in self.spans.values()), default=0)
        return (
            self.records >= sink.roll_chunks
            or self.bytes >= sink.roll_bytes
            or span_us >= sink.roll_event_s * MICROSECONDS
            or (idle and time.monotonic() - self.since >= sink.idle_flush_s)
        )


def fingerprint(record: Record) -> dict[str, Any]:
    """What an entry holds of its last record, so that a recreated topic is noticed at the next start."""
    digest = hashlib.sha256(record.value)
    digest.update(record.key or b"")
    return {"offset": record.offset, "timestamp_ms": record.timestamp_ms, "sha256": digest.hexdigest()}
