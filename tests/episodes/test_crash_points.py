"""`streamfx episodes` dies at each of its steps in turn: what shows is whole days that an entry names, and the next call
makes the table that it would have been.

The disk is simulated, and forgets what was not synced where the power fails.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
from functools import cache
from typing import Any

import pandas as pd
import pytest
from helpers.crowds import DAY_US, START_US
from helpers.dying import Dying
from helpers.tracks import Track, order, write

from streamfx.episodes.table import made, update
from streamfx.testing import Died, ForgetfulDisk, ForgetfulFileSystem

PLACE = "/simulated"


@cache
def dataset() -> ForgetfulDisk:
    """A disk whose table is of one day, when more of this day and another day have come; durable."""
    disk = ForgetfulDisk(random.Random(1))
    fs = ForgetfulFileSystem(disk)
    write(PLACE, [Track("hhh"), Track("nnn", 1)], fs=fs)
    update(order(PLACE, fs))
    write(PLACE, [Track("...aaa"), Track("hh", 2, START_US + DAY_US)], fs=fs, offset=1)
    return disk


def entries(disk: ForgetfulDisk) -> list[dict[str, Any]]:
    return [json.loads(data) for _, data in sorted(disk.files("_commits/~episodes@/0").items())]


def shown(disk: ForgetfulDisk) -> pd.DataFrame:
    """The rows that a glob finds."""
    files = disk.files("episodes").values()
    rows = pd.concat([pd.read_parquet(io.BytesIO(data), engine="pyarrow") for data in files], ignore_index=True)
    return rows.sort_values(["stream_id", "track_id", "measure", "episode_start"], ignore_index=True)


def check(disk: ForgetfulDisk) -> None:
    """What shows is what an entry names, byte for byte."""
    specs = {spec["final"]: spec for entry in entries(disk) for spec in entry["files"]}
    for path, data in disk.files("episodes").items():
        assert path in specs, "rows show that no entry names"
        assert hashlib.sha256(data).hexdigest() == specs[path]["sha256"]


def steps() -> int:
    fs = Dying(copy.deepcopy(dataset()))
    update(order(PLACE, fs))
    return fs.steps


@pytest.mark.parametrize(
    ("after", "power", "every"),
    [
        (False, False, 11),
        (True, True, 13),
        pytest.param(True, False, 3, marks=pytest.mark.slow),
        pytest.param(False, True, 3, marks=pytest.mark.slow),
    ],
)
def test_a_death_leaves_nothing_half_and_the_next_call_nothing_doubled(after: bool, power: bool, every: int) -> None:
    whole = copy.deepcopy(dataset())
    update(order(PLACE, ForgetfulFileSystem(whole)))
    expected = shown(whole)
    assert len(expected) == len(made(order(PLACE, ForgetfulFileSystem(whole))).rows)
    for at in range(1, steps() + 1, every):
        disk = copy.deepcopy(dataset())
        disk.rng = random.Random(at)
        with pytest.raises(Died):
            update(order(PLACE, Dying(disk, at, after, power)))
        check(disk)
        update(order(PLACE, ForgetfulFileSystem(disk)))
        check(disk)
        pd.testing.assert_frame_equal(shown(disk), expected)
        # What the dead call staged for a number that the second one took is swept by whoever comes next.
        update(order(PLACE, ForgetfulFileSystem(disk)))
        assert len(disk.files("_staging/~episodes@/0")) == 0
