"""A release dies at each of its steps in turn: its rows are never seen without what they spent, and nothing is spent or
drawn twice.

The disk is simulated, and forgets what was not synced where the power fails.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
from functools import cache
from typing import Any

import pytest
from helpers.crowds import HOUR_US, START_US, crowd, order, write
from helpers.dying import Dying

from streamfx.aggregate.ledger import Ledger
from streamfx.aggregate.release import Done, release
from streamfx.testing import Died, ForgetfulDisk, ForgetfulFileSystem

PLACE = "/simulated"
NOISE = {"laplace": {"epsilon": 50.0, "budget": 60.0}, "track_cells": 4}


@cache
def dataset() -> ForgetfulDisk:
    """A disk with faces and no aggregates, durable."""
    disk = ForgetfulDisk(random.Random(1))
    write(PLACE, crowd(range(30)), fs=ForgetfulFileSystem(disk))
    return disk


def publish(disk: ForgetfulDisk, fs: ForgetfulFileSystem | None = None, hour: int = 0) -> Done:
    at = START_US + hour * HOUR_US
    return release(order(PLACE, fs or ForgetfulFileSystem(disk), start_us=at, end_us=at + HOUR_US, noise=NOISE))


def entries(disk: ForgetfulDisk) -> list[dict[str, Any]]:
    return [json.loads(data) for _, data in sorted(disk.files("_commits/~aggregates@/0").items())]


def check(disk: ForgetfulDisk) -> None:
    """What shows is what an entry names, byte for byte, and that entry's state has its price."""
    specs = {spec["final"]: spec for entry in entries(disk) for spec in entry["files"]}
    for path, data in disk.files("aggregates").items():
        assert path in specs, "rows show that no entry names"
        assert hashlib.sha256(data).hexdigest() == specs[path]["sha256"]
    for entry in entries(disk):
        assert [str(much) for *_, much in Ledger.from_json(entry["snapshot"]).spent] == ["50.0"]


def steps() -> int:
    fs = Dying(copy.deepcopy(dataset()))
    publish(fs.disk, fs)
    return fs.steps


@pytest.mark.parametrize(("after", "power"), [(False, False), (True, False), (False, True), (True, True)])
def test_rows_are_never_seen_without_what_they_spent(after: bool, power: bool) -> None:
    committed = 0
    for at in range(1, steps() + 1):
        disk = copy.deepcopy(dataset())
        disk.rng = random.Random(at)
        with pytest.raises(Died):
            publish(disk, Dying(disk, at, after, power))
        check(disk)
        there = entries(disk)
        committed += len(there)
        done = publish(disk)
        # What was committed before is not drawn again; what was not has cost nothing.
        assert done.bins == (0 if there else 1), at
        (entry,) = entries(disk)
        assert not there or entry == there[0]
        check(disk)
        assert set(disk.files("aggregates")) == {spec["final"] for spec in entry["files"]}
    assert committed, "no death came after the decisive step"
