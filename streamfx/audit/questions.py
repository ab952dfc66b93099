"""What the probes are asked: which stream, which track, which stream across salt periods; and where each class is cut.

Each class's windows are cut in two by time: those that end before its cut are learnt from, those that begin after it are
held out. So no window overlaps one of its class on the other side, and what is held out is later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.errors import ConfigError
from streamfx.privacy.pseudonyms import Pseudonyms

MOST_WINDOWS = 40_000
"""Windows of one question's sample, about: each class gives an equal part of them at most."""
MOST_CLASSES = 200
MOST_STREAMS, MOST_TRACKS = 50, 10
"""Streams of one salt period, and tracks of one stream, among which the probes tell."""
LEAST_WINDOWS = 20
"""Windows of a class; with fewer it is left out."""
DAY_US = 86_400_000_000
LEARNT = 0.7
"""Part of a class's time that is learnt from."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Which windows are of which class. `classes` has a row for each value of `keys`: `label` (the class), `group` (a
    probe tells among the classes of one group), `cut_us`, and `share` (the part of its windows that is in the sample).

    `there` is the number of classes that have enough windows, of which `classes` are some.
    """

    name: str
    keys: tuple[str, ...]
    classes: pd.DataFrame
    there: int
    by_the_clock: bool = False
    """Whether the hour of the day may tell something: where what is held out are other days."""


def stream_question(tracks: pd.DataFrame, salt_period_us: int | None) -> Question:
    """Which of the streams of one salt period is it?

    Where the salt period is not known, streams are compared that run at the same time, directly or through others
    between them: a pseudonym never reaches into another period. `salt_period_us` 0: pseudonyms never change.
    """
    spans = _spans(tracks, ["stream_id"])
    if salt_period_us is None:
        spans["group"] = _together(spans["first_us"].to_numpy(), spans["last_us"].to_numpy())
    else:
        spans["group"] = spans["first_us"] // salt_period_us if salt_period_us else 0
    return _question("stream", ["stream_id"], spans, MOST_STREAMS)


def track_question(tracks: pd.DataFrame) -> Question:
    """Which of the tracks of one stream is it?"""
    spans = _spans(tracks, ["stream_id", "track_id"])
    spans["group"] = spans["stream_id"]
    return _question("track", ["stream_id", "track_id"], spans, MOST_TRACKS)


def across_salts_question(
    tracks: pd.DataFrame, salt_period_us: int, pseudonyms: Pseudonyms, streams: Sequence[str]
) -> Question:
    """Which of the streams of earlier salt periods is it? Of each stream its last salt period is held out.

    `streams` are raw ids. ConfigError for one that no row names.
    """
    spans = _spans(tracks, ["stream_id"], least=1).set_index("stream_id")
    if spans.empty:
        raise ConfigError("--stream: the dataset has no windows, so no row names a stream")
    periods = pseudonyms.salt_periods(int(spans["first_us"].min()), int(spans["last_us"].max()))
    found = []
    for number, stream in enumerate(dict.fromkeys(streams)):
        names = [pseudonyms.stream_pseudonym(stream, period) for period in periods]
        seen = spans.loc[[name for name in dict.fromkeys(names) if name in spans.index]]
        if seen.empty:
            raise ConfigError(
                f"--stream: no row names stream {number + 1} of the {len(streams)} given. Ids must be exact, and the key "
                "and privacy.salt_period_s must be those that the rows were written with"
            )
        seen = seen[seen["windows"] >= LEAST_WINDOWS].sort_values("first_us")
        if len(seen) > 1:
            found.append(seen.assign(label=number, cut_us=int(seen["first_us"].iloc[-1])).reset_index())
    together = pd.concat(found, ignore_index=True) if found else spans.iloc[:0].reset_index().assign(label=0, cut_us=0)
    question = _question("across_salts", ["stream_id"], together.assign(group=0), MOST_CLASSES)
    return replace(question, by_the_clock=salt_period_us >= DAY_US)


def _spans(tracks: pd.DataFrame, keys: list[str], least: int = LEAST_WINDOWS) -> pd.DataFrame:
    spans = tracks.groupby(keys).agg({"first_us": "min", "last_us": "max", "windows": "sum"}).reset_index()
    return spans[spans["windows"] >= least].reset_index(drop=True)


def _together(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A number for each stretch of time in which streams run without a break between all of them."""
    order = np.argsort(first, kind="stable")
    reached = np.maximum.accumulate(last[order])
    begins = np.concatenate([[0], (first[order][1:] > reached[:-1]).astype(np.int64)])[: len(first)]
    numbers = np.empty(len(first), np.int64)
    numbers[order] = np.cumsum(begins)
    return numbers


def _question(name: str, keys: list[str], spans: pd.DataFrame, most: int) -> Question:
    """The question about at most `most` classes of each group, and MOST_CLASSES in all, chosen by digests of keys.

    `spans` have a `group`, and may have `label` and `cut_us` where a class has more than one key.
    """
    classes = spans.copy()
    if "label" not in classes:
        classes["label"] = np.arange(len(classes))
        classes["cut_us"] = classes["first_us"] + (LEARNT * (classes["last_us"] - classes["first_us"])).astype("int64")
    chosen = _chosen(classes, keys, most)
    there, kept = classes["label"].nunique(), classes[classes["label"].isin(chosen)].copy()
    windows = kept.groupby("label")["windows"].transform("sum")
    kept["share"] = np.minimum(1.0, MOST_WINDOWS / max(len(chosen), 1) / windows)
    kept["group"] = pd.factorize(kept["group"])[0]
    kept = kept[[*keys, "label", "group", "cut_us", "share"]].reset_index(drop=True)
    return Question(name, tuple(keys), kept, there)


def _chosen(classes: pd.DataFrame, keys: list[str], most: int) -> pd.Series[int]:
    """The labels of the classes that are asked about. A group of one class asks nothing."""
    one = classes.drop_duplicates("label")
    one = one.assign(digest=pd.util.hash_pandas_object(one[keys], index=False).to_numpy()).sort_values("digest")
    one = one[one.groupby("group").cumcount() < most]
    one = one[one.groupby("group")["label"].transform("size") > 1]
    # Group after group, so that a group that is in is in with all of its classes, but for the last.
    one = one.assign(first=one.groupby("group")["digest"].transform("min")).sort_values(["first", "digest"])
    return one["label"].head(MOST_CLASSES)
