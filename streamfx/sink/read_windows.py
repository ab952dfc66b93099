"""Reads the rows of a table day by day, also while files are merged, and which columns `windows` has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from streamfx.records import Partition
from streamfx.sink.current_files import LiveFiles, find_partitions, look_again, read_live
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import DERIVED, FileSpec, PartitionLog
from streamfx.sink.parquet import as_now, decode
from streamfx.sink.stored_schema import stored_columns

_SAID = ("streamfx.purpose", "streamfx.deployment_context", "streamfx.exemption")


@dataclass(slots=True)
class WindowReader:
    """The dataset's windows, or the rows of another `table`, by UTC day and partition.

    Which files there are is looked up once, and again when some were replaced while they were read. `said` collects what
    the footers of the files state, by key: of purpose and context only, or of all `keys` that are given.
    """

    fs: FileSystem
    place: str
    table: str = "windows"
    said: dict[str, set[str]] = field(default_factory=dict)
    keys: Callable[[str], bool] = _SAID.__contains__
    _listed: dict[Partition, list[FileSpec]] = field(default_factory=dict)

    def days(self) -> list[str]:
        """The UTC days (`YYYY-MM-DD`) that have rows, ascending."""
        return sorted({day for day, _ in self.parts()})

    def parts(self) -> list[tuple[str, Partition]]:
        """The days and partitions that have rows, by day."""
        for partition in find_partitions(self.fs, self.place):
            if partition not in DERIVED and partition not in self._listed:
                self._listed[partition] = self._files(partition)
        found = {(file.date, partition) for partition, files in self._listed.items() for file in files}
        return sorted(found, key=lambda part: (part[0], part[1].log_name))

    def read(self, day: str, columns: Sequence[str], of: Partition | None = None) -> pd.DataFrame:
        """The rows of this day, of all partitions or of one; a column that a file lacks is null in its rows."""
        parts = [of] if of else [part for at, part in self.parts() if at == day]
        found = [self._part(day, part, columns) for part in parts]
        return _together(found, columns)

    def _part(self, day: str, partition: Partition, columns: Sequence[str]) -> pd.DataFrame:
        def read() -> pd.DataFrame:
            return _together(
                [self.rows(file, columns) for file in self._listed[partition] if file.date == day], columns
            )

        def list_anew() -> None:
            self._listed[partition] = self._files(partition)

        return look_again(self.place, read, list_anew)

    def _files(self, partition: Partition) -> list[FileSpec]:
        log = PartitionLog(self.fs, partition)
        with clear_errors(f"{self.place}, {partition.topic} partition {partition.number}: cannot read the log"):
            if (newest := log.last()) is None:
                return []
            live = LiveFiles(self.fs, log, newest).files.values()
            return [file for file in live if file.table == self.table and file.rows]

    def rows(self, file: FileSpec, columns: Sequence[str]) -> pd.DataFrame:
        """The rows of one file. Raises FileReplaced if it was replaced since it was listed."""
        with clear_errors(f"{self.place}: cannot read {file.final}"):
            table = as_now(decode(read_live(self.fs, file), file.final, columns))
        for key, value in table.footer.items():
            if value and self.keys(key):
                self.said.setdefault(key, set()).add(value)
        return table.rows.reindex(columns=list(columns)).astype({n: object for n in columns if n not in table.rows})


def _together(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    if len(parts) == 1:  # wide tables are slow to copy
        return parts[0]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))


def declared_columns(fs: FileSystem, place: str) -> Mapping[str, tuple[str, ...]]:
    """The columns of `windows` that any run declared in this dataset, each with its closed vocabulary."""
    columns = stored_columns(fs, place).get("windows", ())
    return {column.name: column.values for column in columns}
