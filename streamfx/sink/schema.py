"""The columns of the two tables: fixed core, an operator's own appended and nullable, each with its description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from streamfx.columns import Column
from streamfx.errors import SinkError
from streamfx.records import FATES

Kind = Literal["string", "timestamp", "int32", "int64", "float", "bool"]


@dataclass(frozen=True, slots=True)
class SinkColumn:
    """One flat column. `timestamp` is UTC without a zone, in microseconds; `float` has 64 bits.

    `values` is the closed vocabulary of a string column, empty where there is none.
    """

    name: str
    kind: Kind
    description: str
    nullable: bool = False
    values: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The column as plain JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "nullable": self.nullable,
            "description": self.description,
            "values": list(self.values),
        }


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table's columns, in the order in which they are stored. `date_from` are those that date a row, best first."""

    name: str
    columns: tuple[SinkColumn, ...]
    date_from: tuple[str, ...]


_WINDOWS_BEFORE = (
    SinkColumn("stream_id", "string", "Pseudonym of the stream within one salt period"),
    SinkColumn("track_id", "string", "Pseudonym of one face followed through its stream, within one salt period"),
    SinkColumn("window_start", "timestamp", "Event time at which the window starts, UTC"),
    SinkColumn("window_end", "timestamp", "Event time at which the window ends, UTC"),
    SinkColumn("frames", "int32", "Segments of the window in which the face was seen, 0 to 16"),
    SinkColumn("face_score", "float", "Mean confidence of the face detector, 0 to 1"),
    SinkColumn("face_height_px", "float", "Mean height of the face in pixels of the original frame"),
    SinkColumn("audio_present", "bool", "Whether the models heard sound"),
)
_WINDOWS_AFTER = (
    SinkColumn("model", "string", "Model behind the scores", nullable=True),
    SinkColumn("model_version", "string", "Version of that model", nullable=True),
    SinkColumn("config_id", "string", "Digest of the configuration that decided the row; part of its key"),
    SinkColumn("purpose", "string", "Why this was processed, as the configuration states it"),
    SinkColumn("topic", "string", "Topic the stream came from; files-<id> for a file"),
    SinkColumn("partition", "int32", "Partition the stream came from"),
    SinkColumn("offset", "int64", "Offset whose record closed the window"),
    SinkColumn("first_offset", "int64", "First offset that the window's frames came from"),
    SinkColumn("last_offset", "int64", "Last offset that the window's frames came from"),
)

CHUNKS = TableSchema(
    "chunks",
    (
        SinkColumn("topic", "string", "Topic of the input record; files-<id> for a file"),
        SinkColumn("partition", "int32", "Partition of the input record"),
        SinkColumn("offset", "int64", "Offset of the input record"),
        SinkColumn("stream_id", "string", "Pseudonym of the stream; null where the headers are unreadable", True),
        SinkColumn("seq", "int64", "Number of the chunk in its stream; null where unreadable", True),
        SinkColumn("chunk_start", "timestamp", "Event time of the first frame, UTC; null where unreadable", True),
        SinkColumn("chunk_end", "timestamp", "Event time at which the last frame ends, UTC", True),
        SinkColumn("append_time", "timestamp", "Timestamp of the record, UTC: when the broker appended it"),
        SinkColumn("fate", "string", "What became of the record", values=FATES),
        SinkColumn("reason", "string", "Why, as a short token; null where there is nothing to say", True),
        SinkColumn("frames", "int32", "Frames that were sampled"),
        SinkColumn("faces", "int32", "Faces in the sampled frames, counted once a frame"),
        SinkColumn("windows", "int32", "Windows that this record closed"),
        SinkColumn("bytes", "int64", "Size of the record's body, bytes"),
        SinkColumn("config_id", "string", "Digest of the configuration that decided the row"),
        SinkColumn("purpose", "string", "Why this was processed, as the configuration states it"),
    ),
    date_from=("chunk_start", "append_time"),
)
"""One row for each input offset, with its fate."""

_KINDS: dict[str, Kind] = {"float": "float", "int": "int64", "bool": "bool", "category": "string"}


def windows_schema(columns: Sequence[Column]) -> TableSchema:
    """The `windows` table with the operators' columns, in the given order, between quality and provenance."""
    own = tuple(SinkColumn(c.name, _KINDS[c.kind], c.description, True, c.values) for c in columns)
    together = (*_WINDOWS_BEFORE, *own, *_WINDOWS_AFTER)
    names = [column.name for column in together]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SinkError(
            f"windows: columns {', '.join(doubled)} are declared twice or are the engine's own; rename them"
        )
    return TableSchema("windows", together, date_from=("window_start",))
