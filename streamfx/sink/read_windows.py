"""Reads the rows of `windows` for what is made from them, also while files are merged, and what it declares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from streamfx.errors import SinkError
from streamfx.sink.current_files import FileReplaced, LiveFiles, find_partitions, read_live
from streamfx.sink.fs import FileSystem, clear_errors
from streamfx.sink.log import DERIVED, FileSpec, PartitionLog
from streamfx.sink.parquet import as_now, decode

_LOOKS = 10
"""How often a day is read if files are replaced while it is being read."""
_SAID = ("streamfx.purpose", "streamfx.deployment_context", "streamfx.exemption")


@dataclass(slots=True)
class WindowReader:
    """The dataset's windows by UTC day. `said` collects what the read files' footers state of purpose and context."""

    fs: FileSystem
    place: str
    said: dict[str, set[str]] = field(default_factory=dict)

    def days(self) -> list[str]:
        """The UTC days (`YYYY-MM-DD`) that have windows, ascending."""
        return sorted({file.date for file in self._files()})

    def read(self, day: str, columns: Sequence[str]) -> pd.DataFrame:
        """The windows that start on this day; a column that a file lacks is null in its rows."""
        for _ in range(_LOOKS):
            try:
                parts = [self.rows(file, columns) for file in self._files() if file.date == day]
            except FileReplaced as gone:
                lost = str(gone)
                continue
            return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))
        raise SinkError(f"{self.place}: {lost} is gone or damaged; see `streamfx verify`")

    def _files(self) -> list[FileSpec]:
        found: list[FileSpec] = []
        for partition in find_partitions(self.fs, self.place):
            if partition in DERIVED:
                continue
            log = PartitionLog(self.fs, partition)
            with clear_errors(f"{self.place}, {partition.topic} partition {partition.number}: cannot read the log"):
                if (newest := log.last()) is not None:
                    live = LiveFiles(self.fs, log, newest).files.values()
                    found += [file for file in live if file.table == "windows" and file.rows]
        return found

    def rows(self, file: FileSpec, columns: Sequence[str]) -> pd.DataFrame:
        """The rows of one file. Raises FileReplaced if it was replaced since it was listed."""
        with clear_errors(f"{self.place}: cannot read {file.final}"):
            table = as_now(decode(read_live(self.fs, file), file.final))
        for key in _SAID:
            if value := table.footer.get(key):
                self.said.setdefault(key, set()).add(value)
        return table.rows.reindex(columns=list(columns)).astype({n: object for n in columns if n not in table.rows})


def declared_columns(fs: FileSystem, place: str) -> Mapping[str, tuple[str, ...]]:
    """The columns of `windows` that any run declared in this dataset, each with its closed vocabulary."""
    found: dict[str, tuple[str, ...]] = {}
    with clear_errors(f"{place}: cannot read the dataset's columns"):
        for name in fs.listdir("_schema"):
            try:
                columns = json.loads(fs.read(f"_schema/{name}"))["tables"]["windows"]
                for column in columns:
                    words = (*found.get(column["name"], ()), *column["values"])
                    found[column["name"]] = tuple(dict.fromkeys(words))
            except (ValueError, KeyError, TypeError) as error:
                raise SinkError(f"{place}: _schema/{name} is damaged ({error}); restore it from a backup") from error
    return found
