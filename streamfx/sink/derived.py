"""The log of a table that is made from windows: what one entry publishes and the state after it stand or fall together.

The state is the entry's snapshot, which `compact` and `erase` repeat in theirs. So what a release of aggregates spends of
a budget is recorded by the very link that makes its rows visible, and of two commands that began from one state one is
refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from streamfx.columns import ROWS_VERSION
from streamfx.errors import PrivacyRefusal
from streamfx.privacy.rows import PublicRow
from streamfx.records import Partition, Snapshot
from streamfx.sink.current_files import LiveFiles, find_partitions
from streamfx.sink.erasure import Rule, obey
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import AGGREGATES, EPISODES, Entry, FileSpec, day_of
from streamfx.sink.parquet import date_of, encode_table
from streamfx.sink.protocol import LogWriter, NewFile
from streamfx.sink.schema import AGGREGATES as AGGREGATES_SCHEMA
from streamfx.sink.schema import EPISODES as EPISODES_SCHEMA
from streamfx.sink.schema import TableSchema

_LOGS: dict[str, tuple[Partition, TableSchema]] = {
    "aggregate": (AGGREGATES, AGGREGATES_SCHEMA),
    "episodes": (EPISODES, EPISODES_SCHEMA),
}


class DerivedLog:
    """One process's access to the log with entries of this kind; other processes may write it meanwhile."""

    def __init__(self, fs: FileSystem, place: str, kind: Literal["aggregate", "episodes"], compression: str = "ZSTD"):
        self._place = place
        self._kind = kind
        partition, self._schema = _LOGS[kind]
        self._writer = LogWriter(fs, partition)
        self._compression = compression
        self._last: Entry | None = None
        self._live: LiveFiles | None = None

    def look(self) -> Snapshot:
        """The state after the newest entry, {} before the first. It writes nothing. SinkError without a dataset."""
        find_partitions(self._writer.fs, self._place)
        with clear_errors(f"{self._place}: cannot read the log of {self._schema.name}"):
            self._last = self._writer.log.last()
        return self._last.snapshot if self._last else {}

    def finish(self) -> None:
        """Publish what a process committed that died before its rows were in their places."""
        if self._last is not None:
            with clear_errors(f"{self._place}: cannot publish {self._schema.name}"):
                self._writer.recover()

    def commit(
        self,
        rows: Sequence[PublicRow],
        state: Snapshot,
        details: Mapping[str, Any],
        footer: Mapping[str, str],
        replaces: Sequence[str] = (),
    ) -> bool:
        """Commit the rows together with the state that follows from the one that `look` returned.

        Returns False, and nothing is published, if another entry came in between: then look again. Rows that a rule of
        erasure covers are left out. `replaces` are the final paths of files whose place the rows take, for kind `episodes`.
        """
        if any(type(row) is not PublicRow or row.table != self._schema.name for row in rows):
            raise PrivacyRefusal("the sink takes only rows made by streamfx.privacy")
        with clear_errors(f"{self._place}: cannot commit {self._schema.name}"):
            seen, last = self._last, self._writer.recover()
            if (last and last.attempt) != (seen and seen.attempt):
                return False
            draft = self._draft(last, state, {**details, **({"replaces": list(replaces)} if replaces else {})})
            entry = self._writer.stage(draft, lambda attempt: self._files(rows, draft, attempt, footer))
            if self._writer.link(entry).attempt != entry.attempt:
                return False
            self._writer.finish(entry)
            self._last = entry
        return True

    def files(self) -> list[FileSpec]:
        """The live files as of the entry that `look` found, or the last that `commit` made."""
        if self._last is None:
            return []
        with clear_errors(f"{self._place}: cannot read the log of {self._schema.name}"):
            if self._live is None:
                self._live = LiveFiles(self._writer.fs, self._writer.log, self._last)
            self._live.advance(self._last)
        return list(self._live.files.values())

    def save_index(self) -> None:
        """Store in the index which files are live, so that the next call need not read the whole log."""
        if self._live is not None and self._last is not None:
            self._live.advance(self._last)
            self._live.save(self._last)

    def rules(self) -> list[Rule]:
        """The rules of erasure that bind the next entry."""
        erased_by = self._last.erased_by if self._last else ()
        return [Rule.from_json(self._writer.log.read(n).details["erase"]) for n in erased_by]

    def erased_since(self, n: int) -> tuple[int, set[str]]:
        """The number of the last `erase` entry, or `n` where there is none after entry `n`; and the days (`YYYY-MM-DD`)
        whose files those after it changed."""
        last, days = n, set[str]()
        for number in range(n + 1, self._last.n + 1 if self._last else 0):
            entry = self._writer.log.read(number)
            if entry.kind == "erase":
                last = number
                days.update(day_of(final) for final in entry.replaces)
        return last, days

    def _draft(self, last: Entry | None, state: Snapshot, details: Mapping[str, Any]) -> Entry:
        # It covers no offsets: `start` and `end` stay where they are.
        return Entry(
            kind=self._kind,
            n=last.n + 1 if last else 0,
            attempt="",
            start=0,
            end=0,
            records=0,
            files=(),
            snapshot=state,
            last_record=None,
            config_id="",
            partition_count=1,
            schema_version=0,
            details=details,
            written_at="",
            erased_by=last.erased_by if last else (),
        )

    def _files(
        self, rows: Sequence[PublicRow], draft: Entry, attempt: str, footer: Mapping[str, str]
    ) -> Iterator[NewFile]:
        rules, schema = self.rules(), self._schema
        by_day: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            if (left := obey(rules, schema.name, row.values)) is not None:
                by_day[date_of(schema, left)].append(left)
        # `start` and `end` are what `compact` joins in any file.
        about = {"rows_version": ROWS_VERSION, "n": draft.n, "attempt": attempt, "start": 0, "end": 0}
        whole = {**footer, **{f"streamfx.{key}": str(value) for key, value in about.items()}}
        for day, values in sorted(by_day.items()):
            yield NewFile(schema.name, day, encode_table(schema, values, whole, self._compression), len(values))
