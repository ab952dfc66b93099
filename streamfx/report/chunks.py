"""Collects what the rows of `chunks` say: coverage over time, gaps, fates and reasons, and how late chunks came."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from streamfx.records import MICROSECONDS
from streamfx.report.commits import UNKNOWN_US
from streamfx.report.series import Floats, Ints, Series
from streamfx.sink.parquet import utc_us

COLUMNS = ("offset", "stream_id", "seq", "chunk_start", "chunk_end", "append_time", "fate", "reason", "bytes")
GAP_S = 1.0
"""Two chunks of a stream that are further apart than this have a gap between them."""
GAPS_SHOWN = 30
DELAY_EDGES_S: tuple[float, ...] = (0.0, *np.geomspace(0.05, 86_400, 152).tolist())
"""Lower edges of the classes in which delays are counted, seconds; the last is open above. All but the first and the last are
10 % wide, so that what is read from their counts is not further off."""
TRUNCATED_US = MICROSECONDS
"""An entry of an older version says its time in whole seconds, so a commit may seem to come before the append by less."""
_BINS = 700
_SHOWN = ("processed", "no_face")
"""Fates of chunks that were decoded, so that they cover event time."""


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """Event time (UTC microseconds) of a stream, by pseudonym, that no decoded chunk covers, with chunks on both sides."""

    seconds: float
    stream: str
    start_us: int


@dataclass(slots=True)
class Chunks:
    """What the chunks say. `add` takes all of one day and partition at a time, each partition's days in order.

    `covered` has two channels: seconds of event time that were decoded, and of these those with a face. `delays` has a
    channel for each class of DELAY_EDGES_S, of chunks whose append time is not before their end. Of those of them whose
    commit is known, `waits` counts the time from append to commit, and `totals` that from end to commit.
    """

    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    bytes: int = 0
    covered: Series = field(default_factory=lambda: Series(_BINS))
    delays: Series = field(default_factory=lambda: Series(_BINS))
    waits: Series = field(default_factory=lambda: Series(_BINS))
    totals: Series = field(default_factory=lambda: Series(_BINS))
    gaps: int = 0
    gap_s: float = 0.0
    longest: list[Gap] = field(default_factory=list)
    skipped: int = 0
    _ends: dict[str, int] = field(default_factory=dict)
    _seqs: dict[str, int] = field(default_factory=dict)

    def add(self, rows: pd.DataFrame, committed_us: Ints) -> None:
        """Count the chunks of a day and partition, of which each was committed then (UTC, UNKNOWN_US: not known)."""
        if rows.empty:
            return
        reason = np.where(rows["reason"].isna(), "", rows["reason"].to_numpy(object))
        self.fates.update(zip(rows["fate"].to_numpy(object), reason, strict=True))
        self.bytes += int(rows["bytes"].sum())
        known = (rows["chunk_start"].notna() & rows["chunk_end"].notna() & rows["stream_id"].notna()).to_numpy(bool)
        timed = rows[known]
        start, end, came = (
            np.asarray(utc_us(timed[name]), np.int64) for name in ("chunk_start", "chunk_end", "append_time")
        )
        shown = timed["fate"].isin(_SHOWN).to_numpy(bool) & (end > start)
        length = (end - start) / MICROSECONDS
        with_face = np.where(timed["fate"].to_numpy(object) == "processed", length, 0.0)
        self.covered.add(start[shown], end[shown], np.column_stack([length, with_face])[shown])
        self._count_delays(end, came, committed_us[known])
        self._count_gaps(timed["stream_id"].to_numpy(object)[shown], start[shown], end[shown])
        self._count_skipped(rows)

    def _count_delays(self, end: Ints, came: Ints, committed: Ints) -> None:
        stamped = came >= end
        done = stamped & (committed != UNKNOWN_US) & (committed > came - TRUNCATED_US)
        for series, of, late_us in (
            (self.delays, stamped, came - end),
            (self.waits, done, np.maximum(0, committed - came)),
            (self.totals, done, np.maximum(0, committed - end)),
        ):
            late = late_us[of] / MICROSECONDS
            classes = np.searchsorted(DELAY_EDGES_S, late, side="right") - 1
            series.count(end[of], classes, len(DELAY_EDGES_S))

    def _count_gaps(self, streams: np.ndarray[tuple[int, ...], np.dtype[np.object_]], start: Ints, end: Ints) -> None:
        codes, names = pd.factorize(streams)
        order = np.lexsort((start, codes))
        codes, start, end = codes[order], start[order], end[order]
        for begin, stop in _runs(codes):
            name = str(names[codes[begin]])
            ends = np.maximum.accumulate(np.append(self._ends.get(name, start[begin]), end[begin:stop]))
            apart = (start[begin:stop] - ends[:-1]) / MICROSECONDS
            self._ends[name] = int(ends[-1])
            for at in np.flatnonzero(apart > GAP_S):
                self.gaps += 1
                self.gap_s += float(apart[at])
                gap = Gap(float(apart[at]), name, int(ends[at]))
                (heapq.heappush if len(self.longest) < GAPS_SHOWN else heapq.heappushpop)(self.longest, gap)

    def _count_skipped(self, rows: pd.DataFrame) -> None:
        known = rows[rows["seq"].notna() & rows["stream_id"].notna()]
        codes, names = pd.factorize(known["stream_id"].to_numpy(object))
        seq = known["seq"].astype("float64").to_numpy()
        order = np.argsort(codes, kind="stable")
        codes, seq = codes[order], seq[order]
        for begin, stop in _runs(codes):
            name = str(names[codes[begin]])
            own = np.unique(seq[begin:stop])
            before = self._seqs.get(name)
            steps = np.diff(own if before is None or before >= own[0] else np.insert(own, 0, before))
            self.skipped += int((steps - 1).sum())
            self._seqs[name] = int(own[-1])


def quantile(share: float, counts: Floats) -> float | None:
    """The delay, seconds, that this share of the counted ones does not exceed, by straight lines within the classes; None
    without any, and the lower edge of the last class within it."""
    total = counts.sum()
    if not total:
        return None
    reached = np.cumsum(counts)
    at = int(np.searchsorted(reached, share * total))
    if at >= len(DELAY_EDGES_S) - 1:
        return float(DELAY_EDGES_S[-1])
    below = reached[at - 1] if at else 0.0
    low, high = DELAY_EDGES_S[at], DELAY_EDGES_S[at + 1]
    return float(low + (high - low) * (share * total - below) / counts[at])


def _runs(codes: Ints) -> list[tuple[int, int]]:
    begins = np.flatnonzero(np.diff(codes, prepend=-1))
    return list(zip(begins.tolist(), np.append(begins[1:], len(codes)).tolist(), strict=True)) if len(codes) else []
