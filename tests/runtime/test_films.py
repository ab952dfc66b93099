"""The films of a partition's streams with drawn faces: who is drawn is in the snapshot, and fills are counted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from helpers.films import SeesWhite, picture, write_film

from streamfx.config.media import Media
from streamfx.privacy.rows import Rows
from streamfx.privacy.surrogates import Controls, Painter
from streamfx.records import Chunk
from streamfx.redaction.courses import Course
from streamfx.redaction.film import FilmFrame
from streamfx.redaction.surrogates import Drawing
from streamfx.redaction.tracks import Track
from streamfx.runtime.films import Films
from streamfx.runtime.metrics import Metrics
from streamfx.testing.builders import make_chunk, make_privacy, make_pseudonyms

LENGTH = 12
"""Frames of a chunk of 0.48 s."""


class Grey(Painter):
    def paint(self, controls: Controls, seed: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 4), (*(40 + seed % 100,) * 3, 255), np.uint8)


class Reads:
    def read(self, frames: Iterable[FilmFrame], time_base: Fraction, tracks: Sequence[Track]) -> dict[int, Course]:
        assert [*frames]
        return {
            number: Course(
                ("au_12",), ("neutral",), [*one.times_s], [0.5] * LENGTH, [[1.0]] * LENGTH, [1.0] * LENGTH,
                [one.times_s[0]], [[1.0]], [0.0],
            )
            for number, one in enumerate(tracks)
        }  # fmt: skip


def chunks(folder: Path) -> list[Chunk]:
    made = []
    for number in range(3):
        pictures = map(picture, range(LENGTH * number, LENGTH * (number + 1)))
        body = write_film(folder / f"{number}.mp4", pictures).read_bytes()
        made.append(make_chunk(number, body=body, start_us=1_790_000_000_000_000 + number * 480_000, seq=number))
    return made


def films(chunk: Chunk, drawing: Drawing | None) -> tuple[Films, Metrics]:
    metrics, pseudonyms, reader = Metrics(), make_pseudonyms(), SeesWhite()
    rows = Rows(make_privacy(), pseudonyms, "c1")
    return Films(chunk.partition, rows, reader, Media(), pseudonyms, metrics, drawing), metrics


def test_a_stream_goes_on_with_the_same_drawn_person_after_a_restart(tmp_path: Path) -> None:
    reader: Any = Reads()
    some = chunks(tmp_path)
    whole, metrics = films(some[0], Drawing(reader, Grey()))
    for number, chunk in enumerate(some):
        whole.add(number, chunk)
    snapshot = json.loads(json.dumps(whole.snapshot(some[0].stream_id)))
    whole.end_stream(some[0].stream_id)
    made = [film.body for _, film in whole.take()]
    fills = metrics.registry.get_sample_value("streamfx_film_fills_total", {"outcome": "painted"})
    assert len(made) == 3 and fills == 3 * LENGTH

    again, _ = films(some[0], Drawing(reader, Grey()))
    assert snapshot["offsets"] == [1, 2]
    again.restore(some[0].stream_id, [(1, some[1]), (2, some[2])], snapshot)
    again.end_stream(some[0].stream_id)
    assert [film.body for _, film in again.take()] == made[2:]


def test_a_snapshot_of_before_faces_were_drawn_is_continued(tmp_path: Path) -> None:
    reader: Any = Reads()
    some = chunks(tmp_path)
    solid, _ = films(some[0], None)
    solid.add(0, some[0])
    snapshot = solid.snapshot(some[0].stream_id)
    assert snapshot == {"offsets": [0]}
    again, metrics = films(some[0], Drawing(reader, Grey()))
    again.restore(some[0].stream_id, [(0, some[0])], snapshot)
    again.end_stream(some[0].stream_id)
    assert metrics.registry.get_sample_value("streamfx_film_fills_total", {"outcome": "painted"}) == LENGTH
