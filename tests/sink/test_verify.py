"""`verify` finds each kind of damage, reports where it is, and never fails because of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.failing_disk import FailingFs

from streamfx.errors import SinkError
from streamfx.records import Partition
from streamfx.sink.verify import Report, verify


@pytest.fixture
def dataset(open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path) -> Path:
    """Three entries for the offsets 0-2, 3-5 and 6-8, with one window and one chunk row per offset."""
    writer = open_dataset().partition(partition)
    for start in (0, 3, 6):
        writer.commit(rows.batch(start, start + 3))
    return tmp_path / "out"


def ranges(report: Report) -> list[tuple[int, int]]:
    return [(gap["start"], gap["end"]) for gap in report.gaps]


def nth(dataset: Path, table: str, n: int) -> Path:
    """The file of entry n."""
    (path,) = (dataset / table).rglob(f"*-{n:020d}-*.parquet")
    return path


def entry(dataset: Path, n: int) -> Path:
    return dataset / f"_commits/calls@T0p1cId/0/{n:020d}.json"


def unsealed(dataset: Path, n: int) -> dict[str, Any]:
    """An entry's fields without its checksum, as earlier versions wrote them, so that they may be changed."""
    values: dict[str, Any] = json.loads(entry(dataset, n).read_text())
    del values["sha256"]
    return values


def test_an_intact_dataset_has_no_findings(dataset: Path) -> None:
    report = verify(dataset)
    assert report.ok
    assert json.loads(report.as_json()) == {
        "offsets": [
            {"topic": "calls", "topic_id": "T0p1cId", "partition": 0, "start": 0, "end": 9, "records": 9, "entries": 3}
        ],
        "rows": {"windows": 9, "chunks": 9},
        "gaps": [],
        "duplicates": [],
        "orphans": [],
    }


def test_an_empty_dataset_is_intact_and_another_folder_is_refused(open_dataset: Any, tmp_path: Path) -> None:
    open_dataset()
    assert verify(tmp_path / "out").ok
    with pytest.raises(SinkError, match="is not a streamfx dataset"):
        verify(tmp_path)


@pytest.mark.parametrize("table", ["windows", "chunks"])
def test_a_missing_file_is_a_gap(dataset: Path, table: str) -> None:
    nth(dataset, table, 1).unlink()
    report = verify(dataset)
    assert ranges(report) == [(3, 6)]
    assert "is gone" in report.gaps[0]["reason"]
    assert (report.duplicates, report.orphans) == ([], [])
    assert report.rows[table] == 6


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_a_gap(dataset: Path, keep: int) -> None:
    path = nth(dataset, "chunks", 2)
    path.write_bytes(path.read_bytes()[:keep])
    report = verify(dataset)
    assert ranges(report) == [(6, 9)]
    assert "does not match its checksum" in report.gaps[0]["reason"]


def test_a_file_that_no_entry_names_is_an_orphan(dataset: Path) -> None:
    stray = dataset / "windows/date=2023-11-14/stray.parquet"
    stray.write_bytes(b"not even Parquet")
    report = verify(dataset)
    assert report.orphans == ["windows/date=2023-11-14/stray.parquet"]
    assert (report.gaps, report.duplicates) == ([], [])


def test_a_copied_file_is_an_orphan_and_its_rows_are_duplicates(dataset: Path) -> None:
    original = nth(dataset, "chunks", 1)
    copy = original.with_name("copy.parquet")
    shutil.copy(original, copy)
    report = verify(dataset)
    both = sorted(str(p.relative_to(dataset)) for p in (original, copy))
    assert report.orphans == [str(copy.relative_to(dataset))]
    assert report.duplicates == [
        {"table": "chunks", "key": {"topic": "calls", "partition": 0, "offset": offset}, "files": both}
        for offset in (3, 4, 5)
    ]
    assert report.gaps == []


def test_a_window_committed_twice_is_a_duplicate(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    writer = open_dataset().partition(partition)
    same = rows.window(0)
    writer.commit(rows.batch(0, 1, rows=[same, rows.chunk(0)]))
    writer.commit(rows.batch(1, 2, rows=[rows.window(1, start_us=same.values["window_start"]), rows.chunk(1)]))
    (found,) = verify(tmp_path / "out").duplicates
    assert found["table"] == "windows"
    assert found["key"] == {
        **{name: same.values[name] for name in ("stream_id", "track_id", "config_id")},
        "window_start": "2023-11-14T22:13:20+00:00",
    }
    assert len(found["files"]) == 2


def test_repeated_rows_within_one_file_are_duplicates(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    open_dataset().partition(partition).commit(rows.batch(0, 1, rows=[rows.window(0), rows.window(0), rows.chunk(0)]))
    (found,) = verify(tmp_path / "out").duplicates
    assert (found["table"], len(found["files"])) == ("windows", 1)


def test_a_missing_entry_is_a_gap_and_its_files_are_orphans(dataset: Path) -> None:
    entry(dataset, 1).unlink()
    report = verify(dataset)
    assert ranges(report) == [(3, 6)]
    assert report.orphans == sorted(str(nth(dataset, t, 1).relative_to(dataset)) for t in ("chunks", "windows"))


def test_a_missing_first_entry_is_a_gap(dataset: Path) -> None:
    entry(dataset, 0).unlink()
    assert ranges(verify(dataset)) == [(0, 3)]


def test_a_missing_last_entry_leaves_orphans(dataset: Path) -> None:
    entry(dataset, 2).unlink()
    report = verify(dataset)
    assert len(report.orphans) == 2
    assert ranges(verify(dataset, {("calls", 0): range(9)})) == [(6, 9)]


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("damage", ["", "{", "[]", '{"start": 3}'])
def test_a_damaged_entry_is_a_gap(dataset: Path, n: int, damage: str) -> None:
    entry(dataset, n).write_text(damage)
    report = verify(dataset)
    assert any("is damaged" in gap["reason"] for gap in report.gaps)
    assert len(report.orphans) == 2


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": ...}, {"n": 7}, {"end": float("inf")}, {"records": "3"}, {"files": [{}]}, {"kind": "erase", "details": None},
        {"kind": "erase", "details": {"replaces": [["x"]]}},
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_that_is_json_but_not_an_entry_is_a_gap(dataset: Path, damage: dict[str, Any]) -> None:
    values = unsealed(dataset, 1) | damage
    entry(dataset, 1).write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))
    report = verify(dataset)
    assert any("is damaged" in gap["reason"] for gap in report.gaps)
    assert len(report.orphans) == 2


@pytest.mark.parametrize("field", ["table", "final", "staged", "sha256", "rows"])
def test_a_file_that_differs_from_its_entry_is_a_gap(dataset: Path, field: str) -> None:
    values = unsealed(dataset, 1)
    values["files"][0][field] = ["x"]
    entry(dataset, 1).write_text(json.dumps(values))
    assert any("is damaged" in gap["reason"] for gap in verify(dataset).gaps)


def test_a_hole_between_ranges_is_a_gap(dataset: Path) -> None:
    values = unsealed(dataset, 1)
    entry(dataset, 1).write_text(json.dumps({**values, "start": 4, "records": 2}))
    assert (3, 4) in ranges(verify(dataset))


def test_a_record_without_a_fate_is_a_gap(dataset: Path) -> None:
    values = unsealed(dataset, 1)
    entry(dataset, 1).write_text(json.dumps({**values, "records": 4}))
    report = verify(dataset)
    assert ranges(report) == [(3, 6)]
    assert report.gaps[0]["reason"] == "3 records have a fate, 4 were read"


def test_readable_records_without_a_commit_are_gaps(dataset: Path) -> None:
    assert verify(dataset, {("calls", 0): range(9)}).ok
    report = verify(dataset, {("calls", 0): [*range(9), 9, 10, 14], ("calls", 1): [5, 6]})
    assert [(g["partition"], g["start"], g["end"]) for g in report.gaps] == [(0, 9, 15), (1, 5, 7)]


def test_records_removed_by_retention_later_are_not_a_gap(dataset: Path) -> None:
    assert verify(dataset, {("calls", 0): range(5, 9)}).ok


def test_a_gap_entry_over_readable_records_is_a_gap(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    writer = open_dataset().partition(partition)
    writer.commit(rows.batch(0, 2))
    writer.commit(rows.batch(2, 50, kind="gap", rows=[], records=0, details={"reason": "retention", "lost": 48}))
    writer.commit(rows.batch(50, 51))
    assert verify(tmp_path / "out").ok
    assert verify(tmp_path / "out", {("calls", 0): [50]}).ok
    assert ranges(verify(tmp_path / "out", {("calls", 0): [40, 41, 50]})) == [(40, 42)]


def test_offsets_without_records_are_not_a_gap(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    made = [rows.chunk(0), rows.chunk(4)]
    open_dataset().partition(partition).commit(rows.batch(0, 5, rows=made, records=2))
    assert verify(tmp_path / "out", {("calls", 0): iter([0, 4])}).ok


def test_an_entry_that_is_not_published_yet_is_not_a_gap(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    dies = FailingFs(tmp_path / "out", ("link", "chunks/", KeyboardInterrupt, False))
    writer = open_dataset(fs=dies).partition(partition)
    with pytest.raises(KeyboardInterrupt):
        writer.commit(rows.batch(0, 3))
    report = verify(tmp_path / "out")
    assert report.ok
    assert report.rows == {"windows": 3, "chunks": 3}


def test_a_replaced_file_is_not_missing_and_the_new_one_is_not_an_orphan(dataset: Path) -> None:
    old = nth(dataset, "chunks", 1)
    new = old.with_name("compacted.parquet")
    old.rename(new)
    values = unsealed(dataset, 1)
    (spec,) = (f for f in values["files"] if f["table"] == "chunks")
    replace = {
        **{**values, "n": 3, "kind": "replace", "start": 9, "end": 9, "records": 0},
        "files": [{**spec, "final": str(new.relative_to(dataset))}],
        "details": {"replaces": [spec["final"]]},
    }
    entry(dataset, 3).write_text(json.dumps(replace))
    report = verify(dataset, {("calls", 0): range(9)})
    assert report.ok
    assert report.rows == {"windows": 9, "chunks": 9}


def test_two_partitions_are_checked_separately(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    dataset = open_dataset(partitions={"calls": 2})
    for number in (0, 1):
        own = Partition(partition.topic, partition.topic_id, number)
        dataset.partition(own).commit(rows.batch(0, 2, rows=[rows.chunk(o, partition=own) for o in (0, 1)]))
    report = verify(tmp_path / "out", {("calls", 0): [0, 1], ("calls", 1): [0, 1, 2]})
    assert [(g["partition"], g["start"], g["end"]) for g in report.gaps] == [(1, 2, 3)]
    assert report.duplicates == []
    assert [(o["partition"], o["records"]) for o in report.offsets] == [(0, 2), (1, 2)]
