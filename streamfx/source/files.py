"""Chunks from files: each video or folder of chunks is its own topic, `files-<pseudonym>`, with one partition."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamfx.config.source import FilesSection
from streamfx.media.sound_track import SoundChoice
from streamfx.media.tracks import VideoTrack
from streamfx.records import Partition, Record
from streamfx.source.base import OnAssigned, OnRevoked
from streamfx.source.inputs import find_streams
from streamfx.source.streams import Stream, StreamChunk, parse_start

log = logging.getLogger(__name__)

CLUSTER = "files"
TOPIC_ID = "file"
MAX_RECORDS = 8
LONGEST_S = 12.0
"""Longest chunk that is copied to the next keyframe: encoders put keyframes at most 250 frames apart unless told
otherwise. Nobody waits for the end of a file's chunk, so none is encoded anew only to be short."""


class FilesSource:
    """A `Source` that reads files.

    A record's offset is its chunk's sequence number, and its timestamp is the chunk's start (UTC ms). A topic does not
    reveal its file's name: `<pseudonym>` is the first 16 hex digits of the HMAC-SHA256 of the stream id. A file in a
    folder that cannot be read is also a topic, with one record that says so. Its pseudonym also depends on its
    content, so that a repaired file is a new topic. If a file fails later, such a record follows the good ones.
    """

    def __init__(
        self,
        section: FilesSection,
        worker: int,
        workers: int,
        key: bytes,
        track: VideoTrack = "auto",
        sound_track: SoundChoice = "auto",
        max_chunk_s: float = LONGEST_S,
    ):
        """Reads every `workers`th stream, starting with number `worker`.

        Of each video it reads the video track `track` (as `pick_video` counts) and the sound track `sound_track` (see
        `media.sound_track`), and no chunk lasts longer than `max_chunk_s` only to be copied. Raises SourceError if a
        file named in the settings cannot be read.
        """
        start_us = parse_start(section.start) if section.start is not None else None
        paths = [Path(path) for path in section.paths]
        longest_s = min(LONGEST_S, max_chunk_s)
        streams = find_streams(
            paths, section.chunk_s, start_us, track=track, sound_track=sound_track, longest_s=longest_s
        )
        self._cursors = {cursor.partition: cursor for cursor in (_Cursor(stream, key) for stream in streams)}
        self._mine = self.partitions()[worker::workers]
        for partition in self._mine:
            stream = self._cursors[partition].stream
            if not stream.usable:
                log.warning("left out: %s", stream.left_out[0])
        self._callbacks: tuple[OnAssigned, OnRevoked] | None = None
        self._assigned = False
        self._turn = 0

    @property
    def cluster(self) -> str:
        """`files`."""
        return CLUSTER

    @property
    def stamped_on_append(self) -> bool:
        """Always False: a stream in a file ends with the file, so idle streams need not be closed."""
        return False

    def topic_ids(self) -> dict[str, str]:
        """Topic -> `file`."""
        return {partition.topic: partition.topic_id for partition in self.partitions()}

    def partition_counts(self) -> dict[str, int]:
        """Each topic has one partition."""
        return {partition.topic: 1 for partition in self.partitions()}

    def partitions(self) -> list[Partition]:
        """One partition for each stream of all workers."""
        return sorted(self._cursors, key=lambda partition: partition.topic)

    def describe(self, partition: Partition) -> str:
        """The path of the file or folder."""
        return str(self._cursors[partition].stream.origin)

    def left_out(self) -> list[str]:
        """A sentence for each of this worker's files, or parts of them, that is known to be unusable so far."""
        streams = sorted((self._cursors[partition].stream for partition in self._mine), key=lambda s: s.origin)
        return [sentence for stream in streams for sentence in stream.left_out]

    def subscribe(self, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        """Assign this worker's share with the next `poll`."""
        self._callbacks = on_assigned, on_revoked

    def poll(self, timeout_s: float) -> list[Record]:
        """The next record of each partition that has a position and is not paused, at most MAX_RECORDS in turn."""
        # New partitions deliver nothing until `seek`, which may come at once.
        patient = self._assigned
        if self._callbacks and not self._assigned:
            self._assigned = True
            self._callbacks[0](self._mine)
        records: list[Record] = []
        for _ in self._mine:
            cursor = self._cursors[self._mine[self._turn % len(self._mine)]]
            self._turn += 1
            record = cursor.take()
            if record is not None:
                records.append(record)
            if len(records) == MAX_RECORDS:
                break
        if not records and patient:
            time.sleep(timeout_s)
        return records

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue at `offset`; the file is cut again from its beginning up to there."""
        if partition in self._mine:
            self._cursors[partition].place(offset)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing more from these until `resume`."""
        for partition in partitions:
            self._cursors[partition].paused = True

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Undo `pause`."""
        for partition in partitions:
            self._cursors[partition].paused = False

    def commit(self, partition: Partition, offset: int) -> None:
        """Does nothing, because offsets of files are not stored."""

    def check_topic(self) -> None:
        """Does nothing, because a file cannot be confused with another of the same name."""

    def read_at(self, partition: Partition, offsets: Sequence[int]) -> dict[int, Record | None]:
        """Records by offset, cut again; None if the stream has no such chunk or cannot be used."""
        found: dict[int, Record | None] = dict.fromkeys(offsets)
        cursor = self._cursors[partition]
        if not found or not cursor.stream.usable:
            return found
        for chunk in cursor.stream.chunks(min(found)):
            # One more chunk is requested, so that the stream finds its end here and need not be cut again for that.
            if chunk.seq > max(found):
                break
            if chunk.seq in found:
                found[chunk.seq] = cursor.record(chunk)
        return found

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """The first sequence number, and one past the last. A video is cut from end to end once to find it."""
        seqs = self._cursors[partition].stream.seqs()
        return (seqs[0], seqs[-1] + 1) if seqs else (0, 0)

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """The last chunk that starts at or before the time; the first chunk if all start later."""
        best: int | None = None
        for chunk in self._cursors[partition].stream.chunks():
            if best is not None and chunk.start_us > timestamp_ms * 1000:
                return best
            best = chunk.seq
        return self.bounds(partition)[1] if best is None else best

    def readable_offsets(self, partition: Partition, begin: int, end: int) -> Iterator[int]:
        """The sequence numbers in [begin, end) that exist."""
        return (seq for seq in self._cursors[partition].stream.seqs() if begin <= seq < end)

    def finished(self, partition: Partition) -> bool:
        """Whether the stream's last chunk was delivered."""
        return self._cursors[partition].finished

    def close(self) -> None:
        """Return this worker's share."""
        if self._callbacks and self._assigned and self._mine:
            self._callbacks[1](self._mine, False)
        self._callbacks = None


class _Cursor:
    """The state of reading one stream: its position, and whether it is paused."""

    def __init__(self, stream: Stream, key: bytes):
        pseudonym = hmac.new(key, b"files\0" + stream.identity, hashlib.sha256).hexdigest()[:16]
        self.partition = Partition(f"files-{pseudonym}", TOPIC_ID, 0)
        self.stream = stream
        self.paused = False
        self.finished = False
        self._chunks: Iterator[StreamChunk] | None = None

    def place(self, offset: int) -> None:
        self._chunks = self.stream.chunks(offset)
        self.finished = False

    def take(self) -> Record | None:
        if self._chunks is None or self.paused or self.finished:
            return None
        chunk = next(self._chunks, None)
        if chunk is None:
            self.finished = True
            return None
        return self.record(chunk)

    def record(self, chunk: StreamChunk) -> Record:
        return Record(
            partition=self.partition,
            offset=chunk.seq,
            timestamp_ms=chunk.start_us // 1000 if self.stream.usable else time.time_ns() // 1_000_000,
            key=self.stream.stream_id.encode(),
            headers=chunk.headers,
            value=chunk.body,
            fault=chunk.fault,
        )
