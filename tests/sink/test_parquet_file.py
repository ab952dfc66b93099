"""Whatever the bytes are, reading them gives a table or one error, and the process lives.

The tests that change bytes run in a process of their own with little memory and a time limit for each input, so that
an input that kills it is a failed test.
"""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import fastparquet
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.columns import StoredColumn
from streamfx.sink.parquet import encode_table
from streamfx.sink.parquet_file import UnreadableParquet, open_parquet, read_table
from streamfx.sink.schema import TableSchema
from streamfx.sink.thrift import Cursor

SCHEMA = TableSchema(
    "every",
    tuple(
        StoredColumn(f"{kind}_{null}", kind, "", null == "null")
        for kind in ("string", "instant", "int64", "float", "bool")
        for null in ("null", "full")
    ),
    ("instant_full",),
)
ROWS = 12
READER = """
import faulthandler, resource, signal, struct, sys, warnings
from pathlib import Path
faulthandler.enable()
warnings.simplefilter("ignore")
from streamfx.sink.parquet_file import UnreadableParquet, read_table

name, cut, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
whole = Path(name).read_bytes()
read_table(whole)
pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
if pages:
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, resource.RLIM_INFINITY))
footer = len(whole) - 8 - struct.unpack("<I", whole[-8:-4])[0]
first, end = {"pages": (4, footer), "footer": (footer, len(whole)), "all": (0, len(whole))}[sys.argv[4]]
tables = refused = 0
for at in range(first, end, step):
    flips = (None,) if cut == "cut" else (0x01, 0x80, 0xFF)
    for flip in flips:
        data = whole[:at] if flip is None else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
        signal.alarm(20)
        try:
            read_table(data)
            tables += 1
        except UnreadableParquet:
            refused += 1
        signal.alarm(0)
print(tables, refused)
"""


def _row(at: int) -> dict[str, Any]:
    full = {
        "string": f"text {at}" * (at % 3),
        "instant": 10**15 + at,
        "int64": at,
        "float": at / 3,
        "bool": at % 3 == 0,
    }
    return {c.name: None if c.nullable and at % 4 == 1 else full[c.kind] for c in SCHEMA.columns}


def _ours(compression: str) -> bytes:
    return encode_table(SCHEMA, [_row(at) for at in range(ROWS)], {"about": "a test"}, compression)


def _frame() -> pd.DataFrame:
    rows = pd.DataFrame([_row(at) for at in range(5000)])
    return rows.assign(
        same="one", **{name: pd.to_datetime(rows[name], unit="us") for name in rows if "instant" in name}
    )


def _by_fastparquet(path: Path, frame: pd.DataFrame) -> None:
    fastparquet.write(str(path), frame, row_group_offsets=2048)


def _by_pyarrow(path: Path, frame: pd.DataFrame) -> None:
    pyarrow.parquet.write_table(pa.Table.from_pandas(frame), path, row_group_size=2048, data_page_size=2000)


def _by_duckdb(path: Path, frame: pd.DataFrame) -> None:
    duckdb.from_df(frame).write_parquet(str(path), row_group_size=2048)


WRITERS = [_by_fastparquet, _by_pyarrow, _by_duckdb]


@pytest.mark.parametrize("write", WRITERS)
def test_whole_files_of_several_row_groups_are_read_as_before(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "f.parquet"
    write(path, _frame())
    assert pyarrow.parquet.ParquetFile(path).metadata.num_row_groups > 1
    plain = fastparquet.ParquetFile(str(path)).to_pandas(index=False)
    pd.testing.assert_frame_equal(read_table(path.read_bytes()), plain)
    pd.testing.assert_frame_equal(read_table(path.read_bytes(), ["int64_full", "same"]), plain[["int64_full", "same"]])


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_files_of_any_length_are_read(rows: int) -> None:
    data = encode_table(SCHEMA, [_row(at) for at in range(rows)], {}, "ZSTD")
    assert len(read_table(data)) == rows
    assert open_parquet(data).count() == rows


def _killed_by(tmp_path: Path, data: bytes, cut: str, where: str, step: int = 1) -> tuple[int, int]:
    """How many changed files were read as a table, and how many were refused; fails if the reading process died."""
    path = tmp_path / "whole.parquet"
    path.write_bytes(data)
    arguments = [str(path), cut, str(step), where]
    done = subprocess.run([sys.executable, "-c", READER, *arguments], capture_output=True, timeout=200, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    tables, refused = map(int, done.stdout.split())
    return tables, refused


def test_a_file_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    assert _killed_by(tmp_path, _ours("ZSTD"), "cut", "all")[0] == 0


@pytest.mark.parametrize("compression", ["ZSTD", "UNCOMPRESSED"])
def test_changed_bytes_of_pages_kill_nothing(tmp_path: Path, compression: str) -> None:
    _, refused = _killed_by(tmp_path, _ours(compression), "flip", "pages", step=4)
    assert refused


def test_changed_bytes_of_the_footer_kill_nothing(tmp_path: Path) -> None:
    _, refused = _killed_by(tmp_path, _ours("ZSTD"), "flip", "footer", step=9)
    assert refused


@pytest.mark.parametrize("write", WRITERS)
def test_changed_bytes_of_other_writers_files_kill_nothing(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "f.parquet", _frame())
    data = (tmp_path / "f.parquet").read_bytes()
    _, refused = _killed_by(tmp_path, data, "flip", "all", step=len(data) // 25)
    assert refused


@given(st.binary(max_size=400), st.booleans(), st.booleans())
def test_bytes_that_are_no_parquet_are_refused(data: bytes, magics: bool, sized: bool) -> None:
    if magics:
        data = b"PAR1" + data + (len(data).to_bytes(4, "little") if sized else b"") + b"PAR1"
    with pytest.raises(UnreadableParquet):
        read_table(data)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_footer_is_refused_or_opens(data: st.DataObject) -> None:
    whole = bytearray(_ours("UNCOMPRESSED"))
    size = int.from_bytes(whole[-8:-4], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(len(whole) - 8 - size, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UnreadableParquet):
        open_parquet(bytes(whole))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"\x15" + b"\x80" * 12 + b"\0", "over 10 bytes"),
        (b"\x15" + b"\xff" * 9 + b"\x7f\0", "over 64 bits"),
        (b"\x18\xff\xff\x03a\0", "announced"),
        (b"\x19\xf5\xff\xff\xff\xff\x0f\0", "list of"),
        (b"\x19\x11\x01\0", "elements of type 1"),
        (b"\x1c" * 40, "too deep"),
        (b"\x1b\0\0", "type 11"),
        (b"\x05\x02\x02\0", "out of order"),
        (b"\x15\x02" * 3, "breaks off"),
    ],
)
def test_a_header_that_is_no_thrift_is_refused(header: bytes, reason: str) -> None:
    with pytest.raises(UnreadableParquet, match=reason):
        Cursor(header, 0, len(header)).struct()


def test_columns_that_a_file_lacks_are_named() -> None:
    with pytest.raises(UnreadableParquet, match="nowhere"):
        read_table(_ours("ZSTD"), ["nowhere"])


def test_categories_and_nested_columns_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"kind": pd.Categorical(["a", "b", "a"])})
    fastparquet.write(str(tmp_path / "c.parquet"), frame)
    lists = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"many": [[1, 2], [3]]}), lists)
    for data in ((tmp_path / "c.parquet").read_bytes(), lists.getvalue()):
        with pytest.raises(UnreadableParquet):
            read_table(data)
