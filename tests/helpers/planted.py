"""Datasets whose rows give away what a test plants in them, written by the maker of rows and the sink's own writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from streamfx.columns import Column
from streamfx.privacy.rows import PublicRow, Rows
from streamfx.records import Window
from streamfx.sink.commit import Batch
from streamfx.sink.dataset import Dataset
from streamfx.sink.identity import Identity
from streamfx.testing import (
    START_US,
    TEST_PARTITION,
    make_chunk,
    make_privacy,
    make_pseudonyms,
    make_record,
    make_window,
)

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
COLUMNS = (
    Column("p_happiness", "float", "Probability of a happy face"),
    Column("expression", "category", "The most probable expression", ("happiness", "neutral")),
    Column("au_01", "float", "Intensity of action unit 1"),
    Column("au_12", "float", "Intensity of action unit 12"),
    Column("attr_smiling", "bool", "Whether there is a smile"),
)
VERSIONS = {"expression": "v1", "action_units": "v1"}


@dataclass(frozen=True)
class Seen:
    """Which window a value is for: the numbers of its stream, of its track in it, of its day, and of itself."""

    stream: int
    track: int
    day: int
    number: int


Plant = Callable[[Seen, np.random.Generator], dict[str, Any]]


def nothing(seen: Seen, random: np.random.Generator) -> dict[str, Any]:
    """Values that follow from no stream and no track; some are null."""
    happy = float(random.random())
    return {
        "p_happiness": happy,
        "expression": "happiness" if happy > 0.5 else "neutral",
        "au_01": None if random.random() < 0.1 else float(random.random() * 5),
        "au_12": float(random.random() * 5),
        "attr_smiling": bool(random.random() < 0.5),
    }


def plant_dataset(
    place: Path,
    plant: Plant = nothing,
    *,
    streams: int = 4,
    tracks: int = 3,
    windows: int = 60,
    days: int = 1,
    columns: tuple[Column, ...] = COLUMNS,
) -> Path:
    """A dataset of `days` days, a file each, in which each of `streams` shows `tracks` at once for `windows` seconds.

    Windows are 2 s long and begin each second. What `plant` gives fills the columns; of the engine's own columns, it may
    give `face_height_px`. Streams are called `camera-0` and so on.
    """
    identity = Identity(
        "cluster-1", {TEST_PARTITION.topic: TEST_PARTITION.topic_id}, {"media": 1}, ("redact",), "group"
    )
    maker = Rows(make_privacy(), make_pseudonyms(), "c1", columns, VERSIONS)
    dataset = Dataset.open(place, identity, "c1", columns, maker.footer(), with_model=tuple(VERSIONS))
    writer = dataset.partition(TEST_PARTITION)
    writer.recover()
    random, base = np.random.default_rng(0), make_window(side=2)
    for day in range(days):
        rows = [_row(maker, base, seen, plant(seen, random)) for seen in _all(streams, tracks, day, windows)]
        record = make_record(day, b"x")
        chunk = maker.publish_chunk(record, make_chunk(day), "processed", None, START_US + day * DAY_US, 8, 8, 1)
        last = {"offset": day, "timestamp_ms": 1, "sha256": "00"}
        writer.commit(Batch("data", day, day + 1, [*rows, chunk], 1, {"at": day + 1}, last))
    return place


def _all(streams: int, tracks: int, day: int, windows: int) -> Iterator[Seen]:
    for stream in range(streams):
        for track in range(tracks):
            for number in range(windows):
                yield Seen(stream, track, day, number)


def _row(maker: Rows, base: Window, seen: Seen, values: dict[str, Any]) -> PublicRow:
    first = START_US + seen.day * DAY_US
    start = first + seen.number * SECOND_US
    window = replace(
        base,
        stream_id=f"camera-{seen.stream}",
        birth_us=first,
        birth_index=seen.track,
        start_us=start,
        end_us=start + 2 * SECOND_US,
        face_height_px=float(values.pop("face_height_px", 80.0)),
        closed_by=seen.day,
        offsets=(seen.day, seen.day),
    )
    return maker.publish_window(window, values, TEST_PARTITION)
