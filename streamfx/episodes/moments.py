"""From overlapping windows to moments that do not overlap: the part of a track's time for which each window speaks.

A window speaks for the time that is nearer to its middle than to the middles of the windows before and after it. Where none
comes before or after, at the edges of a run, it speaks for as much of its outer half as the face was seen in. So no moment
counts twice. A run is a track's windows without a gap: each begins before the one before it has ended, or just then.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.sink.erasure import Rule
from streamfx.sink.parquet import utc_us

KEYS = ("stream_id", "track_id", "window_start", "window_end", "config_id")
FRAMES = "frames"
DAY_US = 86_400_000_000
VERSION = "_model_version"
SEGMENTS = 16
"""Of a window, in which `frames` counts where the face was seen."""


def moments(windows: pd.DataFrame, day_us: int, rules: Iterable[Rule] = ()) -> pd.DataFrame:
    """The windows of one UTC day that begins at `day_us`, by track and time, each with the moments that it speaks for:
    `start_us` to `end_us` (UTC microseconds), the window's `middle_us` and `length_us`, and its `run` (0, 1, …), of which
    `first_us` and `last_us` are the starts of the first and the last window.

    A run ends where nothing was seen between two windows, where another configuration or model begins, where a rule of
    erasure lies between, and at the end of the day.
    """
    rows = windows.sort_values([*KEYS[:3], "config_id"], kind="stable")
    # Of two rows of one window, under two configurations, the first speaks.
    rows = rows.drop_duplicates([*KEYS[:3]]).reset_index(drop=True)
    if rows.empty:
        return rows.assign(
            **dict.fromkeys(("start_us", "end_us", "middle_us", "length_us", "run", "first_us", "last_us"), 0)
        )
    begin, end = (np.asarray(utc_us(rows[name]), np.int64) for name in KEYS[2:4])
    middle = (begin + end) // 2
    follows = _alike(rows, ["stream_id", "track_id"])
    near = follows & (begin[1:] <= end[:-1])
    border = np.clip((middle[1:] + middle[:-1]) // 2, begin[1:], np.maximum(end[:-1], begin[1:]))
    start, until = begin.copy(), np.minimum(end, day_us + DAY_US)
    start[1:] = np.where(near, border, start[1:])
    until[:-1] = np.where(near, np.minimum(border, until[:-1]), until[:-1])
    opens, closes = np.concatenate([[True], ~near]), np.concatenate([~near, [True]])
    unseen = np.clip(1 - rows[FRAMES].to_numpy(np.float64) / SEGMENTS, 0, 0.5) * (end - begin)
    # What is missing in a window at one edge is missing on that side; in a window alone, on either side as much.
    unseen = np.where(opens & closes, unseen / 2, unseen).astype(np.int64)
    start, until = np.where(opens, start + unseen, start), np.where(closes, until - unseen, until)
    # Of windows of several lengths, a long one may reach beyond the one after it.
    tracks = rows["stream_id"] + "/" + rows["track_id"]
    spoken = pd.Series(until, index=rows.index).groupby(tracks).cummax().groupby(tracks).shift(fill_value=0)
    start = np.maximum(start, spoken.to_numpy(np.int64))
    versions = [str(name) for name in rows.columns if str(name).endswith(VERSION)]
    joined = near & _alike(rows, ["config_id", *versions]) & ~_erased_between(rows["stream_id"], begin, rules)
    run = np.cumsum(np.concatenate([[0], ~joined]))
    rows = rows.assign(start_us=start, end_us=until, middle_us=middle, length_us=end - begin, run=run)
    by_run = pd.Series(begin, index=rows.index).groupby(rows["run"])
    rows = rows.assign(first_us=by_run.transform("min"), last_us=by_run.transform("max"))
    return rows[rows["end_us"] > rows["start_us"]].reset_index(drop=True)


def _alike(rows: pd.DataFrame, names: list[str]) -> npt.NDArray[np.bool_]:
    """For each row but the first, whether it has the values of the row before it; two nulls are alike."""
    values = rows[names].astype(object).where(rows[names].notna(), "").to_numpy()
    return np.asarray((values[1:] == values[:-1]).all(axis=1), bool)


def _erased_between(
    streams: pd.Series[str], begin: npt.NDArray[np.int64], rules: Iterable[Rule]
) -> npt.NDArray[np.bool_]:
    """For each row but the first, whether a rule covers time between its window's start and that of the one before."""
    between = np.zeros(max(0, len(begin) - 1), bool)
    for rule in rules:
        of = np.ones(len(between), bool) if rule.streams is None else streams.isin(rule.streams).to_numpy()[1:]
        after = True if rule.start_us is None else begin[1:] >= rule.start_us
        between |= of & (begin[:-1] < rule.end_us) & after
    return between
