"""A video file becomes Parquet without any server, and gives the same rows however it is cut or read."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any

import duckdb
import fastparquet
import numpy as np
import polars
import pyarrow.dataset as ds
import pytest
from helpers import runs
from PIL import Image

REPO = Path(__file__).parents[2]


def test_every_window_of_the_clip_exists_once(quickstart: Path) -> None:
    windows = runs.rows(quickstart / "data", "windows")
    starts = sorted(row["window_start"] for row in windows)
    assert 8 <= len(starts) <= 9 and len(set(starts)) == len(starts)
    assert all((row["window_end"] - row["window_start"]).total_seconds() == 2 for row in windows)
    assert len({row["track_id"] for row in windows}) == 1
    assert all(row["audio_present"] and 8 <= row["frames"] <= 16 for row in windows)


def test_scores_are_a_distribution_and_name_their_model(quickstart: Path) -> None:
    for row in runs.rows(quickstart / "data", "windows"):
        scores = {name: value for name, value in row.items() if name.startswith("p_")}
        assert len(scores) == 7 and abs(sum(scores.values()) - 1) < 1e-5
        assert row["expression"] == max(scores, key=lambda name: scores[name])[2:]
        assert row["expression_model_version"].startswith("sha256-")


def test_every_chunk_has_one_fate(quickstart: Path) -> None:
    chunks = sorted(runs.rows(quickstart / "data", "chunks"), key=lambda row: row["offset"])
    assert [row["offset"] for row in chunks] == list(range(len(chunks)))
    assert {row["fate"] for row in chunks} == {"processed"}
    assert sum(row["windows"] for row in chunks) == len(runs.rows(quickstart / "data", "windows"))


def test_verify_finds_nothing_wrong(quickstart: Path) -> None:
    report = runs.verified(quickstart / "data")
    assert report["rows"]["windows"] == len(runs.rows(quickstart / "data", "windows"))


def test_a_second_run_adds_nothing(quickstart: Path) -> None:
    before = runs.keys(quickstart / "data")
    assert runs.streamfx("run", quickstart / "config.yaml").returncode == 0
    assert runs.keys(quickstart / "data") == before


def test_no_output_contains_the_raw_stream_id(quickstart: Path) -> None:
    for path in (quickstart / "data").rglob("*"):
        assert "astronaut" not in str(path.relative_to(quickstart))
        assert path.is_dir() or b"astronaut" not in path.read_bytes()


def test_the_preview_pictures_show_no_face(quickstart: Path) -> None:
    pictures = sorted((quickstart / "previews").glob("*.png"))
    assert len(pictures) >= 4
    for picture in pictures:
        pixels = np.asarray(Image.open(picture))
        assert 0.1 < (pixels.max(axis=2) == 0).mean() < 0.9


@pytest.mark.parametrize("chunk_s", [1, 5])
def test_chunks_of_another_length_give_the_same_keys(
    quickstart: Path, clip: Path, tmp_path: Path, chunk_s: int
) -> None:
    config = runs.tree(tmp_path, [clip])
    config["source"]["files"]["chunk_s"] = chunk_s
    done = runs.streamfx("run", runs.write_config(tmp_path, config))
    assert done.returncode == 0, done.stderr
    assert runs.keys(tmp_path / "data") == runs.keys(quickstart / "data")


def plain(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as sorted text, so that readers with different types can be compared."""

    def value(item: Any) -> Any:
        if item is None or item != item:
            return None
        if hasattr(item, "isoformat"):
            assert item.tzinfo is not None, "a time without a zone is no instant"
            return np.datetime64(item.astimezone(UTC).replace(tzinfo=None), "us").astype(str)
        return round(float(item), 6) if isinstance(item, (float, np.floating)) else str(item)

    return sorted(str({name: value(row[name]) for name in sorted(row) if name != "date"}) for row in rows)


@pytest.mark.parametrize("table", ["windows", "chunks"])
def test_four_readers_read_equal_rows(quickstart: Path, table: str) -> None:
    files = sorted(str(p) for p in (quickstart / "data" / table).rglob("*.parquet"))
    by_fastparquet = [row for f in files for row in fastparquet.ParquetFile(f).to_pandas().to_dict("records")]
    by_pyarrow = ds.dataset(files, format="parquet").to_table().to_pylist()
    by_duckdb = duckdb.sql(f"select * from read_parquet({files}, union_by_name=true)").to_arrow_table().to_pylist()
    by_polars = polars.concat([polars.read_parquet(f) for f in files], how="diagonal").to_dicts()
    assert plain(by_pyarrow) == plain(by_duckdb) == plain(by_polars) == plain(by_fastparquet)
