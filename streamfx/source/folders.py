"""What lies in a folder that a user names: videos, folders of chunks, and what is passed over."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamfx.errors import SourceError

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".m2ts", ".flv", ".wmv", ".3gp", ".ogv", ".mxf", ".vob", ".h264", ".264", ".h265", ".265", ".hevc"),
}
"""What is taken for a video in a folder; a file named by itself may have any name."""

_SEQ = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Found:
    """A video, or a folder of chunks; `named` by the user, or come upon in a folder."""

    path: Path
    chunks: bool
    named: bool


def sort_out(path: Path) -> list[Found]:
    """What there is at a path that a user names, videos before folders of chunks. Raises SourceError where there is nothing."""
    # os.path: a name too long to be looked up is that of no file.
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise SourceError(f"{path}: there is no such file or folder")
        return [Found(path, chunks=False, named=True)]
    if seqs_in(path):
        return [Found(path, chunks=True, named=True)]
    found = []
    children = _children(path)
    for child in children:
        if child.is_dir() and _holds_chunks(child):
            found.append(Found(child, chunks=True, named=False))
        # What begins with a dot is a file manager's own, such as the ._a.mp4 that a Mac puts beside a.mp4, or not whole yet.
        elif child.suffix.lower() in VIDEO_SUFFIXES and not child.name.startswith("."):
            found.append(Found(child, chunks=False, named=False))
    taken = {item.path for item in found}
    passed_over = _described([child for child in children if child not in taken])
    if not found:
        what = f"{path}: the folder holds no videos and no folders of chunks"
        raise SourceError(f"{what}; it holds {passed_over}" if passed_over else what)
    if passed_over:
        log.info("%s: passed over are %s", path, passed_over)
    return [*(item for item in found if not item.chunks), *(item for item in found if item.chunks)]


def _described(others: Sequence[Path]) -> str:
    """What of a folder is not read, in words; empty where there is nothing."""
    folders = sum(child.is_dir() for child in others)
    files = len(others) - folders
    said = []
    if files:
        said.append(f"files that are hidden or not named like a video ({files})")
    if folders:
        said.append(f"folders, which are not searched for videos ({folders}); name each that is to be read")
    return ", and ".join(said)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}") from error


def _holds_chunks(folder: Path) -> bool:
    try:
        return bool(seqs_in(folder))
    except SourceError as error:
        log.warning("%s; it is left out", error)
        return False


def seqs_in(folder: Path) -> list[int]:
    """The sequence numbers of the chunks in a folder, ascending. Raises SourceError where it cannot be read."""
    names = (child.stem for child in _children(folder) if child.suffix == ".json" and _SEQ.fullmatch(child.stem))
    return sorted(int(name) for name in names if str(int(name)) == name)
