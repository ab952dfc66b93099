"""Checks the sink's guarantees on a simulated disk after every step that could break one. It shares no sink code."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from disk import Disk

FIRST, END = 3, 15
READABLE = [offset for offset in range(FIRST, END) if offset % 7 != 5]
TABLES = ("windows/", "chunks/", "films/")
MEDIA = "media/"
EMPTY = (b"[]", b"")
"""What is left of a replaced file of a table, and of a film, in an object store."""


class Violation(AssertionError):
    """A guarantee was broken."""


class Oracle:
    """Checks the guarantees by reading the disk.

    `acknowledged` contains the commits that were acknowledged to a writer, and `erased` the ranges of event time whose
    erasure was acknowledged.
    """

    def __init__(self, disk: Disk):
        self.disk = disk
        self.acknowledged: dict[int, tuple[int, int]] = {}
        self.erased: list[tuple[int, int]] = []

    def entries(self) -> list[dict[str, Any]]:
        found = sorted(self.disk.files("_commits").items())
        try:
            entries = [json.loads(data) for _, data in found]
        except ValueError as error:
            raise Violation("a log entry is not whole") from error
        if [path.rpartition("/")[2] for path, _ in found] != [f"{n:020d}.json" for n in range(len(found))]:
            raise Violation("the log has a hole")
        if [e["start"] for e in entries] != [FIRST, *(e["end"] for e in entries)][: len(entries)]:
            raise Violation("ranges do not join")
        return entries

    def intact(self, path: str, spec: Mapping[str, Any]) -> bool:
        data = self.disk.data(path)
        return data is not None and hashlib.sha256(data).hexdigest() == spec["sha256"]

    def after_link(self, target: str) -> None:
        """Check a new name that all processes can see."""
        if target.startswith("_commits/"):
            *earlier, entry = self.entries()
            self._published(earlier, replaced([*earlier, entry]))
            if not all(self.intact(spec["staged"], spec) for spec in entry["files"]):
                raise Violation("an entry names a file that is not staged whole")
        elif target.startswith((*TABLES, MEDIA)):
            entries = self.entries()
            named = [entry for entry in entries if any(spec["final"] == target for spec in entry["files"])]
            if not named:
                raise Violation("an uncommitted file shows")
            self._spent(entries, [target])
            self._forgotten({target: self.disk.read(target)})
            if target.startswith("chunks/"):
                for spec in named[0]["files"]:
                    if spec["table"] != "chunks" and not self.disk.exists(spec["final"]):
                        raise Violation("a chunk shows before its windows, or before the films committed with it")
            if target.startswith("films/") and named[0]["kind"] == "data":
                for row in json.loads(self.disk.read(target)):
                    if not self.disk.exists(row["file"]):
                        raise Violation("a row of films shows before its film")

    def after_power_loss(self) -> None:
        """Check that nothing acknowledged is lost in the state that is left."""
        entries, finals = self.entries(), self.finals()
        gone = replaced(entries)
        if set(finals) - {spec["final"] for entry in entries for spec in entry["files"]}:
            raise Violation("the power loss uncommitted a file that shows")
        for n, (start, end) in self.acknowledged.items():
            if n >= len(entries) or (entries[n]["start"], entries[n]["end"]) != (start, end):
                raise Violation("the power loss took an acknowledged commit")
            self._published(entries[n : n + 1], gone)
        self._published(entries[:-1], gone)
        self._spent(entries, finals)
        self._forgotten(finals)
        for entry in entries[-1:]:
            if not self.disk.exists("_dataset.json") or not self.disk.files("_schema"):
                raise Violation("the log outlived what says whose it is")
            if not all(
                self.intact(spec["final"], spec) or self.intact(spec["staged"], spec) for spec in entry["files"]
            ):
                raise Violation("the power loss took a committed file")
        staged = self.disk.files("_staging")
        if not self.disk.store and any(spec["staged"] in staged for e in entries[:-1] for spec in e["files"]):
            raise Violation("a published file is back in staging, where it could undo an erasure")

    def after_erasure(self, first_us: int, end_us: int) -> None:
        """Check that these rows, whose erasure is acknowledged, are gone."""
        self.erased.append((first_us, end_us))
        self._forgotten(self.finals())

    def at_the_end(self) -> None:
        """Check that every record has one fate, every window exists once, and the state is that of a perfect run."""
        entries = self.entries()
        self._published(entries, replaced(entries))
        if (entries[0]["start"], entries[-1]["end"]) != (FIRST, END) or entries[-1]["snapshot"] != {
            "sum": sum_before(END)
        }:
            raise Violation("the log does not reach the end in the right state")
        if Counter(o for e in entries for o in readable_in(e["start"], e["end"])) != Counter(READABLE):
            raise Violation("the entries do not cover the records once")
        finals = self.finals()
        rows = rows_of(finals)
        fates = Counter(row["offset"] for row in rows if "fate" in row)
        windows = Counter((row["offset"], row["face_score"]) for row in rows if "track_id" in row)
        if fates != Counter(READABLE) or windows != Counter(
            (o, float(sum_before(o + 1))) for o in READABLE if closes(o) and not self._is_erased(window_us(o))
        ):
            raise Violation("a row is missing, doubled or wrong")
        films = {row["offset"]: row["file"] for row in rows if "film_start" in row}
        wanted = {o for o in READABLE if filmed(o) and not self._is_erased(window_us(o))}
        if set(films) != wanted or len(films) != sum("film_start" in row for row in rows):
            raise Violation("a film's row is missing or doubled")
        if set(films.values()) != {path for path, data in finals.items() if path.startswith(MEDIA) and data}:
            raise Violation("a film without a row, or a row without its film")
        self._forgotten(finals)
        self._spent(entries, finals, newest_too=True)
        left = {path for path, data in finals.items() if not self.disk.store or data not in EMPTY}
        if left != {spec["final"] for entry in entries for spec in entry["files"]} - set(replaced(entries)):
            raise Violation("an orphan, or a file that is gone")

    def finals(self) -> dict[str, bytes]:
        """The files that a reader sees."""
        return {path: data for folder in (*TABLES, MEDIA) for path, data in self.disk.files(folder[:-1]).items()}

    def _published(self, entries: Sequence[Mapping[str, Any]], gone: set[str]) -> None:
        for entry in entries:
            if not all(spec["final"] in gone or self.intact(spec["final"], spec) for spec in entry["files"]):
                raise Violation("an entry is followed or acknowledged before it is published")

    def _spent(self, entries: Sequence[Mapping[str, Any]], finals: Iterable[str], newest_too: bool = False) -> None:
        """Check that files replaced by a published entry have no visible rows."""
        gone = replaced(entries if newest_too else entries[:-1])
        for path in finals:
            data = self.disk.data(path)
            if path in gone and data is not None and not (self.disk.store and data in EMPTY):
                raise Violation("a replaced file shows")

    def _forgotten(self, finals: Mapping[str, bytes]) -> None:
        """Check that no erased row is visible."""
        for row in rows_of(finals) if self.erased else ():
            if "track_id" in row and self._is_erased(row["window_start"]):
                raise Violation("an erased window shows")
            if "fate" in row and row["stream_id"] and self._is_erased(row["chunk_start"]):
                raise Violation("an erased chunk shows")
            if "film_start" in row and self._is_erased(row["film_start"]):
                raise Violation("an erased film's row shows")

    def _is_erased(self, time_us: int) -> bool:
        return any(first <= time_us < end for first, end in self.erased)


def rows_of(finals: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """The rows of all tables."""
    return [row for path, data in finals.items() if path.startswith(TABLES) for row in json.loads(data)]


def replaced(entries: Sequence[Mapping[str, Any]]) -> set[str]:
    """The paths that entries have replaced."""
    return {path for entry in entries for path in entry["details"].get("replaces", ())}


def window_us(offset: int) -> int:
    """The start of the window that a record closes: half a day apart, so that batches span several folders."""
    return 1_700_000_000_000_000 + offset * 43_200_000_000


def readable_in(start: int, end: int) -> list[int]:
    return [offset for offset in READABLE if start <= offset < end]


def sum_before(offset: int) -> int:
    """The state that these runs carry from record to record."""
    return sum(o + 1 for o in READABLE if o < offset)


def closes(offset: int) -> bool:
    """Whether a record closes a window."""
    return offset % 3 != 1


def filmed(offset: int) -> bool:
    """Whether a record's chunk has a film, which comes with the record itself."""
    return offset % 4 < 2
