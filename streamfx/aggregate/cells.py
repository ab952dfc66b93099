"""From the windows of a day to what each track adds to each cell: a time bin, a group of streams, and what was seen.

**What a window counts.** Windows overlap, so each stands for the time until the next window of its track begins, at most
until it ends itself, and never beyond its bin. So each moment of a track counts once, in the bin in which its window
starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from streamfx.columns import action_units
from streamfx.sink.parquet import utc_us

KEY_COLUMNS = ("stream_id", "track_id", "window_start", "window_end", "config_id")
FACES, ALL = "faces", "all"
REST = "(rest)"
"""Stands for the faces that have no value of a measure. It is never shown."""
_MOST_OF = {"expression": 1.0, "au": 5.0}
"""The largest value that a mean may have: a probability, or an intensity by FACS. All faces have no mean."""


class Cell(NamedTuple):
    """What is counted of one group in one bin. The measure `faces` counts all faces."""

    group: str
    measure: str
    value: str


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that is counted. `by` is the column that decides, and None for all faces; `mean_of` the one of the mean.

    `values` is the closed vocabulary of `by`; a flag or a number in it counts as the only one of `values`.
    """

    name: str
    by: str | None
    values: tuple[str, ...]
    mean_of: str | None = None

    @property
    def most(self) -> float:
        """The largest value of the mean."""
        return _MOST_OF.get(self.name.partition("_")[0], 1.0)


def measures_of(wanted: Sequence[str], declared: Mapping[str, tuple[str, ...]]) -> list[Measure]:
    """All faces, and each wanted measure that the dataset's columns have."""
    found = [Measure(FACES, None, (ALL,))]
    if "expression" in wanted and declared.get("expression"):
        mean_of = next((n for n in ("expression_confidence", "confidence") if n in declared), None)
        found.append(Measure("expression", "expression", declared["expression"], mean_of and "expression_confidence"))
    for unit in action_units(name.removesuffix("_present") for name in declared) if "action_units" in wanted else ():
        strength = unit if unit in declared else None
        if f"{unit}_present" in declared:
            found.append(Measure(unit, f"{unit}_present", ("present",), strength))
        else:
            found.append(Measure(unit, unit, ("measured",), strength))
    return found


def columns_of(measures: Sequence[Measure]) -> list[str]:
    """The columns of `windows` that must be read."""
    return list(dict.fromkeys([*KEY_COLUMNS, *(c for m in measures for c in (m.by, m.mean_of) if c is not None)]))


def contributions(
    windows: pd.DataFrame, groups: pd.Series[str], measures: Sequence[Measure], every_us: int
) -> pd.DataFrame:
    """One row for each track and cell: `bin`, `group`, `measure`, `value`, `track`, `ms` of it, and for the mean `weighted`,
    the sum of value x ms over `weighted_ms`.

    `groups` has the group of each window. What has no value of a measure is in its cell `REST`.
    """
    pieces = _pieces(windows.assign(group=groups.to_numpy()), every_us)
    parts = []
    for measure in measures:
        part = pieces.assign(measure=measure.name, value=_values(pieces, measure).fillna(REST))
        worth = pd.to_numeric(part[measure.mean_of]) if measure.mean_of else pd.Series(float("nan"), index=part.index)
        worth = worth.astype("float64")
        part = part.assign(weighted=(worth * part["ms"]).fillna(0.0), weighted_ms=part["ms"].where(worth.notna(), 0))
        parts.append(part[["bin", "group", "measure", "value", "track", "ms", "weighted", "weighted_ms"]])
    together = pd.concat(parts, ignore_index=True)
    return together.groupby(["bin", "group", "measure", "value", "track"], as_index=False, sort=True).sum()


def _pieces(windows: pd.DataFrame, every_us: int) -> pd.DataFrame:
    """The windows that count, with their `bin` (microseconds), `track` and `ms`."""
    start, end = utc_us(windows["window_start"]), utc_us(windows["window_end"])
    rows = windows.assign(start=start, end=end, bin=start - start % every_us)
    rows["track"] = rows["stream_id"] + "/" + rows["track_id"]
    rows = rows.sort_values(["track", "start", "config_id"], kind="stable")
    follows = rows.groupby("track")["start"].shift(-1)
    until = pd.concat([follows, rows["end"], rows["bin"] + every_us], axis=1).min(axis=1)
    rows["ms"] = ((until - rows["start"]) // 1000).astype("int64")
    # Of two rows of one window, under two configurations, the first has no time of its own.
    return rows[rows["ms"] > 0].reset_index(drop=True)


def _values(pieces: pd.DataFrame, measure: Measure) -> pd.Series[str]:
    """Which value of a measure each piece has; null for none."""
    if measure.by is None:
        return pd.Series(measure.values[0], index=pieces.index, dtype=object)
    column = pieces[measure.by]
    if len(measure.values) > 1 or measure.name == "expression":
        return column.astype(object).where(column.notna() & column.isin(measure.values), None)
    seen = column.notna() if measure.values == ("measured",) else column.astype("boolean").fillna(False).astype(bool)
    return pd.Series(measure.values[0], index=pieces.index, dtype=object).where(seen, None)
