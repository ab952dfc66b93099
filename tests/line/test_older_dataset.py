"""A dataset that the version before began goes on under a `config` entry, and old and new files are read and kept
together."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from helpers import runs
from helpers.zones import ZONES, in_zone

from streamfx.demo.run import show
from streamfx.pipeline import load_config

REPO = Path(__file__).parents[2]
BEFORE = Path(__file__).parent / "data" / "before"
CLIP = BEFORE / "story.mp4"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAGE = (REPO / "docs" / "querying.md").read_text()
SECTION = PAGE[PAGE.index("## Datasets that an older version began") :]
VIEWS = "".join(re.findall(r"```sql\n(.*?)```", SECTION, flags=re.DOTALL))
(SNIPPET,) = re.findall(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)
NEW_NAMES = {"confidence": "expression_confidence", "model_version": "expression_model_version"}

WITH = "expression-small"
"""The model that scored the older rows."""


def write_config(folder: Path) -> Path:
    """The configuration that began the dataset, for its copy in `folder`."""
    shutil.copy(BEFORE / "key", folder / "key")
    os.chmod(folder / "key", 0o600)
    values = runs.tree(folder, [CLIP], sink={"path": str(folder / "dataset")}, expression={"model": WITH})
    values["source"]["files"]["start"] = f"{START:%Y-%m-%dT%H:%M:%SZ}"
    return runs.write_config(folder, values)


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dataset that the version before began and this one finished (`dataset`, `config.yaml`, `key`)."""
    folder = tmp_path_factory.mktemp("older")
    shutil.copytree(BEFORE / "dataset", folder / "dataset")
    done = runs.streamfx("run", write_config(folder))
    assert done.returncode == 0, done.stderr
    assert "the open windows of 1 streams are closed" in done.stderr
    return folder


@pytest.fixture
def copy(continued: Path, tmp_path: Path) -> Path:
    """A copy of that folder which a test may change."""
    shutil.copytree(continued / "dataset", tmp_path / "dataset")
    write_config(tmp_path)
    return tmp_path


def entries(dataset: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((dataset / "_commits").rglob("*.json"))]


def is_old(path: Path) -> bool:
    """Whether the version before wrote this file: its times have no zone."""
    schema = pyarrow.parquet.read_schema(path)
    times = [field.type for field in schema if pa.types.is_timestamp(field.type)]
    assert len(set(times)) == 1
    assert times[0] in (pa.timestamp("us"), pa.timestamp("us", "UTC"))
    return times[0].tz is None


def rows_of(dataset: Path, table: str) -> list[dict[str, Any]]:
    """All rows under the new names, times as instants, read file by file."""
    found = []
    for path in sorted((dataset / table).rglob("*.parquet")):
        old = is_old(path)
        for row in pyarrow.parquet.ParquetFile(path).read().to_pylist():
            if old:
                row = {NEW_NAMES.get(name, name): value for name, value in row.items() if name != "model"}
                row = {k: v.replace(tzinfo=UTC) if isinstance(v, datetime) else v for k, v in row.items()}
            found.append(row)
    key = {"windows": ("track_id", "window_start"), "chunks": ("offset",)}[table]
    return sorted(found, key=lambda row: [row[name] for name in key])


def test_it_goes_on_under_a_config_entry(continued: Path) -> None:
    dataset = continued / "dataset"
    log = entries(dataset)
    assert [entry["kind"] for entry in log] == ["data", "data", "config", "data"]
    assert [entry["schema_version"] for entry in log] == [1, 1, 2, 2]
    old, new = log[1]["config_id"], log[2]["config_id"]
    assert old != new == log[3]["config_id"]
    assert log[2]["details"] == {"streams_with_windows_closed": 1}
    runs.verified(dataset)
    assert [row["offset"] for row in rows_of(dataset, "chunks")] == list(range(12))
    windows = rows_of(dataset, "windows")
    assert {row["config_id"] for row in windows} == {old, new}
    assert all(row["expression_model_version"].startswith("sha256-") for row in windows)
    assert all(0 < row["expression_confidence"] <= 1 for row in windows)
    assert set(windows[0]) == set(windows[-1])


def test_the_same_command_finds_it_finished(copy: Path) -> None:
    done = runs.streamfx("run", copy / "config.yaml")
    assert done.returncode == 0 and "already done" in done.stderr
    assert [entry["kind"] for entry in entries(copy / "dataset")] == ["data", "data", "config", "data"]


ASK = """
import json, sys, duckdb
from datetime import UTC, datetime
def plain(value):
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
duckdb.execute(sys.stdin.read())
for table in ("windows", "chunks"):
    rows = duckdb.sql(f"select * exclude (date) from {table}")
    print(json.dumps([dict(zip(rows.columns, row)) for row in rows.fetchall()], default=plain))
print(duckdb.sql("select count(*) from windows where window_start >= timestamptz '2026-01-01 12:00:15Z'").fetchall())
"""


def as_text(rows: list[dict[str, Any]]) -> list[str]:
    plain = [
        {k: v.astimezone(UTC).isoformat() if isinstance(v, datetime) else v for k, v in row.items()} for row in rows
    ]
    return sorted(json.dumps(row, sort_keys=True) for row in plain)


@pytest.mark.parametrize("zone", ZONES)
def test_the_documented_views_show_both_right_in_every_zone(continued: Path, zone: str) -> None:
    dataset = continued / "dataset"
    printed = in_zone(zone, ASK, VIEWS.replace("out/demo/dataset", str(dataset))).splitlines()
    for table, line in zip(("windows", "chunks"), printed, strict=False):
        assert sorted(json.dumps(row, sort_keys=True) for row in json.loads(line)) == as_text(rows_of(dataset, table))
    late = [row for row in rows_of(dataset, "windows") if row["window_start"] >= START + timedelta(seconds=15)]
    assert printed[-1] == f"[({len(late)},)]"


@pytest.mark.parametrize("zone", ZONES)
def test_the_documented_dataframe_holds_both(continued: Path, zone: str) -> None:
    dataset = continued / "dataset"
    code = SNIPPET.replace("out/demo/dataset", str(dataset))
    code += "print(windows.drop(columns='date', errors='ignore').to_json(orient='records', date_unit='us'))"
    found = json.loads(in_zone(zone, code))
    wanted = rows_of(dataset, "windows")
    assert set(found[0]) == set(wanted[0])
    assert sorted((row["track_id"], row["window_start"], row["config_id"]) for row in found) == sorted(
        (row["track_id"], round(row["window_start"].timestamp() * 1e6), row["config_id"]) for row in wanted
    )


def same_rows(one: Path, other: Path, keep: Callable[[dict[str, Any]], bool] = lambda row: True) -> bool:
    return as_text(rows_of(one, "windows")) == as_text([row for row in rows_of(other, "windows") if keep(row)])


def test_compacting_never_puts_old_and_new_rows_into_one_file(continued: Path, copy: Path) -> None:
    done = runs.streamfx("compact", copy / "dataset")
    assert done.returncode == 0, done.stderr
    for table in ("windows", "chunks"):
        files = sorted((copy / "dataset" / table).rglob("*.parquet"))
        assert sorted(is_old(path) for path in files) == [False, True]
    assert same_rows(copy / "dataset", continued / "dataset")
    runs.verified(copy / "dataset")


def test_erasing_takes_rows_out_of_old_and_new_files(continued: Path, copy: Path) -> None:
    begin, end = START + timedelta(seconds=17), START + timedelta(seconds=23)
    asked = ("erase", copy / "config.yaml", "--stream", "story", "--from", begin.isoformat(), "--to", end.isoformat())
    tried = runs.streamfx(*asked, "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert same_rows(copy / "dataset", continued / "dataset")
    done = runs.streamfx(*asked)
    assert done.returncode == 0, done.stderr
    assert same_rows(copy / "dataset", continued / "dataset", lambda row: not begin <= row["window_start"] < end)
    gone = [row["offset"] for row in rows_of(copy / "dataset", "chunks") if row["reason"] == "erased"]
    assert gone == [9, 10, 11], "of which the version before read the first"
    assert any(is_old(path) for path in (copy / "dataset" / "chunks").rglob("*.parquet"))
    runs.verified(copy / "dataset")


def test_old_and_new_rows_past_their_time_go(copy: Path) -> None:
    done = runs.streamfx("retain", copy / "dataset", "--older-than", "1d", "--yes")
    assert done.returncode == 0, done.stderr
    assert rows_of(copy / "dataset", "windows") == []
    assert {row["reason"] for row in rows_of(copy / "dataset", "chunks")} == {"erased"}
    runs.verified(copy / "dataset")


def test_old_and_new_files_are_listed(continued: Path) -> None:
    done = runs.streamfx("files", continued / "dataset")
    there = [path for table in ("windows", "chunks") for path in (continued / "dataset" / table).rglob("*.parquet")]
    assert sorted(done.stdout.split()) == sorted(map(str, there))


def test_a_streams_pseudonym_is_the_same_in_old_and_new_rows(copy: Path) -> None:
    asked = ("--stream", "story", "--from", "2026-01-01", "--to", "2026-01-02", "--why", "a test", "--format", "json")
    done = runs.streamfx("pseudonym", copy / "config.yaml", *asked)
    assert done.returncode == 0, done.stderr
    names = {row["stream_id"] for table in ("windows", "chunks") for row in rows_of(copy / "dataset", table)}
    assert len(names) == 1 and names.pop() in done.stdout


def test_the_demo_shows_a_dataset_that_it_began_with_the_version_before(
    continued: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(load_config(continued / "config.yaml"), [], tmp_path / "scores.png")
    printed = capsys.readouterr().out
    assert "model expression-small, version sha256-" in printed
    assert (tmp_path / "scores.png").exists()
