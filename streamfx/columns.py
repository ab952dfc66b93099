"""Columns of the `windows` table: those of the engine, and what an operator may declare beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from streamfx.errors import PrivacyRefusal

MAX_COLUMNS = 64
"""Columns one operator may declare: scores fit, an embedding does not."""
_COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_IDENTIFYING = re.compile(r"embedding|landmark|face_id|person|identity|(^|_)names?($|_)")
CORE_COLUMNS = frozenset(
    [
        "stream_id",
        "track_id",
        "window_start",
        "window_end",
        "frames",
        "face_score",
        "face_height_px",
        "audio_present",
        "model",
        "model_version",
        "config_id",
        "purpose",
        "topic",
        "partition",
        "offset",
        "first_offset",
        "last_offset",
    ]
)
"""Columns of the `windows` table that belong to the engine."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column that an operator appends to the `windows` table; always nullable.

    `kind` `category` holds one of `values`; free text is not a kind, so no name can leave in one.
    """

    name: str
    kind: Literal["float", "int", "bool", "category"]
    description: str
    values: tuple[str, ...] = ()


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
        if (column.kind == "category") != bool(column.values):
            raise PrivacyRefusal(f"column {column.name!r}: `values` belong to kind category, and a category needs them")
        seen.add(column.name)
    return tuple(columns)
