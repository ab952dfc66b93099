"""Small datasets for tests. Rows come from the real privacy module, since only that can create them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from streamfx.columns import Column
from streamfx.privacy.films import PublicFilm, encode_film
from streamfx.privacy.pictures import fill_regions
from streamfx.privacy.rows import PublicRow
from streamfx.privacy.rows import Rows as PrivateRows
from streamfx.records import Partition
from streamfx.sink.commit import Batch, PartitionWriter
from streamfx.sink.dataset import Dataset
from streamfx.sink.identity import Identity
from streamfx.testing import START_US, make_chunk, make_privacy, make_pseudonyms, make_record, make_window

PARTITION = Partition("calls", "T0p1cId", 0)
COLUMNS = (
    Column("p_happiness", "float", "Probability of a happy face"),
    Column("expression", "category", "The most probable expression", ("happiness", "neutral")),
    Column("attr_glasses", "bool", "Whether glasses are worn"),
    Column("au_count", "int", "Active action units"),
)

FILM = encode_film([(fill_regions(np.zeros((16, 16, 3), np.uint8), None), 0, 40)], Fraction(1, 1000), Fraction(25))
"""One black picture."""


class Rows:
    """Makes public rows with one configuration."""

    def __init__(self, config_id: str = "c1", columns: tuple[Column, ...] = COLUMNS):
        self.columns = columns
        self._rows = PrivateRows(make_privacy(), make_pseudonyms(), config_id, columns, {"expression": "1"})
        self._window = make_window(side=2, stream_id="cam")

    def chunk(
        self, offset: int, readable: bool = True, partition: Partition = PARTITION, start_us: int | None = None
    ) -> PublicRow:
        """The fate of one record. With `readable` False, it has the nulls of a record with broken headers."""
        start = START_US + offset * 1_000_000 if start_us is None else start_us
        record = make_record(offset, b"x" * 10, partition=partition, start_us=start)
        if not readable:
            return self._rows.publish_chunk(record, None, "undecodable", "bad_headers")
        chunk = make_chunk(offset, partition=partition, stream_id="cam", start_us=start, body=record.value)
        return self._rows.publish_chunk(record, chunk, "processed", None, start + 1_000_000, 8, 8, 1)

    def window(
        self,
        offset: int,
        start_us: int | None = None,
        score: float = 0.5,
        partition: Partition = PARTITION,
        scores: dict[str, Any] | None = None,
    ) -> PublicRow:
        """One window that is closed by `offset`."""
        start = START_US + offset * 1_000_000 if start_us is None else start_us
        window = replace(
            self._window,
            start_us=start,
            end_us=start + 2_000_000,
            face_score=score,
            closed_by=offset,
            offsets=(0, offset),
        )
        return self._rows.publish_window(window, scores or {}, partition)

    def film(self, offset: int, start_us: int | None = None) -> tuple[PublicRow, PublicFilm]:
        """The film of one record's chunk, and its row."""
        start = START_US + offset * 1_000_000 if start_us is None else start_us
        return self._rows.publish_film(PARTITION, offset, "cam", FILM, (start, start + 1_000_000), 1, 1, 0), FILM

    def batch(self, start: int, end: int, **changes: Any) -> Batch:
        """A data batch with one chunk row and one window per offset."""
        offsets = range(start, end)
        rows = [self.window(o) for o in offsets] + [self.chunk(o) for o in offsets]
        last = {"offset": end - 1, "timestamp_ms": 1, "sha256": "00"} if end > start else None
        values: dict[str, Any] = {
            "kind": "data",
            "start": start,
            "end": end,
            "rows": rows,
            "records": end - start,
            "snapshot": {"at": end},
            "last_record": last,
        }
        return Batch(**{**values, **changes})


def identity(**changes: Any) -> Identity:
    """The identity of the tests' datasets."""
    values: dict[str, Any] = {
        "cluster": "cluster-1",
        "topics": {PARTITION.topic: PARTITION.topic_id},
        "partitions": {PARTITION.topic: 1},
        "pipeline": ("faces", "windows", "expression", "redact"),
        "group": "streamfx",
    }
    return Identity(**{**values, **changes})


class Maker:
    """Writes the dataset at `place` batch by batch."""

    def __init__(self, place: Path | str):
        self.place = place

    def open(self, config_id: str = "c1", columns: tuple[Column, ...] = COLUMNS) -> PartitionWriter:
        """A writer that goes on where the log ends."""
        footer = {"purpose": "test", "deployment_context": "research"}
        dataset = Dataset.open(self.place, identity(), config_id, columns, footer, with_model=("expression",))
        writer = dataset.partition(PARTITION)
        writer.recover()
        return writer

    def commit(self, start: int, end: int, config_id: str = "c1", columns: tuple[Column, ...] = COLUMNS) -> None:
        """Add an entry with a window and a chunk for each offset of `[start, end)`, with a score in each window."""
        writer, rows = self.open(config_id, columns), Rows(config_id, columns)
        if writer.recover().config_id not in (None, config_id):
            writer.commit(rows.batch(start, start, kind="config"))
        scores = {columns[0].name: 0.25}
        offsets = range(start, end)
        lines = [rows.window(o, scores=scores) for o in offsets] + [rows.chunk(o) for o in offsets]
        writer.commit(rows.batch(start, end, rows=lines))
