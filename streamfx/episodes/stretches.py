"""From moments to the rows of the table `episodes`: stretches of a track in which a measure shows one thing.

The stretches of a measure are all time of which it is known, each moment once: those that show a state, and those that
show none (`unclear`, `inactive`). What is not known is in no stretch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.columns import FACE, SEEN
from streamfx.config.episodes import Episodes
from streamfx.episodes.measures import FLAG_TRUST, Measure
from streamfx.episodes.smooth import NONE, Floats, Ints, hysteresis, likeliest_path

_MICROSECONDS = 1e6


def stretches(moments: pd.DataFrame, measures: Sequence[Measure], section: Episodes) -> Iterator[dict[str, Any]]:
    """The rows of these moments (`moments.moments`) by track and time, for each run that a face was seen, and then for each
    measure. Times are UTC microseconds."""
    if moments.empty:
        return
    whole = np.zeros(len(moments), np.int64)
    nothing = np.full((len(moments), 1), np.nan)
    yield from _rows(moments, _Found(FACE, (SEEN,), "", None, whole, nothing), section.rule)
    for measure in measures:
        scores = measure.scores_of(moments)
        known = ~np.isnan(scores).any(axis=1)
        of, scores = moments.iloc[np.flatnonzero(known)].reset_index(drop=True), scores[known]
        if len(of):
            state = decided(of, scores, section)
            worth = measure.worth_of(of, scores)
            found = _Found(measure.name, measure.states, measure.none, measure.version, state, worth)
            yield from _rows(of, found, section.rule)


def decided(moments: pd.DataFrame, scores: Floats, section: Episodes) -> Ints:
    """The state of each moment that is known, by the section's rule; NONE for one that shows none."""
    piece = np.cumsum(_breaks(moments)).astype(np.int64)
    if section.smoother == "hmm":
        likely = np.where(scores > 0.5, FLAG_TRUST, 1 - FLAG_TRUST) if scores.shape[1] == 1 else scores
        seconds = moments["end_us"] - moments["start_us"]
        share = (seconds / moments["length_us"]).to_numpy(np.float64)
        return likeliest_path(likely, piece, moments["middle_us"].to_numpy(np.float64) / _MICROSECONDS, share)
    state = hysteresis(scores, piece, section.enter, section.leave)
    times = moments["start_us"].to_numpy(np.int64), moments["end_us"].to_numpy(np.int64)
    state = _without_short(state, piece, *times, section.least_s, breaks=True)
    return _without_short(state, piece, *times, section.least_s, breaks=False)


def _without_short(state: Ints, piece: Ints, start: Ints, end: Ints, least_s: float, breaks: bool) -> Ints:
    """The states without the short stretches whose start and end were both seen: of none between two that are alike
    (`breaks`), which take it over, or else of a state, which becomes none."""
    first = np.flatnonzero((np.diff(state, prepend=NONE - 1) != 0) | (np.diff(piece, prepend=piece[0] - 1) != 0))
    last = np.append(first[1:], len(state)) - 1
    short = (end[last] - start[first]) / _MICROSECONDS < least_s
    inner = np.zeros(len(first), bool)
    of = piece[first]
    inner[1:-1] = (of[1:-1] == of[:-2]) & (of[1:-1] == of[2:])
    shown = state[first]
    new = shown.copy()
    if breaks:
        before, after = np.roll(shown, 1), np.roll(shown, -1)
        taken = inner & short & (shown == NONE) & (before == after)
        new[taken] = before[taken]
    else:
        new[inner & short & (shown != NONE)] = NONE
    return np.repeat(new, last - first + 1)


def _breaks(moments: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether something lies between a moment and the one before it: another run, or time that is not known."""
    start, end = moments["start_us"].to_numpy(np.int64), moments["end_us"].to_numpy(np.int64)
    run = moments["run"].to_numpy(np.int64)
    broken = np.ones(len(moments), bool)
    broken[1:] = (run[1:] != run[:-1]) | (start[1:] != end[:-1])
    return broken


class _Found:
    """What was decided of one measure: the `state` of each moment, and what mean and peak are of (NaN: nothing)."""

    def __init__(self, name: str, states: tuple[str, ...], none: str, version: str | None, state: Ints, worth: Floats):
        self.name, self.states, self.none, self.version = name, states, none, version
        self.state, self.worth = state, worth

    def said(self, number: int) -> str:
        return self.none if number == NONE else self.states[number]


def _rows(moments: pd.DataFrame, found: _Found, rule: str) -> Iterator[dict[str, Any]]:
    """One row for each stretch of moments without a break that are in one state."""
    broken, state = _breaks(moments), found.state
    first = np.flatnonzero(broken | (np.diff(state, prepend=NONE - 1) != 0))
    end = np.append(first[1:], len(state))
    get = {name: moments[name].to_numpy() for name in ("start_us", "end_us", "middle_us", "first_us", "last_us")}
    texts = {name: moments[name].to_numpy(object) for name in ("stream_id", "track_id", "config_id")}
    versions = moments[found.version].to_numpy(object) if found.version in moments else None
    ms = get["end_us"] - get["start_us"]
    follows = np.append(broken[1:], True)
    for begin, until in zip(first.tolist(), end.tolist(), strict=True):
        number = int(state[begin])
        worth = found.worth[begin:until, max(number, 0) if found.worth.shape[1] > 1 else 0]
        measured = number != NONE and not np.isnan(worth).any()
        apex = begin + int(worth.argmax())
        starts, ends = int(get["start_us"][begin]), int(get["end_us"][until - 1])
        weight = ms[begin:until]
        version = None if versions is None else versions[begin]
        yield {
            **{name: str(values[begin]) for name, values in texts.items()},
            "measure": found.name,
            "value": found.said(number),
            "episode_start": starts,
            "episode_end": ends,
            "seconds": (ends - starts) / _MICROSECONDS,
            "apex_time": min(int(get["middle_us"][apex]), ends) if measured else None,
            "mean": float(np.dot(worth, weight) / weight.sum()) if measured else None,
            "peak": float(worth.max()) if measured else None,
            "windows": until - begin,
            "start_seen": not bool(broken[begin]),
            "end_seen": not bool(follows[until - 1]),
            "first_window": int(get["first_us"][begin]),
            "last_window": int(get["last_us"][begin]),
            "rule": rule,
            "model_version": version if isinstance(version, str) else None,
        }
