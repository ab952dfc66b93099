"""When the chunks of a partition were committed: their rows do not say it, the entries of its log do."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from streamfx.records import MICROSECONDS, Partition
from streamfx.report.series import Ints
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import PartitionLog

ENTRIES_MAX = 2000
"""So many entries of a partition are read at most: an object store takes a while for each."""
UNKNOWN_US = -1


class CommitTimes:
    """When offsets of one partition were committed, by the clock of the worker that did it.

    Every `step`th entry of the log is read, each one if there are at most ENTRIES_MAX; the offsets of others are not known.
    """

    def __init__(self, fs: FileSystem, place: str, partition: Partition):
        """Raises SinkError if the log cannot be read."""
        log, self.step = PartitionLog(fs, partition), 1
        found: list[tuple[int, int, int]] = []
        with clear_errors(f"{place}, {partition.topic} partition {partition.number}: cannot read the log"):
            newest = log.last()
            if newest is not None:
                self.step = -(-(newest.n + 1) // ENTRIES_MAX)
                for n in range(newest.n % self.step, newest.n + 1, self.step):
                    entry = newest if n == newest.n else log.read(n)
                    if entry.kind == "data":
                        found.append((entry.start, entry.end, _us(entry.written_at)))
        self._start, self._end, self._time_us = np.array(found, np.int64).reshape(-1, 3).T

    def of(self, offsets: Ints) -> Ints:
        """The commit of each offset, UTC microseconds; UNKNOWN_US where no entry that was read holds it."""
        if not len(self._start):
            return np.full(len(offsets), UNKNOWN_US)
        at = np.maximum(0, np.searchsorted(self._start, offsets, side="right") - 1)
        held = (offsets >= self._start[at]) & (offsets < self._end[at])
        return np.where(held, self._time_us[at], UNKNOWN_US)


def _us(written_at: str) -> int:
    """UTC microseconds of an entry's time; UNKNOWN_US where a writer of another version left none."""
    try:
        return round(datetime.fromisoformat(written_at).timestamp() * MICROSECONDS)
    except ValueError:
        return UNKNOWN_US
