"""The log of the table `aggregates`: what one entry publishes and the state after it stand or fall together.

The state is the entry's snapshot, which `compact` and `erase` repeat in theirs. So what a release spends of a budget is
recorded by the very link that makes its rows visible, and of two releases that began from one state one is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamfx.columns import ROWS_VERSION
from streamfx.errors import PrivacyRefusal
from streamfx.privacy.rows import PublicRow
from streamfx.records import Snapshot
from streamfx.sink.current_files import find_partitions
from streamfx.sink.erasure import Rule, obey
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import AGGREGATES, Entry
from streamfx.sink.parquet import date_of, encode_table
from streamfx.sink.protocol import LogWriter, NewFile
from streamfx.sink.schema import AGGREGATES as SCHEMA


class AggregateLog:
    """One process's access to the log of aggregates; other processes may write it meanwhile."""

    def __init__(self, fs: FileSystem, place: str, compression: str = "ZSTD"):
        self._place = place
        self._writer = LogWriter(fs, AGGREGATES)
        self._compression = compression
        self._last: Entry | None = None

    def look(self) -> Snapshot:
        """The state after the newest entry, {} before the first. It writes nothing. SinkError without a dataset."""
        find_partitions(self._writer.fs, self._place)
        with clear_errors(f"{self._place}: cannot read the log of aggregates"):
            self._last = self._writer.log.last()
        return self._last.snapshot if self._last else {}

    def finish(self) -> None:
        """Publish what a process committed that died before its rows were in their places."""
        if self._last is not None:
            with clear_errors(f"{self._place}: cannot publish aggregates"):
                self._writer.recover()

    def commit(
        self, rows: Sequence[PublicRow], state: Snapshot, details: Mapping[str, Any], footer: Mapping[str, str]
    ) -> bool:
        """Commit the rows together with the state that follows from the one that `look` returned.

        Returns False, and nothing is published, if another entry came in between: then look again. Rows that a rule of
        erasure covers are left out.
        """
        if any(type(row) is not PublicRow or row.table != SCHEMA.name for row in rows):
            raise PrivacyRefusal("the sink takes only rows made by streamfx.privacy")
        with clear_errors(f"{self._place}: cannot commit aggregates"):
            seen, last = self._last, self._writer.recover()
            if (last and last.attempt) != (seen and seen.attempt):
                return False
            draft = self._draft(last, state, details)
            entry = self._writer.stage(draft, lambda attempt: self._files(rows, draft, attempt, footer))
            if self._writer.link(entry).attempt != entry.attempt:
                return False
            self._writer.finish(entry)
        return True

    def _draft(self, last: Entry | None, state: Snapshot, details: Mapping[str, Any]) -> Entry:
        # It covers no offsets: `start` and `end` stay where they are.
        return Entry(
            kind="aggregate",
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
        rules = [Rule.from_json(self._writer.log.read(n).details["erase"]) for n in draft.erased_by]
        by_day: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            if (left := obey(rules, SCHEMA.name, row.values)) is not None:
                by_day[date_of(SCHEMA, left)].append(left)
        # `start` and `end` are what `compact` joins in any file.
        about = {"rows_version": ROWS_VERSION, "n": draft.n, "attempt": attempt, "start": 0, "end": 0}
        whole = {**footer, **{f"streamfx.{key}": str(value) for key, value in about.items()}}
        for day, values in sorted(by_day.items()):
            yield NewFile(SCHEMA.name, day, encode_table(SCHEMA, values, whole, self._compression), len(values))
