"""The beginning of each stream, from which exports count seconds, and numbers for its tracks."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from streamfx.errors import SinkError
from streamfx.records import MICROSECONDS
from streamfx.sink.fs import FileSystem
from streamfx.sink.parquet import utc_us
from streamfx.sink.read_windows import WindowReader


class Timeline:
    """Seconds since a stream's beginning: the event time of its first chunk, or `zero_us` (UTC microseconds) for all.

    A stream is known by its pseudonym here, and so begins anew with each salt period.
    """

    def __init__(self, fs: FileSystem, place: str, zero_us: int | None = None):
        """Raises SinkError without a dataset, which is not looked at where `zero_us` is given."""
        self._zero_us = zero_us
        self._begins: dict[str, int] = {}
        self._tracks: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}
        if zero_us is not None:
            return
        reader = WindowReader(fs, place, "chunks")
        for day, partition in reader.parts():
            rows = reader.read(day, ["stream_id", "chunk_start"], partition).dropna()
            for stream, begin in _earliest(rows):
                self._begins[stream] = min(begin, self._begins.get(stream, begin))

    def seconds(self, stream: str, times: pd.Series[pd.Timestamp]) -> pd.Series[float]:
        """Times of one stream in seconds since its beginning. Raises SinkError for a stream without a chunk."""
        begin = self._begins.get(stream) if self._zero_us is None else self._zero_us
        if begin is None:
            raise SinkError(
                f"stream {stream} has windows and no chunk, so its beginning is not known; its chunks' rows may have been "
                "erased or retained away: say with --zero when the film began"
            )
        return (utc_us(times) - begin) / MICROSECONDS

    def number(self, stream: str, track: str) -> int:
        """Tracks of a stream are numbered from 0, in the order in which they are asked for."""
        key = (stream, track)
        if key not in self._tracks:
            self._tracks[key] = self._counts[stream] = self._counts.get(stream, -1) + 1
        return self._tracks[key]


def _earliest(rows: pd.DataFrame) -> Iterator[tuple[str, int]]:
    if len(rows):
        for stream, times in rows.groupby("stream_id")["chunk_start"]:
            yield str(stream), int(utc_us(times).min())
