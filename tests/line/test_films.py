"""Redacted films from the line: a film for each chunk, committed with its row, verified, and erased with it."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import runs

from streamfx.detection.centerface import shared_detector
from streamfx.detection.look import look


@pytest.fixture(scope="module")
def folder(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with films."""
    made = tmp_path_factory.mktemp("films")
    tree = runs.tree(made, [clip], expression={"model": "expression-tiny"}, redact={"films": True}, sink={"roll_chunks": 2})
    tree["source"]["files"]["chunk_s"] = 2.0
    done = runs.streamfx("run", runs.write_config(made, tree))
    assert done.returncode == 0, done.stderr
    return made


def frames(film: Path) -> list[np.ndarray]:
    with av.open(io.BytesIO(film.read_bytes())) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_each_chunk_has_a_film_with_all_its_frames_and_no_face(folder: Path) -> None:
    rows = sorted(runs.rows(folder / "data", "films"), key=lambda row: row["offset"])
    chunks = {row["offset"]: row for row in runs.rows(folder / "data", "chunks")}
    assert [row["offset"] for row in rows] == sorted(chunks) and len(rows) >= 4
    detector = shared_detector(1)
    for row in rows:
        chunk = chunks[row["offset"]]
        assert (row["film_start"], row["film_end"]) == (chunk["chunk_start"], chunk["chunk_end"])
        assert row["stream_id"] == chunk["stream_id"] and row["faces"] >= 1 and row["frames_filled"] == 0
        shown = frames(folder / "data" / row["file"])
        assert len(shown) == row["frames"] and (folder / "data" / row["file"]).stat().st_size == row["bytes"]
        assert not any(look(detector, pixels, 416, 0.5) for pixels in shown)
    runs.verified(folder / "data")


def test_an_erased_stream_takes_its_films_with_it(folder: Path, tmp_path: Path) -> None:
    pass
