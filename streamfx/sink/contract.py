"""The data contract: what each column of the engine holds, and a dataset's tables as a Frictionless Data Package.

Format: https://specs.frictionlessdata.io/tabular-data-package/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamfx.columns import ROWS_VERSION, StoredColumn
from streamfx.sink.current_files import shown_tables
from streamfx.sink.fs import FileSystem
from streamfx.sink.stored_schema import shown_columns
from streamfx.sink.verify import KEYS

_TYPES = {
    "string": "string",
    "instant": "datetime",
    "int32": "integer",
    "int64": "integer",
    "float": "number",
    "bool": "boolean",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a column of the engine does not say itself: an example, the unit, the smallest and largest value, and the rows
    version with which it came under this name."""

    example: Any
    unit: str = ""
    low: float | None = None
    high: float | None = None
    since: int = 1


_TIME = Facts("2026-01-01T12:00:00Z", "UTC, microseconds")
_OF_ALL: Mapping[str, Facts] = {
    "stream_id": Facts("779ae61d3807cea1da88804b75e4f4b9"),
    "config_id": Facts("d4f48a253163"),
    "purpose": Facts("ward quality study"),
    "topic": Facts("media"),
    "partition": Facts(0, low=0),
    "offset": Facts(41, low=0),
}
_FACTS: Mapping[str, Mapping[str, Facts]] = {
    "windows": {
        "track_id": Facts("7354901b3a6752e5f0ebad1de22ed7d8"),
        "window_start": _TIME,
        "window_end": Facts("2026-01-01T12:00:02Z", "UTC, microseconds"),
        "frames": Facts(16, "segments", 0, 16),
        "face_score": Facts(0.88, low=0, high=1),
        "face_height_px": Facts(175.7, "pixels", low=0),
        "audio_present": Facts(True),
        "first_offset": Facts(40, low=0),
        "last_offset": Facts(41, low=0),
    },
    "chunks": {
        "seq": Facts(3),
        "chunk_start": _TIME,
        "chunk_end": Facts("2026-01-01T12:00:02Z", "UTC, microseconds"),
        "append_time": Facts("2026-01-01T12:00:02.250Z", "UTC, microseconds"),
        "fate": Facts("processed"),
        "reason": Facts("detector_failed"),
        "frames": Facts(16, "frames", 0),
        "faces": Facts(16, "faces", 0),
        "windows": Facts(2, "windows", 0),
        "bytes": Facts(80908, "bytes", 0),
    },
    "films": {
        "film_start": _TIME,
        "film_end": Facts("2026-01-01T12:00:02Z", "UTC, microseconds"),
        "frames": Facts(60, "frames", 0),
        "frames_filled": Facts(0, "frames", 0),
        "faces": Facts(1, "faces", 0),
        "filled": Facts(0.06, "share", 0, 1),
        "file": Facts("media/date=2026-01-01/media-0-00000000000000000002-1f0c7a5e9b3d2468.mp4"),
        "bytes": Facts(151200, "bytes", 0),
    },
    "aggregates": {
        "bin_start": _TIME,
        "bin_end": Facts("2026-01-01T12:15:00Z", "UTC, microseconds"),
        "stream_group": Facts("all"),
        "measure": Facts("expression"),
        "value": Facts("happiness"),
        "tracks": Facts(14, "tracks"),
        "face_seconds": Facts(231.0, "seconds"),
        "mean": Facts(0.81, "unit of the measure"),
        "k": Facts(5, "tracks", 1),
        "noise": Facts("none"),
        "tracks_sd": Facts(0.0, "tracks", 0),
        "face_seconds_sd": Facts(0.0, "seconds", 0),
    },
    "episodes": {
        "track_id": Facts("7354901b3a6752e5f0ebad1de22ed7d8"),
        "measure": Facts("expression"),
        "value": Facts("happiness"),
        "episode_start": _TIME,
        "episode_end": Facts("2026-01-01T12:00:04.500Z", "UTC, microseconds"),
        "seconds": Facts(4.5, "seconds", 0),
        "apex_time": Facts("2026-01-01T12:00:02Z", "UTC, microseconds"),
        "mean": Facts(0.86, "probability, or intensity of a unit", 0, 5),
        "peak": Facts(0.97, "probability, or intensity of a unit", 0, 5),
        "windows": Facts(5, "windows", 1),
        "start_seen": Facts(True),
        "end_seen": Facts(False),
        "first_window": Facts("2026-01-01T11:59:59Z", "UTC, microseconds"),
        "last_window": Facts("2026-01-01T12:00:07Z", "UTC, microseconds"),
        "rule": Facts("hysteresis-0.6-0.4-1.5"),
        "model_version": Facts("sha256-fd6adcf81ef4-mix-16000"),
    },
}
_SINCE_2 = ("films", "aggregates", "episodes")
"""Tables that files of rows version 1 do not have."""


def facts_of(table: str, column: str) -> Facts | None:
    """What is known of a column of the engine; None for one that an operator declares."""
    if column.endswith("_model_version"):
        return Facts("sha256-fd6adcf81ef4-mix-16000", since=2)
    return _FACTS.get(table, {}).get(column) or _OF_ALL.get(column)


def since(table: str, column: str) -> int:
    """The rows version with which a column of the engine came."""
    found = facts_of(table, column)
    return max(found.since if found else 1, 2 if table in _SINCE_2 else 1)


def contract(fs: FileSystem, place: str) -> dict[str, Any]:
    """The dataset's tables as a Data Package: columns, keys, and the current files. Raises SinkError without a dataset."""
    files = shown_tables(fs, place)
    tables = shown_columns(fs, place, files)
    return {
        "profile": "tabular-data-package",
        "name": "streamfx-dataset",
        "title": "Facial behaviour over time, by streamfx",
        "rowsVersion": ROWS_VERSION,
        "resources": [_resource(table, columns, files.get(table, [])) for table, columns in tables.items()],
    }


def _resource(table: str, columns: tuple[StoredColumn, ...], paths: list[str]) -> dict[str, Any]:
    return {
        "profile": "tabular-data-resource",
        "name": table,
        **({"path": paths, "format": "parquet"} if paths else {"data": []}),
        "schema": {
            "fields": [_field(table, column) for column in columns],
            "primaryKey": list(KEYS[table]),
        },
    }


def _field(table: str, column: StoredColumn) -> dict[str, Any]:
    facts = facts_of(table, column.name)
    constraints: dict[str, Any] = {"required": not column.nullable}
    if column.values:
        constraints["enum"] = list(column.values)
    field: dict[str, Any] = {"name": column.name, "type": _TYPES[column.kind], "description": column.description}
    if facts is not None:
        field |= {"example": facts.example, "sinceRowsVersion": since(table, column.name)}
    limits = column if facts is None else facts
    bounds = {"minimum": limits.low, "maximum": limits.high}
    constraints |= {name: bound for name, bound in bounds.items() if bound is not None}
    field |= {"unit": limits.unit} if limits.unit else {}
    return {**field, "constraints": constraints}
