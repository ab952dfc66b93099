"""Each row exists exactly once, whatever fails: the sink on a simulated disk that loses what was not synced.

Two writers that both assume that they own the partition run in random interleavings, call by call, beside a process
that merges their files and one that erases rows. Before or after any call a process may die, the power may fail, a
call may fail, or its reply may be lost. An oracle that shares no code with the sink checks the disk after every step
that could break a guarantee (oracle.py).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any

import pandas as pd
import pytest
from disk import Disk
from oracle import EMPTY, END, FIRST, Oracle, Violation, closes, filmed, readable_in, window_us
from simulation import Faults, SimulatedFs, SimulatedStore

import streamfx.sink.commit
import streamfx.sink.maintain
import streamfx.sink.protocol
from streamfx.errors import CommitLost, SinkError
from streamfx.privacy.rows import PublicRow
from streamfx.records import Partition
from streamfx.sink.commit import Batch, Head, PartitionWriter
from streamfx.sink.dataset import Dataset, probe
from streamfx.sink.erasure import Rule, obey
from streamfx.sink.fs import FileSystem
from streamfx.sink.identity import Identity
from streamfx.testing import Died

PLACE = "/simulated"


class World:
    """One case: a disk, its oracle, writers that process the same records until the end, and maintenance processes.

    Every second one of these keepers compacts, and the others erase.
    """

    def __init__(
        self, seed: object, rows: Any, partition: Partition, writers: int, budget: int, keepers: int, store: bool
    ):
        self.rng = random.Random(str(seed))
        self.disk = Disk(self.rng, store)
        self.oracle = Oracle(self.disk)
        self.faults = Faults(self.rng, self.disk, self.oracle, writers + keepers, budget)
        self.rows = rows
        self.partition = partition
        self.writers = writers
        first = self.rng.randrange(FIRST, END)
        self.rule = Rule(None, window_us(first), window_us(self.rng.randrange(first, END) + 1))

    def run(self) -> None:
        self.faults.run([lambda actor=actor: self.process(actor) for actor in self.faults.actors])  # type: ignore[misc]
        while self.disk.late:
            self.disk.late.pop()()
        self.oracle.at_the_end()

    def process(self, actor: int) -> None:
        """Run a process, and restart it whenever it dies, until its work is done."""
        kind = SimulatedStore if self.disk.store else SimulatedFs
        for _ in range(60):
            try:
                fs = kind(self.disk, self.faults, actor)
                if actor < self.writers:
                    self.write(fs)
                else:
                    self.keep(fs, compacts=(actor - self.writers) % 2 == 0)
                return
            except Died:
                if self.faults.failure is not None:
                    return
            except CommitLost:
                raise
            except (SinkError, OSError) as error:
                if "injected" not in str(error):
                    raise
        raise Violation("no progress")

    def keep(self, fs: FileSystem, compacts: bool) -> None:
        """Compact from time to time, or erase once, while the writers run."""
        self.open(fs)
        if compacts:
            for _ in range(self.rng.choice([1, 2, 3])):
                streamfx.sink.maintain.compact(fs, PLACE)
        else:
            while not self.disk.files("_commits"):  # rules have no effect on an empty log
                fs.exists(PLACE)
            streamfx.sink.maintain.forget(fs, PLACE, self.rule)
            self.oracle.after_erasure(self.rule.start_us or 0, self.rule.end_us)

    def open(self, fs: FileSystem) -> Dataset:
        topics = {self.partition.topic: self.partition.topic_id}
        identity = Identity("cluster", topics, {self.partition.topic: 1}, ("redact",), "group")
        return Dataset.open(PLACE, identity, "c1", (), {}, fs=fs, with_model=("expression",), films=True)

    def write(self, fs: FileSystem) -> None:
        """Commit until the log reaches the end."""
        writer = self.open(fs).partition(self.partition)
        head = writer.recover()
        while head.end is None or head.end < END:
            head = self.step(writer, head)
        if self.rng.random() < 0.3:
            writer.collect_garbage()

    def step(self, writer: PartitionWriter, head: Head) -> Head:
        """Commit one batch as a worker would: after an error, repeat it, recover, or choose another end of it."""
        batch = self.batch(head)
        while True:
            try:
                after = writer.commit(batch)
            except CommitLost as lost:
                followed: Head = lost.head
                return followed
            except SinkError as error:
                if "injected" not in str(error):
                    raise
                what = self.rng.choice(["repeat", "look", "decide"])
                if what == "look":
                    return writer.recover()
                if what == "decide":
                    batch = self.batch(head)
                continue
            self.oracle.acknowledged[after.n_next - 1] = (batch.start, batch.end)
            return after

    def batch(self, head: Head) -> Batch:
        start = FIRST if head.end is None else head.end
        end = min(END, start + self.rng.choice([0, 1, 2, 3, 5]))
        state: int = head.snapshot.get("sum", 0)
        made: list[PublicRow] = []
        offsets = readable_in(start, end)
        for offset in offsets:
            state += offset + 1
            made.append(self.rows.chunk(offset))
            if closes(offset):
                made.append(self.rows.window(offset, state))
        films = [self.rows.film(offset) for offset in offsets if filmed(offset)]
        return Batch("data", start, end, made, len(offsets), {"sum": state}, films=films)


class CachedRows:
    """Rows by offset. A chunk starts at the start of the window that it closes."""

    def __init__(self, make_rows: Callable[..., Any]):
        made = make_rows("c1", ())
        self.chunk = cache(lambda offset: made.chunk(offset, start_us=window_us(offset)))
        self.film = cache(lambda offset: made.film(offset, window_us(offset)))
        self.window = cache(lambda offset, state: made.window(offset, window_us(offset), float(state)))


def encode(schema: object, rows: Sequence[Mapping[str, Any]], footer: object, compression: str) -> bytes:
    return json.dumps(list(map(dict, rows))).encode()


def merge(files: Sequence[tuple[str, bytes]]) -> list[tuple[tuple[int, ...], bytes]]:
    rows = [row for _, data in files for row in json.loads(data)]
    return [(tuple(range(len(files))), json.dumps(rows).encode())] if len(files) > 1 else []


def erase(rule: Rule, table: str, data: bytes, where: str) -> tuple[bytes, int] | None:
    rows = json.loads(data)
    left = [kept for row in rows if (kept := obey([rule], table, row)) is not None]
    return None if left == rows else (json.dumps(left).encode(), len(left))


def decode_columns(data: bytes, columns: Sequence[str], where: str) -> pd.DataFrame:
    return pd.DataFrame(json.loads(data), columns=["stream_id", "film_start", "file"])


def hits(rule: Rule, table: str, rows: pd.DataFrame) -> list[bool]:
    return [rule.hits(*key) for key in zip(rows["stream_id"], rows["film_start"], strict=True)]


@pytest.fixture
def world(make_rows: Callable[..., Any], partition: Partition, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Makes cases that a seed reproduces exactly. Files contain JSON, which is fast; the protocol never reads it."""
    attempts = count()
    monkeypatch.setattr("secrets.token_hex", lambda size: f"{next(attempts):0{2 * size}x}")
    monkeypatch.setattr(streamfx.sink.commit, "encode_table", encode)
    monkeypatch.setattr(streamfx.sink.maintain, "merge", merge)
    monkeypatch.setattr(streamfx.sink.maintain, "erase", erase)
    monkeypatch.setattr(streamfx.sink.maintain, "decode_columns", decode_columns)
    monkeypatch.setattr(streamfx.sink.maintain, "hits", hits)
    monkeypatch.setattr(streamfx.sink.protocol, "emptied", lambda data: EMPTY[0])
    monkeypatch.setattr(streamfx.sink.protocol, "NOTE_EVERY", 2)  # so that the index is stale, torn and new in turn
    cached = CachedRows(make_rows)

    def made(seed: object, writers: int = 2, budget: int = 6, keepers: int = 0, store: bool = False) -> World:
        return World(seed, cached, partition, writers, budget, keepers, store)

    return made


KINDS: dict[str, dict[str, Any]] = {
    "two writers": {"writers": 2},
    "three writers": {"writers": 3, "budget": 8},
    "two writers, compaction": {"writers": 2, "keepers": 1},
    "two writers, compaction, erasure": {"writers": 2, "keepers": 2, "budget": 8},
    "object store: two writers": {"writers": 2, "store": True},
    "object store: two writers, compaction, erasure": {"writers": 2, "keepers": 2, "budget": 8, "store": True},
}


def run_cases(world: Callable[..., World], kind: str, seeds: range) -> None:
    for seed in seeds:
        try:
            world(f"{kind} {seed}", **KINDS[kind]).run()
        except BaseException as error:
            raise AssertionError(f"{kind}, seed {seed}: {error!r}") from error


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_exists_once_whichever_process_dies_at_any_point(world: Callable[..., World], kind: str) -> None:
    run_cases(world, kind, range(50))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", range(4))
def test_each_row_exists_once_in_twelve_thousand_cases(world: Callable[..., World], kind: str, part: int) -> None:
    run_cases(world, kind, range(1000 + 500 * part, 1500 + 500 * part))


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("keepers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_fault_before_or_after_any_call_breaks_nothing(
    world: Callable[..., World], keepers: int, store: bool
) -> None:
    """One writer, followed by compaction and erasure, runs with one fault at each of its calls in turn."""
    calm = world("calm", writers=1, budget=0, keepers=keepers, store=store)
    calm.faults.switching = 0.0
    calm.run()
    for call in range(1, calm.faults.calls + 1):
        for kind, after in (*Faults.KINDS, *(Faults.LATE[:1] if store else ())):
            case = world("calm", writers=1, keepers=keepers, store=store)
            case.faults.switching = 0.0
            case.faults.plan = (call, kind, after)
            case.run()


def test_no_sync_can_be_omitted(world: Callable[..., World]) -> None:
    """Each sync of a file or folder in the sink is omitted in turn, and the oracle must notice."""
    sites: set[Any] = set()
    for seed in range(40):
        case = world(seed, keepers=2)
        case.run()
        sites |= case.faults.sites
    sites = {site for site in sites if site[0] != probe.__name__}  # its files contain no rows
    assert len(sites) >= 10
    assert [site for site in sorted(sites, key=str) if not any(_breaks(world, n, site) for n in range(1000))] == []


def _breaks(world: Callable[..., World], seed: int, site: Any) -> bool:
    case = world(f"forgetful {seed}", keepers=2)
    case.faults.forgotten_site = site
    try:
        case.run()
    except (Violation, SinkError):
        return True
    return False
