"""Counts what `erase` or `retain` would remove: the rows, the number of streams, and the range of time.

It only reads; nothing is published, staged or logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field

import pandas as pd

from streamfx.sink.current_files import LiveFiles, find_partitions, look_again, read_live
from streamfx.sink.erasure import KEY_COLUMNS, Rule, hits, is_left, times_us
from streamfx.sink.fs import FileSystem
from streamfx.sink.log import MEDIA, Entry, FileSpec, PartitionLog
from streamfx.sink.parquet import decode_columns

_NOTHING = Rule(frozenset(), None, 0)


@dataclass(slots=True)
class Preview:
    """What a rule matches now: `windows`, `films`, `aggregates` and `episodes` to remove, `chunks` to blank, the `files` with
    them, and their `streams`.

    `first_us` and `last_us` are the earliest and latest event time among them (UTC microseconds; None without a
    match). `everything` is True if nothing else is left in the dataset. `unseen` are the indices of the given streams
    that occur in no row and in no active rule.
    """

    windows: int = 0
    chunks: int = 0
    films: int = 0
    aggregates: int = 0
    episodes: int = 0
    files: int = 0
    streams: set[str] = field(default_factory=set)
    first_us: int | None = None
    last_us: int | None = None
    everything: bool = False
    unseen: set[int] = field(default_factory=set)


def preview(fs: FileSystem, place: str, rule: Rule, streams: Sequence[Set[str]] = ()) -> Preview:
    """Find out what `rule` would do to the dataset at `place`, and which of `streams` do not occur in it.

    Each stream is given by all pseudonyms that it may have in the dataset, also outside the rule's range. Workers may
    run meanwhile. Raises SinkError if there is no dataset or a file is damaged.
    """
    return look_again(place, lambda: _Reader(fs, place).read(rule, streams))


def any_seen(fs: FileSystem, place: str, names: Set[str]) -> bool:
    """Whether the dataset has a row or an active rule for a stream with any of these pseudonyms."""
    return not preview(fs, place, _NOTHING, [names]).unseen


class _Reader:
    def __init__(self, fs: FileSystem, place: str):
        self._fs = fs
        self._place = place

    def read(self, rule: Rule, streams: Sequence[Set[str]]) -> Preview:
        found = Preview(unseen=set(range(len(streams))))

        def see(names: Iterable[str | None]) -> None:
            named = set(names)
            found.unseen = {number for number in found.unseen if streams[number].isdisjoint(named)}

        unread, kept = [], False
        for log, newest in self._logs():
            for n in newest.erased_by:
                see(log.read(n).details["erase"]["streams"] or ())
            for file in LiveFiles(self._fs, log, newest).files.values():
                if file.table == MEDIA:
                    continue
                if not rule.may_hit(file.date):
                    unread.append(file)
                    kept |= file.table != "chunks"
                    continue
                rows = self._rows(file)
                see(rows.get("stream_id", ()))
                hit = hits(rule, file.table, rows)
                kept |= bool((is_left(file.table, rows) & ~hit).any())
                _count(found, file.table, rows[hit])
        for file in unread:
            # Files outside the range are read only until it is known that rows are left and all streams occur.
            if kept and not found.unseen:
                break
            rows = self._rows(file)
            see(rows.get("stream_id", ()))
            kept |= bool(is_left(file.table, rows).any())
        found.everything = not kept and found.files > 0
        return found

    def _logs(self) -> Iterator[tuple[PartitionLog, Entry]]:
        for partition in find_partitions(self._fs, self._place):
            log = PartitionLog(self._fs, partition)
            if (newest := log.last()) is not None:
                yield log, newest

    def _rows(self, file: FileSpec) -> pd.DataFrame:
        return decode_columns(read_live(self._fs, file), KEY_COLUMNS[file.table], file.final)


def _count(found: Preview, table: str, rows: pd.DataFrame) -> None:
    if rows.empty:
        return
    found.files += 1
    found.windows += len(rows) if table == "windows" else 0
    found.chunks += len(rows) if table == "chunks" else 0
    found.films += len(rows) if table == "films" else 0
    found.aggregates += len(rows) if table == "aggregates" else 0
    found.episodes += len(rows) if table == "episodes" else 0
    found.streams.update(name for name in rows.get("stream_id", ()) if name is not None)
    times = times_us(table, rows)
    first_us, last_us = int(times.min()), int(times.max())
    found.first_us = first_us if found.first_us is None else min(found.first_us, first_us)
    found.last_us = last_us if found.last_us is None else max(found.last_us, last_us)
