"""Opens Parquet files that may be damaged, or no Parquet at all, without a risk for the process; writes plain tables.

fastparquet reads headers and values with compiled code that checks no bounds: damaged bytes can end the process,
fill its memory or keep it busy for ever, and no `except` helps. So everything that decides where it reads is looked
at here first, for the tables that streamfx reads: flat, without categories, in pages of version 1.

What is checked: the footer and all page headers (Thrift's compact protocol, see
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), that all pages lie in the file and
hold as many rows as the footer says, and in each page the lengths of levels, indices, texts and bits. What is not:
the values. Pages have no checksum, so a changed number is read as it stands. A file that is made on purpose may
still announce many equal rows in few bytes, and so ask for a lot of memory.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastparquet
import numpy as np
import pandas as pd
from fastparquet.compression import decom_into, rev_map

from streamfx.sink.thrift import Cursor, UnreadableParquet, get
from streamfx.whole_files import whole_file

__all__ = ["UnreadableParquet", "open_parquet", "read_table", "write_table"]

_MAGIC = b"PAR1"
_MOST = 2**29
"""The header of a run counts eight times what fastparquet keeps in 32 bits with a sign."""
_BOOLEAN, _BYTE_ARRAY = 0, 6
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _DICTIONARY = 0, (2, 8)
_length = struct.Struct("<I").unpack_from


def open_parquet(data: bytes, columns: Collection[str] | None = None) -> Any:
    """The `fastparquet.ParquetFile` of a whole file, of which only `columns` may be read; None: all.

    Only their pages are checked. Raises UnreadableParquet for anything else, and nothing else.
    """
    try:
        _check_file(data, columns)
        file = fastparquet.ParquetFile(io.BytesIO(data))
        if file.categories:  # their codes index a list without a check
            raise UnreadableParquet("columns are categories")
    except UnreadableParquet:
        raise
    except Exception as error:  # a damaged file may make the reader raise anything
        raise UnreadableParquet(f"{type(error).__name__}: {error}") from error
    return file


def read_table(data: bytes, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of a whole file, of all or of some columns.

    Raises UnreadableParquet for anything else, and for columns that the file lacks, and nothing else.
    """
    file = open_parquet(data, columns)
    try:
        rows: pd.DataFrame = file.to_pandas(columns=None if columns is None else list(columns), index=False)
    except Exception as error:  # a damaged file may make the reader raise anything
        raise UnreadableParquet(f"{type(error).__name__}: {error}") from error
    return rows


def write_table(path: Path, rows: pd.DataFrame, nullable: Collection[str] = ()) -> None:
    """Write a table outside any dataset, whole or not at all; equal rows give equal bytes. Columns of objects hold text, and
    None only in those of `nullable`. Raises OSError."""
    with whole_file(path) as hidden:
        fastparquet.write(
            "table",
            rows,
            open_with=lambda _, mode: hidden.open(mode),  # fastparquet takes a backslash in a path for a slash
            compression="ZSTD",
            file_scheme="simple",
            write_index=False,
            has_nulls=list(nullable),
            object_encoding="utf8",
        )


def _check_file(data: bytes, columns: Collection[str] | None) -> None:
    if len(data) < 12 or data[:4] != _MAGIC or data[-4:] != _MAGIC:
        raise UnreadableParquet(f"it does not begin and end with {_MAGIC.decode()}")
    end = len(data) - 8
    cursor = Cursor(data, end - _length(data, end)[0], end)
    body, footer = cursor.at, cursor.struct()
    if cursor.at != end:
        raise UnreadableParquet("the footer ends early")
    schema = _schema(get(footer, 2, list))
    groups = get(footer, 4, list)
    ours = b"fastparquet" in footer.get(6, b"")
    for group in groups:
        chunks = [get(chunk, 3, dict) for chunk in get(group, 1, list)]
        names = [b".".join(get(about, 3, list)).decode() for about in chunks]
        if names != list(schema) or any(get(about, 5, int) != get(group, 3, int) for about in chunks):
            raise UnreadableParquet("a row group does not hold all columns of the schema and all its rows")
        for name, about in zip(names, chunks, strict=True):
            if columns is None or name in columns:
                _check_chunk(data, body, about, *schema[name], ours)
    if sum(group[3] for group in groups) != get(footer, 3, int):
        raise UnreadableParquet("the row groups do not hold all rows")


def _schema(elements: Sequence[Any]) -> dict[str, tuple[int, bool]]:
    """Name -> type of the values, and whether they may be null."""
    root, *leaves = elements or [{}]
    found = {get(leaf, 4, bytes).decode(): (get(leaf, 1, int), get(leaf, 3, int) == 1) for leaf in leaves}
    flat = all(leaf[3] in (0, 1) and not leaf.get(5) for leaf in leaves)
    if not flat or len(found) != len(leaves) or get(root, 5, int) != len(leaves):
        raise UnreadableParquet("the schema is not a flat list of columns with names of their own")
    return found


def _check_chunk(data: bytes, body: int, about: Mapping[int, Any], kind: int, nullable: bool, ours: bool) -> None:
    """Check all pages of a column in a row group; they begin and end where fastparquet thinks they do."""
    first = get(about, 9, int)
    first = min(about.get(11) or first, first)
    size, left, codec = get(about, 7, int), get(about, 5, int), get(about, 4, int)
    if get(about, 1, int) != kind or size >= 2**31 or left < 0:
        raise UnreadableParquet("a column of another type than in the schema, of over 2 GiB, or of less than no rows")
    full = ours and nullable and about.get(12, {}).get(3) == 0
    if first + size > body:
        raise UnreadableParquet("a column reaches into the footer")
    cursor = Cursor(data, first, first + size)
    while left > 0:
        header = cursor.struct()
        packed = cursor.take(get(header, 3, int))
        if get(header, 1, int) == _DICTIONARY_PAGE:
            _check_values(_unpacked(packed, codec, header), kind, get(get(header, 7, dict), 1, int))
            continue
        if header[1] != _DATA_PAGE:
            raise UnreadableParquet(f"a page of type {header[1]}")
        data_page = get(header, 5, dict)
        count, encoding = get(data_page, 1, int), get(data_page, 2, int)
        if not 0 <= count <= left:
            raise UnreadableParquet("the pages do not hold the values that the footer announces")
        left -= count
        if nullable or encoding != _PLAIN or kind in (_BOOLEAN, _BYTE_ARRAY):
            # The other pages are only numbers, which numpy counts; so they need not be unpacked twice.
            _check_page(_unpacked(packed, codec, header), count, encoding, kind, nullable, full, ours)


def _unpacked(packed: bytes, codec: int, header: Mapping[int, Any]) -> Cursor:
    """A page's contents; the codecs are those that check their own bounds."""
    if codec == 0:
        return Cursor(packed, 0, len(packed))
    size = get(header, 2, int)
    if rev_map.get(codec) not in decom_into or not 0 <= size < 2**31:
        raise UnreadableParquet(f"a page of {size} bytes packed with method {codec}")
    out = np.empty(size, np.uint8)
    if decom_into[rev_map[codec]](np.frombuffer(packed, np.uint8), out) != size:
        raise UnreadableParquet("a page is shorter than its header says")
    return Cursor(out.tobytes(), 0, size)


def _check_page(page: Cursor, count: int, encoding: int, kind: int, nullable: bool, full: bool, ours: bool) -> None:
    """Check a data page of `count` values, nulls included. `full`: fastparquet skips the levels."""
    present = _present(page, count) if nullable and count else count
    # How many bytes fastparquet skips there it knows from `count` alone (`skip_definition_bytes` in its core.py).
    if full and (present != count or page.at != 6 + (count >= 64) + (count >= 64 * 128) + (count >= 64 * 128**2)):
        raise UnreadableParquet("a column with nulls that the footer denies")
    if encoding == _PLAIN:
        _check_values(page, kind, present)
    elif encoding in _DICTIONARY and kind != _BOOLEAN and not ours:  # its own, only of categories, it reads otherwise
        width = page.byte()
        if width > 32:
            raise UnreadableParquet(f"indices of {width} bits")
        for _ in _runs(page, width, present if width else 0):
            pass
    else:
        raise UnreadableParquet(f"a page in encoding {encoding}")


def _present(page: Cursor, count: int) -> int:
    """How many of the page's values are not null, by the levels at its beginning, which are 0 or 1."""
    size = int.from_bytes(page.take(4), "little")
    levels = page.at + size
    present = 0
    for values, packed, bits in _runs(page, 1, count):
        if packed:
            present += (int.from_bytes(bits, "little") & ((1 << values) - 1)).bit_count()
        elif bits in (b"\0", b"\1"):
            present += values * bits[0]
        else:
            raise UnreadableParquet("a level above 1")
    if page.at != levels:
        raise UnreadableParquet("levels are not as long as the page says")
    return present


def _runs(page: Cursor, width: int, count: int) -> Iterator[tuple[int, bool, bytes]]:
    """The runs of Parquet's hybrid encoding with `count` values: (values, whether each has its own bits, bytes)."""
    while count > 0:
        head = page.varint()
        if not 2 <= head < _MOST:
            raise UnreadableParquet("a run without values, or with too many")
        packed, number = bool(head & 1), head >> 1
        values = number * 8 if packed else number
        yield min(values, count), packed, page.take(number * width if packed else (width + 7) // 8)
        count -= values


def _check_values(page: Cursor, kind: int, count: int) -> None:
    """Check the lengths of texts and of packed bits; values of a fixed size are counted by numpy."""
    if count < 0 or (kind == _BOOLEAN and count > 8 * (page.end - page.at)):
        raise UnreadableParquet("a page with fewer values than its header says")
    if kind == _BYTE_ARRAY:
        data, at = page.data, page.at
        try:
            step = 4 + _length(data, at)[0] if count else 0
            if count * step <= page.end - at and (np.ndarray(count, "<u4", data, at, (step,)) == step - 4).all():
                return  # most columns of a dataset hold names of one length
            for _ in range(count):
                at += 4 + _length(data, at)[0]
        except struct.error:
            at = page.end + 1
        if at > page.end:
            raise UnreadableParquet("a text that ends behind its page")
