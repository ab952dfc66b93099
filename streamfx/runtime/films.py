"""The redacted films of a partition's streams: made chunk by chunk, kept until the next commit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from streamfx.config.media import Media
from streamfx.detection.centerface import Detector
from streamfx.errors import BadChunk
from streamfx.privacy.films import PublicFilm
from streamfx.privacy.rows import PublicRow, Rows
from streamfx.records import Chunk, Partition, Snapshot
from streamfx.redaction.chunk_films import ChunkFilm, ChunkFilms

log = logging.getLogger(__name__)

Film = tuple[PublicRow, PublicFilm]
"""A film and its row of the table `films`."""
_CHUNKS = 2
"""Chunks that the next film of a stream depends on, beside the one to come."""


@dataclass(slots=True)
class _Stream:
    maker: ChunkFilms
    offsets: list[int] = field(default_factory=list)
    """Offsets of the last chunks, the newest last."""


class Films:
    """Makes films of one partition's streams. A stream's film of a chunk comes with its next chunk, or its end."""

    def __init__(self, partition: Partition, rows: Rows, detector: Detector, media: Media):
        self._partition, self._rows, self._detector, self._media = partition, rows, detector, media
        self._streams: dict[str, _Stream] = {}
        self._made: list[Film] = []

    def add(self, offset: int, chunk: Chunk) -> None:
        """Take a stream's next chunk. One of which some picture cannot be decoded gets no film."""
        stream = self._streams.setdefault(chunk.stream_id, _Stream(ChunkFilms(self._detector, self._media)))
        try:
            self._keep(chunk.stream_id, stream, stream.maker.add(chunk.body, chunk.start_us))
        except BadChunk as bad:
            log.warning("%s offset %d: no film is made of it: %s", self._partition.topic, offset, bad)
            self.end_stream(chunk.stream_id)
            return
        stream.offsets = [*stream.offsets, offset][-_CHUNKS:]

    def end_stream(self, stream_id: str) -> None:
        """Make the stream's last film."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._keep(stream_id, stream, stream.maker.end())

    def take(self) -> list[Film]:
        """The films since the last call."""
        made, self._made = self._made, []
        return made

    def snapshot(self, stream_id: str) -> Snapshot | None:
        """The chunks that the stream's next film needs again after a restart."""
        stream = self._streams.get(stream_id)
        return None if stream is None else {"offsets": stream.offsets}

    def restore(self, stream_id: str, chunks: Sequence[tuple[int, Chunk]]) -> None:
        """Continue a stream from the chunks of its snapshot, each with its offset. What comes of them was committed."""
        stream = self._streams[stream_id] = _Stream(ChunkFilms(self._detector, self._media))
        for offset, chunk in chunks:
            stream.maker.add(chunk.body, chunk.start_us)
            stream.offsets.append(offset)

    def _keep(self, stream_id: str, stream: _Stream, made: ChunkFilm | None) -> None:
        if made is not None:
            row = self._rows.publish_film(
                self._partition,
                stream.offsets[-1],
                stream_id,
                made.film,
                (made.start_us, made.end_us),
                made.frames,
                sum(made.whole.values()),
                made.faces,
            )
            self._made.append((row, made.film))
