"""The columns of the tables `windows`, `chunks` and `films`, those of the engine and what an operator may declare beside
them; and of the tables `aggregates` and `episodes`.

This is the only list of the core columns. The writer's schema, the check of what operators declare, and docs/data.md
are made from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from streamfx.errors import PrivacyRefusal
from streamfx.records import FATES

ROWS_VERSION = 2
"""Rises when the names, kinds or meanings of the engine's columns change. It is part of `config_id`, so that an
existing dataset continues under a `config` entry, and a running worker of the older version stops when it meets that
entry.

1: times without a zone, one pair `model`, `model_version` for all operators.
2: times are instants, and each operator with a model has a column `<operator>_model_version`.
"""

MAX_COLUMNS = 64
"""Columns one operator may declare: scores fit, an embedding does not."""
Sensitive = Literal["sex", "age", "skin", "origin", "beauty"]
"""What a sensitive column tells of a person, or judges: `origin` is ethnicity."""
_COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_IDENTIFYING = re.compile(r"embedding|landmark|face_id|person|identity|(^|_)names?($|_)")
_OF_MODELS = re.compile(r"model|(.*_)?model_version")
"""Names that only the engine gives. The files of rows version 1 have a `model` and a `model_version`."""
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")

Kind = Literal["string", "instant", "int32", "int64", "float", "bool"]


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """One column as it is stored. `instant` is a moment, in microseconds of UTC; `float` has 64 bits.

    `values` is the closed vocabulary of a string column, empty where there is none. `unit`, and the smallest and the
    largest value `low` and `high`, are what an operator declares. Files of rows version 1 have columns of kind
    `timestamp`: UTC without a zone.
    """

    name: str
    kind: Kind | Literal["timestamp"]
    description: str
    nullable: bool = False
    values: tuple[str, ...] = ()
    unit: str = ""
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The column as plain JSON values, without unit and range, which readers of older versions do not expect here."""
        return {
            "name": self.name,
            "kind": self.kind,
            "nullable": self.nullable,
            "description": self.description,
            "values": list(self.values),
        }

    def limits_json(self) -> dict[str, Any]:
        """Unit and range as plain JSON values, without those that are not declared."""
        limits = {"unit": self.unit or None, "low": self.low, "high": self.high}
        return {key: value for key, value in limits.items() if value is not None}


_WINDOW = (
    StoredColumn("stream_id", "string", "Pseudonym of the stream within one salt period"),
    StoredColumn("track_id", "string", "Pseudonym of one face followed through its stream, within one salt period"),
    StoredColumn("window_start", "instant", "Event time at which the window starts"),
    StoredColumn("window_end", "instant", "Event time at which the window ends"),
    StoredColumn("frames", "int32", "Segments of the window in which the face was seen, 0 to 16"),
    StoredColumn("face_score", "float", "Mean confidence of the face detector, 0 to 1"),
    StoredColumn("face_height_px", "float", "Mean height of the face in pixels of the original frame"),
    StoredColumn("audio_present", "bool", "Whether there was sound in at least half of the window"),
)
_WINDOW_ORIGIN = (
    StoredColumn("config_id", "string", "Digest of the configuration that decided the row; part of its key"),
    StoredColumn("purpose", "string", "Why this was processed, as the configuration states it"),
    StoredColumn("topic", "string", "Topic the stream came from; files-<id> for a file"),
    StoredColumn("partition", "int32", "Partition the stream came from"),
    StoredColumn("offset", "int64", "Offset whose record closed the window"),
    StoredColumn("first_offset", "int64", "First offset that the window's frames came from"),
    StoredColumn("last_offset", "int64", "Last offset that the window's frames came from"),
)
CHUNKS_COLUMNS = (
    StoredColumn("topic", "string", "Topic of the input record; files-<id> for a file"),
    StoredColumn("partition", "int32", "Partition of the input record"),
    StoredColumn("offset", "int64", "Offset of the input record"),
    StoredColumn("stream_id", "string", "Pseudonym of the stream; null where the headers are unreadable", True),
    StoredColumn("seq", "int64", "Number of the chunk in its stream; null where unreadable", True),
    StoredColumn("chunk_start", "instant", "Event time of the first frame; null where unreadable", True),
    StoredColumn(
        "chunk_end", "instant", "Event time at which the last frame ends; null where nothing was decoded", True
    ),
    StoredColumn("append_time", "instant", "Timestamp of the record: when the broker appended it"),
    StoredColumn("fate", "string", "What became of the record", values=FATES),
    StoredColumn("reason", "string", "Why, as a short token; null where there is nothing to say", True),
    StoredColumn("frames", "int32", "Frames that were sampled"),
    StoredColumn("faces", "int32", "Faces in the sampled frames, counted once a frame"),
    StoredColumn("windows", "int32", "Windows that this record closed"),
    StoredColumn("bytes", "int64", "Size of the record's body, bytes"),
    StoredColumn("config_id", "string", "Digest of the configuration that decided the row"),
    StoredColumn("purpose", "string", "Why this was processed, as the configuration states it"),
)
"""The columns of the `chunks` table; one row for each input offset, with its fate."""
FILMS_COLUMNS = (
    StoredColumn("stream_id", "string", "Pseudonym of the stream within one salt period"),
    StoredColumn("film_start", "instant", "Event time of the film's first frame"),
    StoredColumn("film_end", "instant", "Event time at which its last frame ends"),
    StoredColumn("frames", "int32", "Frames in it"),
    StoredColumn("frames_filled", "int32", "Frames that are filled whole, because the detector failed or was unsure"),
    StoredColumn("faces", "int32", "Faces that were followed through it"),
    StoredColumn("filled", "float", "Share of all pixels that is filled, 0 to 1"),
    StoredColumn("file", "string", "Path of the MP4 file in the dataset"),
    StoredColumn("bytes", "int64", "Size of that file, bytes"),
    StoredColumn("config_id", "string", "Digest of the configuration that decided the row"),
    StoredColumn("purpose", "string", "Why this was processed, as the configuration states it"),
    StoredColumn("topic", "string", "Topic the stream came from; files-<id> for a file"),
    StoredColumn("partition", "int32", "Partition the stream came from"),
    StoredColumn("offset", "int64", "Offset of the chunk that the film shows"),
)
"""The columns of the `films` table; one row for each redacted film, which is that of one chunk."""
NO_NOISE = "none"
AGGREGATES_COLUMNS = (
    StoredColumn("bin_start", "instant", "Event time at which the bin starts"),
    StoredColumn("bin_end", "instant", "Event time at which the bin ends"),
    StoredColumn("stream_group", "string", "Group of streams; `all` is all of them together"),
    StoredColumn("measure", "string", "What is counted: `faces`, `expression`, or an action unit such as `au_12`"),
    StoredColumn(
        "value",
        "string",
        "Which of it: `all` for faces; the expression; `present`, or `measured` for a unit whose model tells no presence",
    ),
    StoredColumn("tracks", "int64", "Distinct tracks of which this was seen in the bin"),
    StoredColumn("face_seconds", "float", "Seconds of faces, each moment of each track once"),
    StoredColumn(
        "mean",
        "float",
        "Mean over these seconds: of `expression_confidence`, or of the unit's intensity; null where there is none",
        True,
    ),
    StoredColumn("k", "int32", "Distinct tracks that a number needed at least to be published"),
    StoredColumn("noise", "string", "The noise that was added", values=(NO_NOISE, "laplace", "gaussian")),
    StoredColumn("tracks_sd", "float", "Standard deviation of the noise in `tracks`; 0 without noise"),
    StoredColumn("face_seconds_sd", "float", "Standard deviation of the noise in `face_seconds`; 0 without noise"),
)
"""The columns of the `aggregates` table; one row for each published cell of a time bin."""
NOVEL = 0.5
"""From this `expression_novelty` on, the scores of a window should not be believed (docs/querying.md)."""
EXPRESSION, UNCLEAR = "expression", "unclear"
FACE, SEEN = "face", "seen"
ACTIVE, INACTIVE = "active", "inactive"
EPISODES_COLUMNS = (
    StoredColumn("stream_id", "string", "Pseudonym of the stream within one salt period"),
    StoredColumn("track_id", "string", "Pseudonym of one face followed through its stream, within one salt period"),
    StoredColumn("measure", "string", f"`{FACE}`, `{EXPRESSION}`, or an action unit such as `au_12`"),
    StoredColumn(
        "value",
        "string",
        f"What it shows: `{SEEN}` for a face; the expression, or `{UNCLEAR}` where none is likely enough; `{ACTIVE}` or "
        f"`{INACTIVE}` for a unit. Time of which this is not known has no row",
    ),
    StoredColumn("episode_start", "instant", "Event time at which the stretch starts"),
    StoredColumn("episode_end", "instant", "Event time at which it ends"),
    StoredColumn("seconds", "float", "Its length, seconds; no moment of a track and measure is in two stretches"),
    StoredColumn(
        "apex_time", "instant", "Event time of the middle of the window with the peak; null with `mean`", True
    ),
    StoredColumn(
        "mean",
        "float",
        "Mean over its time: of the expression's probability (0 to 1), or of the unit's intensity (0 to 5; of its flag, 0 or "
        f"1, where the model tells none); null for `{SEEN}`, `{UNCLEAR}` and `{INACTIVE}`",
        True,
    ),
    StoredColumn("peak", "float", "The largest of these values; null with `mean`", True),
    StoredColumn("windows", "int32", "Windows that speak for it"),
    StoredColumn("start_seen", "bool", "Whether the moment before it is known too; if not, it may have begun earlier"),
    StoredColumn("end_seen", "bool", "Whether the moment after it is known too; if not, it may have gone on"),
    StoredColumn("first_window", "instant", "Start of the first window of the run without a gap that it was made from"),
    StoredColumn("last_window", "instant", "Start of the last window of that run"),
    StoredColumn("rule", "string", "The rule of smoothing: `hysteresis-<enter>-<leave>-<least_s>`, or `hmm`"),
    StoredColumn("model_version", "string", "Version of the model behind the values; null for a face", True),
    StoredColumn("config_id", "string", "Digest of the configuration that decided the windows"),
)
"""The columns of the `episodes` table; one row for each stretch of time in which a track's measure shows one thing."""
CORE_COLUMNS = frozenset(column.name for column in (*_WINDOW, *_WINDOW_ORIGIN))
"""Columns of the `windows` table that belong to the engine, beside the version columns."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column that an operator appends to the `windows` table; always nullable.

    `kind` `category` holds one of `values`; free text is not a kind, so no name can leave in one. `sensitive` says what
    the column tells of a person, or judges, if it does; `privacy/sensitive.py` says when it may leave. `unit` is that of
    a number, and `low` and `high` its smallest and largest value; they go into the data contract, and no row is refused
    by them.
    """

    name: str
    kind: Literal["float", "int", "bool", "category"]
    description: str
    values: tuple[str, ...] = ()
    sensitive: Sensitive | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None


_KINDS: dict[str, Kind] = {"float": "float", "int": "int64", "bool": "bool", "category": "string"}


def version_column(operator: str) -> str:
    """The column that says which version of its model an operator's values in a row come from."""
    return f"{operator}_model_version"


def windows_columns(declared: Sequence[Column], with_model: Sequence[str] = ()) -> tuple[StoredColumn, ...]:
    """The columns of the `windows` table: `declared` by the operators, and a version column for each operator that has
    a model behind it, between what the engine says of the window and where the row comes from."""
    return (
        *_WINDOW,
        *(StoredColumn(c.name, _KINDS[c.kind], c.description, True, c.values, c.unit, c.low, c.high) for c in declared),
        *(
            StoredColumn(version_column(name), "string", f"Version of the model behind the values of {name}", True)
            for name in with_model
        ),
        *_WINDOW_ORIGIN,
    )


def allowed_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns, if each may be in a public table: plain kinds, closed vocabularies, telling names, no clashes."""
    seen: set[str] = set()
    if len(columns) > 4 * MAX_COLUMNS:
        raise PrivacyRefusal(f"the pipeline declares {len(columns)} columns; at most {4 * MAX_COLUMNS} are allowed")
    for column in columns:
        if not _COLUMN_NAME.fullmatch(column.name):
            raise PrivacyRefusal(
                f"column {column.name!r}: a name has lower-case letters, digits and underscores, at most 63"
            )
        if _IDENTIFYING.search(column.name):
            raise PrivacyRefusal(f"column {column.name!r}: embeddings, landmarks, names and identities may not leave")
        if column.name in seen or column.name in CORE_COLUMNS:
            raise PrivacyRefusal(f"column {column.name!r} is declared twice, or is one of the core columns")
        if _OF_MODELS.fullmatch(column.name):
            raise PrivacyRefusal(
                f"column {column.name!r}: the engine itself says which model answered; name it in `provenance()`"
            )
        if (column.kind == "category") != bool(column.values):
            raise PrivacyRefusal(f"column {column.name!r}: `values` belong to kind category, and a category needs them")
        _check_limits(column)
        seen.add(column.name)
    return tuple(columns)


def _check_limits(column: Column) -> None:
    bounds = [bound for bound in (column.low, column.high) if bound is not None]
    if (column.unit or bounds) and column.kind not in ("float", "int"):
        raise PrivacyRefusal(f"column {column.name!r}: unit and range belong to kinds float and int, got {column.kind}")
    if not all(map(isfinite, bounds)) or bounds != sorted(bounds):
        raise PrivacyRefusal(
            f"column {column.name!r}: expected finite numbers with low <= high, got {column.low} and {column.high}"
        )


def allowed_versions(versions: Mapping[str, str]) -> dict[str, str]:
    """Version column -> version, from operator -> version, if each version is a short token and no free text."""
    allowed = {}
    for operator, version in versions.items():
        column = version_column(operator)
        if not _COLUMN_NAME.fullmatch(column):
            raise PrivacyRefusal(
                f"operator {operator!r}: expected at most {63 - len(version_column(''))} lower-case letters, "
                "digits and "
                "underscores in its name, which begins the name of a column"
            )
        if not _VERSION.fullmatch(version):
            raise PrivacyRefusal(
                f"operator {operator!r}: the version of its model is no version; expected at most 64 letters, digits, "
                "'.', '_', '+' and '-', the first a letter or a digit"
            )
        allowed[column] = version
    return allowed


def action_units(names: Iterable[str]) -> list[str]:
    """Those of the names that are of action units' intensities, such as `au_12`, each once, ascending."""
    return sorted({name for name in names if name.startswith("au_") and name.removeprefix("au_").isdecimal()})
