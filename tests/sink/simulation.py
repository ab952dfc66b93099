"""Processes on a simulated disk: a scheduler runs them call by call, and injects faults at any call.

The disk may also be an object store. Then acknowledged requests are durable, a copy is a get and a later put, and a
request that was given up may still be carried out much later.
"""

from __future__ import annotations

import errno
import random
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from disk import Disk, File, Folder
from oracle import Oracle


class Died(BaseException):
    """This process has died. It is not an Exception, so that nothing in the sink can catch it."""


class Faults:
    """Decides at each call which process runs next and which fault occurs. `plan` places one fault at one call."""

    KINDS = (("die", False), ("die", True), ("power", False), ("power", True), ("refuse", False), ("refuse", True))
    """(fault, whether it occurs after the call was carried out). A refusal after that is a lost reply."""
    LATE = (("late", False), ("late", False))
    """An object store may carry out a request long after its sender has given up or died."""

    def __init__(self, rng: random.Random, disk: Disk, oracle: Oracle, actors: int, budget: int):
        self.rng = rng
        self.disk = disk
        self.oracle = oracle
        self.budget = budget
        self.rate = rng.choice([0.01, 0.03, 0.1])
        self.switching = rng.choice([0.05, 0.3, 0.8])
        self.plan: tuple[int, str, bool] | None = None
        self.calls = 0
        self.forgotten_site: Any = None
        self.sites: set[Any] = set()
        self.failure: BaseException | None = None
        self._turns = [threading.Semaphore(0) for _ in range(actors)]
        self._running = list(range(actors))
        self._done = threading.Semaphore(0)

    def draw(self) -> tuple[str, bool] | None:
        """The fault of this call, and whether it occurs after the call was carried out; None without a fault."""
        self.calls += 1
        if self.plan is not None:
            at, kind, after = self.plan
            return (kind, after) if self.calls == at else None
        if self.budget and self.rng.random() < self.rate:
            self.budget -= 1
            return self.rng.choice([*self.KINDS, *(self.LATE if self.disk.store else ())])
        return None

    def strike(self, kind: str) -> None:
        if kind == "power":
            self.disk.lose_power(self.rng)
            self.oracle.after_power_loss()
        if kind in ("die", "power") or (kind == "late" and self.rng.random() < 0.5):
            raise Died
        raise OSError(self.rng.choice([errno.ENOSPC, errno.EIO, errno.ETIMEDOUT]), "injected")

    def yield_turn(self, actor: int) -> None:
        if self.failure is not None:
            raise Died
        if len(self._running) > 1 and self.rng.random() < self.switching:
            other = self.rng.choice(self._running)
            if other != actor:
                self._turns[other].release()
                self._turns[actor].acquire()
                if self.failure is not None:
                    raise Died

    def run(self, bodies: Sequence[Callable[[], None]]) -> None:
        """Run all bodies to their end, one at a time, switching only inside file-system calls."""

        def guarded(actor: int, body: Callable[[], None]) -> None:
            self._turns[actor].acquire()
            try:
                body()
            except BaseException as error:
                self.failure = self.failure or error
            self._running.remove(actor)
            (self._turns[self._running[0]] if self._running else self._done).release()

        threads = [threading.Thread(target=guarded, args=pair, daemon=True) for pair in enumerate(bodies)]
        for thread in threads:
            thread.start()
        self._turns[0].release()
        self._done.acquire()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure


def _in_vain(carry_out: Callable[[], Any]) -> None:
    """Carry out a request for whose reply no process waits."""
    with suppress(OSError):
        carry_out()


class SimulatedFs:
    """One process's view of the disk. After its death, or a power loss, every call raises `Died`."""

    no_exclusion = "the simulated disk lets two writers take one name"

    def __init__(self, disk: Disk, faults: Faults, actor: int):
        self._disk = disk
        self._faults = faults
        self._actor = actor
        self._boot = disk.boots

    def _call(self, carry_out: Callable[[], Any]) -> Any:
        self._faults.yield_turn(self._actor)
        if self._boot != self._disk.boots:
            raise Died
        if self._disk.late and self._faults.rng.random() < 0.1:
            self._disk.late.pop(self._faults.rng.randrange(len(self._disk.late)))()
        fault = self._faults.draw()
        if fault is None:
            return carry_out()
        kind, after = fault
        if kind == "late":
            self._disk.late.append(lambda: _in_vain(carry_out))
        if after:
            carry_out()
        self._faults.strike(kind)

    def _forgets(self) -> bool:
        """Whether this call's sync is the one that the test omits."""
        site: list[tuple[str, int]] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and len(site) < 2:
            if "/streamfx/sink/" in frame.f_code.co_filename:
                site.append((frame.f_code.co_name, frame.f_lineno))
            frame = frame.f_back
        place: Any = tuple(site) if site[0][0] in ("make_durable_dir", "_create") else site[0]
        self._faults.sites.add(place)
        return bool(place == self._faults.forgotten_site)

    def make_root(self) -> None:
        pass

    def mkdir(self, path: str) -> None:
        def carry_out() -> None:
            folder, name = self._disk.parent(path)
            if name not in folder.names:
                folder.set(name, Folder())

        self._call(carry_out)

    def write_new(self, path: str, data: bytes) -> None:
        file = File(data[: len(data) // 2])

        def create() -> None:
            folder, name = self._disk.parent(path)
            if name in folder.names:
                raise FileExistsError(errno.EEXIST, "exists", path)
            folder.set(name, file)

        def fill() -> None:
            file.data, file.synced = data, not forgets

        forgets = self._forgets()
        self._call(create)
        self._call(fill)

    def write_over(self, path: str, data: bytes) -> None:
        def tear() -> None:
            folder, name = self._disk.parent(path)
            folder.set(name, File(data[: self._faults.rng.randrange(len(data) + 1)]))

        def fill() -> None:
            file = self._disk.find(path)
            if isinstance(file, File):
                file.data = data

        self._call(tear)
        self._call(fill)

    def walk(self, path: str) -> list[str]:
        names: list[str] = self._call(lambda: sorted(self._disk.files(path)))
        return names

    def read(self, path: str) -> bytes:
        def carry_out() -> bytes:
            file = self._disk.find(path)
            if not isinstance(file, File):
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            return file.data

        data: bytes = self._call(carry_out)
        return data

    def exists(self, path: str) -> bool:
        return bool(self._call(lambda: self._disk.find(path) is not None))

    def listdir(self, path: str) -> list[str]:
        def carry_out() -> list[str]:
            folder = self._disk.find(path)
            if not isinstance(folder, Folder):
                raise FileNotFoundError(errno.ENOENT, "no such folder", path)
            return sorted(folder.names)

        names: list[str] = self._call(carry_out)
        return names

    def link(self, source: str, target: str) -> None:
        def carry_out() -> None:
            file = self._disk.find(source)
            if not isinstance(file, File):
                raise FileNotFoundError(errno.ENOENT, "no such file", source)
            folder, name = self._disk.parent(target)
            if name in folder.names:
                raise FileExistsError(errno.EEXIST, "exists", target)
            folder.set(name, file)
            self._faults.oracle.after_link(target)

        self._call(carry_out)

    def remove(self, path: str) -> None:
        def carry_out() -> None:
            folder, name = self._disk.parent(path)
            if name in folder.names:
                folder.set(name, None)

        self._call(carry_out)

    def retire(self, path: str, emptied: Callable[[bytes], bytes]) -> None:
        self.remove(path)

    def sync_dir(self, path: str) -> None:
        def carry_out() -> None:
            folder = self._disk.find(path)
            if not isinstance(folder, Folder):
                raise FileNotFoundError(errno.ENOENT, "no such folder", path)
            if not forgets:
                folder.sync()

        forgets = self._forgets()
        self._call(carry_out)


class SimulatedStore(SimulatedFs):
    """One process's view of an object store: single atomic requests, carried out now, later or never."""

    def mkdir(self, path: str) -> None:
        pass

    def sync_dir(self, path: str) -> None:
        pass

    def write_new(self, path: str, data: bytes) -> None:
        def put() -> None:
            if self._disk.find(path) is not None:
                raise FileExistsError(errno.EEXIST, "exists", path)
            self._disk.put(path, data)
            self._faults.oracle.after_link(path)

        self._call(put)

    def write_over(self, path: str, data: bytes) -> None:
        self._call(lambda: self._disk.put(path, data))

    def link(self, source: str, target: str) -> None:
        self.write_new(target, self.read(source))

    def listdir(self, path: str) -> list[str]:
        def carry_out() -> list[str]:
            folder = self._disk.find(path)
            return sorted(folder.names) if isinstance(folder, Folder) else []

        names: list[str] = self._call(carry_out)
        return names

    def remove(self, path: str) -> None:
        def carry_out() -> None:
            with suppress(FileNotFoundError):
                folder, name = self._disk.parent(path)
                if name in folder.names:
                    folder.set(name, None)

        self._call(carry_out)

    def retire(self, path: str, emptied: Callable[[bytes], bytes]) -> None:
        try:
            empty = emptied(self.read(path))
        except FileNotFoundError:
            return
        self.write_over(path, empty)
