"""`streamfx verify`: reads a dataset independently and reports missing, duplicate and unknown rows and files.

It shares no code with the writer except the calls that read bytes, so that an error of the writer cannot hide itself.
It needs 8 bytes of memory per row, and holds one file at a time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.config.sink import S3
from streamfx.errors import SinkError
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.parquet_file import UnreadableParquet, read_table
from streamfx.sink.place import open_place

KEYS = {
    "windows": ("stream_id", "track_id", "window_start", "config_id"),
    "chunks": ("topic", "partition", "offset"),
    "films": ("topic", "partition", "offset"),
    "aggregates": ("bin_start", "bin_end", "stream_group", "measure", "value"),
    "episodes": ("stream_id", "track_id", "measure", "episode_start", "config_id"),
}
"""The columns that identify a row, by table."""
_MEDIA = "media"
"""The folder of the films, each of which one row of `films` names."""
_OF_OFFSETS = ("windows", "chunks")
_DERIVED = ("~aggregates", "~episodes")
"""What stands for a topic in the logs of tables that are made from windows, which cover no offsets."""

_ENTRY_PATH = re.compile(r"_commits/(.+)@([^/@]*)/(\d+)/(\d{20})\.json")
_ENTRY_FIELDS = {
    *("kind", "n", "attempt", "start", "end", "records", "files", "snapshot", "last_record", "config_id"),
    *("partition_count", "schema_version", "details", "written_at", "erased_by", "sha256"),
}
_CHECKSUM = re.compile(rb', "sha256": "([0-9a-f]{64})"\}')
_LOOKS = 10
"""How often a dataset is read if `compact` or `erase` replaces files while it is being read."""
_READ_AT_ONCE = 65_536
_Offsets = npt.NDArray[np.int64]
_NONE: _Offsets = np.empty(0, np.int64)
_NO_HASH: npt.NDArray[np.uint64] = np.empty(0, np.uint64)


@dataclass(slots=True)
class Report:
    """The findings. `gaps`, `duplicates` and `orphans` are empty if every row exists exactly once.

    offsets: `{topic, topic_id, partition, start, end, records, entries}` for each partition. rows: table -> committed
    rows, of other tables where there are any. gaps: `{topic, partition, start, end, reason}`. duplicates:
    `{table, key, files}`. orphans: paths.
    """

    offsets: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_OF_OFFSETS, 0))
    gaps: list[dict[str, Any]] = field(default_factory=list)
    duplicates: list[dict[str, Any]] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there are no gaps, duplicates or orphans."""
        return not (self.gaps or self.duplicates or self.orphans)

    def as_json(self) -> str:
        """The report as indented JSON."""
        return json.dumps(asdict(self), indent=1)


@dataclass(slots=True)
class _Log:
    topic: str
    topic_id: str
    partition: int
    entries: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0
    """The expected number of the next entry."""
    end: int = 0
    """The offset at which the next entry must start."""


def verify(
    path: Path | str, readable: Mapping[tuple[str, int], Iterable[int]] | None = None, s3: S3 | None = None
) -> Report:
    """Check the dataset at `path`, a folder or `s3://bucket/prefix`; it may be in use.

    `readable` gives, for each (topic, partition) of the topic, the offsets of its readable records in ascending order,
    possibly as an iterator. Without it, the dataset is checked only against its log, and not the log against the
    topic. Files of a partition's newest entry may still be in staging, since the next start publishes them. Raises
    SinkError if there is no dataset, or if it cannot be read.
    """
    fs = open_place(path, s3)
    with clear_errors(f"{path}: cannot read the dataset"):
        if not fs.exists("_dataset.json"):
            raise SinkError(f"{path} is not a streamfx dataset: it has no _dataset.json; check the path")
        for _ in range(_LOOKS):
            report, logs, fates = _read_dataset(fs)
            if report.ok or not _replaced_since(fs, logs):
                break
    for (topic, partition), offsets in (readable or {}).items():
        _match_topic(_Log(topic, "", partition), offsets, fates.get((topic, partition), _NONE), report)
    report.gaps.sort(key=lambda gap: (gap["topic"], gap["partition"], gap["start"]))
    return report


def _read_dataset(fs: FileSystem) -> tuple[Report, list[_Log], dict[tuple[str, int], _Offsets]]:
    report = Report()
    # Files are listed before the logs are read, because an entry exists before its files become visible.
    found = [
        name for table in (*KEYS, _MEDIA) for name in fs.walk(table) if not name.startswith(f"{table}/_delta_log/")
    ]
    logs = _read_logs(fs, report)
    named, retired = _live_files(logs)
    report.orphans = [name for name in sorted(found) if name not in named and not _is_spent(fs, name, retired)]
    keys = _Keys(fs)
    fates = _read_rows(fs, logs, keys, report)
    for name in report.orphans:
        keys.add_stray(name)
    report.duplicates = keys.duplicates()
    _count_fates(logs, fates, report)
    return report, logs, fates


def _is_spent(fs: FileSystem, name: str, retired: Mapping[str, bool]) -> bool:
    """Whether a file that an erase or replace entry replaces is gone, empty, or about to be removed by that entry."""
    if name not in retired:
        return False
    if retired[name] or not fs.exists(name):
        return True
    table = name.partition("/")[0]
    with suppress(_Unreadable, FileNotFoundError):
        return not (fs.read(name) if table == _MEDIA else len(_read_keys(fs, table, (name,))))
    return False


def _replaced_since(fs: FileSystem, logs: Iterable[_Log]) -> bool:
    """Whether an erase or replace entry was added since the logs were read, so that rows may only have moved."""
    known = {(log.topic, log.topic_id, log.partition): log.count for log in logs}
    for path in fs.walk("_commits"):
        if found := _ENTRY_PATH.fullmatch(path):
            topic, topic_id, partition, n = found.groups()
            if int(n) >= known.get((topic, topic_id, int(partition)), 0):
                entry = _read_entry(fs, path)
                if entry is not None and entry["replaces"]:
                    return True
    return False


def _gap(report: Report, log: _Log, start: int, end: int, reason: str) -> None:
    where = {"topic": log.topic, "partition": log.partition}
    report.gaps.append({**where, "start": start, "end": end, "reason": reason})


def _read_logs(fs: FileSystem, report: Report) -> list[_Log]:
    logs: dict[tuple[str, str, int], _Log] = {}
    for path in fs.walk("_commits"):
        if found := _ENTRY_PATH.fullmatch(path):
            topic, topic_id, partition = found[1], found[2], int(found[3])
            log = logs.setdefault((topic, topic_id, partition), _Log(topic, topic_id, partition))
            _read_next(fs, log, path, report)
    for log in logs.values():
        if log.entries and log.topic not in _DERIVED:
            whose = {"topic": log.topic, "topic_id": log.topic_id, "partition": log.partition}
            records = sum(entry["records"] for entry in log.entries)
            span = {"start": log.entries[0]["start"], "end": log.end}
            report.offsets.append({**whose, **span, "records": records, "entries": len(log.entries)})
    return list(logs.values())


def _read_next(fs: FileSystem, log: _Log, path: str, report: Report) -> None:
    """Add the entry at `path`, which follows the entries in `log`; a damaged entry is reported as a gap."""
    name = path.rpartition("/")[2]
    n, entry = int(name[:20]), _read_entry(fs, path)
    if entry is None or entry["n"] != n:
        _gap(report, log, log.end, log.end, f"log entry {name} is damaged")
        return
    if n != log.count or (log.entries and entry["start"] != log.end):
        # If the first entry is missing, its start is unknown; at worst it is the topic's first offset.
        start, after = sorted((log.end, entry["start"]))
        _gap(report, log, start, after, f"the log has a hole before entry {name}")
    log.count, log.end = n + 1, entry["end"]
    log.entries.append(entry)


def _read_entry(fs: FileSystem, path: str) -> dict[str, Any] | None:
    data = fs.read(path)
    try:
        entry: dict[str, Any] = json.loads(data)
        if not entry.keys() <= _ENTRY_FIELDS or ("sha256" in entry and not _has_its_checksum(data, path)):
            return None
        numbers = {key: entry[key] for key in ("n", "start", "end", "records")}
        files = [{key: spec[key] for key in ("rows", "final", "staged", "table", "sha256")} for spec in entry["files"]]
        replaces = (
            list(entry["details"].get("replaces", ())) if entry["kind"] in ("erase", "replace", "episodes") else []
        )
        whole = (
            all(type(number) is int for number in (*numbers.values(), *(spec["rows"] for spec in files)))
            and all(type(text) is str for spec in files for text in list(spec.values())[1:])
            and all(type(final) is str for final in replaces)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return {**numbers, "files": files, "replaces": replaces} if whole else None


def _has_its_checksum(data: bytes, path: str) -> bool:
    """Whether an entry's last field is the SHA-256 of its path, a line break and the entry without that field."""
    found = _CHECKSUM.search(data, max(0, len(data) - 79))
    if found is None or found.end() != len(data):
        return False
    whole = path.encode() + b"\n" + data[: found.start()] + b"}"
    return hashlib.sha256(whole).hexdigest().encode() == found[1]


def _live_files(logs: Iterable[_Log]) -> tuple[set[str], dict[str, bool]]:
    """The final paths that entries name and no later entry replaces; `files` of the entries is reduced to these.

    It also returns the replaced paths, each with whether the entry that replaces it is the newest of its log.
    """
    live: dict[str, dict[str, Any]] = {}
    retired: dict[str, bool] = {}
    for log in logs:
        for entry in log.entries:
            for name in entry["replaces"]:
                live.pop(name, None)
                retired[name] = entry is log.entries[-1]
            live.update((spec["final"], spec) for spec in entry["files"])
        for entry in log.entries:
            entry["files"] = [spec for spec in entry["files"] if live.get(spec["final"]) is spec]
    return set(live), retired


def _read_rows(fs: FileSystem, logs: Iterable[_Log], keys: _Keys, report: Report) -> dict[tuple[str, int], _Offsets]:
    """Read every live file once, count its rows and store its keys. Returns the offsets with a fate, ascending."""
    fates: defaultdict[tuple[str, int], list[_Offsets]] = defaultdict(list)
    for log in logs:
        films: set[str] = set()
        named: set[str] = set()
        for entry in log.entries:
            for spec in entry["files"]:
                # Only the newest entry may be unpublished, and it may become published between two reads.
                final, newest = spec["final"], entry is log.entries[-1]
                places = (final, spec["staged"], final) if newest else (final,)
                try:
                    if spec["table"] == _MEDIA:
                        _read(fs, places, spec)
                        films.add(final)
                        continue
                    frame = _read_keys(fs, spec["table"], places, spec)
                    if spec["table"] == "films":
                        named.update(_read_columns(fs, places, ("file",), spec)["file"])
                except _Unreadable as error:
                    _gap(report, log, entry["start"], entry["end"], f"{final} {error}")
                    continue
                report.rows[spec["table"]] = report.rows.get(spec["table"], 0) + len(frame)
                keys.add(spec["table"], frame, places)
                if spec["table"] == "chunks":
                    for key, rows in frame.groupby(["topic", "partition"]):
                        topic, partition = cast(tuple[str, int], key)
                        fates[topic, int(partition)].append(rows["offset"].to_numpy(np.int64))
        for film in sorted(named - films):
            _gap(report, log, log.end, log.end, f"{film}, which a row of films names, is not there")
        report.orphans += sorted(films - named)
    return {partition: np.unique(np.concatenate(parts)) for partition, parts in fates.items()}


class _Unreadable(Exception):
    """A file cannot be used. The message is the end of a sentence that starts with the file's path."""


def _read_keys(
    fs: FileSystem, table: str, places: Iterable[str], spec: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """The key columns of the first of `places` that exists, after comparing the file with its entry."""
    return _read_columns(fs, places, KEYS[table], spec)


def _read(fs: FileSystem, places: Iterable[str], spec: Mapping[str, Any] | None) -> bytes:
    """The first of `places` that exists, after comparing its bytes with its entry."""
    data = None
    for place in places:
        with suppress(FileNotFoundError):
            data = fs.read(place)
            break
    if data is None:
        raise _Unreadable("is gone")
    if spec is not None and hashlib.sha256(data).hexdigest() != spec["sha256"]:
        raise _Unreadable("does not match its checksum in the log")
    return data


def _read_columns(
    fs: FileSystem, places: Iterable[str], columns: Iterable[str], spec: Mapping[str, Any] | None
) -> pd.DataFrame:
    """These columns of a Parquet file, after comparing it with its entry."""
    data = _read(fs, places, spec)
    try:
        frame = read_table(data, list(columns))
    except UnreadableParquet as error:
        raise _Unreadable("is not a readable Parquet file") from error
    for name, values in frame.items():
        if values.dtype.kind == "M" and values.dt.tz is None:  # written when times had no zone
            frame[name] = values.dt.tz_localize("UTC")
    if spec is not None and len(frame) != spec["rows"]:
        raise _Unreadable(f"has {len(frame)} rows, the log says {spec['rows']}")
    return frame


class _Keys:
    """Finds duplicate keys among all files with 8 bytes per row. Rows with equal hashes are read again."""

    def __init__(self, fs: FileSystem):
        self._fs = fs
        self._hashes: dict[str, list[npt.NDArray[np.uint64]]] = {table: [] for table in KEYS}
        self._places: dict[str, list[tuple[str, ...]]] = {table: [] for table in KEYS}

    def add(self, table: str, frame: pd.DataFrame, places: tuple[str, ...]) -> None:
        """Store the keys of a file that is reported as the first of `places` and is at one of them."""
        self._hashes[table].append(np.asarray(pd.util.hash_pandas_object(frame, index=False), np.uint64))
        self._places[table].append(places)

    def add_stray(self, file: str) -> None:
        """Add a file that no entry names, because a reader's glob finds it nevertheless."""
        table = file.partition("/")[0]
        if table == _MEDIA:
            return
        with suppress(_Unreadable):
            self.add(table, _read_keys(self._fs, table, (file,)), (file,))

    def duplicates(self) -> list[dict[str, Any]]:
        """Every key that occurs more than once, with the files that contain it."""
        found = []
        for table, names in KEYS.items():
            for key, files in sorted(self._repeated(table).items()):
                if len(files) > 1:
                    shown = dict(zip(names, map(_plain, key), strict=True))
                    found.append({"table": table, "key": shown, "files": sorted(set(files))})
        return found

    def _repeated(self, table: str) -> dict[tuple[Any, ...], list[str]]:
        """Each key whose hash occurs more than once -> the file of each row with this key."""
        found: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
        values, counts = np.unique(np.concatenate([_NO_HASH, *self._hashes[table]]), return_counts=True)
        suspects = values[counts > 1]
        for hashes, places in zip(self._hashes[table], self._places[table], strict=True):
            hit = np.isin(hashes, suspects)
            if hit.any():
                for key in _read_keys(self._fs, table, places)[hit].itertuples(index=False, name=None):
                    found[key].append(places[0])
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value


def _count_fates(logs: Iterable[_Log], fates: Mapping[tuple[str, int], _Offsets], report: Report) -> None:
    """Check that each entry's range has as many fates as the entry has records."""
    unread = {(gap["topic"], gap["partition"], gap["start"], gap["end"]) for gap in report.gaps}
    for log in logs:
        offsets = fates.get((log.topic, log.partition), _NONE)
        for entry in log.entries:
            first, end = np.searchsorted(offsets, [entry["start"], entry["end"]])
            if (
                end - first != entry["records"]
                and (log.topic, log.partition, entry["start"], entry["end"]) not in unread
            ):
                reason = f"{end - first} records have a fate, {entry['records']} were read"
                _gap(report, log, entry["start"], entry["end"], reason)


def _match_topic(log: _Log, readable: Iterable[int], fates: _Offsets, report: Report) -> None:
    """Report the readable records without a fate, as ranges, except those that are already reported."""
    known = [(g["start"], g["end"]) for g in report.gaps if (g["topic"], g["partition"]) == (log.topic, log.partition)]
    open_gap: list[int] = []

    def close() -> None:
        if open_gap:
            _gap(report, log, open_gap[0], open_gap[-1] + 1, "readable records have no commit, or no fate")
            open_gap.clear()

    for block in _blocks(readable):
        for offset, has_fate in zip(block.tolist(), np.isin(block, fates).tolist(), strict=True):
            if has_fate or any(start <= offset < end for start, end in known):
                close()
            else:
                open_gap[1:] = [offset]
    close()


def _blocks(offsets: Iterable[int]) -> Iterator[_Offsets]:
    left = iter(offsets)
    while block := list(islice(left, _READ_AT_ONCE)):
        yield np.array(block, np.int64)
