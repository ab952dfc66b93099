"""Writes files and folders whole or not at all: under a hidden name beside them, which no other writer has."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path, durable: bool = False) -> Iterator[Path]:
    """A hidden name beside `path` to write under. It becomes `path` at the end, or is removed after any error, Ctrl-C too.

    The folder must be there. No two calls get the same name, so threads and processes may write the same file: each
    reader sees one of theirs, whole. With `durable` the file outlasts a loss of power from then on. Raises OSError.
    """
    hidden = path.parent / _hidden(path)
    try:
        yield hidden
        if durable:
            _to_disk(hidden)
        os.replace(hidden, path)
        if durable:
            _to_disk(path.parent)
    finally:
        hidden.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Write `content`, text as UTF-8, as `whole_file` does, and make its folder where there is none. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, durable) as hidden:
        hidden.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder to write into, for a `folder` that is new or empty. What is in it is in `folder` at the end; after any
    error, Ctrl-C too, it is removed.

    An empty folder stays the one that it is, since it may be where somebody stands, or another disk's. Raises OSError.
    """
    here = folder.is_dir()
    hidden = (folder if here else folder.parent) / _hidden(folder)
    try:
        hidden.mkdir(parents=True)
        yield hidden
        if here:
            for one in list(hidden.iterdir()):
                one.rename(folder / one.name)
        else:
            hidden.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def is_new_or_empty(folder: Path) -> bool:
    """Whether `whole_folder` may make it."""
    return not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))


def _hidden(path: Path) -> str:
    # A name of a file may have 255 bytes, and the longest character four.
    return f".{path.name[:60]}.{secrets.token_hex(4)}.part"


def _to_disk(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
