"""Writes a Parquet file of validated rows with fastparquet; types come from the schema and never from the values.

Only this module knows which library writes Parquet.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import fastparquet
import numpy as np
import pandas as pd
from fastparquet.cencoding import ThriftObject

from streamfx.columns import StoredColumn
from streamfx.errors import SinkError
from streamfx.sink.parquet_file import UnreadableParquet, open_parquet, read_table
from streamfx.sink.schema import TableSchema

_CODECS = {0: "UNCOMPRESSED", 1: "SNAPPY", 2: "GZIP", 6: "ZSTD"}
_COLUMNS_KEY = "streamfx.columns"
_RANGE = ("streamfx.start", "streamfx.end")
_WHENCE = (*_RANGE, "streamfx.n", "streamfx.attempt")
NAMES_NOW = {"confidence": "expression_confidence", "model_version": "expression_model_version"}
"""What the columns of rows version 1 that were renamed are called now."""
_NOT_A_TIME = np.iinfo(np.int64).min


class _Memory(io.BytesIO):
    """A buffer that ignores `close`, because fastparquet closes the file before its bytes are read."""

    def close(self) -> None:
        pass


def encode_table(
    schema: TableSchema, rows: Sequence[Mapping[str, Any]], footer: Mapping[str, str], compression: str
) -> bytes:
    """A complete Parquet file with `rows`, the columns' descriptions, and `footer` as its metadata.

    Instants are given as integer microseconds of UTC. Raises SinkError for a column that the schema lacks, a null in
    a column that may not be null, and a value of the wrong type.
    """
    unknown = sorted({name for row in rows for name in row} - {column.name for column in schema.columns})
    if unknown:
        raise SinkError(f"{schema.name}: rows have the columns {', '.join(unknown)}, which the dataset's schema lacks")
    frame = pd.DataFrame({column.name: _values(schema.name, column, rows) for column in schema.columns})
    return encode(StoredTable(schema.columns, frame, footer, compression))


@dataclass(frozen=True, slots=True, eq=False)
class StoredTable:
    """The contents of a dataset's Parquet file: columns, rows, and the footer without the columns' descriptions."""

    columns: tuple[StoredColumn, ...]
    rows: pd.DataFrame
    footer: Mapping[str, str]
    compression: str


def encode(table: StoredTable) -> bytes:
    """A complete Parquet file, possibly without rows. The columns of `rows` have the types that `decode` returns: times
    without a zone, as in files of rows version 1, stay so."""
    out = _Memory()
    fastparquet.write(
        "memory",
        table.rows,
        open_with=lambda path, mode: out,
        compression=table.compression,
        file_scheme="simple",
        write_index=False,
        has_nulls=[column.name for column in table.columns if column.nullable],
        object_encoding={column.name: "utf8" for column in table.columns if column.kind == "string"},
        times="int64",
        stats=True,
        custom_metadata={
            **table.footer,
            _COLUMNS_KEY: json.dumps([column.as_json() for column in table.columns]),
        },
    )
    return _with_statistics(out.getvalue(), table)


def _with_statistics(data: bytes, table: StoredTable) -> bytes:
    """The file with each row group's minimum and maximum in the fields that query engines use to skip row groups.

    fastparquet writes only the two deprecated fields, which no engine uses for text, and none for a text column with
    nulls.
    """
    about = fastparquet.ParquetFile(io.BytesIO(data)).fmd  # its own bytes, which need no check
    about.column_orders = [ThriftObject.from_fields("ColumnOrder", TYPE_ORDER={}) for _ in table.columns]
    texts = {column.name for column in table.columns if column.kind == "string"}
    begin = 0
    for group in about.row_groups:
        rows = table.rows.iloc[begin : begin + group.num_rows]
        begin += group.num_rows
        for column in group.columns:
            (name,) = column.meta_data.path_in_schema
            found = column.meta_data.statistics
            if name in texts and (values := rows[name].dropna()).size:
                # Python orders text by code point, which is the order of its UTF-8 bytes, as Parquet requires.
                found.min_value, found.max_value = values.min().encode(), values.max().encode()
            elif name not in texts:
                found.min_value, found.max_value = found.min, found.max
    footer: bytes = about.to_bytes()
    old_size = struct.unpack("<I", data[-8:-4])[0]
    return data[: -8 - old_size] + footer + struct.pack("<I", len(footer)) + data[-4:]


def decode(data: bytes, where: str, names: Collection[str] | None = None) -> StoredTable:
    """Read a file of the dataset: all columns, or those of `names` (as they are called now) that it has.

    Raises SinkError, naming `where`, if it is damaged or not a file of streamfx.
    """
    wanted = None if names is None else {*names, *(old for old, new in NAMES_NOW.items() if new in names)}
    try:
        file = open_parquet(data, wanted)
        footer = {str(key): str(value) for key, value in file.key_value_metadata.items() if key != "pandas"}
        columns = tuple(
            StoredColumn(**{**column, "values": tuple(column["values"])})
            for column in json.loads(footer.pop(_COLUMNS_KEY))
            if wanted is None or column["name"] in wanted
        )
        rows = file.to_pandas(columns=[column.name for column in columns], index=False)
        for column in columns:
            if column.kind == "string":
                rows[column.name] = rows[column.name].astype(object).where(rows[column.name].notna(), None)
        codecs = [group.columns[0].meta_data.codec for group in file.row_groups]
    except Exception as error:  # a damaged file may make the reader raise anything
        raise SinkError(f"{where} is not a readable file of this dataset; see `streamfx verify`") from error
    return StoredTable(columns, rows, footer, _CODECS[codecs[0]] if codecs else "ZSTD")


def utc_us(times: pd.Series[pd.Timestamp]) -> pd.Series[int]:
    """Stored times in UTC microseconds since 1970, whether the file says so or is of rows version 1; none may be null."""
    return pd.Series(times.dt.as_unit("us").astype("int64"), dtype="int64")


def as_now(table: StoredTable) -> StoredTable:
    """The table as this version of streamfx would have written it, for readers of old and new files together.

    In a table of rows version 1, times become instants, and `confidence` and `model_version` get their new names.
    """
    before = {column.name for column in table.columns if column.kind == "timestamp"}
    if not before:
        return table
    rows = table.rows.rename(columns=NAMES_NOW)
    for name in before:
        rows[name] = rows[name].dt.tz_localize("UTC")
    return replace(table, columns=columns_now(table.columns), rows=rows)


def columns_now(columns: Sequence[StoredColumn]) -> tuple[StoredColumn, ...]:
    """The columns of a file, in its order, as this version of streamfx names and types them."""
    if all(column.kind != "timestamp" for column in columns):
        return tuple(columns)
    return tuple(
        replace(
            column,
            name=NAMES_NOW.get(column.name, column.name),
            kind="instant" if column.kind == "timestamp" else column.kind,
        )
        for column in columns
    )


def decode_columns(data: bytes, names: Sequence[str], where: str) -> pd.DataFrame:
    """Some columns of a file of the dataset, with None for null texts. Raises SinkError if it is damaged."""
    try:
        rows = read_table(data, names)
    except UnreadableParquet as error:
        raise SinkError(f"{where} is not a readable file of this dataset; see `streamfx verify`") from error
    return rows.astype({name: object for name in names if rows[name].dtype.kind not in "Mib"})


def merge(files: Sequence[tuple[str, bytes]]) -> list[tuple[tuple[int, ...], bytes]]:
    """Merge files with equal columns and footers, keeping the order of rows; `files` are (name, contents).

    Returns (indices of the merged files, contents) for each new file. Footers may differ in the keys that only say
    where the rows come from. Raises SinkError if a file is damaged.
    """
    stored = [decode(data, name) for name, data in files]
    alike: dict[str, list[int]] = {}
    for at, table in enumerate(stored):
        about = {key: value for key, value in table.footer.items() if key not in _WHENCE}
        key = json.dumps([[column.as_json() for column in table.columns], about, table.compression], sort_keys=True)
        alike.setdefault(key, []).append(at)
    return [(tuple(group), encode(_joined([stored[at] for at in group]))) for group in alike.values() if len(group) > 1]


def _joined(tables: Sequence[StoredTable]) -> StoredTable:
    first, whence = tables[0], [[int(table.footer[key]) for table in tables] for key in _RANGE]
    footer = {key: value for key, value in first.footer.items() if key not in _WHENCE}
    spans = {key: str(pick(values)) for key, pick, values in zip(_RANGE, (min, max), whence, strict=True)}
    rows = pd.concat([table.rows for table in tables], ignore_index=True)
    return replace(first, rows=rows, footer={**footer, **spans})


def emptied(data: bytes) -> bytes:
    """A file of the dataset without its rows, which replaces an erased or merged file whose name must stay taken."""
    table = decode(data, "a replaced file")
    return encode(replace(table, rows=table.rows.iloc[:0]))


def date_of(schema: TableSchema, row: Mapping[str, Any]) -> str:
    """The UTC day (`YYYY-MM-DD`) of the folder to which a row belongs."""
    times = [row[name] for name in schema.date_from if row.get(name) is not None]
    try:
        return str(np.datetime_as_string(np.datetime64(times[0], "us"), unit="D"))
    except (IndexError, OverflowError, ValueError) as error:
        expected = " or ".join(schema.date_from)
        raise SinkError(f"{schema.name}: expected microseconds in {expected}, got {times[:1]}") from error


def _values(table: str, column: StoredColumn, rows: Sequence[Mapping[str, Any]]) -> Any:
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


def _instants(values: Sequence[Any], nullable: bool) -> Any:
    times = np.array([_NOT_A_TIME if v is None else v for v in values], dtype=np.int64).view("datetime64[us]")
    return pd.Series(times).dt.tz_localize("UTC")


def _floats(values: Sequence[Any], nullable: bool) -> Any:
    return np.array(values, dtype=np.float64)


def _masked(plain: Any, masked: Any, values: Sequence[Any], nullable: bool) -> Any:
    return pd.array(values, dtype=masked) if nullable else np.array(values, dtype=plain)


_KINDS: dict[str, tuple[type | tuple[type, ...], Callable[[Sequence[Any], bool], Any]]] = {
    "string": (str, _strings),
    "instant": (int, _instants),
    "float": ((float, int), _floats),
    "int32": (int, partial(_masked, np.int32, pd.Int32Dtype())),
    "int64": (int, partial(_masked, np.int64, pd.Int64Dtype())),
    "bool": (bool, partial(_masked, np.bool_, pd.BooleanDtype())),
}
"""Kind of a column -> the Python type of its values, and the function that makes an array of that kind."""
