"""The redacted films of a partition's streams: made chunk by chunk, kept until the next commit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from streamfx.config.media import Media
from streamfx.detection.centerface import Detector
from streamfx.errors import BadChunk
from streamfx.privacy.films import PublicFilm
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.privacy.rows import PublicRow, Rows
from streamfx.records import Chunk, Partition, Snapshot
from streamfx.redaction.chunk_films import ChunkFilm, ChunkFilms
from streamfx.redaction.chunk_surrogates import ChunkSurrogates, Place
from streamfx.redaction.surrogates import Drawing, find_drawing
from streamfx.runtime.metrics import Metrics

log = logging.getLogger(__name__)

Film = tuple[PublicRow, PublicFilm]
"""A film and its row of the table `films`."""
_CHUNKS = 2
"""Chunks that the next film of a stream depends on, beside the one to come."""


@dataclass(slots=True)
class _Stream:
    maker: ChunkFilms
    surrogates: ChunkSurrogates | None
    offsets: list[int] = field(default_factory=list)
    """Offsets of the last chunks, the newest last."""


def drawing_here() -> Drawing:
    """What this machine draws faces with, for films with `redact.fill: surrogate`; where it lacks something, the log says so.
    Belongs to the thread that asks for it."""
    drawing, lack = find_drawing()
    if lack is not None:
        log.error("no face is drawn here, and all fills of films stay solid: %s", lack)
    return drawing


class Films:
    """Makes films of one partition's streams. A stream's film of a chunk comes with its next chunk, or its end.

    With `drawing`, drawn faces are painted inside the fills; who is drawn follows from `pseudonyms`.
    """

    def __init__(
        self,
        partition: Partition,
        rows: Rows,
        detector: Detector,
        media: Media,
        pseudonyms: Pseudonyms,
        metrics: Metrics,
        drawing: Drawing | None = None,
    ):
        self._partition, self._rows, self._detector, self._media = partition, rows, detector, media
        self._pseudonyms, self._metrics, self._drawing = pseudonyms, metrics, drawing
        self._streams: dict[str, _Stream] = {}
        self._made: list[Film] = []

    def add(self, offset: int, chunk: Chunk) -> None:
        """Take a stream's next chunk. One of which some picture cannot be decoded gets no film."""
        stream = self._streams.get(chunk.stream_id) or self._begin(chunk.stream_id)
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
        """The chunks that the stream's next film needs again after a restart, and whose face each track has."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return None
        return {"offsets": stream.offsets} | ({"drawn": stream.surrogates.snapshot()} if stream.surrogates else {})

    def restore(self, stream_id: str, chunks: Sequence[tuple[int, Chunk]], snapshot: Snapshot) -> None:
        """Continue a stream from its snapshot and the chunks that it names, each with its offset. The films of all but the last
        were committed."""
        stream = self._begin(stream_id)
        for offset, chunk in chunks:
            stream.maker.resume(chunk.body, chunk.start_us)
            stream.offsets.append(offset)
        if stream.surrogates is not None:
            stream.surrogates.restore(snapshot.get("drawn", ()))

    def _begin(self, stream_id: str) -> _Stream:
        surrogates = None
        if self._drawing is not None:

            def seed_of(born: Place, time_us: int) -> int:
                return self._pseudonyms.drawn_seed(stream_id, *born, time_us)

            surrogates = ChunkSurrogates(self._drawing, seed_of)
        maker = ChunkFilms(self._detector, self._media, surrogates=surrogates)
        stream = self._streams[stream_id] = _Stream(maker, surrogates)
        return stream

    def _keep(self, stream_id: str, stream: _Stream, made: ChunkFilm | None) -> None:
        if made is not None:
            if self._drawing is not None:
                for outcome, fills in ({"painted": made.painted} | made.left_filled).items():
                    self._metrics.fills.labels(outcome).inc(fills)
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
