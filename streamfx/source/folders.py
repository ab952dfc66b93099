"""Finds the videos and folders of chunks in a folder that a user names, and reports what is skipped."""

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
"""The suffixes of videos in a folder. A file that is named explicitly may have any name."""

_SEQ = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Found:
    """A video or a folder of chunks, either `named` by the user or found in a folder."""

    path: Path
    chunks: bool
    named: bool


def sort_out(path: Path) -> list[Found]:
    """The inputs at a path that a user names, videos before folders of chunks. Raises SourceError without any."""
    # os.path returns False for a name that is too long, where Path raises an error.
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise SourceError(f"{path}: there is no such file or folder; check the path")
        return [Found(path, chunks=False, named=True)]
    if seqs_in(path):
        return [Found(path, chunks=True, named=True)]
    found = []
    children = _children(path)
    for child in children:
        if child.is_dir() and _holds_chunks(child):
            found.append(Found(child, chunks=True, named=False))
        # Names that begin with a dot are those of a file manager (macOS puts ._a.mp4 beside a.mp4) or of unfinished
        # files.
        elif child.suffix.lower() in VIDEO_SUFFIXES and not child.name.startswith("."):
            found.append(Found(child, chunks=False, named=False))
    taken = {item.path for item in found}
    skipped = _described([child for child in children if child not in taken])
    if not found:
        what = f"{path}: the folder contains no videos and no folders of chunks"
        raise SourceError(f"{what}; it contains {skipped}" if skipped else what)
    if skipped:
        log.info("%s: skipped: %s", path, skipped)
    return [*(item for item in found if not item.chunks), *(item for item in found if item.chunks)]


def _described(others: Sequence[Path]) -> str:
    """A description of what is not read in a folder; empty if everything is read."""
    folders = sum(child.is_dir() for child in others)
    files = len(others) - folders
    parts = []
    if files:
        parts.append(f"files that are hidden or do not have a video's suffix ({files})")
    if folders:
        parts.append(f"folders, which are not searched for videos ({folders}); name each folder that should be read")
    return ", and ".join(parts)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder}: cannot read the folder: {error.strerror}; check its permissions") from error


def _holds_chunks(folder: Path) -> bool:
    try:
        return bool(seqs_in(folder))
    except SourceError as error:
        log.warning("%s; it is left out", error)
        return False


def seqs_in(folder: Path) -> list[int]:
    """The sequence numbers of the chunks in a folder, ascending. Raises SourceError if it cannot be read."""
    names = (child.stem for child in _children(folder) if child.suffix == ".json" and _SEQ.fullmatch(child.stem))
    return sorted(int(name) for name in names if str(int(name)) == name)
