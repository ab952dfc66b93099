"""A disk that forgets what was not synced, and a process's view of it. Shares no code with the sink."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Died(BaseException):
    """This process is no more. Not an Exception, so that no code under test can catch it."""


class _File:
    def __init__(self, data: bytes):
        self.data = data
        self.synced = False

    def fill(self, data: bytes, synced: bool) -> None:
        self.data, self.synced = data, synced


class _Folder:
    """`names` is what processes see, `durable` what a power loss leaves for certain, `pending` what it may or may
    not."""

    def __init__(self) -> None:
        self.names: dict[str, _File | _Folder] = {}
        self.durable: dict[str, _File | _Folder] = {}
        self.pending: list[tuple[str, _File | _Folder | None]] = []

    def set(self, name: str, node: _File | _Folder | None) -> None:
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
            if isinstance(below, _Folder):
                below.lose_power(rng, kept)
            elif not below.synced:
                below.fill(below.data[: rng.randrange(len(below.data) + 1)], True)


class ForgetfulDisk:
    """A tree of files in memory. `lose_power` keeps all that was synced, and of the rest what `rng` says.

    A name that was not synced may be there or not, and so may one that was removed; a file that was not synced may be
    cut short. No name is half there. Errors are those of a POSIX file system.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self.rng = random.Random(0) if rng is None else rng
        self.boots = 0
        """How often the power was lost: a process of an earlier boot is no more."""
        self._root = _Folder()

    def lose_power(self) -> None:
        """All processes end, and the disk forgets."""
        self._root.lose_power(self.rng, self.rng.choice([0.0, 0.5, 0.5, 1.0]))
        self.boots += 1

    def exists(self, path: str) -> bool:
        """Whether a file or folder has this name."""
        return self._find(path) is not None

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        return self._file(path).data

    def listdir(self, path: str) -> list[str]:
        """The names in a folder, sorted."""
        return sorted(self._folder(path).names)

    def files(self, under: str = "") -> dict[str, bytes]:
        """All files below a folder, path -> bytes; empty where there is no such folder."""
        node = self._find(under)
        found: dict[str, bytes] = {}
        for name, below in node.names.items() if isinstance(node, _Folder) else ():
            path = f"{under}/{name}" if under else name
            found |= {path: below.data} if isinstance(below, _File) else self.files(path)
        return found

    def mkdir(self, path: str) -> None:
        """Create one folder. Nothing happens if it exists."""
        folder, name = self._parent(path)
        if name not in folder.names:
            folder.set(name, _Folder())

    def create(self, path: str, data: bytes) -> Callable[[bytes, bool], None]:
        """Give a new file these bytes, not synced; returns what writes all of it, and syncs it if its second value says
        so."""
        folder, name = self._parent(path)
        if name in folder.names:
            raise FileExistsError(errno.EEXIST, "exists", path)
        file = _File(data)
        folder.set(name, file)
        return file.fill

    def write(self, path: str, data: bytes) -> None:
        """Create or overwrite a file; nothing is synced."""
        folder, name = self._parent(path)
        folder.set(name, _File(data))

    def rewrite(self, path: str, data: bytes) -> None:
        """Give a file other bytes; nothing happens if it is gone."""
        file = self._find(path)
        if isinstance(file, _File):
            file.data = data

    def link(self, source: str, target: str) -> None:
        """Give a file a second name."""
        file = self._file(source)
        folder, name = self._parent(target)
        if name in folder.names:
            raise FileExistsError(errno.EEXIST, "exists", target)
        folder.set(name, file)

    def remove(self, path: str) -> None:
        """Remove a name. Nothing happens if it is gone."""
        folder, name = self._parent(path)
        if name in folder.names:
            folder.set(name, None)

    def sync_dir(self, path: str, synced: bool = True) -> None:
        """Make a folder's names durable, unless `synced` is False: then it is only seen to be there."""
        folder = self._folder(path)
        if synced:
            folder.sync()

    def _find(self, path: str) -> _File | _Folder | None:
        node: _File | _Folder | None = self._root
        for name in path.split("/") if path else []:
            node = node.names.get(name) if isinstance(node, _Folder) else None
        return node

    def _file(self, path: str) -> _File:
        file = self._find(path)
        if not isinstance(file, _File):
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return file

    def _folder(self, path: str) -> _Folder:
        folder = self._find(path)
        if not isinstance(folder, _Folder):
            raise FileNotFoundError(errno.ENOENT, "no such folder", path)
        return folder

    def _parent(self, path: str) -> tuple[_Folder, str]:
        above, _, name = path.rpartition("/")
        return self._folder(above), name


class ForgetfulFileSystem:
    """One process's `FileSystem` on a `ForgetfulDisk`. After a power loss every call raises `Died`.

    What touches the disk goes through `step`, which a subclass overrides to let others run between two steps, or to
    make a step fail: a new file is first half there and then whole, and one that is written over is torn between.
    """

    no_exclusion = "the simulated disk lets two writers take one name"

    def __init__(self, disk: ForgetfulDisk):
        self.disk = disk
        self._boot = disk.boots

    @property
    def ended(self) -> bool:
        """Whether the power was lost since this process began."""
        return self._boot != self.disk.boots

    def step(self, carry_out: Callable[[], T]) -> T:
        """Carry out one step on the disk."""
        if self.ended:
            raise Died
        return carry_out()

    def syncs(self) -> bool:
        """Whether the call at hand syncs what it says that it does; a subclass may take a sync out."""
        return True

    def make_root(self) -> None:
        """The root is always there."""

    def mkdir(self, path: str) -> None:
        """Create one folder. Nothing happens if it exists."""
        self.step(lambda: self.disk.mkdir(path))

    def write_new(self, path: str, data: bytes) -> None:
        """Create a file with these bytes; on return they are durable, the name is not."""
        synced = self.syncs()
        fill = self.step(lambda: self.disk.create(path, data[: len(data) // 2]))
        self.step(lambda: fill(data, synced))

    def write_over(self, path: str, data: bytes) -> None:
        """Create or overwrite a file whose loss costs nothing."""
        self.step(lambda: self.disk.write(path, data[: self.disk.rng.randrange(len(data) + 1)]))
        self.step(lambda: self.disk.rewrite(path, data))

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        return self.step(lambda: self.disk.read(path))

    def exists(self, path: str) -> bool:
        """Whether a file or folder has this name."""
        return self.step(lambda: self.disk.exists(path))

    def listdir(self, path: str) -> list[str]:
        """The names in a folder, sorted."""
        return self.step(lambda: self.disk.listdir(path))

    def walk(self, path: str) -> list[str]:
        """The paths of all files below a folder, sorted."""
        return self.step(lambda: sorted(self.disk.files(path)))

    def link(self, source: str, target: str) -> None:
        """Give a file a second name, atomically."""
        self.step(lambda: self.disk.link(source, target))

    def remove(self, path: str) -> None:
        """Remove a file's name. Nothing happens if it is gone."""
        self.step(lambda: self.disk.remove(path))

    def retire(self, path: str, emptied: Callable[[bytes], bytes]) -> None:
        """Take a published file away."""
        self.remove(path)

    def sync_dir(self, path: str) -> None:
        """Make durable what was created, linked or removed directly in this folder."""
        synced = self.syncs()
        self.step(lambda: self.disk.sync_dir(path, synced))
