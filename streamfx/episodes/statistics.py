"""What the rows of `episodes` say together: face-seconds, shares of time with intervals over tracks, and transitions.

An expression is what a face shows, and not what a person feels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from streamfx.columns import EXPRESSION, FACE, UNCLEAR
from streamfx.episodes.intervals import NOT_ENOUGH, SHOWING_MIN, TRACKS_MIN, Drawn, Estimate, Floats, lacking

NOTE = "An expression is what a face shows, and not what a person feels."


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole with its interval; None where tracks are too few.

    `tracks` are those that the whole has time of, and `showing` those that the part has.
    """

    tracks: int
    showing: int
    estimate: Estimate | None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, and `why` where there is no number."""
        of = {"tracks": self.tracks, "tracks_showing": self.showing}
        if self.estimate is None:
            return {**of, "share": None, "why": self.why}
        return {**of, "share": self.estimate.value, "low": self.estimate.low, "high": self.estimate.high}

    @property
    def why(self) -> str:
        """Why there is no number."""
        return lacking(self.tracks, self.showing) or NOT_ENOUGH


@dataclass(frozen=True, slots=True)
class Values:
    """Of one measure: `seconds`, number of `episodes` and `share` of the known time, by what it shows."""

    known_s: float
    missing_s: float
    seconds: dict[str, float]
    episodes: dict[str, int]
    share: dict[str, Share]


@dataclass(frozen=True, slots=True)
class Statistics:
    """`seen_s` of faces on `tracks`; `measures` by name; and from which expression how often which follows.

    `transitions[a][b]` counts; `next_share[a][b]` is the share of b among what follows a.
    """

    seen_s: float
    tracks: int
    measures: dict[str, Values]
    transitions: dict[str, dict[str, int]]
    next_share: dict[str, dict[str, Share]]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "note": NOTE,
            "tracks_needed": TRACKS_MIN,
            "tracks_showing_needed": SHOWING_MIN,
            "seen_s": self.seen_s,
            "tracks": self.tracks,
            "measures": {name: _values_json(values) for name, values in self.measures.items()},
            "transitions": {
                before: {
                    after: {"count": number, **self.next_share[before][after].as_json()}
                    for after, number in row.items()
                }
                for before, row in self.transitions.items()
            },
        }


def _values_json(values: Values) -> dict[str, Any]:
    shown = {
        name: {"seconds": seconds, "episodes": values.episodes[name], **values.share[name].as_json()}
        for name, seconds in values.seconds.items()
    }
    return {"known_s": values.known_s, "missing_s": values.missing_s, "values": shown}


def statistics(rows: pd.DataFrame) -> Statistics:
    """The statistics of rows with the columns of the table `episodes`; intervals are drawn as in `intervals.py`."""
    rows = rows.assign(track=rows["stream_id"] + "/" + rows["track_id"])
    seen = rows[rows["measure"] == FACE]
    seen_s = float(seen["seconds"].sum())
    measures = {
        str(name): _values(of, seen_s) for name, of in rows[rows["measure"] != FACE].groupby("measure", sort=True)
    }
    pairs = transitions(rows)
    counts = pairs.groupby(["track", "before", "after"]).size().rename("count").reset_index()
    shares: dict[str, dict[str, Share]] = {}
    numbers: dict[str, dict[str, int]] = {}
    for before, of in counts.groupby("before", sort=True):
        table = of.pivot_table(index="track", columns="after", values="count", aggfunc="sum", fill_value=0)
        names = [str(name) for name in table.columns]
        shares[str(before)] = shares_of(table.to_numpy(np.float64), names)
        numbers[str(before)] = {name: int(table[name].sum()) for name in names}
    return Statistics(seen_s, int(seen["track"].nunique()), measures, numbers, shares)


def _values(of: pd.DataFrame, seen_s: float) -> Values:
    table = of.pivot_table(index="track", columns="value", values="seconds", aggfunc="sum", fill_value=0.0)
    names = [str(name) for name in table.columns]
    known_s = float(of["seconds"].sum())
    return Values(
        known_s=known_s,
        missing_s=max(0.0, seen_s - known_s),
        seconds={name: float(table[name].sum()) for name in names},
        episodes={name: int((of["value"] == name).sum()) for name in names},
        share=shares_of(table.to_numpy(np.float64), names),
    )


def transitions(rows: pd.DataFrame) -> pd.DataFrame:
    """One row, `track`, `before`, `after`, for each change from one expression to the next on one track.

    Nothing unknown lies between the two: each stretch begins where the one before it ends. A stretch that is `unclear` is
    passed over; so an expression may follow itself.
    """
    of = rows[rows["measure"] == EXPRESSION].sort_values(["track", "episode_start"], kind="stable")
    broken = (of["track"] != of["track"].shift()) | (of["episode_start"] != of["episode_end"].shift())
    shown = of.assign(piece=broken.cumsum())
    shown = shown[shown["value"] != UNCLEAR]
    follows = shown["piece"] == shown["piece"].shift()
    pairs = pd.DataFrame({"track": shown["track"], "before": shown["value"].shift(), "after": shown["value"]})
    return pairs[follows].reset_index(drop=True)


def shares_of(parts: Floats, names: Sequence[str]) -> dict[str, Share]:
    """The share of each column of `parts` [tracks, values] in the sum of all, with its interval."""
    drawn, found = Drawn(parts), {}
    for at, name in enumerate(names):
        showing = int((parts[:, at] > 0).sum())
        found[name] = Share(len(parts), showing, drawn.estimate(partial(_share, at), showing))
    return found


def _share(at: int, sums: Floats) -> Floats:
    return np.asarray(sums[..., at] / sums.sum(axis=-1))
