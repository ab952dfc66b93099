"""The log of one partition: the format of its entries, and the paths of entries, staged files and final files.

_commits/<topic>@<topic id>/<partition>/<n, 20 digits>.json     the entries, which alone are authoritative
_index/<topic>@<topic id>/<partition>/                          a hint where to look first; never authoritative
_staging/<topic>@<topic id>/<partition>/<n>-<attempt>…          files that are not yet published, or garbage
windows/date=YYYY-MM-DD/<topic>-<partition>-<n>-<attempt>.parquet, and the same under chunks/ and films/
media/date=YYYY-MM-DD/<topic>-<partition>-<n>-<attempt>-<number>.mp4    the films that the rows of films/ name

What is made from windows has logs of its own, as if each were a partition: what `streamfx aggregate` publishes
`_commits/~aggregates@/0/`, with entries of kind `aggregate` and files under aggregates/; and what `streamfx episodes`
writes `_commits/~episodes@/0/`, with entries of kind `episodes` and files under episodes/.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from streamfx.errors import SinkError
from streamfx.records import Partition, Snapshot
from streamfx.sink.fs import FileSystem

IDENTITY_PATH = "_dataset.json"
COMMITS, INDEX, STAGING = "_commits", "_index", "_staging"
AGGREGATES = Partition("~aggregates", "", 0)
"""The log of the table `aggregates`. No topic of Kafka's has a `~` in its name."""
EPISODES = Partition("~episodes", "", 0)
"""The log of the table `episodes`."""
DERIVED = {AGGREGATES: "aggregates", EPISODES: "episodes"}
"""The logs of what is made from windows, each with its table; they cover no offsets."""
ENTRY_KINDS = ("data", "gap", "config", "erase", "replace", "aggregate", "episodes")
_REPLACING = ("erase", "replace", "episodes")
MEDIA = "media"
"""The folder of films, which are no table: the table `films` has a row for each."""
PUBLISH_ORDER = (MEDIA, "films", "windows", "chunks")
"""Chunks come last, so that whenever a chunk's row is visible, the rows of the windows it closed are visible too; and
films before the rows that name them."""


def tables_of(partition: Partition) -> tuple[str, ...]:
    """The tables that a log writes, in the order in which they are published."""
    return (DERIVED[partition],) if partition in DERIVED else PUBLISH_ORDER


_GUARD = 10
"""How many powers of two after the newest entry are checked for an entry, which would reveal a hole in the log."""
_STAGED_NAME = re.compile(r"(\d{20})-([0-9a-f]+)[-.].*")


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One file of an entry, Parquet or a film: its staged path, its final path, and what it must contain."""

    table: str
    staged: str
    final: str
    rows: int
    bytes: int
    sha256: str

    @property
    def date(self) -> str:
        """The UTC day (`YYYY-MM-DD`) of the folder that contains the file."""
        return day_of(self.final)


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: the offsets `[start, end)` (empty if equal), the number of readable `records` in it, and its files.

    `snapshot` is every operator's state as of `end`, and `last_record` (`offset`, `timestamp_ms`, `sha256`) is the
    newest record up to it. `written_at` is when it was staged, by its writer's clock; no decision hangs on it. Entries of
    kind `erase`, `replace` and `episodes` list in `details["replaces"]` the final paths whose rows they remove or take
    over. `erased_by` are the numbers of the `erase` entries that apply to all later entries.
    """

    kind: str
    n: int
    attempt: str
    start: int
    end: int
    records: int
    files: tuple[FileSpec, ...]
    snapshot: Snapshot
    last_record: Mapping[str, Any] | None
    config_id: str
    partition_count: int
    schema_version: int
    details: Mapping[str, Any]
    written_at: str
    erased_by: tuple[int, ...] = ()

    @property
    def replaces(self) -> tuple[str, ...]:
        """The final paths whose rows this entry removes, or takes over into its own files."""
        return tuple(self.details.get("replaces", ())) if self.kind in _REPLACING else ()

    def _check_types(self) -> None:
        """Raise TypeError if an important field has a wrong type, because damaged JSON may still be valid JSON."""
        numbers = (self.n, self.start, self.end, self.records, *self.erased_by, *(file.rows for file in self.files))
        texts = [text for file in self.files for text in (file.table, file.staged, file.final, file.sha256)]
        if not all(type(number) is int for number in numbers):
            raise TypeError("expected whole numbers")
        if not all(type(text) is str for text in (self.kind, self.attempt, *texts, *self.replaces)):
            raise TypeError("expected strings")

    def to_json(self, path: str) -> bytes:
        """The entry as JSON for `path`. Raises SinkError if the snapshot or details are not plain JSON values."""
        try:
            return _sealed(json.dumps(asdict(self), allow_nan=False).encode(), path)
        except (TypeError, ValueError) as error:
            raise SinkError(f"entry {self.n}: snapshot and details must be plain JSON values: {error}") from error

    @staticmethod
    def from_json(data: bytes, where: str) -> Entry:
        """Parse the entry from `where`. Raises SinkError if it is damaged, misplaced or of a newer kind.

        Entries of earlier versions have no checksum and are accepted without one.
        """
        try:
            values = json.loads(data)
            if "sha256" in values and data != _sealed(_unsealed(data, values.pop("sha256")), where):
                raise ValueError("it does not match its own checksum")
            files = tuple(FileSpec(**file) for file in values["files"])
            entry = Entry(**{**values, "files": files, "erased_by": tuple(values.get("erased_by", ()))})
            entry._check_types()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SinkError(
                f"{where} is not a whole log entry ({error}); restore it from a backup; see `streamfx verify`"
            ) from error
        if entry.kind not in ENTRY_KINDS:
            raise SinkError(f"{where} has kind {entry.kind!r}, unknown to this version of streamfx; use a newer one")
        return entry


def _sealed(entry: bytes, path: str) -> bytes:
    """An entry's JSON with its checksum as the last field; the checksum covers both the bytes and the path."""
    sha256 = hashlib.sha256(path.encode() + b"\n" + entry).hexdigest()
    return entry[:-1] + _seal(sha256)


def _unsealed(data: bytes, sha256: object) -> bytes:
    return data[: -len(_seal(sha256))] + b"}"


def _seal(sha256: object) -> bytes:
    return f', "sha256": "{sha256}"}}'.encode()


class PartitionLog:
    """The paths and entries of one partition. It only names and reads files."""

    def __init__(self, fs: FileSystem, partition: Partition):
        self._fs = fs
        self.entries_dir = f"{COMMITS}/{partition.log_name}"
        self.staging_dir = f"{STAGING}/{partition.log_name}"
        self.index_dir = f"{INDEX}/{partition.log_name}"
        self.hint_path = f"{self.index_dir}/newest"
        self.live_path = f"{self.index_dir}/live.json"
        self.file_prefix = f"{partition.topic}-{partition.number}-"
        """What the names of its final files begin with."""

    def entry_path(self, n: int) -> str:
        """The path of entry `n` once it is committed."""
        return f"{self.entries_dir}/{n:020d}.json"

    def staged_entry_path(self, n: int, attempt: str) -> str:
        """The path of an attempt at entry `n` before it is committed."""
        return f"{self.staging_dir}/{n:020d}-{attempt}.json"

    def staged_path(self, n: int, attempt: str, table: str, date: str, part: int) -> str:
        """The path of an attempt's file until it is published; `part` counts files per table and date."""
        return f"{self.staging_dir}/{n:020d}-{attempt}-{table}-{date}{_suffix(table, part)}"

    def final_path(self, n: int, attempt: str, table: str, date: str, part: int) -> str:
        """The path at which readers find the file."""
        return f"{table}/date={date}/{self.file_prefix}{n:020d}-{attempt}{_suffix(table, part)}"

    def read(self, n: int) -> Entry:
        """Entry `n`. Raises FileNotFoundError if it is not committed."""
        path = self.entry_path(n)
        entry = Entry.from_json(self._fs.read(path), path)
        if entry.n != n:
            raise SinkError(
                f"{path}: expected entry {n}, got entry {entry.n}; restore it from a backup; see `streamfx verify`"
            )
        return entry

    def last(self) -> Entry | None:
        """The newest entry, or None. Raises SinkError if a hole in the log makes the newest entry uncertain.

        The names are never listed, because there may be hundreds of thousands. Entries are numbered without holes, so
        the last one is found by checking single names, starting from the number in the index, or from 0 without a
        valid index.
        """
        newest = self._newest(self.hint())
        return None if newest is None else self.read(newest)

    def hint(self) -> int:
        """A number at which an entry probably exists: the one in the index, or 0."""
        try:
            return min(max(0, int(self._fs.read(self.hint_path))), 10**20 - 1)
        except (OSError, ValueError):
            return 0

    def note(self, n: int) -> None:
        """Store in the index that entry `n` exists, to speed up the next start. A failure to write it is ignored."""
        with suppress(OSError):
            self.make_index_dir()
            self._fs.write_over(self.hint_path, str(n).encode())

    def make_index_dir(self) -> None:
        """Create the index's folder. Nothing happens if it exists, and losing it loses no rows."""
        folders = self.index_dir.split("/")
        for depth in range(1, len(folders) + 1):
            self._fs.mkdir("/".join(folders[:depth]))

    def has(self, n: int) -> bool:
        """Whether entry `n` is committed."""
        return self._fs.exists(self.entry_path(n))

    def _newest(self, hint: int) -> int | None:
        if not self.has(hint):
            return self._newest(0) if hint else self._check_end(None)
        step = 1
        while self.has(hint + step):
            step *= 2
        there, absent = hint + step // 2, hint + step
        while absent - there > 1:
            middle = (there + absent) // 2
            there, absent = (middle, absent) if self.has(middle) else (there, middle)
        return self._check_end(there)

    def _check_end(self, newest: int | None) -> int | None:
        """Return `newest` after checking that no entries after it are missing."""
        after = 0 if newest is None else newest + 1
        if not any(self.has(after + (1 << power)) for power in range(_GUARD)):
            return newest
        if self.has(after):  # it was committed meanwhile
            return self._newest(after)
        raise SinkError(
            f"{self.entry_path(after)} is missing though later entries exist; restore it from a backup. "
            "`streamfx verify` shows which offsets it covered"
        )

    def staged(self) -> dict[int, list[str]]:
        """All staged files: entry number -> paths."""
        found: dict[int, list[str]] = {}
        for name in self._fs.listdir(self.staging_dir):
            if match := _STAGED_NAME.fullmatch(name):
                found.setdefault(int(match[1]), []).append(f"{self.staging_dir}/{name}")
        return found


def day_of(final: str) -> str:
    """The UTC day (`YYYY-MM-DD`) of the folder that contains the file with this final path."""
    return final.split("/")[1].removeprefix("date=")


def _suffix(table: str, part: int) -> str:
    kind = "mp4" if table == MEDIA else "parquet"
    return f"-{part}.{kind}" if part else f".{kind}"
