"""How much of what a video file declares is missing from it: an upload that broke off, a recording that was never finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from streamfx.records import MICROSECONDS

LEAST_US = MICROSECONDS // 4
"""Less than this is rounding, not a loss."""
_DECLARING = {"mov", "matroska", "flv", "asf", "avi"}
"""Formats whose headers say how long the film is. For others FFmpeg reads it from the last timestamp, which says nothing."""
_TS_PACKETS = (188, 192, 204)
_FIRST, _INDEX, _MOST_BOXES = (b"ftyp", b"mdat", b"wide", b"free"), b"moov", 10_000


def declared_us(container: Any, video: Any) -> int | None:
    """How long the file says that its video track is, microseconds; for Matroska maybe its longest track. None if unknown."""
    names = set(container.format.name.split(","))
    if not names & _DECLARING:
        return None
    if "avi" in names:
        rate = video.average_rate
        return int(video.frames / rate * MICROSECONDS) if video.frames and rate else None
    if text := video.metadata.get("DURATION"):
        return _clock_us(text)
    if video.duration:
        return int(video.duration * video.time_base * MICROSECONDS)
    return round(container.duration / av.time_base * MICROSECONDS) if container.duration else None


def breaks_off(container: Any, path: Path) -> bool:
    """Whether an MPEG transport stream ends inside a packet."""
    if container.format.name != "mpegts":
        return False
    size = path.stat().st_size
    return all(size % packet for packet in _TS_PACKETS)


def lacks_index(path: Path) -> bool:
    """Whether an MP4 or MOV file has no `moov` box, without which nothing in it can be found."""
    try:
        names = list(_top_boxes(path))
    except OSError:
        return False
    return bool(names) and names[0] in _FIRST and _INDEX not in names


def holds_another(path: Path) -> bool:
    """Whether a second MP4 file follows the first in one file (`cat a.mp4 b.mp4`), of which FFmpeg shows nothing.

    Of fragmented files, which hold a `moof` box, it shows all.
    """
    begun = indexes = 0
    try:
        for number, name in enumerate(_top_boxes(path)):
            if name == b"moof" or (number == 0 and name not in _FIRST):
                return False
            begun += name == b"ftyp"
            indexes += name == _INDEX
    except OSError:
        return False
    return begun > 1 and indexes > 1


def _top_boxes(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for _ in range(_MOST_BOXES):
            head = file.read(16)
            if len(head) < 8:
                return
            yield head[4:8]
            size, read = int.from_bytes(head[:4], "big"), len(head)
            if size == 1 and read == 16:
                size = int.from_bytes(head[8:], "big")
            if size < 8:
                return
            file.seek(size - read, 1)


def _clock_us(text: str) -> int | None:
    """`00:00:04.000000000` in microseconds."""
    try:
        hours, minutes, seconds = text.split(":")
        return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * MICROSECONDS) or None
    except ValueError:
        return None
