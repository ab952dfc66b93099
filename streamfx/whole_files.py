"""Writes files whole or not at all: under a hidden name beside them, which no other writer has."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path, durable: bool = False) -> Iterator[Path]:
    """A hidden name beside `path` to write under. It becomes `path` at the end, or is removed after any error, Ctrl-C too.

    The folder must be there. No two calls get the same name, so threads and processes may write the same file: each
    reader sees one of theirs, whole. With `durable` the file outlasts a loss of power from then on. Raises OSError.
    """
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
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


def _to_disk(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
