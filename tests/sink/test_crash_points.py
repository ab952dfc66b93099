"""Each row exactly once, whatever dies: the sink on a simulated disk that forgets what was not synced.

Two writers that both believe they own the partition run in random interleavings, call by call. Before or after any call
a writer may die, the power may fail, a call may fail, or its reply may be lost. An oracle that shares no code with the
sink looks at the disk after every step that could break a promise (simulation.py).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from simulation import END, FIRST, Died, Disk, Faults, Oracle, SimulatedFs, Violation, closes, readable_in

import streamfx.sink.commit
from streamfx.errors import CommitLost, SinkError
from streamfx.privacy import PublicRow
from streamfx.records import Partition
from streamfx.sink.commit import Batch, Head, PartitionWriter
from streamfx.sink.dataset import Dataset, Identity
from streamfx.sink.fs import FileSystem

CASES = 800


class World:
    """One case: a disk, its oracle, and writers that process the same records until the end."""

    def __init__(self, seed: object, rows: Any, partition: Partition, writers: int, budget: int = 6):
        self.rng = random.Random(str(seed))
        self.disk = Disk()
        self.oracle = Oracle(self.disk)
        self.faults = Faults(self.rng, self.disk, self.oracle, writers, budget)
        self.rows = rows
        self.partition = partition

    def run(self) -> None:
        actors = range(len(self.faults._turns))
        self.faults.run([lambda actor=actor: self.process(actor) for actor in actors])  # type: ignore[misc]
        self.oracle.at_the_end()

    def process(self, actor: int) -> None:
        """A process that is started again whenever it dies, until the log reaches the end."""
        for _ in range(50):
            try:
                self.life(SimulatedFs(self.disk, self.faults, actor))
                return
            except Died:
                if self.faults.failure is not None:
                    return
            except CommitLost:
                raise
            except SinkError as error:
                if "injected" not in str(error):
                    raise
        raise Violation("no progress")

    def life(self, fs: FileSystem) -> None:
        topics = {self.partition.topic: self.partition.topic_id}
        identity = Identity("cluster", topics, {self.partition.topic: 1}, ("redact",), "group")
        dataset = Dataset.open(Path("/simulated"), identity, "c1", (), {}, fs=fs)
        writer = dataset.partition(self.partition)
        head = writer.recover()
        while head.end is None or head.end < END:
            head = self.step(writer, head)
        if self.rng.random() < 0.3:
            writer.collect_garbage()

    def step(self, writer: PartitionWriter, head: Head) -> Head:
        """Commit one batch, as a worker would: repeat after an error, look afresh, or decide the tail afresh."""
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
        return Batch("data", start, end, made, len(offsets), {"sum": state})


class CachedRows:
    """Rows by offset; windows lie half a day apart, so that batches fall into several date folders."""

    def __init__(self, make_rows: Callable[..., Any]):
        made = make_rows("c1", ())
        self.chunk = cache(made.chunk)
        self.window = cache(
            lambda offset, state: made.window(offset, 1_700_000_000_000_000 + offset * 43_200_000_000, float(state))
        )


@pytest.fixture
def world(make_rows: Callable[..., Any], partition: Partition, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Makes cases that a seed repeats exactly. Files hold JSON: the protocol never looks inside, and it is fast."""

    def encode(schema: object, rows: Sequence[Mapping[str, Any]], footer: object, compression: str) -> bytes:
        return json.dumps(list(map(dict, rows))).encode()

    attempts = count()
    monkeypatch.setattr("secrets.token_hex", lambda size: f"{next(attempts):0{2 * size}x}")
    monkeypatch.setattr(streamfx.sink.commit, "encode_table", encode)
    cached = CachedRows(make_rows)
    return lambda seed, writers=2, budget=6: World(seed, cached, partition, writers, budget)


def test_two_owners_that_may_die_anywhere_leave_each_row_once(world: Callable[..., World]) -> None:
    for seed in range(CASES):
        case = world(seed)
        try:
            case.run()
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error


def test_three_owners_leave_each_row_once(world: Callable[..., World]) -> None:
    for seed in range(CASES // 8):
        world(f"three {seed}", writers=3, budget=8).run()


def test_one_owner_struck_once_before_and_after_every_call(world: Callable[..., World]) -> None:
    calm = world("calm", writers=1, budget=0)
    calm.run()
    for call in range(1, calm.faults.calls + 1):
        for kind, after in Faults.KINDS:
            case = world("calm", writers=1)
            case.faults.plan = (call, kind, after)
            case.run()


def test_no_sync_can_be_left_out(world: Callable[..., World]) -> None:
    """Each place in the sink that syncs a file or a folder is taken out in turn; the oracle must notice."""
    sites: set[Any] = set()
    for seed in range(40):
        case = world(seed)
        case.run()
        sites |= case.faults.sites
    sites = {site for site in sites if site[0] != "_probe"}  # its file holds nothing
    assert len(sites) >= 10
    assert [site for site in sorted(sites, key=str) if not any(_breaks(world, n, site) for n in range(1000))] == []


def _breaks(world: Callable[..., World], seed: int, site: Any) -> bool:
    case = world(f"forgetful {seed}")
    case.faults.forgotten_site = site
    try:
        case.run()
    except (Violation, SinkError):
        return True
    return False
