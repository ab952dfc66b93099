"""How much of its declared length a video file lacks, because an upload broke off or a recording was not finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from streamfx.records import MICROSECONDS

LEAST_US = MICROSECONDS // 4
"""A difference below this comes from rounding and does not count as missing."""
_DECLARING = {"mov", "matroska", "flv", "asf", "avi"}
"""Formats whose headers declare the duration. For others FFmpeg uses the last timestamp, which shows no loss."""
_TS_PACKETS = (188, 192, 204)
_FIRST, _INDEX, _MOST_BOXES = (b"ftyp", b"mdat", b"wide", b"free"), b"moov", 10_000


def declared_us(container: Any, video: Any) -> int | None:
    """The declared duration of the video track (in Matroska maybe of the longest track), microseconds, or None."""
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
    """Whether an MP4 or MOV file has no `moov` box, which is the index of its contents."""
    try:
        names = list(_top_boxes(path))
    except OSError:
        return False
    return bool(names) and names[0] in _FIRST and _INDEX not in names


def holds_another(path: Path) -> bool:
    """Whether a second MP4 file follows the first in one file (`cat a.mp4 b.mp4`), which FFmpeg ignores.

    It does read all of joined fragmented files, which have `moof` boxes.
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
    """Microseconds of a time such as `00:00:04.000000000`."""
    try:
        hours, minutes, seconds = text.split(":")
        return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * MICROSECONDS) or None
    except ValueError:
        return None
