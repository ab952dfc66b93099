"""The file-system calls on which the commit protocol is built, and what each guarantees after a power loss."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from streamfx.errors import SinkError


class FileSystem(Protocol):
    """A tree of files under one root. Paths are relative to it and use `/`; the root itself is the empty path.

    All errors are OSError. New names and removals survive a power loss only after `sync_dir` has returned for their
    folder.
    """

    no_exclusion: str
    """The error message for storage on which two writers could take the same name, with advice."""

    def make_root(self) -> None:
        """Create the root folder and its parents durably. Nothing happens if it exists."""

    def mkdir(self, path: str) -> None:
        """Create one folder. Nothing happens if it exists."""

    def write_new(self, path: str, data: bytes) -> None:
        """Create a file with durable contents; its name is not durable yet. Raises FileExistsError if it is taken."""

    def write_over(self, path: str, data: bytes) -> None:
        """Create or overwrite an expendable file, which may be incomplete, stale or missing after a failure."""

    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises FileNotFoundError if it does not exist."""

    def exists(self, path: str) -> bool:
        """Whether a file or folder has this name."""

    def listdir(self, path: str) -> list[str]:
        """The names in a folder, sorted."""

    def walk(self, path: str) -> list[str]:
        """The paths of all files below a folder, at any depth, sorted; empty if there is no such folder."""

    def link(self, source: str, target: str) -> None:
        """Give a file a second name atomically. Raises FileExistsError, or FileNotFoundError if `source` is gone."""

    def remove(self, path: str) -> None:
        """Remove a file's name. Nothing happens if it is gone."""

    def retire(self, path: str, emptied: Callable[[bytes], bytes]) -> None:
        """Remove a published file's rows permanently. Nothing happens if they are gone.

        If a late `link` to this name could still succeed, the name is kept, and its contents are replaced by `emptied`
        of them.
        """

    def sync_dir(self, path: str) -> None:
        """Make names durable that were created, linked or removed directly in this folder."""


class LocalFileSystem:
    """`FileSystem` on a POSIX file system with hard links."""

    no_exclusion = "this file system lets two writers create the same name; use a POSIX file system"

    def __init__(self, root: Path):
        self._root = root

    def make_root(self) -> None:
        missing = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
        self._root.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            _sync(folder.parent)

    def mkdir(self, path: str) -> None:
        (self._root / path).mkdir(exist_ok=True)

    def write_new(self, path: str, data: bytes) -> None:
        descriptor = os.open(self._root / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def write_over(self, path: str, data: bytes) -> None:
        (self._root / path).write_bytes(data)

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def exists(self, path: str) -> bool:
        return (self._root / path).exists()

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(self._root / path))

    def walk(self, path: str) -> list[str]:
        return sorted(str(p.relative_to(self._root)) for p in (self._root / path).rglob("*") if not p.is_dir())

    def link(self, source: str, target: str) -> None:
        os.link(self._root / source, self._root / target)

    def remove(self, path: str) -> None:
        (self._root / path).unlink(missing_ok=True)

    def retire(self, path: str, emptied: Callable[[bytes], bytes]) -> None:
        # A link needs its source, and staged names are removed durably before a later entry replaces the final file.
        self.remove(path)

    def sync_dir(self, path: str) -> None:
        _sync(self._root / path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_durable_dir(fs: FileSystem, base: str, below: str) -> None:
    """Create the folders `below` in the durable folder `base` durably."""
    above = base
    for name in below.split("/"):
        folder = f"{above}/{name}" if above else name
        fs.mkdir(folder)
        # It is also synced if it existed, because its creator may have died before syncing it.
        fs.sync_dir(above)
        above = folder


_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "raise the quota or free some space",
    errno.EROFS: "the file system is read-only; mount it writable, or set sink.path to another folder",
    errno.EACCES: "give this user the right to write there, or set sink.path to another folder",
    errno.EPERM: "give this user the right to write there; a file system without hard links cannot hold a dataset",
    errno.ENOTDIR: "set sink.path to a folder",
    errno.EMLINK: "use another file system: this one cannot hold enough names in one folder",
}


@contextmanager
def clear_errors(doing: str) -> Iterator[None]:
    """Turn an OSError into a SinkError that names the operation, the error and the remedy."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "check the disk, the mount or the object store")
        where = f" ({error.filename})" if error.filename else ""
        raise SinkError(
            f"{doing}: {error.strerror or error}{where}. Nothing that is committed is lost; {advice}, then repeat"
        ) from error
