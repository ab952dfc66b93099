"""`streamfx episodes` as it is called."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from helpers.tracks import Track, table, write

from streamfx.cli.main import main
from streamfx.columns import EPISODES_COLUMNS


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["episodes", *map(str, words)])


@pytest.fixture
def seen(place: Path) -> Path:
    """A dataset with a few tracks."""
    write(place, [Track("nnnhhhhaaa", number) for number in range(3)])
    return place


def test_it_writes_the_table_and_says_what_is_in_it(seen: Path) -> None:
    done = call(seen)
    assert done.exit_code == 0, done.output
    assert "read 1 days of partitions, wrote 12 rows of 1" in done.output
    assert "not what a person feels" in done.output
    assert "not enough data: 3 tracks, 20 are needed" in done.output
    assert len(table(seen)) == 12
    assert "read 0 days of partitions, wrote 0 rows of 0" in call(seen).output


def test_json_is_one_line_for_a_machine(seen: Path) -> None:
    found = json.loads(call(seen, "--json").output)
    assert found["tracks"] == 3
    assert found["measures"]["expression"]["values"]["happiness"]["seconds"] == 12.0
    assert found["transitions"]["neutral"]["happiness"]["count"] == 3


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_export_leaves_the_dataset_alone(seen: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"new/rows.{kind}"
    done = call(seen, "--out", out)
    assert done.exit_code == 0, done.output
    assert not (seen / "episodes").exists()
    if kind == "csv":
        rows = list(csv.DictReader(out.open()))
        assert rows[0]["episode_start"] == "2023-11-14T00:00:00.000000Z"
    else:
        rows = pyarrow.parquet.read_table(out).to_pylist()
        assert pyarrow.parquet.read_schema(out).metadata[b"streamfx.purpose"] == b"test"
    assert len(rows) == 12
    assert list(rows[0]) == [column.name for column in EPISODES_COLUMNS]
    assert [file.name for file in out.parent.iterdir()] == [out.name]


def test_what_is_wrong_is_said(seen: Path, tmp_path: Path) -> None:
    assert "ends in .parquet or .csv" in call(seen, "--out", tmp_path / "rows.txt").output
    assert "only keys of the section `episodes`" in call(seen, "--set", "sink.path=x").output
    assert "episodes.enter" in call(seen, "--set", "episodes.enter=0.4").output
    assert "at most enter" in call(seen, "--set", "episodes.leave=0.9").output
    assert "not a streamfx dataset" in call(tmp_path / "out" / "windows").output
    (tmp_path / "file").write_text("")
    assert "cannot write" in call(seen, "--out", tmp_path / "file" / "rows.csv").output
    nowhere = call(tmp_path / "nowhere")
    assert nowhere.exit_code == 1
    assert isinstance(nowhere.exception, SystemExit)


def test_a_damaged_file_is_named(seen: Path) -> None:
    (file,) = (seen / "windows").rglob("*.parquet")
    file.write_bytes(b"damaged")
    done = call(seen)
    assert done.exit_code == 1
    assert f"{file.name} is gone or damaged; see `streamfx verify`" in done.output
    assert table(seen) == []
