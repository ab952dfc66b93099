"""Collects what the rows of `windows` say, part by part: sums over time, by stream, track and configuration, and by track.

**What a window counts.** Windows overlap, so each stands for the time until the next window of its track begins, at most
until it ends itself and never beyond its UTC day. Where none overlaps it before or after, it stands on that side for as much
of its half as the face was seen in, as in `episodes/moments.py`. So each moment of a face counts once (`seconds`), and means
are over these seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from streamfx.columns import NOVEL, action_units
from streamfx.episodes.moments import SEGMENTS
from streamfx.records import MICROSECONDS
from streamfx.report.series import Floats, Ints, Series, Sums
from streamfx.sink.parquet import utc_us

KEYS = ("stream_id", "track_id", "window_start", "window_end", "config_id")
QUALITY = ("face_height_px", "face_score", "frames")
WHOLE_BINS, STREAM_BINS, TRACK_BINS, VERSION_BINS = 700, 120, 120, 200
STREAMS, TRACKS = 100, 100
"""So many streams and tracks, those of the most seconds, have a series of their own."""
_DAY_US = 86_400 * MICROSECONDS


@dataclass(frozen=True, slots=True)
class Channels:
    """What is summed: seconds; seconds of each expression; and for each numeric column seconds x value, then its seconds.

    `numbers` are columns of `windows`; those of `novelty` have a channel `<name>>=NOVEL` besides, which is 0 or 1.
    """

    expressions: tuple[str, ...]
    scores: tuple[str, ...]
    units: tuple[str, ...]
    acting: tuple[str, ...]
    novelty: tuple[str, ...]
    versions: tuple[str, ...]

    @staticmethod
    def of(declared: Mapping[str, tuple[str, ...]]) -> Channels:
        """The channels for a dataset with these columns, each with its closed vocabulary."""
        names = sorted(declared)
        # In files of rows version 1, this column has the older name.
        versions = (
            "expression_model_version" if n == "model_version" else n for n in names if n.endswith("model_version")
        )
        labels = declared.get("expression", ())
        return Channels(
            labels,
            tuple(f"p_{label}" for label in labels if f"p_{label}" in declared),
            tuple(action_units(names)),
            tuple(name for name in names if name.startswith("au_") and name.endswith("_present")),
            tuple(name for name in names if name.endswith("_novelty")),
            tuple(dict.fromkeys(versions)),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `windows` that are read."""
        word = ("expression",) if self.expressions else ()
        return tuple(
            dict.fromkeys(
                [*KEYS, *QUALITY, *word, *self.scores, *self.units, *self.acting, *self.novelty, *self.versions]
            )
        )

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the numeric channels in order."""
        return (
            *self.scores,
            *self.units,
            *self.acting,
            *QUALITY,
            *self.novelty,
            *(f"{n}>={NOVEL}" for n in self.novelty),
        )

    @property
    def width(self) -> int:
        """The number of channels."""
        return 1 + len(self.expressions) + 2 * len(self.numbers)

    def mean(self, sums: Floats, name: str) -> Floats:
        """The mean of one numeric channel over its seconds, of sums [..., channels]; NaN where it has none."""
        at = 1 + len(self.expressions) + self.numbers.index(name)
        return _ratio(sums[..., at], sums[..., at + len(self.numbers)])

    def share(self, sums: Floats, expression: str) -> Floats:
        """The share of the seconds with any expression that have this one; NaN where there are none."""
        words = sums[..., 1 : 1 + len(self.expressions)]
        return _ratio(words[..., self.expressions.index(expression)], words.sum(axis=-1))

    def values(self, rows: pd.DataFrame, seconds: Floats) -> Floats:
        """The channels of each window, float64 [n, channels]."""
        found = [seconds]
        if self.expressions:
            word = rows["expression"].to_numpy(object)
            found += [np.where(word == label, seconds, 0.0) for label in self.expressions]
        plain = [_floats(rows[name]) for name in self.numbers if ">=" not in name]
        novel = plain[len(plain) - len(self.novelty) :] if self.novelty else []
        plain += [np.where(np.isnan(one), np.nan, one >= NOVEL) for one in novel]
        numbers = np.column_stack(plain) if plain else np.zeros((len(rows), 0))
        known = ~np.isnan(numbers)
        weighted = np.where(known, numbers, 0.0) * seconds[:, None]
        return np.column_stack([*found, weighted, known * seconds[:, None]])


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(below > 0, above / below, np.nan))


def _floats(column: pd.Series) -> Floats:
    if column.dtype == object:  # a file lacks the column
        return np.asarray(pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan))
    return np.asarray(column.to_numpy(np.float64, na_value=np.nan))


@dataclass(slots=True)
class Longest:
    """The series of the keys of the most seconds: at most `keep` of them, of `most` bins each.

    A key that once fell out (`dropped`) stays out, so that no series lacks its beginning.
    """

    keep: int
    most: int
    series: dict[str, Series] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def add(self, key: str, start_us: Ints, end_us: Ints, values: Floats) -> None:
        """Add to the key's series."""
        if key in self.dropped:
            return
        self.series.setdefault(key, Series(self.most)).add(start_us, end_us, values)
        if len(self.series) > 2 * self.keep:
            self._prune()

    def best(self) -> list[tuple[str, Series]]:
        """The keys of the most seconds and their series, by falling seconds."""
        ranked = sorted(self.series.items(), key=lambda item: (-item[1].total[0], item[0]))
        return ranked[: self.keep]

    def _prune(self) -> None:
        best = dict(self.best())
        self.dropped |= self.series.keys() - best.keys()
        self.series = best


class Faces:
    """What the windows say. `add` takes all windows of one day and partition at a time.

    `whole` is the series of all faces; `streams` has those by pseudonym, `tracks_shown` by `<stream>/<track>`, `versions`
    by configuration and model versions, joined by `|` in the order of `channels.versions`, and `windows_of` the number of
    windows of each version. Event time goes from `first_us`
    to `last_us` (UTC microseconds; None without windows). Memory grows with the number of tracks, by four bytes for each
    channel, and not with that of windows.
    """

    def __init__(self, channels: Channels):
        self.channels = channels
        self.whole = Series(WHOLE_BINS)
        self.streams = Longest(STREAMS, STREAM_BINS)
        self.tracks_shown = Longest(TRACKS, TRACK_BINS)
        self.versions: dict[str, Series] = {}
        self.windows = 0
        self.first_us: int | None = None
        self.last_us: int | None = None
        self.windows_of: dict[str, int] = {}
        self._keys: list[pd.DataFrame] = []
        self._sums: list[Sums] = []

    def add(self, rows: pd.DataFrame) -> None:
        """Count the windows of a day and partition."""
        if rows.empty:
            return
        (stream, streams), (own, _) = _codes(rows["stream_id"]), _codes(rows["track_id"])
        track, _ = pd.factorize(stream * len(rows) + own)
        said = [_codes(rows[name]) for name in ("config_id", *self.channels.versions)]
        mixed = np.zeros(len(rows), np.int64)
        for codes, words in said:
            mixed = mixed * len(words) + codes
        _, first, version = np.unique(mixed, return_index=True, return_inverse=True)
        names = ["|".join(str(words[codes[at]]) for codes, words in said) for at in first]
        start, end = (np.asarray(utc_us(rows[name]), np.int64) for name in KEYS[2:4])
        order = np.lexsort((version, start, track))
        stream, track, version, start, end = (one[order] for one in (stream, track, version, start, end))
        first_us, last_us = int(start.min()), int(end.max())
        seen = np.clip(_floats(rows["frames"])[order] / SEGMENTS, 0.5, 1.0)
        start, until = _spoken_for(track, start, end, seen)
        seconds = np.empty(len(rows))
        seconds[order] = (until - start) / MICROSECONDS
        values = self.channels.values(rows, seconds)[order]
        self.windows += len(rows)
        self.first_us = first_us if self.first_us is None else min(self.first_us, first_us)
        self.last_us = last_us if self.last_us is None else max(self.last_us, last_us)
        self.whole.add(start, until, values)
        for code, at in _groups(version):
            self.versions.setdefault(names[code], Series(VERSION_BINS)).add(start[at], until[at], values[at])
            self.windows_of[names[code]] = self.windows_of.get(names[code], 0) + len(at)
        for code, at in _groups(stream):
            self.streams.add(str(streams[code]), start[at], until[at], values[at])
        track_ids = rows["track_id"].to_numpy(object)[order]
        begins = np.flatnonzero(np.diff(track, prepend=-1) | np.diff(version, prepend=-1))
        sums = np.add.reduceat(values, begins, axis=0)
        keys = [f"{streams[code]}/{name}" for code, name in zip(stream[begins], track_ids[begins], strict=True)]
        self._keys.append(
            pd.DataFrame({"track": keys, "version": [names[code] for code in version[begins]]}, dtype=object)
        )
        self._sums.append(sums.astype(np.float32))
        least = self.tracks_shown.best()[-1][1].total[0] if len(self.tracks_shown.series) >= TRACKS else 0.0
        ends = np.append(begins[1:], len(rows))
        self.tracks_shown.dropped.update(keys[number] for number in np.flatnonzero(sums[:, 0] <= least))
        for number in np.flatnonzero(sums[:, 0] > least):
            part = slice(begins[number], ends[number])
            self.tracks_shown.add(keys[number], start[part], until[part], values[part])

    def by_track(self) -> tuple[pd.DataFrame, Sums]:
        """One row for each track and version (`track` is `<stream>/<track>`), and its sums, float32 [n, channels]."""
        if not self._keys:
            return pd.DataFrame(columns=["track", "version"]), np.zeros((0, self.channels.width), np.float32)
        keys, sums = pd.concat(self._keys, ignore_index=True), np.concatenate(self._sums)
        again = keys.duplicated(["track", "version"], keep=False)
        if not again.any():
            return keys, sums
        number = keys.groupby(["track", "version"], sort=False).ngroup().to_numpy()
        together = np.zeros((number.max() + 1, sums.shape[1]), np.float32)
        np.add.at(together, number, sums)
        return keys.drop_duplicates(["track", "version"], ignore_index=True), together


def _codes(column: pd.Series) -> tuple[Ints, Any]:
    """A number for each value, and the value of each number; a null is the empty text."""
    words = column.to_numpy(object)
    codes, found = pd.factorize(np.where(pd.isna(words), "", words))
    return codes.astype(np.int64), found


def _groups(codes: Ints) -> Iterator[tuple[int, Ints]]:
    """Each code, and where it stands."""
    order = np.argsort(codes, kind="stable")
    bounds = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for piece in np.split(order, bounds[1:]):
        yield int(codes[piece[0]]), piece


def _spoken_for(track: Ints, start: Ints, end: Ints, seen: Floats) -> tuple[Ints, Ints]:
    """From when until when each window stands for its track, UTC microseconds; windows are sorted by track and start, and
    the face was seen in the share `seen` of each."""
    until = np.minimum(end, (start // _DAY_US + 1) * _DAY_US)
    follows = track[1:] == track[:-1]
    near = follows & (start[1:] <= end[:-1])
    opens, closes = np.append(True, ~near), np.append(~near, True)
    unseen = (1 - seen) * (end - start)
    # What is missing in a window at one edge is missing on that side; in a window alone, on either side as much.
    unseen = np.where(opens & closes, unseen / 2, unseen).astype(np.int64)
    begin = np.where(opens, start + unseen, start)
    until = np.where(closes, np.minimum(until, end - unseen), until)
    until[:-1] = np.where(follows, np.minimum(until[:-1], start[1:]), until[:-1])
    return begin, np.maximum(until, begin)
