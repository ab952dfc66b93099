"""What has to be forgotten: rules by pseudonym and event time, and what is left of a row or a file that one hits.

A window's row goes. A chunk's row stays, so that every offset keeps its fate, but says nothing of its stream any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import pandas as pd

from streamfx.sink.parquet import decode, encode

REASON = "erased"
BLANK: Mapping[str, Any] = {
    **dict.fromkeys(("stream_id", "seq", "chunk_start", "chunk_end")),
    **dict.fromkeys(("frames", "faces", "windows"), 0),
    "reason": REASON,
}
"""What a chunk's row says once it is erased; its offset, append time, fate and size stay."""

_TIMES = {"windows": ("window_start",), "chunks": ("chunk_start", "append_time")}
KEY_COLUMNS: Mapping[str, Sequence[str]] = {
    "windows": ("stream_id", *_TIMES["windows"]),
    "chunks": ("stream_id", *_TIMES["chunks"], "reason"),
}
"""What must be read of a table to know which of its rows a rule hits."""
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Everything of these streams (pseudonyms; None: of all) with event time in `[start_us, end_us)`, UTC microseconds.

    `start_us` None: from the beginning. A window's time is its start, a chunk's its start or, where that is unknown, its
    append time.
    """

    streams: frozenset[str] | None
    start_us: int | None
    end_us: int

    def hits(self, stream_id: str | None, time_us: int) -> bool:
        """Whether a row of this stream and time has to be forgotten."""
        if self.streams is not None and stream_id not in self.streams:
            return False
        return (self.start_us is None or self.start_us <= time_us) and time_us < self.end_us

    def may_hit(self, date: str) -> bool:
        """Whether a row that lies under this UTC day (`YYYY-MM-DD`) could be hit."""
        day_us = pd.Timestamp(date).value // 1000
        return day_us < self.end_us and (self.start_us is None or self.start_us < day_us + _DAY_US)

    def covers(self, other: Self) -> bool:
        """Whether whatever `other` hits, this hits too."""
        streams = self.streams is None or (other.streams is not None and other.streams <= self.streams)
        begins = self.start_us is None or (other.start_us is not None and self.start_us <= other.start_us)
        return streams and begins and other.end_us <= self.end_us

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, for the log."""
        streams = None if self.streams is None else sorted(self.streams)
        return {"streams": streams, "start_us": self.start_us, "end_us": self.end_us}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The rule that the log holds."""
        streams = values["streams"]
        return cls(None if streams is None else frozenset(streams), values["start_us"], values["end_us"])


def obey(rules: Iterable[Rule], table: str, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What may be written of a new row, times in microseconds; None: nothing."""
    time_us = next((row[name] for name in _TIMES[table] if row.get(name) is not None), None)
    if time_us is None or not any(rule.hits(row["stream_id"], time_us) for rule in rules):
        return row
    return None if table == "windows" else {**row, **BLANK}


def erase(rule: Rule, table: str, data: bytes, where: str) -> tuple[bytes, int] | None:
    """The file and its number of rows after a rule was applied; None where it hits nothing. SinkError if damaged."""
    stored = decode(data, where)
    rows = stored.rows
    hit = hits(rule, table, rows)
    if not hit.any():
        return None
    if table == "windows":
        rows = rows[~hit].reset_index(drop=True)
    else:
        for name, value in BLANK.items():
            rows[name] = rows[name].where(~hit, value)
    return encode(replace(stored, rows=rows)), len(rows)


def hits(rule: Rule, table: str, rows: pd.DataFrame) -> pd.Series[bool]:
    """Which stored rows the rule takes something away from; `rows` have at least `KEY_COLUMNS`."""
    keys = zip(rows["stream_id"], times_us(table, rows), strict=True)
    return pd.Series([rule.hits(*key) for key in keys], index=rows.index, dtype=bool) & is_left(table, rows)


def is_left(table: str, rows: pd.DataFrame) -> pd.Series[bool]:
    """Which stored rows still say something that a rule could take away."""
    if table == "chunks":
        return rows["reason"].ne(REASON).astype(bool)
    return pd.Series(True, index=rows.index, dtype=bool)


def times_us(table: str, rows: pd.DataFrame) -> pd.Series[int]:
    """The event time by which a rule knows each stored row, UTC microseconds."""
    first, *others = _TIMES[table]
    times = rows[first]
    for name in others:
        times = times.where(times.notna(), rows[name])
    # UTC, whether the file says so or is of rows version 1.
    return pd.Series(times.dt.as_unit("us").astype("int64"), dtype="int64")
