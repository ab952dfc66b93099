"""Where a partition's line continues: from the log's last entry, whatever Kafka says.

What the snapshot's open windows need is read again by offset; everything else was decided and stays decided.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from streamfx.errors import BadChunk, CommitLost, InputChanged, LogMismatch
from streamfx.records import Partition, Record, Segment, Snapshot
from streamfx.runtime.line import LineParts, PartitionLine
from streamfx.runtime.pending import fingerprint
from streamfx.runtime.streams import StreamBook
from streamfx.sink.commit import Batch, Head, PartitionWriter
from streamfx.source import Source
from streamfx.source.chunk import parse_record

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offsets a run is limited to: from `start` (None: the first readable) up to, not including, `end`.

    `begun` is where this worker began to read the partition, None where it has not: as long as the log is empty, nobody
    else knows what retention has taken since.
    """

    start: int | None = None
    end: int | None = None
    begun: int | None = None


def open_line(
    partition: Partition,
    parts: LineParts,
    writer: PartitionWriter,
    source: Source,
    bounds: Bounds,
) -> PartitionLine:
    """Read the partition's log, write what must be written before new rows, restore what was open.

    Raises LogMismatch where the topic is not the one the log was written from, InputChanged where the file is not.
    """
    while True:
        try:
            return _opened(partition, parts, writer, source, bounds)
        except CommitLost as lost:
            log.info("%s; it opened the partition at the same time", lost)


def _opened(
    partition: Partition, parts: LineParts, writer: PartitionWriter, source: Source, bounds: Bounds
) -> PartitionLine:
    head = writer.recover()
    if head.end is None and source.cluster == "files":
        # A file's bounds cost cutting it; what it does not have is simply not read.
        return PartitionLine(partition, parts, writer, bounds.start or 0)
    # Nothing is ever taken from a file's beginning; where it ends, its last record says.
    first, end = (0, None) if source.cluster == "files" else source.bounds(partition)
    if head.end is None:
        if bounds.begun is None or bounds.begun >= first:
            return PartitionLine(partition, parts, writer, max(first, bounds.start or 0))
        head = _enter_gap(partition, head, bounds.begun, first, writer, parts)
    _check_same_topic(partition, head, end, source)
    if head.terms != writer.terms:
        head = _enter_config(head, writer, parts)
    if head.end is not None and head.end < first:
        head = _enter_gap(partition, head, head.end, first, writer, parts)
    return _restored(partition, head, parts, writer, source)


def reopen_line(
    partition: Partition, parts: LineParts, writer: PartitionWriter, source: Source, head: Head
) -> PartitionLine:
    """Continue after another writer's entry: its snapshot, its end."""
    return _restored(partition, head, parts, writer, source)


def _check_same_topic(partition: Partition, head: Head, end: int | None, source: Source) -> None:
    """A log that the topic cannot have produced must not be continued."""
    where = source.describe(partition)
    if end is None:
        _check_same_file(where, partition, head, source)
        return
    if head.end is not None and head.end > end:
        raise LogMismatch(
            f"{where}: the dataset's log goes to offset {head.end}, the topic only to {end}: it was recreated "
            "or truncated. "
            "Start a new dataset (sink.path), or restore the topic"
        )
    if head.last_record is None:
        return
    offset = head.last_record["offset"]
    record = source.read_at(partition, [offset]).get(offset)
    if record is not None and fingerprint(record) != dict(head.last_record):
        raise LogMismatch(
            f"{where}: the record at offset {offset} is not the one that was committed: the topic was recreated. "
            "Start a new dataset (sink.path), or restore the topic"
        )


def _check_same_file(where: str, partition: Partition, head: Head, source: Source) -> None:
    """The last record that the log knows of a file must still be in it."""
    if head.last_record is None:
        return
    offset = head.last_record["offset"]
    record = source.read_at(partition, [offset]).get(offset)
    if record is None and offset not in source.readable_offsets(partition, offset, offset + 1):
        changed = f"it has no chunk {offset} any more"
    elif record is not None and fingerprint(record) != dict(head.last_record):
        changed = f"its chunk {offset} is another one"
    else:
        return
    raise InputChanged(
        f"{where} has changed since it was read into this dataset ({changed}; a file without a creation time "
        "of its own also "
        "changes with its modification time). Its rows stay as they are. Give what is there now another name, "
        "or start a "
        "new dataset (sink.path)"
    )


def _enter_config(head: Head, writer: PartitionWriter, parts: LineParts) -> Head:
    """Close the open windows for a new configuration or partition count, and record that in an entry of its own."""
    assert head.end is not None
    book = StreamBook(parts.pseudonyms)
    closed = sum("windows" in operators for _, operators in book.restore(head.snapshot or {}))
    # A film depends on chunks alone, and the one that waits is owed.
    book.forget_operators(but="films")
    log.warning(
        "the configuration or the number of partitions changed: the open windows of %d streams are closed", closed
    )
    return writer.commit(
        Batch(
            kind="config",
            start=head.end,
            end=head.end,
            rows=[],
            records=0,
            snapshot=book.snapshot({}),
            last_record=head.last_record,
            details={"streams_with_windows_closed": closed},
        )
    )


def _enter_gap(
    partition: Partition, head: Head, start: int, first: int, writer: PartitionWriter, parts: LineParts
) -> Head:
    """Record the offsets that retention took unread: in an entry of their own, a metric and the log."""
    lost = first - start
    parts.metrics.gap_records.inc(lost)
    log.error(
        "%s partition %d: retention took offsets %d to %d before they were read; a gap entry records it",
        partition.topic, partition.number, start, first,
    )  # fmt: skip
    return writer.commit(
        Batch(
            kind="gap",
            start=start,
            end=first,
            rows=[],
            records=0,
            snapshot=head.snapshot or {},
            last_record=None,
            details={"reason": "retention", "offsets_lost": lost},
        )
    )


def _restored(
    partition: Partition, head: Head, parts: LineParts, writer: PartitionWriter, source: Source
) -> PartitionLine:
    assert head.end is not None
    line = PartitionLine(partition, parts, writer, head.end)
    lost = 0
    for key, operators in line.book.restore(head.snapshot or {}):
        if "windows" in operators:
            lost += _restore_windows(line, key, operators["windows"], source)
        if "films" in operators:
            _restore_films(line, key, operators["films"], source)
    line.pending.count("windows_lost_input", lost)
    parts.metrics.windows_lost.inc(lost)
    return line


def _restore_windows(line: PartitionLine, key: tuple[int, str], snapshot: Snapshot, source: Source) -> int:
    """Cut one stream's open windows again from the chunks they name; returns how many are lost."""
    offsets = line.windows.offsets_needed(snapshot)
    stream_id, segments = _read_again(line, offsets, source)
    if stream_id is None:
        line.book.drop_operator_state(key, "windows")
        lost = line.windows.restore("", snapshot, segments)
        line.windows.end_stream("", 0)
        return lost
    line.recognise(stream_id)
    return line.windows.restore(stream_id, snapshot, segments)


def _restore_films(line: PartitionLine, key: tuple[int, str], snapshot: Snapshot, source: Source) -> None:
    """Look again at the chunks that one stream's next film needs. Where one is gone, so is the film of the last, and it
    is counted."""
    claims, offsets = line.parts.claims, snapshot["offsets"]
    records = source.read_at(line.partition, offsets)
    chunks = []
    if line.films is not None:
        for offset in offsets:
            record = records.get(offset)
            with suppress(BadChunk):
                if record is not None:
                    chunks.append((offset, claims.outlast(lambda record=record: parse_record(record, claims))))  # type: ignore[misc]
    if line.films is None or len(chunks) < len(offsets):
        line.book.drop_operator_state(key, "films")
        line.pending.count("films_lost_input", 1)
        return
    stream_id = chunks[0][1].stream_id
    line.recognise(stream_id)
    line.films.restore(stream_id, chunks, snapshot)


def _read_again(
    line: PartitionLine, offsets: Sequence[int], source: Source
) -> tuple[str | None, Mapping[int, Segment | None]]:
    """The raw stream id that the chunks at `offsets` carry, and the chunks decoded (None where one is gone)."""
    stream_id: str | None = None
    segments: dict[int, Segment | None] = {}
    claims = line.parts.claims
    records: Mapping[int, Record | None] = source.read_at(line.partition, offsets) if offsets else {}
    for offset in offsets:
        segments[offset] = None
        record = records.get(offset)
        if record is None:
            continue
        try:
            chunk = claims.outlast(lambda record=record: parse_record(record, claims))  # type: ignore[misc]
            segments[offset] = line.parts.decoder.decode(chunk.body, chunk.start_us)
            stream_id = chunk.stream_id
        except BadChunk as bad:
            log.warning("offset %d could be read before and cannot now: %s", offset, bad)
    return stream_id, segments
