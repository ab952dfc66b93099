"""A disk that forgets what was not synced, an oracle that reads promises off it, and a scheduler that strikes anywhere.

The oracle and the disk share no code with the sink.
"""

from __future__ import annotations

import errno
import hashlib
import json
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

FIRST, END = 3, 15
READABLE = [offset for offset in range(FIRST, END) if offset % 7 != 5]


class Died(BaseException):
    """This process is no more. Not an Exception, so that nothing in the sink can catch it."""


class Violation(AssertionError):
    """The oracle saw a promise broken."""


# ---------------------------------------------------------------------------------------------------- the disk


class File:
    def __init__(self, data: bytes):
        self.data = data
        self.synced = False


class Folder:
    """`names` is what processes see, `durable` what a power loss leaves for certain, `pending` what it may or may not."""

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
    def __init__(self) -> None:
        self.root = Folder()
        self.boots = 0

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

    def lose_power(self, rng: random.Random) -> None:
        self.root.lose_power(rng, rng.choice([0.0, 0.5, 0.5, 1.0]))
        self.boots += 1


# -------------------------------------------------------------------------------------------------- the oracle


class Oracle:
    """What must hold, read off the disk. `acknowledged` holds what a writer was told is committed."""

    def __init__(self, disk: Disk):
        self.disk = disk
        self.acknowledged: dict[int, tuple[int, int]] = {}

    def entries(self) -> list[dict[str, Any]]:
        found = sorted(self.disk.files("_commits").items())
        try:
            entries = [json.loads(data) for _, data in found]
        except ValueError as error:
            raise Violation("a log entry is not whole") from error
        if [path.rpartition("/")[2] for path, _ in found] != [f"{n:020d}.json" for n in range(len(found))]:
            raise Violation("the log has a hole")
        if [e["start"] for e in entries] != [FIRST, *(e["end"] for e in entries)][: len(entries)]:
            raise Violation("ranges do not join")
        return entries

    def intact(self, path: str, spec: Mapping[str, Any]) -> bool:
        file = self.disk.find(path)
        return isinstance(file, File) and hashlib.sha256(file.data).hexdigest() == spec["sha256"]

    def after_link(self, target: str) -> None:
        """Something got a new name in front of everybody's eyes."""
        if target.startswith("_commits/"):
            *earlier, entry = self.entries()
            self._published(earlier)
            if not all(self.intact(spec["staged"], spec) for spec in entry["files"]):
                raise Violation("an entry names a file that is not staged whole")
        elif target.startswith(("windows/", "chunks/")):
            named = [entry for entry in self.entries() if any(spec["final"] == target for spec in entry["files"])]
            if not named:
                raise Violation("an uncommitted file shows")
            if target.startswith("chunks/"):
                for spec in named[0]["files"]:
                    if spec["table"] == "windows" and self.disk.find(spec["final"]) is None:
                        raise Violation("a chunk shows before its windows")

    def after_power_loss(self) -> None:
        """Whatever is left must be a state from which nothing is lost."""
        entries = self.entries()
        finals = {**self.disk.files("windows"), **self.disk.files("chunks")}
        if set(finals) - {spec["final"] for entry in entries for spec in entry["files"]}:
            raise Violation("the power loss uncommitted a file that shows")
        for n, (start, end) in self.acknowledged.items():
            if n >= len(entries) or (entries[n]["start"], entries[n]["end"]) != (start, end):
                raise Violation("the power loss took an acknowledged commit")
            self._published(entries[n : n + 1])
        self._published(entries[:-1])
        for entry in entries[-1:]:
            if self.disk.find("_dataset.json") is None or not self.disk.files("_schema"):
                raise Violation("the log outlived what says whose it is")
            if not all(
                self.intact(spec["final"], spec) or self.intact(spec["staged"], spec) for spec in entry["files"]
            ):
                raise Violation("the power loss took a committed file")
        staged = self.disk.files("_staging")
        if any(spec["staged"] in staged for entry in entries[:-1] for spec in entry["files"]):
            raise Violation("a published file is back in staging, where it could undo an erasure")

    def at_the_end(self) -> None:
        """Every record has one fate, every window is there once, with the state that only an unbroken run has."""
        entries = self.entries()
        self._published(entries)
        if (entries[0]["start"], entries[-1]["end"]) != (FIRST, END) or entries[-1]["snapshot"] != {
            "sum": sum_before(END)
        }:
            raise Violation("the log does not reach the end in the right state")
        if Counter(o for e in entries for o in readable_in(e["start"], e["end"])) != Counter(READABLE):
            raise Violation("the entries do not cover the records once")
        rows = [
            row
            for table in ("windows", "chunks")
            for data in self.disk.files(table).values()
            for row in json.loads(data)
        ]
        fates = Counter(row["offset"] for row in rows if "fate" in row)
        windows = Counter((row["offset"], row["face_score"]) for row in rows if "track_id" in row)
        if fates != Counter(READABLE) or windows != Counter(
            (o, float(sum_before(o + 1))) for o in READABLE if closes(o)
        ):
            raise Violation("a row is missing, doubled or wrong")
        if set(self.disk.files("windows")) | set(self.disk.files("chunks")) != {
            spec["final"] for entry in entries for spec in entry["files"]
        }:
            raise Violation("an orphan, or a file that is gone")

    def _published(self, entries: Sequence[Mapping[str, Any]]) -> None:
        for entry in entries:
            if not all(self.intact(spec["final"], spec) for spec in entry["files"]):
                raise Violation("an entry is followed or acknowledged before it is published")


def readable_in(start: int, end: int) -> list[int]:
    return [offset for offset in READABLE if start <= offset < end]


def sum_before(offset: int) -> int:
    """The state that crosses records in these runs."""
    return sum(o + 1 for o in READABLE if o < offset)


def closes(offset: int) -> bool:
    """Whether a record closes a window."""
    return offset % 3 != 1


# --------------------------------------------------------------------------------------- faults and interleaving


class Faults:
    """Decides, at each call, who runs next and what goes wrong. `plan` puts one fault at one call, for exhaustion."""

    KINDS = (("die", False), ("die", True), ("power", False), ("power", True), ("refuse", False), ("refuse", True))
    """What strikes a call, and whether after it was carried out: a call refused after that is a lost reply."""

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
        """What goes wrong with this call, and whether after it was carried out."""
        self.calls += 1
        if self.plan is not None:
            at, kind, after = self.plan
            return (kind, after) if self.calls == at else None
        if self.budget and self.rng.random() < self.rate:
            self.budget -= 1
            return self.rng.choice(self.KINDS)
        return None

    def strike(self, kind: str) -> None:
        if kind == "power":
            self.disk.lose_power(self.rng)
            self.oracle.after_power_loss()
        if kind in ("die", "power"):
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
        fault = self._faults.draw()
        if fault is None:
            return carry_out()
        kind, after = fault
        if after:
            carry_out()
        self._faults.strike(kind)

    def _forgets(self) -> bool:
        """Whether this call's sync is the one that was taken out of the sink."""
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
