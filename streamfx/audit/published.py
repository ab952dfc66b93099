"""Reads a dataset's `windows` twice, a file at a time: which streams and tracks there are, then samples of their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.audit.questions import Question
from streamfx.sink.current_files import LiveFiles, find_partitions, look_again, read_live
from streamfx.sink.fs import FileSystem
from streamfx.sink.log import FileSpec, PartitionLog
from streamfx.sink.parquet import StoredTable, as_now, decode, decode_columns, utc_us

_ENGINE_NUMBERS = ("frames", "face_score", "face_height_px", "audio_present")
_ENGINE_WORDS = ("stream_id", "track_id", "config_id", "purpose", "topic")
_ORIGIN = ("partition", "offset", "first_offset", "last_offset")
_VERSION = "_model_version"


@dataclass(slots=True)
class About:
    """What the rows say of themselves: `columns` that the probes read, in the order of the tables, and the rest."""

    columns: list[str] = field(default_factory=list)
    config_ids: set[str] = field(default_factory=set)
    model_versions: dict[str, set[str]] = field(default_factory=dict)


class Published:
    """The committed rows of the dataset at `place`. Workers may run meanwhile.

    Its methods raise SinkError if there is no dataset, or a file is damaged.
    """

    def __init__(self, fs: FileSystem, place: str):
        self._fs = fs
        self._place = place

    def tracks(self) -> pd.DataFrame:
        """Each track, ordered by `stream_id` and `track_id`: the start of its first and of its last window (`first_us`,
        `last_us`, UTC) and its number of `windows`."""
        return look_again(self._place, self._tracks)

    def samples(self, questions: Sequence[Question]) -> tuple[list[pd.DataFrame], About]:
        """For each question a sample of the windows of its classes, and what all rows say of themselves.

        A sample has the question's `label`, `group` and `cut_us`, `track` (which one the window is of), `start_us`,
        `end_us`, `gap_s` (seconds since the same track's window before it in the same file) and the published columns:
        float64, NaN for null; words stay words. Whether a window is in it, a digest of its key decides, so it is always
        the same.
        """
        return look_again(self._place, lambda: self._samples(questions))

    def _files(self) -> Iterator[FileSpec]:
        for partition in find_partitions(self._fs, self._place):
            log = PartitionLog(self._fs, partition)
            if (newest := log.last()) is not None:
                live = LiveFiles(self._fs, log, newest).files.values()
                yield from (file for file in live if file.table == "windows")

    def _tracks(self) -> pd.DataFrame:
        keys = ["stream_id", "track_id"]
        found = [pd.DataFrame({"stream_id": [], "track_id": [], "first_us": [], "last_us": [], "windows": []})]
        for file in self._files():
            rows = decode_columns(read_live(self._fs, file), [*keys, "window_start"], file.final)
            if not rows.empty:
                rows["start_us"] = utc_us(rows["window_start"])
                start = rows.groupby(keys)["start_us"]
                found.append(start.agg(first_us="min", last_us="max", windows="size").reset_index())
        together = pd.concat(found[1:] or found, ignore_index=True)
        spans = together.groupby(keys).agg({"first_us": "min", "last_us": "max", "windows": "sum"})
        return spans.reset_index()

    def _samples(self, questions: Sequence[Question]) -> tuple[list[pd.DataFrame], About]:
        about = About()
        parts: list[list[pd.DataFrame]] = [[] for _ in questions]
        for file in self._files():
            table = as_now(decode(read_live(self._fs, file), file.final))
            _look(table, about)
            rows = _plain(table)
            for question, drawn in zip(questions, parts, strict=True):
                drawn.append(_drawn(rows, question))
        samples = [pd.concat(drawn, ignore_index=True) if drawn else pd.DataFrame() for drawn in parts]
        return samples, about


def _look(table: StoredTable, about: About) -> None:
    about.config_ids.update(table.rows["config_id"])
    for column in table.columns:
        name = column.name
        if name.endswith(_VERSION):
            versions = about.model_versions.setdefault(name.removesuffix(_VERSION), set())
            versions.update(table.rows[name].dropna())
        elif name not in (*_ENGINE_WORDS, *_ORIGIN, *about.columns):
            about.columns.append(name)


def _plain(table: StoredTable) -> pd.DataFrame:
    """The rows without what says where they come from, ordered by track and time."""
    rows = table.rows
    plain: dict[str, npt.NDArray[np.generic] | pd.Series[str]] = {
        "stream_id": rows["stream_id"],
        "track_id": rows["track_id"],
        "start_us": np.asarray(utc_us(rows["window_start"]), np.int64),
        "end_us": np.asarray(utc_us(rows["window_end"]), np.int64),
    }
    for column in table.columns:
        if column.name in (*_ENGINE_WORDS, *_ORIGIN) or column.name.endswith(_VERSION):
            continue
        if column.kind == "string":
            plain[column.name] = rows[column.name].to_numpy(object)
        elif column.kind != "instant":
            plain[column.name] = rows[column.name].astype("Float64").to_numpy(np.float64, na_value=np.nan)
    found = pd.DataFrame(plain).sort_values(["stream_id", "track_id", "start_us"], kind="stable", ignore_index=True)
    found["gap_s"] = found.groupby(["stream_id", "track_id"])["start_us"].diff() / 1e6
    return found


def _drawn(rows: pd.DataFrame, question: Question) -> pd.DataFrame:
    found = rows.merge(question.classes, how="inner", on=list(question.keys))
    digest = pd.util.hash_pandas_object(found[["stream_id", "track_id", "start_us"]], index=False).to_numpy()
    found = found[digest / 2.0**64 < found["share"].to_numpy()]
    track = found["stream_id"].str.cat(found["track_id"])
    return found.assign(track=track).drop(columns=["stream_id", "track_id", "share"])
