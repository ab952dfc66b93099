"""CSV files like those of OpenFace 2 and Py-Feat: a line for each window, at its middle, which whoever writes them numbers
from `FIRST_FRAME` on in the column `frame`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from streamfx.columns import action_units
from streamfx.errors import SinkError
from streamfx.export.timeline import Timeline
from streamfx.sink.fs import FileSystem
from streamfx.sink.read_windows import WindowReader, declared_columns
from streamfx.terminal import ProgressBar

_KEYS = ("stream_id", "track_id", "window_start", "window_end", "face_score")
FIRST_FRAME = {"openface": 1, "pyfeat": 0}
_STRONGEST = 5.0
"""The intensity of a unit that FACS calls E; Py-Feat's values are between 0 and 1."""


def openface(fs: FileSystem, place: str, timeline: Timeline) -> Iterator[tuple[str, pd.DataFrame]]:
    """(stream, lines of one day) with OpenFace's names: `AU01_r` is the intensity (0 to 5), `AU01_c` whether the unit acts.

    `success` is 0 where the units are not known; they are empty then. Raises SinkError for a dataset without units.
    """
    units = _units(fs, place)
    flags = [f"{unit}_present" for unit in units]
    for stream, rows, seconds in _days(fs, place, timeline, [*units, *flags]):
        lines = pd.DataFrame(
            {
                "face_id": [timeline.number(stream, track) for track in rows["track_id"]],
                "timestamp": seconds.round(3),
                "confidence": rows["face_score"].astype(float).round(4),
                "success": rows[units[0]].notna().astype(int),
            }
        )
        for unit in units:
            lines[f"{_name(unit)}_r"] = rows[unit].astype(float).round(3)
        for unit, flag in zip(units, flags, strict=True):
            lines[f"{_name(unit)}_c"] = rows[flag].astype("boolean").astype("Int64")
        yield stream, lines


def pyfeat(fs: FileSystem, place: str, timeline: Timeline) -> Iterator[tuple[str, pd.DataFrame]]:
    """(stream, lines of one day) with Py-Feat's names: units as shares of the strongest intensity, and expressions.

    `Identity` is the number of the track. What is not known is empty. Raises SinkError for a dataset with neither.
    """
    declared = declared_columns(fs, place)
    units = action_units(declared)
    expressions = [name for name in declared if name.startswith("p_")]
    if not units and not expressions:
        raise SinkError(f"{place}: expected action units (au_01 ...) or expressions (p_happiness ...), found neither")
    for stream, rows, seconds in _days(fs, place, timeline, [*units, *expressions]):
        lines = pd.DataFrame({"approx_time": seconds.round(3), "input": stream})
        lines["FaceScore"] = rows["face_score"].astype(float).round(4)
        for unit in units:
            lines[_name(unit)] = (rows[unit].astype(float) / _STRONGEST).round(4)
        for expression in expressions:
            lines[expression.removeprefix("p_")] = rows[expression].astype(float).round(4)
        lines["Identity"] = [timeline.number(stream, track) for track in rows["track_id"]]
        yield stream, lines


def _units(fs: FileSystem, place: str) -> Sequence[str]:
    declared = declared_columns(fs, place)
    units = [name for name in action_units(declared) if f"{name}_present" in declared]
    if not units:
        raise SinkError(
            f"{place}: expected action units (au_01 ... with au_01_present ...), found none; add the operator action_units to "
            "the pipeline"
        )
    return units


def _name(unit: str) -> str:
    return unit.upper().replace("_", "")


def _days(
    fs: FileSystem, place: str, timeline: Timeline, columns: Sequence[str]
) -> Iterator[tuple[str, pd.DataFrame, pd.Series[float]]]:
    """Each stream's windows, a UTC day at a time, by time and track, with the seconds of their middles."""
    reader = WindowReader(fs, place)
    days = reader.days()
    for day in ProgressBar(" days", len(days), title="export").over(days):
        found = reader.read(day, [*_KEYS, *columns])
        for stream, rows in found.groupby("stream_id", sort=True):
            ordered = rows.sort_values(["window_start", "track_id"], kind="stable").reset_index(drop=True)
            middle = ordered["window_start"] + (ordered["window_end"] - ordered["window_start"]) / 2
            yield str(stream), ordered, timeline.seconds(str(stream), middle)
