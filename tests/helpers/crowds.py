"""Datasets of many faces, written by the sink's own writer, for the tests of aggregates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.dataset

from streamfx.aggregate.groups import Groups
from streamfx.aggregate.release import Order
from streamfx.columns import Column
from streamfx.config.aggregate import Aggregate
from streamfx.privacy.films import PublicFilm, encode_film
from streamfx.privacy.pictures import fill_regions
from streamfx.privacy.rows import PublicRow, Rows
from streamfx.records import MICROSECONDS, Partition
from streamfx.sink.commit import Batch
from streamfx.sink.dataset import Dataset
from streamfx.sink.fs import FileSystem, LocalFileSystem
from streamfx.sink.identity import Identity
from streamfx.testing import make_chunk, make_privacy, make_pseudonyms, make_record, make_window

DAY_US = 86_400 * MICROSECONDS
HOUR_US = 3600 * MICROSECONDS
START_US = 19_675 * DAY_US
"""Midnight (UTC) of 2023-11-14."""
PARTITION = Partition("calls", "T0p1cId", 0)
COLUMNS = (
    Column("expression", "category", "The likeliest expression", ("anger", "happiness", "neutral")),
    Column("expression_confidence", "float", "Its probability"),
    Column("au_12", "float", "Intensity"),
    Column("au_12_present", "bool", "Whether it acts"),
    Column("au_45", "float", "Intensity"),
)


@dataclass(frozen=True)
class Seen:
    """`seconds` of one track from `start_us`, in windows of two seconds that start each second, all with one answer."""

    track: int
    expression: str | None = "neutral"
    seconds: int = 3
    start_us: int = START_US
    stream: str = "hall"
    smile: float | None = None
    """Intensity of au_12, which acts from 1 on; None: it could not be told."""


def write(place: Path | str, seen: Iterable[Seen], fs: FileSystem | None = None, offset: int = 0) -> None:
    """Commit these faces to the dataset, made if it is absent, as one record from `offset` on."""
    commit(place, (shown for one in seen for shown in _shown(one)), COLUMNS, fs, offset)


def _shown(one: Seen) -> Iterator[Shown]:
    scores = {"expression": one.expression, "expression_confidence": 0.5, "au_45": 2.0}
    scores |= {} if one.smile is None else {"au_12": one.smile, "au_12_present": one.smile >= 1}
    for second in range(one.seconds - 1):
        yield Shown(one.stream, one.start_us // DAY_US, one.track, one.start_us + second * MICROSECONDS, scores)


class Shown(NamedTuple):
    """A window of two seconds from `start_us`, of the track with this birth, and its scores."""

    stream: str
    birth_us: int
    birth_index: int
    start_us: int
    scores: dict[str, Any]


def commit(
    place: Path | str,
    windows: Iterable[Shown],
    columns: tuple[Column, ...],
    fs: FileSystem | None,
    offset: int,
    config_id: str = "c1",
    versions: Mapping[str, str] | None = None,
    films: Iterable[tuple[str, int, int]] = (),
) -> None:
    """Commit these windows, and one chunk, as the record `offset`; `versions` are those of the models, by operator.

    `films` are redacted ones, grey with a black field, each of a stream, from a time on, for whole seconds.
    """
    topics = {PARTITION.topic: PARTITION.topic_id}
    identity = Identity("cluster", topics, {PARTITION.topic: 1}, ("faces", "windows", "expression", "redact"), "group")
    footer = {"purpose": "test", "deployment_context": "research"}
    films, models = list(films), tuple(versions or ())
    dataset = Dataset.open(place, identity, config_id, columns, footer, fs=fs, with_model=models, films=bool(films))
    rows = Rows(make_privacy(), make_pseudonyms(), config_id, columns, versions or {})
    blank, made = make_window(side=2), []
    for stream, birth_us, birth_index, start_us, scores in windows:
        window = replace(
            blank,
            stream_id=stream,
            birth_us=birth_us,
            birth_index=birth_index,
            start_us=start_us,
            end_us=start_us + 2 * MICROSECONDS,
            closed_by=offset,
            offsets=(offset, offset),
        )
        made.append(rows.publish_window(window, scores, PARTITION))
    record = make_record(offset, b"x", partition=PARTITION, start_us=START_US)
    chunk = make_chunk(offset, partition=PARTITION, stream_id="hall", start_us=START_US, body=b"x")
    fate = rows.publish_chunk(record, chunk, "processed", None, START_US + MICROSECONDS, 8, 8, len(made))
    writer = dataset.partition(PARTITION)
    writer.recover()
    filmed = [_film(rows, offset, *film) for film in films]
    writer.commit(Batch("data", offset, offset + 1, [*made, fate], 1, {}, films=filmed))


def _film(rows: Rows, offset: int, stream: str, start_us: int, seconds: int) -> tuple[PublicRow, PublicFilm]:
    pixels = np.full((96, 160, 3), 120, np.uint8)
    masked = fill_regions(pixels, [(40.0, 20.0, 80.0, 70.0)])
    film = encode_film([(masked, at * 100, 100) for at in range(10 * seconds)], Fraction(1, 1000), Fraction(10))
    span_us = (start_us, start_us + seconds * MICROSECONDS)
    return rows.publish_film(PARTITION, offset, stream, film, span_us, 10 * seconds, 0, 1), film


def crowd(tracks: Iterable[int], expression: str | None = "neutral", **fields: Any) -> list[Seen]:
    """The same seen of several tracks."""
    return [Seen(track, expression, **fields) for track in tracks]


def order(place: Path | str, fs: FileSystem | None = None, groups: Groups | None = None, **fields: Any) -> Order:
    """An order of the whole first day with these fields of the section, long after it is closed."""
    span = fields.pop("start_us", START_US), fields.pop("end_us", START_US + DAY_US)
    salt_period_s, now_us = fields.pop("salt_period_s", 86_400), fields.pop("now_us", START_US + 90 * DAY_US)
    section = Aggregate.model_validate({"k": 3, **fields})
    return Order(
        fs or LocalFileSystem(Path(place)), str(place), section, groups or Groups(), *span, now_us, salt_period_s
    )


def table(place: Path) -> list[dict[str, Any]]:
    """The rows that a reader's glob finds."""
    files = [str(path) for path in (place / "aggregates").rglob("*.parquet")]
    rows: list[dict[str, Any]] = pyarrow.dataset.dataset(files).to_table().to_pylist() if files else []
    return rows


def cells(place: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The rows of the only bin, by group, measure and value."""
    return {(row["stream_group"], row["measure"], row["value"]): row for row in table(place)}
