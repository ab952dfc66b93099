"""One Parquet file from checked rows, by fastparquet; types come from the schema and never from the values.

The only module that knows which library writes Parquet.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import fastparquet
import numpy as np
import pandas as pd

from streamfx.errors import SinkError
from streamfx.sink.schema import SinkColumn, TableSchema

_NOT_A_TIME = np.iinfo(np.int64).min


class _Memory(io.BytesIO):
    """fastparquet closes the file it has written; its bytes are wanted after that."""

    def close(self) -> None:
        pass


def encode_table(
    schema: TableSchema, rows: Sequence[Mapping[str, Any]], footer: Mapping[str, str], compression: str
) -> bytes:
    """A complete Parquet file with `rows` (at least one), the columns' descriptions, and `footer` as its metadata.

    Raises SinkError for a column that the schema lacks, a missing value that may not be null, and a value of the wrong
    type. Timestamps come in as integer microseconds.
    """
    unknown = sorted({name for row in rows for name in row} - {column.name for column in schema.columns})
    if unknown:
        raise SinkError(f"{schema.name}: rows have columns {', '.join(unknown)}, which the dataset's schema lacks")
    frame = pd.DataFrame({column.name: _values(schema.name, column, rows) for column in schema.columns})
    out = _Memory()
    fastparquet.write(
        "memory",
        frame,
        open_with=lambda path, mode: out,
        compression=compression,
        file_scheme="simple",
        write_index=False,
        has_nulls=[column.name for column in schema.columns if column.nullable],
        object_encoding={column.name: "utf8" for column in schema.columns if column.kind == "string"},
        times="int64",
        stats=True,
        custom_metadata={**footer, "streamfx.columns": json.dumps([column.as_json() for column in schema.columns])},
    )
    return out.getvalue()


def date_of(schema: TableSchema, row: Mapping[str, Any]) -> str:
    """The UTC day, `YYYY-MM-DD`, whose folder a row belongs to."""
    times = [row[name] for name in schema.date_from if row.get(name) is not None]
    try:
        return str(np.datetime_as_string(np.datetime64(times[0], "us"), unit="D"))
    except (IndexError, OverflowError, ValueError) as error:
        expected = " or ".join(schema.date_from)
        raise SinkError(f"{schema.name}: expected microseconds in {expected}, got {times[:1]}") from error


def _values(table: str, column: SinkColumn, rows: Sequence[Mapping[str, Any]]) -> Any:
    values = [row.get(column.name) for row in rows]
    if not column.nullable and any(value is None for value in values):
        raise SinkError(f"{table}: column {column.name!r} is missing in a row and may not be null")
    kind, convert = _KINDS[column.kind]
    for value in values:
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise SinkError(f"{table}: column {column.name!r} expects {column.kind}, got {type(value).__name__}")
    try:
        return convert(values, column.nullable)
    except OverflowError as error:
        raise SinkError(f"{table}: column {column.name!r} holds a number that does not fit {column.kind}") from error


def _strings(values: Sequence[Any], nullable: bool) -> Any:
    return np.array(values, dtype=object)


def _times(values: Sequence[Any], nullable: bool) -> Any:
    return np.array([_NOT_A_TIME if v is None else v for v in values], dtype=np.int64).view("datetime64[us]")


def _floats(values: Sequence[Any], nullable: bool) -> Any:
    return np.array(values, dtype=np.float64)


def _masked(plain: Any, masked: Any, values: Sequence[Any], nullable: bool) -> Any:
    return pd.array(values, dtype=masked) if nullable else np.array(values, dtype=plain)


_KINDS: dict[str, tuple[type | tuple[type, ...], Callable[[Sequence[Any], bool], Any]]] = {
    "string": (str, _strings),
    "timestamp": (int, _times),
    "float": ((float, int), _floats),
    "int32": (int, partial(_masked, np.int32, pd.Int32Dtype())),
    "int64": (int, partial(_masked, np.int64, pd.Int64Dtype())),
    "bool": (bool, partial(_masked, np.bool_, pd.BooleanDtype())),
}
"""Kind of a column -> the Python type of its values, and how they become an array of exactly that kind."""
