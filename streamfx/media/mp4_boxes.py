"""Checks an MP4 file's boxes before FFmpeg reads them: each length must fit, and tables must not be too long."""

from __future__ import annotations

from collections.abc import Iterator

from streamfx.errors import BadChunk

MAX_SAMPLES = 4_000_000
"""Most samples that all tables together may declare. FFmpeg reserves memory for each, even if its bytes do not
exist."""
MAX_DEPTH = 16
"""Most levels of nested boxes; real files have six."""

_FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"free", b"skip", b"mdat", b"wide", b"emsg", b"prft"}
_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"edts"}
_SAMPLE_COUNT_AT = {b"trun": 4, b"stsz": 8, b"stz2": 8}
_ENTRY_TABLES = {b"stts", b"ctts", b"stsc", b"stco", b"co64", b"stss", b"elst"}


def is_mp4(body: bytes) -> bool:
    """Whether the body begins with a box that MP4 files begin with."""
    return body[4:8] in _FIRST_BOXES


def check_mp4(body: bytes) -> None:
    """Raise BadChunk (`truncated`, `corrupt` or `too_many_frames`) if a box has a wrong length or entry count."""
    samples = 0
    for name, start, end in _boxes(body, 0, len(body)):
        if name in _SAMPLE_COUNT_AT:
            samples += _u32(body, start + _SAMPLE_COUNT_AT[name], end)
            if samples > MAX_SAMPLES:
                raise BadChunk("too_many_frames", f"the MP4 tables declare more than {MAX_SAMPLES} samples")
        elif name in _ENTRY_TABLES and _u32(body, start + 4, end) > end - start:
            raise BadChunk("corrupt", f"the MP4 table {name.decode()} declares more entries than it has bytes")


def _boxes(body: bytes, at: int, limit: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the payload of every leaf box, depth-first."""
    top = depth == 0
    if depth > MAX_DEPTH:
        raise BadChunk("corrupt", f"MP4 boxes are nested more than {MAX_DEPTH} deep")
    while at + 8 <= limit:
        size, name, start = int.from_bytes(body[at : at + 4], "big"), body[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(body[at + 8 : at + 16], "big"), at + 16
        elif size == 0 and top:
            size = limit - at
        end = at + size
        if end > limit or start > end:
            where = f"box {name!r} at byte {at} declares {size} bytes, but only {limit - at} are left"
            raise BadChunk("truncated" if top and end > limit else "corrupt", where)
        if name in _PARENTS:
            yield from _boxes(body, start, end, depth + 1)
        else:
            yield name, start, end
        at = end
    if top and at < limit:
        raise BadChunk("truncated", f"{limit - at} bytes after the last MP4 box are not a box")


def _u32(body: bytes, at: int, end: int) -> int:
    if at + 4 > end:
        raise BadChunk("corrupt", f"an MP4 table at byte {at} is too short")
    return int.from_bytes(body[at : at + 4], "big")
