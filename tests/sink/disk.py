"""A simulated disk that loses what was not synced, or an object store that loses nothing. It shares no sink code."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable


class File:
    def __init__(self, data: bytes):
        self.data = data
        self.synced = False


class Folder:
    """`names` is what processes see, `durable` what survives a power loss, and `pending` what may survive it."""

    def __init__(self) -> None:
        self.names: dict[str, File | Folder] = {}
        self.durable: dict[str, File | Folder] = {}
        self.pending: list[tuple[str, File | Folder | None]] = []

    def set(self, name: str, node: File | Folder | None) -> None:
        self.pending.append((name, node))
        if node is None:
            self.names.pop(name, None)
        else:
            self.names[name] = node

    def sync(self) -> None:
        self.durable = dict(self.names)
        self.pending = []

    def lose_power(self, rng: random.Random, kept: float) -> None:
        for name, node in self.pending:
            if rng.random() < kept:
                if node is None:
                    self.durable.pop(name, None)
                else:
                    self.durable[name] = node
        self.names, self.pending = dict(self.durable), []
        for below in self.names.values():
            if isinstance(below, Folder):
                below.lose_power(rng, kept)
            elif not below.synced:
                below.data, below.synced = below.data[: rng.randrange(len(below.data) + 1)], True


class Disk:
    def __init__(self, store: bool = False) -> None:
        self.root = Folder()
        self.boots = 0
        self.store = store
        self.late: list[Callable[[], None]] = []

    def find(self, path: str) -> File | Folder | None:
        node: File | Folder | None = self.root
        for name in path.split("/") if path else []:
            node = node.names.get(name) if isinstance(node, Folder) else None
        return node

    def parent(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self.find(above)
        if not isinstance(folder, Folder):
            raise FileNotFoundError(errno.ENOENT, "no such folder", above)
        return folder, name

    def files(self, under: str) -> dict[str, bytes]:
        """All files below a folder: path -> bytes."""
        node = self.find(under)
        found: dict[str, bytes] = {}
        for name, below in node.names.items() if isinstance(node, Folder) else ():
            path = f"{under}/{name}" if under else name
            found |= {path: below.data} if isinstance(below, File) else self.files(path)
        return found

    def put(self, path: str, data: bytes) -> None:
        """Give an object a name and create its parent folders."""
        *folders, name = path.split("/")
        here = self.root
        for folder in folders:
            below = here.names.get(folder)
            if not isinstance(below, Folder):
                below = Folder()
                here.set(folder, below)
            here = below
        here.set(name, File(data))

    def lose_power(self, rng: random.Random) -> None:
        """End all processes. A disk also loses what was not synced; an object store does not."""
        if not self.store:
            self.root.lose_power(rng, rng.choice([0.0, 0.5, 0.5, 1.0]))
        self.boots += 1
