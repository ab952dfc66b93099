"""Publishes the bins of a stretch of event time as rows of the table `aggregates`: exact with suppression, or with noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from typing import Any, cast

import numpy as np
import pandas as pd

from streamfx.aggregate.cells import ALL, REST, Cell, Measure, columns_of, contributions, measures_of
from streamfx.aggregate.groups import Groups
from streamfx.aggregate.ledger import Booking, Interval, Ledger, periods, spent_in
from streamfx.aggregate.noise import Mechanism, bounded, sums
from streamfx.aggregate.suppress import hidden, with_margins
from streamfx.columns import NO_NOISE
from streamfx.config.aggregate import Aggregate
from streamfx.errors import ConfigError, PrivacyRefusal, SinkError
from streamfx.privacy.rows import PublicRow, publish_cell
from streamfx.records import MICROSECONDS
from streamfx.sink.derived import DerivedLog
from streamfx.sink.fs import FileSystem
from streamfx.sink.read_windows import WindowReader, declared_columns

DAY_US = 86_400 * MICROSECONDS
_TRIES = 20
"""How often a release is made anew when others write the log meanwhile."""
_CELLS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """What to publish: where, how, and of which event time (None: all that the dataset has, up to what is closed).

    `salt_period_s` is None where no configuration tells it; then there can be no noise. `footer` is written into the files,
    and where it is empty, what the rows' own files say of their purpose.
    """

    fs: FileSystem
    place: str
    section: Aggregate
    groups: Groups
    start_us: int | None
    end_us: int | None
    now_us: int
    salt_period_s: int | None = None
    footer: Mapping[str, str] = field(default_factory=dict)
    compression: str = "ZSTD"

    @property
    def every_us(self) -> int:
        """Length of a bin."""
        return self.section.every_s * MICROSECONDS


@dataclass(slots=True)
class Done:
    """What a release did: `rows` published and `hidden` cells of `bins` (those with noise: below the threshold).

    `spent` is the most that is now spent of a salt period that it touches, of `budget`; None without noise.
    """

    bins: int = 0
    rows: int = 0
    hidden: int = 0
    spent: Decimal | None = None
    budget: Decimal | None = None


def release(order: Order) -> Done:
    """Publish each bin of the order that was not published yet, with what it spends, or nothing of it.

    PrivacyRefusal where the budget does not suffice, ConfigError for a stretch that cannot be published; then nothing is
    written.
    """
    _check(order)
    log = DerivedLog(order.fs, order.place, "aggregate", order.compression)
    for _ in range(_TRIES):
        before = Ledger.from_json(log.look())
        start, end = _stretch(order)
        left = before.left_of(start, end)
        if not left:
            log.finish()
            return Done()
        noise = order.section.noise
        after = before.after(start, end, noise.kind if noise else NO_NOISE, _booking(order), order.place)
        reader = WindowReader(order.fs, order.place)
        done = Done(bins=sum((last - first) // order.every_us for first, last in left))
        rows = list(_noisy(order, reader, left, done) if noise else _exact(order, reader, left, done))
        done.rows = len(rows)
        if after.spent:
            touched = [periods(*piece, after.salt_period_s or 0) for piece in left]
            done.spent = max(spent_in(after.spent, piece) for piece in touched)
            done.budget = after.budget
        if log.commit(rows, after.as_json(), {"release": _about(order, left)}, _footer(order, reader)):
            return done
    raise SinkError(
        f"{order.place}: other processes keep writing the log of aggregates; nothing was published, try again"
    )


def _check(order: Order) -> None:
    section, every_us = order.section, order.every_us
    for option, time_us in (("--from", order.start_us), ("--to", order.end_us)):
        if time_us is not None and time_us % every_us:
            raise ConfigError(
                f"{option}: expected the edge of a bin, a UTC time that is a multiple of aggregate.every_s, {section.every_s} s"
            )
    if order.start_us is not None and order.end_us is not None and order.start_us >= order.end_us:
        raise ConfigError("--from and --to: expected a range of event time that is not empty")
    if order.salt_period_s and order.salt_period_s % section.every_s:
        raise ConfigError(
            f"aggregate.every_s: expected a divisor of privacy.salt_period_s ({order.salt_period_s}), got {section.every_s}: a "
            "bin over two salt periods would count a face twice"
        )
    if section.noise is None:
        return
    if order.salt_period_s is None:
        raise ConfigError(
            "aggregate.noise: a budget is kept by salt periods, which a dataset alone does not tell; give the configuration of "
            "the run in place of the dataset"
        )
    if order.start_us is None or order.end_us is None:
        raise ConfigError(
            "aggregate.noise: give --from and --to: a range that follows from the rows would itself tell of them"
        )


def _stretch(order: Order) -> Interval:
    """The event time to publish, in whole bins, as far as it is closed."""
    start, end = order.start_us, order.end_us
    closed = order.now_us - round(order.section.delay_s * MICROSECONDS)
    closed -= closed % order.every_us
    if start is None or end is None:
        days = [pd.Timestamp(day).value // 1000 for day in WindowReader(order.fs, order.place).days()]
        first, last = (min(days), max(days) + DAY_US) if days else (0, 0)
        start = first if start is None else start
        end = min(last, closed) if end is None else end
    if order.end_us is not None and end > closed:
        raise ConfigError(
            f"--to: bins are published {order.section.delay_s:g} s (aggregate.delay_s) after their end, since rows that come "
            f"later would never count; expected {_utc(closed)} at most, got {_utc(end)}"
        )
    return start, max(start, end)


def _booking(order: Order) -> Booking | None:
    noise = order.section.noise
    return Booking(noise.charge, noise.budget, order.salt_period_s or 0) if noise else None


def _parts(
    order: Order, reader: WindowReader, left: Sequence[Interval], measures: Sequence[Measure]
) -> Iterator[pd.DataFrame]:
    """What each track adds to each cell, day by day, of the bins that are left."""
    for day in reader.days():
        start = pd.Timestamp(day).value // 1000
        pieces = [(max(start, first), min(start + DAY_US, last)) for first, last in left]
        if not any(first < last for first, last in pieces):
            continue
        windows = reader.read(day, columns_of(measures))
        if windows.empty:
            continue
        groups = order.groups.of(windows["stream_id"], start, start + DAY_US)
        found = contributions(windows, groups, measures, order.every_us)
        wanted = np.zeros(len(found), bool)
        for first, last in pieces:
            wanted |= ((found["bin"] >= first) & (found["bin"] < last)).to_numpy()
        yield found[wanted]


def _exact(order: Order, reader: WindowReader, left: Sequence[Interval], done: Done) -> Iterator[PublicRow]:
    measures = measures_of(order.section.measures, declared_columns(order.fs, order.place))
    for parts in _parts(order, reader, left, measures):
        names = sorted(parts["group"].unique()) if order.groups.names else []
        numbers = {track: number for number, track in enumerate(sorted(parts["track"].unique()))}
        for bin_us, of_bin in parts.groupby("bin"):
            seen = _by_cell(of_bin)
            if names:
                seen |= _by_cell(of_bin.assign(group=ALL))
            tracks = {cell: frozenset(numbers[track] for track in rows["track"]) for cell, rows in seen.items()}
            dark = hidden(with_margins(tracks, names), names, order.section.k)
            for cell, rows in seen.items():
                if cell not in dark:
                    yield _row(order, cast(int, bin_us), cell, len(tracks[cell]), *_seconds_and_mean(rows))
            done.hidden += sum(cell.value != REST for cell in dark)


def _by_cell(rows: pd.DataFrame) -> dict[Cell, pd.DataFrame]:
    return {Cell(*map(str, cast(tuple[str, ...], key))): of for key, of in rows.groupby(["group", "measure", "value"])}


def _seconds_and_mean(rows: pd.DataFrame) -> tuple[float, float | None]:
    weighted_ms = int(rows["weighted_ms"].sum())
    mean = float(rows["weighted"].sum()) / weighted_ms if weighted_ms else None
    return int(rows["ms"].sum()) / 1000, mean


def _noisy(order: Order, reader: WindowReader, left: Sequence[Interval], done: Done) -> Iterator[PublicRow]:
    noise = order.section.noise
    assert noise is not None
    measures = measures_of(order.section.measures, declared_columns(order.fs, order.place))
    bins = [at for first, last in left for at in range(first, last, order.every_us)]
    what = [(m.name, value, m.most, m.mean_of) for m in measures for value in m.values]
    domain = list(product(bins, order.groups.names or (ALL,), what))
    if len(domain) > _CELLS_MAX:
        raise PrivacyRefusal(
            f"aggregate: {len(domain):,} cells in one release, more than {_CELLS_MAX:,}; give a shorter range"
        )
    cells = [(at, group, name, value) for at, group, (name, value, _, _) in domain]
    most = [largest for _, _, (_, _, largest, _) in domain]
    mechanism = Mechanism.of(noise)
    parts = [part[part["value"] != REST] for part in _parts(order, reader, left, measures)]
    kept = bounded(pd.concat(parts, ignore_index=True), mechanism) if parts else pd.DataFrame()
    true = sums(kept, cells, most) if len(kept) else tuple(np.zeros(len(cells), np.int64) for _ in range(3))
    least = mechanism.at_least(order.section.k, noise.below_k)
    sds = mechanism.sd(mechanism.tracks_scale), mechanism.sd(mechanism.ms_scale) / 1000
    for (at, group, (name, value, largest, mean_of)), tracks, ms, weighted in zip(
        domain, *(numbers.tolist() for numbers in mechanism.add(*true)), strict=True
    ):
        if tracks < least:
            done.hidden += 1
            continue
        mean = min(1.0, max(0.0, weighted / ms)) * largest if mean_of and ms > 0 else None
        yield _row(order, at, Cell(group, name, value), tracks, max(0, ms) / 1000, mean, sds)


def _row(
    order: Order,
    bin_us: int,
    cell: Cell,
    tracks: int,
    seconds: float,
    mean: float | None,
    sds: tuple[float, float] = (0.0, 0.0),
) -> PublicRow:
    noise = order.section.noise
    return publish_cell(
        {
            "bin_start": bin_us,
            "bin_end": bin_us + order.every_us,
            "stream_group": cell.group,
            "measure": cell.measure,
            "value": cell.value,
            "tracks": tracks,
            "face_seconds": seconds,
            "mean": mean,
            "k": order.section.k,
            "noise": noise.kind if noise else NO_NOISE,
            "tracks_sd": sds[0],
            "face_seconds_sd": sds[1],
        }
    )


def _about(order: Order, left: Sequence[Interval]) -> dict[str, Any]:
    """What the log's entry says of a release, for people."""
    noise = order.section.noise
    return {
        "stretches": [[_utc(first), _utc(last)] for first, last in left],
        "every_s": order.section.every_s,
        "k": order.section.k,
        "groups": list(order.groups.names),
        "noise": noise.model_dump(mode="json", exclude_none=True) if noise else None,
    }


def _footer(order: Order, reader: WindowReader) -> dict[str, str]:
    said = {key: "; ".join(sorted(values)) for key, values in reader.said.items()}
    return said | {f"streamfx.{key}": value for key, value in order.footer.items() if value}


def _utc(time_us: int) -> str:
    return str(np.datetime_as_string(np.datetime64(time_us, "us"), unit="s")) + "Z"
