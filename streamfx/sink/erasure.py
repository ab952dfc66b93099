"""Erasure: rules by pseudonym and event time, and what remains of a row or file that matches a rule.

A window's row is removed, and so are a film and its row. A chunk's row stays, so that every offset keeps its fate, but
all values about its stream go. A row of aggregates is removed by a rule about all streams: it names none, and to count it
again without one would tell by subtraction what that stream had in it. A row of episodes is removed by a rule that covers
any window of the run that it was made from: the smoothing carries each window on to the whole run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import pandas as pd

from streamfx.sink.parquet import decode, encode, utc_us

REASON = "erased"
BLANK: Mapping[str, Any] = {
    **dict.fromkeys(("stream_id", "seq", "chunk_start", "chunk_end")),
    **dict.fromkeys(("frames", "faces", "windows"), 0),
    "reason": REASON,
}
"""The values of an erased chunk's row. Its offset, append time, fate and size are kept."""

_TIMES = {
    "windows": ("window_start",),
    "films": ("film_start",),
    "chunks": ("chunk_start", "append_time"),
    "aggregates": ("bin_start",),
    "episodes": ("first_window",),
}
_UNTIL = {"episodes": "last_window"}
"""Where a row is of a range of times, the column with the last of them."""
KEY_COLUMNS: Mapping[str, Sequence[str]] = {
    "windows": ("stream_id", *_TIMES["windows"]),
    "films": ("stream_id", *_TIMES["films"], "file"),
    "chunks": ("stream_id", *_TIMES["chunks"], "reason"),
    "aggregates": _TIMES["aggregates"],
    "episodes": ("stream_id", *_TIMES["episodes"], _UNTIL["episodes"]),
}
"""The columns of each table that decide which rows match a rule."""
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches the rows of these streams (pseudonyms; None: all) with event time in `[start_us, end_us)` (UTC, µs).

    If `start_us` is None, it matches from the beginning. A window's time is its start, and so is a bin's of aggregates. A
    chunk's time is its start or, if that is unknown, its append time. An episode's times are those from the first to the
    last window of its run.
    """

    streams: frozenset[str] | None
    start_us: int | None
    end_us: int

    def hits(self, stream_id: str | None, time_us: int, until_us: int | None = None) -> bool:
        """Whether a row of this stream and time, or of the times from `time_us` to `until_us`, must be erased."""
        if self.streams is not None and stream_id not in self.streams:
            return False
        last_us = time_us if until_us is None else until_us
        return (self.start_us is None or self.start_us <= last_us) and time_us < self.end_us

    def may_hit(self, date: str) -> bool:
        """Whether a row in the folder of this UTC day (`YYYY-MM-DD`) could match."""
        day_us = pd.Timestamp(date).value // 1000
        return day_us < self.end_us and (self.start_us is None or self.start_us < day_us + _DAY_US)

    def covers(self, other: Self) -> bool:
        """Whether this rule matches everything that `other` matches."""
        streams = self.streams is None or (other.streams is not None and other.streams <= self.streams)
        begins = self.start_us is None or (other.start_us is not None and self.start_us <= other.start_us)
        return streams and begins and other.end_us <= self.end_us

    def as_json(self) -> dict[str, Any]:
        """The rule as plain JSON values, for the log."""
        streams = None if self.streams is None else sorted(self.streams)
        return {"streams": streams, "start_us": self.start_us, "end_us": self.end_us}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The rule from its values in the log."""
        streams = values["streams"]
        return cls(None if streams is None else frozenset(streams), values["start_us"], values["end_us"])


def obey(rules: Iterable[Rule], table: str, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What may be written of a new row (times in microseconds); None if nothing may be written."""
    time_us = next((row[name] for name in _TIMES[table] if row.get(name) is not None), None)
    until_us = row[_UNTIL[table]] if table in _UNTIL else None
    if time_us is None or not any(rule.hits(row.get("stream_id"), time_us, until_us) for rule in rules):
        return row
    return {**row, **BLANK} if table == "chunks" else None


def erase(rule: Rule, table: str, data: bytes, where: str) -> tuple[bytes, int] | None:
    """The file and its number of rows after applying a rule; None if no row matches. Raises SinkError if damaged."""
    stored = decode(data, where)
    rows = stored.rows
    hit = hits(rule, table, rows)
    if not hit.any():
        return None
    if table == "chunks":
        for name, value in BLANK.items():
            rows[name] = rows[name].where(~hit, value)
    else:
        rows = rows[~hit].reset_index(drop=True)
    return encode(replace(stored, rows=rows)), len(rows)


def hits(rule: Rule, table: str, rows: pd.DataFrame) -> pd.Series[bool]:
    """Which stored rows match the rule and are not erased yet. `rows` must have at least the `KEY_COLUMNS`."""
    streams = rows["stream_id"] if "stream_id" in rows else [None] * len(rows)
    until = utc_us(rows[_UNTIL[table]]) if table in _UNTIL else [None] * len(rows)
    keys = zip(streams, times_us(table, rows), until, strict=True)
    return pd.Series([rule.hits(*key) for key in keys], index=rows.index, dtype=bool) & is_left(table, rows)


def is_left(table: str, rows: pd.DataFrame) -> pd.Series[bool]:
    """Which stored rows are not erased yet."""
    if table == "chunks":
        return rows["reason"].ne(REASON).astype(bool)
    return pd.Series(True, index=rows.index, dtype=bool)


def times_us(table: str, rows: pd.DataFrame) -> pd.Series[int]:
    """The event time that a rule compares for each stored row, in UTC microseconds."""
    first, *others = _TIMES[table]
    times = rows[first]
    for name in others:
        times = times.where(times.notna(), rows[name])
    return utc_us(times)
