"""Merges small files and erases rows while workers run: first by an entry in the log, and then in the files.

Each step is an entry like a worker's. It gets the next number, or loses it to another writer and tries again. A worker
that loses a number to such an entry restores its last committed state, which the entry repeats, and continues from
there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from streamfx.errors import SinkError
from streamfx.records import Partition
from streamfx.sink.current_files import LiveFiles, find_partitions, look_again, read_live
from streamfx.sink.erasure import KEY_COLUMNS, Rule, erase, hits
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import MEDIA, Entry, FileSpec, PartitionLog
from streamfx.sink.parquet import decode_columns, merge
from streamfx.sink.protocol import LogWriter, NewFile

MERGED_BYTES = 16 * 1024 * 1024
"""Files of at least this size are not merged any further. It is also about the amount rewritten in one entry."""
MERGED_FILES = 1000
"""Most files that one entry replaces."""


@dataclass(slots=True)
class Done:
    """What a command did: `entries` added to the log, rewritten files `before` and `after`, and `rows` removed."""

    entries: int = 0
    before: int = 0
    after: int = 0
    rows: int = 0


def compact(fs: FileSystem, place: str) -> Done:
    """Merge the small files of each partition, table and day without changing rows. It is safe while workers run.

    Rows with different columns or footers (another configuration or model) stay in separate files. Raises SinkError if
    a file is damaged or the storage fails; merges until then are kept.
    """
    done = Done()
    for partition in find_partitions(fs, place):
        with clear_errors(f"{place}, {partition.topic} partition {partition.number}: cannot compact"):
            keeper = _Keeper(fs, place, partition, done)
            if keeper.look():
                keeper.compact()
    return done


def count_mergeable(fs: FileSystem, place: str) -> Done:
    """What `compact` would merge now: `before` files into `after`. It writes nothing, and raises as `compact` does."""
    done = Done()
    for partition in find_partitions(fs, place):
        before, after = look_again(place, partial(_mergeable, fs, PartitionLog(fs, partition)))
        done.before += before
        done.after += after
    return done


def _mergeable(fs: FileSystem, log: PartitionLog) -> tuple[int, int]:
    """How many files of one partition would be merged, and into how many."""
    newest = log.last()
    groups = _groups(LiveFiles(fs, log, newest).files.values()) if newest else ()
    merged = [one for group in groups for one in merge([(file.final, read_live(fs, file)) for file in group])]
    return sum(len(alike) for alike, _ in merged), len(merged)


def forget(fs: FileSystem, place: str, rule: Rule) -> Done:
    """Erase, in all partitions, the rows that match the rule, and make all later writers leave them out.

    On return no file in a final place contains them. After an error or a crash, call it again with the same rule.
    """
    done = Done()
    known: set[Partition] = set()
    # What is made from windows may get its log while the windows are erased, and must then obey the rule too.
    while new := [partition for partition in find_partitions(fs, place) if partition not in known]:
        for partition in new:
            with clear_errors(f"{place}, {partition.topic} partition {partition.number}: cannot erase"):
                keeper = _Keeper(fs, place, partition, done)
                if keeper.look():
                    keeper.forget(rule)
        known.update(new)
    return done


@dataclass(frozen=True, slots=True)
class _Rewrite:
    """Files to replace, and the file that replaces them (None: no file)."""

    old: tuple[FileSpec, ...]
    new: NewFile | None


class _Keeper:
    """Maintains one partition. Call `look` first."""

    def __init__(self, fs: FileSystem, place: str, partition: Partition, done: Done):
        self._fs = fs
        self._place = place
        self._writer = LogWriter(fs, partition)
        self._done = done
        self._last: Entry
        self._live: LiveFiles | None = None

    def look(self) -> bool:
        """Publish everything and find the live files; returns False if the log is empty."""
        last = self._writer.recover()
        if last is None:
            return False
        self._last = last
        if self._live is None:
            self._live = LiveFiles(self._fs, self._writer.log, last)
        self._live.advance(last)
        return True

    @property
    def _files(self) -> Mapping[str, FileSpec]:
        assert self._live is not None
        return self._live.files

    def compact(self) -> None:
        """Merge the files that exist now."""
        for group in _groups(self._files.values()):
            for rewrite in self._merged(group):
                while all(file.final in self._files for file in rewrite.old):
                    if self._log("replace", [rewrite], {}):
                        break
                    self.look()
        self._save()

    def forget(self, rule: Rule) -> None:
        """Rewrite the matching files, some at a time. The first entry makes the rule apply to all later writers."""
        clean: set[str] = set()
        while True:
            rewrites = self._hit(rule, clean)
            bound = any(other.covers(rule) for other in self._rules().values())
            if bound and not rewrites:
                break
            while True:
                # Other processes may have replaced some of the files since they were read.
                rewrites = [rewrite for rewrite in rewrites if rewrite.old[0].final in self._files]
                if self._log("erase", rewrites, {"erase": rule.as_json()}, self._obeyed(rule)):
                    break
                self.look()
        self._save()

    def _merged(self, group: Sequence[FileSpec]) -> list[_Rewrite]:
        sources = [(file, data) for file in group if (data := self._read(file)) is not None]
        rewrites = []
        for alike, data in merge([(file.final, content) for file, content in sources]):
            old = tuple(sources[at][0] for at in alike)
            new = NewFile(old[0].table, old[0].date, data, sum(file.rows for file in old))
            rewrites.append(_Rewrite(old, new))
        return rewrites

    def _hit(self, rule: Rule, clean: set[str]) -> list[_Rewrite]:
        """The rewrites of matching files for one entry. Files without a match are added to `clean`."""
        rewrites: list[_Rewrite] = []
        size = 0
        for file in list(self._files.values()):
            if size >= MERGED_BYTES or len(rewrites) >= MERGED_FILES:
                break
            if file.table == MEDIA or file.final in clean or not rule.may_hit(file.date):
                continue
            data = self._read(file)
            left = None if data is None else erase(rule, file.table, data, file.final)
            if data is None or left is None:
                clean.add(file.final)
            else:
                new = NewFile(file.table, file.date, *left) if left[1] else None
                rewrites.append(_Rewrite((file, *self._films(rule, file, data)), new))
                size += file.bytes
        return rewrites

    def _films(self, rule: Rule, file: FileSpec, data: bytes) -> list[FileSpec]:
        """The films that matching rows name, which go with them, in a file of the table `films`; none in others."""
        if file.table != "films":
            return []
        rows = decode_columns(data, KEY_COLUMNS["films"], file.final)
        named = rows["file"][hits(rule, "films", rows)]
        return [self._files[path] for path in named if path in self._files]

    def _rules(self) -> dict[int, Rule]:
        """The rules that apply to the next entry, by the number of their entry."""
        return {n: Rule.from_json(self._writer.log.read(n).details["erase"]) for n in self._last.erased_by}

    def _obeyed(self, rule: Rule) -> tuple[int, ...]:
        """The numbers of the entries whose rules apply from the next entry on, which will contain `rule`."""
        rules = self._rules()
        if any(other.covers(rule) for other in rules.values()):
            return tuple(rules)
        return (*(n for n, other in rules.items() if not rule.covers(other)), self._last.n + 1)

    def _read(self, file: FileSpec) -> bytes | None:
        """A live file's contents; None if it was replaced meanwhile. Raises SinkError if it is gone or damaged."""
        try:
            data = self._fs.read(file.final)
        except FileNotFoundError:
            data = b""
        if hashlib.sha256(data).hexdigest() == file.sha256:
            return data
        self.look()
        if file.final in self._files:
            raise SinkError(f"{self._place}: {file.final} is gone or damaged; see `streamfx verify`")
        return None

    def _log(
        self,
        kind: Literal["erase", "replace"],
        rewrites: Sequence[_Rewrite],
        details: Mapping[str, Any],
        erased_by: tuple[int, ...] | None = None,
    ) -> bool:
        """Commit an entry with the last state that replaces files; returns False if another writer was first."""
        last, replaces = self._last, [file.final for rewrite in rewrites for file in rewrite.old]
        draft = replace(
            last,
            kind=kind,
            n=last.n + 1,
            start=last.end,
            records=0,
            details={**details, "replaces": replaces},
            erased_by=last.erased_by if erased_by is None else erased_by,
        )
        new = [rewrite.new for rewrite in rewrites if rewrite.new is not None]
        entry = self._writer.stage(draft, lambda attempt: new)
        if self._writer.link(entry).attempt != entry.attempt:
            return False
        self._writer.finish(entry)
        done = self._done
        done.entries += 1
        done.before += len(replaces)
        done.after += len(new)
        done.rows += sum(f.rows for r in rewrites for f in r.old) - sum(file.rows for file in new)
        self._last = entry
        assert self._live is not None
        self._live.advance(entry)
        return True

    def _save(self) -> None:
        assert self._live is not None
        self._live.save(self._last)


def _groups(files: Iterable[FileSpec]) -> Iterator[list[FileSpec]]:
    """Groups of at least two small files of one table and day, limited to what is merged at once."""
    by_day: defaultdict[tuple[str, str], list[FileSpec]] = defaultdict(list)
    for file in files:
        if file.table != MEDIA and file.bytes < MERGED_BYTES:
            by_day[file.table, file.date].append(file)
    for _, small in sorted(by_day.items()):
        group: list[FileSpec] = []
        for file in small:
            group.append(file)
            if len(group) == MERGED_FILES or sum(f.bytes for f in group) >= MERGED_BYTES:
                yield group
                group = []
        if len(group) > 1:
            yield group
