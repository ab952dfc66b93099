"""Keeps the table `episodes` of a dataset up to date with its windows, or makes the same rows without writing any.

The unit is a UTC day of one partition: its rows follow from its windows alone, since runs end with the day. A call looks
in the partitions' logs for days that have changed, reads their windows, and replaces the rows of a day where they
differ, in one entry of the table's own log. Which entries of the partitions were looked at is that log's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from streamfx.config.episodes import Episodes
from streamfx.episodes.measures import Measure, columns_of, measures_of
from streamfx.episodes.moments import moments
from streamfx.episodes.stretches import stretches
from streamfx.errors import SinkError
from streamfx.privacy.rows import PublicRow, publish_episode
from streamfx.records import Snapshot
from streamfx.sink.current_files import FileReplaced, LiveFiles, find_partitions, look_again, read_live
from streamfx.sink.derived import DerivedLog
from streamfx.sink.erasure import Rule
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import DERIVED, Entry, FileSpec, PartitionLog, day_of
from streamfx.sink.parquet import StoredTable, decode, encode_table
from streamfx.sink.read_windows import WindowReader, declared_columns
from streamfx.sink.schema import EPISODES

ALGORITHM = 1
"""Rises when the same windows and the same rule give other rows. The table's log says by which its rows were made."""
_TRIES = 10
"""How often the work is begun anew when others write the dataset meanwhile; what was written stays."""
_OF = "streamfx.of"
"""The key of a file's footer that names the log of the partition whose windows its rows are made from."""


@dataclass(frozen=True, slots=True)
class Order:
    """Of which dataset, and by which rule.

    `show` is told how many days of partitions are done, and how many there are to do.
    """

    fs: FileSystem
    place: str
    section: Episodes
    compression: str = "ZSTD"
    show: Callable[[int, int], object] = lambda done, of: None


@dataclass(slots=True)
class Done:
    """What a call did: days of partitions that it `read`, and of these those whose rows it `changed`; `rows` in them."""

    read: int = 0
    changed: int = 0
    rows: int = 0


class _Unit(NamedTuple):
    """One UTC day (`YYYY-MM-DD`) of one partition, by the name of its log."""

    day: str
    log: str


@dataclass(frozen=True, slots=True)
class _Source:
    """The windows of one partition as of its entry `n`, and the days that have changed since another entry."""

    n: int
    files: Sequence[FileSpec]
    changed: frozenset[str]


class _Overtaken(Exception):
    """Another process wrote the table's log."""


def update(order: Order) -> Done:
    """Bring the table up to date. A call that dies, and any number of calls at once, leave whole days of rows, each once.

    Rows of another rule, or of an older ALGORITHM, are all made anew. SinkError without a dataset, where a newer version of
    streamfx made the rows, and where other processes keep writing.
    """
    log, done = DerivedLog(order.fs, order.place, "episodes", order.compression), Done()
    why = ""
    for _ in range(_TRIES):
        try:
            _update(order, log, done)
            return done
        except FileReplaced as gone:
            why = f"{gone} is gone or damaged; see `streamfx verify`"
        except _Overtaken:
            why = "other processes keep writing its episodes; give the command again"
    raise SinkError(f"{order.place}: {why}")


def made(order: Order) -> StoredTable:
    """The rows that the table would have, with what the windows' files say of their purpose; nothing is written."""

    def read() -> StoredTable:
        sources = _sources(order, {})
        measures = measures_of(declared_columns(order.fs, order.place))
        units = sorted(_Unit(file.date, name) for name, source in sources.items() for file in source.files)
        found: list[PublicRow] = []
        footer: dict[str, str] = {}
        for unit in _shown(order, dict.fromkeys(units)):
            rows, footer = _computed(order, unit, sources, measures, ())
            found += rows
        footer.pop(_OF, None)
        return StoredTable(EPISODES.columns, _frame(found), footer, order.compression)

    return look_again(order.place, read)


def stored(order: Order) -> pd.DataFrame:
    """The rows that the table has."""
    log = DerivedLog(order.fs, order.place, "episodes")

    def read() -> pd.DataFrame:
        log.look()
        parts = [decode(read_live(order.fs, file), file.final).rows for file in log.files() if file.rows]
        return pd.concat(parts, ignore_index=True) if parts else _frame([])

    return look_again(order.place, read)


def _update(order: Order, log: DerivedLog, done: Done) -> None:
    state = log.look()
    by = state.get("algorithm", 1)  # which the versions before did not write
    if by > ALGORITHM:
        raise SinkError(
            f"{order.place}: a newer version of streamfx made the table `episodes` (algorithm {by}, this one has {ALGORITHM}); "
            "rows of both would be mixed. Use that version, or write this one's rows into a file of their own with --out"
        )
    log.finish()
    if (state.get("rule"), by) != (order.section.rule, ALGORITHM):
        # First of all, since from here on `erase` finds the log, and leaves its rule in it. With another rule or algorithm,
        # no day is done until all are.
        state = _state(order, {}, -1)
        _commit(log, [], state, {}, ())
    with clear_errors(f"{order.place}: cannot read it"):
        erased, hurt = log.erased_since(state["erased"])
        sources = _sources(order, state["read"], hurt)
        units = {_Unit(day, name) for name, source in sources.items() for day in source.changed}
        if units:
            measures = measures_of(declared_columns(order.fs, order.place))
            for unit in _shown(order, dict.fromkeys(sorted(units))):
                _renew(order, log, unit, sources, measures, state, done)
    after = _state(order, {name: of.n for name, of in sources.items()}, erased)
    if after != state:
        _commit(log, [], after, {}, ())
        log.save_index()


def _state(order: Order, read: Mapping[str, int], erased: int) -> dict[str, Any]:
    return {"rule": order.section.rule, "algorithm": ALGORITHM, "read": read, "erased": erased}


def _renew(
    order: Order,
    log: DerivedLog,
    unit: _Unit,
    sources: Mapping[str, _Source],
    measures: Sequence[Measure],
    state: Snapshot,
    done: Done,
) -> None:
    """Replace the unit's rows where they differ from those that its windows give now."""
    rows, footer = _computed(order, unit, sources, measures, log.rules())
    done.read += 1
    old = []
    for file in log.files():
        if file.date == unit.day:
            table = decode(read_live(order.fs, file), file.final)
            if table.footer.get(_OF) == unit.log:
                old.append((file.final, table.rows))
    before = pd.concat([part for _, part in old], ignore_index=True) if old else _frame([])
    if not before.equals(_frame(rows)):
        _commit(log, rows, state, footer, [final for final, _ in old])
        done.changed += 1
        done.rows += len(rows)


def _commit(
    log: DerivedLog, rows: Sequence[PublicRow], state: Snapshot, footer: Mapping[str, str], replaces: Sequence[str]
) -> None:
    if not log.commit(rows, state, {}, footer, replaces):
        raise _Overtaken


def _sources(order: Order, read: Mapping[str, int], hurt: Set[str] = frozenset()) -> dict[str, _Source]:
    """Each partition's windows by the name of its log. Changed are the days that entries after those that were `read`
    changed, and those whose own rows were `hurt`."""
    found = {}
    for partition in find_partitions(order.fs, order.place):
        if partition not in DERIVED:
            log = PartitionLog(order.fs, partition)
            if (newest := log.last()) is not None:
                found[partition.log_name] = _source(order, log, newest, read.get(partition.log_name, -1), hurt)
    return found


def _source(order: Order, log: PartitionLog, newest: Entry, since: int, hurt: Set[str]) -> _Source:
    if since == newest.n and not hurt:
        return _Source(newest.n, (), frozenset())
    live = LiveFiles(order.fs, log, newest).files.values()
    files = [file for file in live if file.table == "windows" and file.rows]
    if not 0 <= since <= newest.n:
        return _Source(newest.n, files, frozenset(file.date for file in files))
    changed = set(hurt)
    for n in range(since + 1, newest.n + 1):
        entry = log.read(n)
        if entry.kind != "replace":  # that of compaction, which changes no row
            changed.update(file.date for file in entry.files if file.table == "windows")
            changed.update(day_of(final) for final in entry.replaces if final.startswith("windows/"))
    return _Source(newest.n, files, frozenset(changed))


def _shown(order: Order, units: Iterable[_Unit]) -> Iterator[_Unit]:
    listed = list(units)
    for number, unit in enumerate(listed):
        order.show(number, len(listed))
        yield unit
    order.show(len(listed), len(listed))


def _computed(
    order: Order, unit: _Unit, sources: Mapping[str, _Source], measures: Sequence[Measure], rules: Sequence[Rule]
) -> tuple[list[PublicRow], dict[str, str]]:
    """The rows of the unit's windows, and the footer of their file."""
    reader, columns = WindowReader(order.fs, order.place), columns_of(measures)
    parts = [reader.rows(file, columns) for file in sources[unit.log].files if file.date == unit.day]
    said = {key: "; ".join(sorted(values)) for key, values in reader.said.items()}
    footer = said | {_OF: unit.log}
    if not parts:
        return [], footer
    day_us = pd.Timestamp(unit.day).value // 1000
    whole = moments(pd.concat(parts, ignore_index=True), day_us, rules)
    return [publish_episode(row) for row in stretches(whole, measures, order.section)], footer


def _frame(rows: Sequence[PublicRow]) -> pd.DataFrame:
    """The rows as they are stored."""
    values: list[Mapping[str, Any]] = [row.values for row in rows]
    return decode(encode_table(EPISODES, values, {}, "UNCOMPRESSED"), "a table in memory").rows
