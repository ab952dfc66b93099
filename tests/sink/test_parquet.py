"""fastparquet, pyarrow, duckdb and polars read the same rows, within a file and across schema versions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import fastparquet
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.columns import Column, StoredColumn
from streamfx.errors import SinkError
from streamfx.records import Partition
from streamfx.sink.parquet import date_of, encode_table
from streamfx.sink.schema import CHUNKS, TableSchema, windows_schema

EVERY_KIND = TableSchema(
    "every",
    tuple(
        StoredColumn(f"{kind}_{null}", kind, "", null == "null")
        for kind in ("string", "instant", "int32", "int64", "float", "bool")
        for null in ("null", "full")
    ),
    ("instant_full",),
)
ARROW = {
    "string": pa.string(),
    "instant": pa.timestamp("us", "UTC"),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    "instant": st.integers(-(10**15), 10**16),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False),
    "bool": st.booleans(),
}
ROWS = st.lists(
    st.fixed_dictionaries(
        {c.name: st.none() | VALUES[c.kind] if c.nullable else VALUES[c.kind] for c in EVERY_KIND.columns}
    ),
    min_size=1,
    max_size=6,
)


def plain(value: Any) -> Any:
    """A common form of what the four readers return: None for null, microseconds for times."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if hasattr(value, "isoformat"):
        return int(pd.Timestamp(value).tz_convert("UTC").as_unit("us").asm8.astype(np.int64))  # instants only
    return value.item() if isinstance(value, np.generic) else value


def by_fastparquet(paths: Sequence[str]) -> list[dict[str, Any]]:
    frames = [fastparquet.ParquetFile(path).to_pandas() for path in paths]
    return [dict(zip(f.columns, row, strict=True)) for f in frames for row in f.astype(object).itertuples(index=False)]


def by_pyarrow(paths: Sequence[str]) -> list[dict[str, Any]]:
    schema = pa.unify_schemas([pyarrow.parquet.read_schema(path) for path in paths])
    return list(pyarrow.dataset.dataset(list(paths), schema=schema).to_table().to_pylist())


def by_duckdb(paths: Sequence[str]) -> list[dict[str, Any]]:
    return list(duckdb.read_parquet(list(paths), union_by_name=True).to_arrow_table().to_pylist())


def by_polars(paths: Sequence[str]) -> list[dict[str, Any]]:
    return list(polars.concat([polars.read_parquet(path) for path in paths], how="diagonal").to_dicts())


READERS = [by_fastparquet, by_pyarrow, by_duckdb, by_polars]


def read(reader: Callable[[Sequence[str]], list[dict[str, Any]]], *paths: Path) -> list[dict[str, Any]]:
    return [{name: plain(value) for name, value in row.items()} for row in reader([str(path) for path in paths])]


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_every_reader_returns_what_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("p") / "f.parquet"
    path.write_bytes(encode_table(EVERY_KIND, rows, {}, "ZSTD"))
    for reader in READERS:
        assert read(reader, path) == rows, reader.__name__


def test_types_come_from_the_schema_even_if_all_values_are_null(tmp_path: Path) -> None:
    full: dict[str, Any] = {"string": "é", "instant": 1, "int32": 1, "int64": 2**60 + 1, "float": 0.5, "bool": True}
    nulls = {c.name: None if c.nullable else full[c.kind] for c in EVERY_KIND.columns}
    values = {c.name: full[c.kind] for c in EVERY_KIND.columns}
    paths = [tmp_path / "nulls.parquet", tmp_path / "full.parquet"]
    for path, row in zip(paths, (nulls, values), strict=True):
        path.write_bytes(encode_table(EVERY_KIND, [row], {}, "ZSTD"))
        schema = pyarrow.parquet.read_schema(path)
        assert {f.name: (f.type, f.nullable) for f in schema} == {
            c.name: (ARROW[c.kind], c.nullable) for c in EVERY_KIND.columns
        }
    for reader in READERS:
        assert read(reader, *paths) == [nulls, values], reader.__name__
    dtypes = [fastparquet.ParquetFile(str(path)).to_pandas().dtypes.astype(str).to_dict() for path in paths]
    assert dtypes[0] == dtypes[1]


@pytest.mark.parametrize("compression", ["ZSTD", "SNAPPY", "GZIP", "UNCOMPRESSED"])
def test_every_compression_is_readable_by_all(tmp_path: Path, rows: Any, compression: str) -> None:
    path = tmp_path / "chunks.parquet"
    path.write_bytes(encode_table(CHUNKS, [dict(rows.chunk(o).values) for o in range(3)], {}, compression))
    used = pyarrow.parquet.ParquetFile(path).metadata.row_group(0).column(0).compression
    assert used == compression
    assert all([row["offset"] for row in read(reader, path)] == [0, 1, 2] for reader in READERS)


def test_the_tables_have_their_core_columns_in_order(operator_columns: tuple[Column, ...]) -> None:
    assert [c.name for c in windows_schema(operator_columns, ["expression"]).columns] == [
        *["stream_id", "track_id", "window_start", "window_end", "frames", "face_score", "face_height_px"],
        *["audio_present", "p_happiness", "expression", "attr_glasses", "au_count"],
        *[
            "expression_model_version",
            "config_id",
            "purpose",
            "topic",
            "partition",
            "offset",
            "first_offset",
            "last_offset",
        ],
    ]
    assert [c.name for c in CHUNKS.columns] == [
        *["topic", "partition", "offset", "stream_id", "seq", "chunk_start", "chunk_end", "append_time", "fate"],
        *["reason", "frames", "faces", "windows", "bytes", "config_id", "purpose"],
    ]
    assert all(c.description for c in (*windows_schema(operator_columns, ["expression"]).columns, *CHUNKS.columns))
    assert {c.name for c in windows_schema(operator_columns, ["expression"]).columns if c.nullable} == {
        *["p_happiness", "expression", "attr_glasses", "au_count", "expression_model_version"]
    }


def test_a_committed_dataset_reads_the_same_everywhere(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    made = [rows.window(0, scores={"p_happiness": 0.75, "expression": "neutral", "attr_glasses": False, "au_count": 2})]
    made += [rows.window(1, scores={}), rows.chunk(0), rows.chunk(1, readable=False)]
    open_dataset().partition(partition).commit(rows.batch(0, 2, rows=made))
    for table in ("windows", "chunks"):
        wanted = [dict(row.values) for row in made if row.table == table]
        (path,) = (tmp_path / "out" / table).rglob("*.parquet")
        for reader in READERS:
            assert read(reader, path) == [{k: w[k] for k in r} for w, r in zip(wanted, read(reader, path), strict=True)]
            assert set(read(reader, path)[0]) == set(wanted[0]), reader.__name__


def test_files_of_all_schema_versions_read_as_one_union(
    open_dataset: Any, partition: Partition, make_rows: Any, tmp_path: Path, operator_columns: tuple[Column, ...]
) -> None:
    more = (*operator_columns[:2], Column("au_12", "float", "Lip corner puller"))
    for at, (config_id, columns) in enumerate([("c1", ()), ("c2", operator_columns), ("c3", more)]):
        writer, rows = (
            open_dataset(config_id=config_id, columns=columns).partition(partition),
            make_rows(config_id, columns),
        )
        writer.commit(rows.batch(2 * at, 2 * at, kind="config"))
        scores = {c.name: {"float": 0.5, "category": "neutral", "bool": True, "int": 1}[c.kind] for c in columns}
        made = [rows.window(2 * at, scores=scores), rows.window(2 * at + 1, scores={}), rows.chunk(2 * at)]
        writer.commit(rows.batch(2 * at, 2 * at + 2, rows=[*made, rows.chunk(2 * at + 1)]))
    glob = f"{tmp_path}/out/windows/**/*.parquet"
    paths = sorted((tmp_path / "out/windows").rglob("*.parquet"), key=lambda p: p.name)
    wanted = [(0, None, None), (1, None, None), (2, 0.5, None), (3, None, None), (4, 0.5, 0.5), (5, None, None)]
    by_glob = duckdb.sql(
        f"select \"offset\", p_happiness, au_12 from read_parquet('{glob}', union_by_name=true) order by all"
    )
    assert by_glob.fetchall() == wanted
    for reader in READERS:
        found = [(row["offset"], row.get("p_happiness"), row.get("au_12")) for row in read(reader, *paths)]
        assert found == wanted, reader.__name__


def test_the_footer_contains_provenance_and_the_columns_descriptions(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    open_dataset().partition(partition).commit(rows.batch(0, 2))
    (path,) = (tmp_path / "out/windows").rglob("*.parquet")
    footer = {k.decode(): v.decode() for k, v in pyarrow.parquet.read_schema(path).metadata.items()}
    (entry,) = (json.loads(p.read_text()) for p in (tmp_path / "out/_commits").rglob("*.json"))
    wanted = {
        **{"purpose": "test", "deployment_context": "research", "schema_version": "1", "config_id": "c1", "n": "0"},
        **{"topic": "calls", "topic_id": "T0p1cId", "partition": "0", "start": "0", "end": "2"},
        "attempt": entry["attempt"],
    }
    assert {k: footer[f"streamfx.{k}"] for k in wanted} == wanted
    described = {c["name"]: c for c in json.loads(footer["streamfx.columns"])}
    assert list(described) == pyarrow.parquet.read_schema(path).names
    assert described["expression"] == {
        **{"name": "expression", "kind": "string", "nullable": True, "values": ["happiness", "neutral"]},
        "description": "The most probable expression",
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"face_name": "x"}, "columns face_name, which the dataset's schema lacks"),
        ({"fate": None}, "'fate' is missing in a row and may not be null"),
        ({"frames": "8"}, "'frames' expects int32, got str"),
        ({"frames": True}, "'frames' expects int32, got bool"),
        ({"frames": 2**40}, "'frames' holds a number that does not fit int32"),
        ({"chunk_start": 2**70}, "'chunk_start' holds a number that does not fit instant"),
        ({"fate": b"lost"}, "'fate' expects string, got bytes"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_its_column(rows: Any, change: dict[str, Any], says: str) -> None:
    with pytest.raises(SinkError, match=says):
        encode_table(CHUNKS, [{**rows.chunk(0).values, **change}], {}, "ZSTD")


@pytest.mark.parametrize("times", [{}, {"chunk_start": 2**70}, {"append_time": "later"}])
def test_a_row_without_a_usable_time_is_refused(times: dict[str, Any]) -> None:
    with pytest.raises(SinkError, match="expected microseconds in chunk_start or append_time"):
        date_of(CHUNKS, times)
