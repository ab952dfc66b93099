"""What the rows of `episodes` say together: face-seconds, shares of time with intervals over tracks, and transitions.

An expression is what a face shows, and not what a person feels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.columns import EXPRESSION, FACE, UNCLEAR

Floats = npt.NDArray[np.float64]
NOTE = "An expression is what a face shows, and not what a person feels."
TRACKS_MIN = 10
"""A share or a probability is said from so many tracks on: an interval drawn from fewer is too narrow."""
DRAWS = 2000
_SEED = 0


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, and the 95 % of its values that draws of other tracks would give; None where they are too few.

    `tracks` are those that the whole has time of.
    """

    tracks: int
    value: float | None = None
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, and `why` where there is no number."""
        if self.value is None:
            return {"tracks": self.tracks, "share": None, "why": self.why}
        return {"tracks": self.tracks, "share": self.value, "low": self.low, "high": self.high}

    @property
    def why(self) -> str:
        """Why there is no number."""
        return f"not enough data: {self.tracks} track{'' if self.tracks == 1 else 's'}, {TRACKS_MIN} are needed"


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
    """The statistics of rows with the columns of the table `episodes`.

    An interval is the 2.5th to the 97.5th percentile of the shares in draws of as many tracks with replacement (the
    cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, 3.8), since the windows of one
    track are not independent.
    """
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
    """The share of each column of `parts` [tracks, values] in the sum of all, with its interval; without a number where
    fewer than TRACKS_MIN tracks have any."""
    tracks = len(parts)
    if tracks < TRACKS_MIN:
        return {name: Share(tracks) for name in names}
    whole = parts.sum(axis=0)
    rng = np.random.default_rng(_SEED)
    drawn = np.empty((DRAWS, len(names)))
    for number in range(DRAWS):
        sums = np.bincount(rng.integers(tracks, size=tracks), minlength=tracks) @ parts
        drawn[number] = sums / sums.sum()
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return {
        name: Share(tracks, float(whole[at] / whole.sum()), float(low[at]), float(high[at]))
        for at, name in enumerate(names)
    }
