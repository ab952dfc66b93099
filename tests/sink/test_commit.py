"""The commit protocol on a real disk: commit, publish, lose, follow, repeat, sweep, and the checks of each batch."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from streamfx.errors import CommitLost, DatasetMismatch, PrivacyRefusal, SinkError
from streamfx.records import Partition
from streamfx.sink.commit import Batch
from streamfx.sink.fs import LocalFileSystem


class FailingFs(LocalFileSystem):
    """A disk on which one kind of call fails once, before or after it was carried out."""

    def __init__(self, root: Path):
        super().__init__(root)
        self.fail: tuple[str, str, int, bool] | None = None
        self.written: list[str] = []

    def _strike(self, call: str, path: str, after: bool) -> None:
        if self.fail and self.fail[0] == call and self.fail[1] in path and self.fail[3] == after:
            code, self.fail = self.fail[2], None
            raise OSError(code, "injected", path)

    def write_new(self, path: str, data: bytes) -> None:
        self._strike("write_new", path, False)
        super().write_new(path, data)
        self.written.append(path)

    def link(self, source: str, target: str) -> None:
        self._strike("link", target, False)
        super().link(source, target)
        self._strike("link", target, True)

    def sync_dir(self, path: str) -> None:
        self._strike("sync_dir", path, False)
        super().sync_dir(path)


def files(root: Path, *folders: str) -> list[str]:
    return sorted(str(p.relative_to(root)) for folder in folders for p in (root / folder).rglob("*") if p.is_file())


def shown(root: Path) -> list[int]:
    """The offsets that a reader's glob finds in `chunks`, in order, including duplicates."""
    found = (root / "chunks").rglob("*.parquet")
    return sorted(o for p in found for o in pyarrow.parquet.ParquetFile(p).read(["offset"])["offset"].to_pylist())


def staged(root: Path, name: str = "*") -> list[Path]:
    return [p for p in (root / "_staging").rglob(name) if p.is_file()]


def test_a_new_log_is_empty_and_takes_any_first_offset(open_dataset: Any, partition: Partition, rows: Any) -> None:
    writer = open_dataset().partition(partition)
    head = writer.recover()
    assert (head.n_next, head.end, head.snapshot, head.kind) == (0, None, {}, None)
    assert writer.commit(rows.batch(40, 43)).end == 43


def test_a_commit_returns_the_head_that_a_restart_finds(open_dataset: Any, partition: Partition, rows: Any) -> None:
    writer = open_dataset().partition(partition)
    writer.commit(rows.batch(0, 3))
    head = writer.commit(rows.batch(3, 5, snapshot={"tracks": [1, 2]}))
    assert open_dataset().partition(partition).recover() == head
    assert (head.n_next, head.end, head.kind, head.config_id, head.partition_count) == (2, 5, "data", "c1", 1)
    assert head.snapshot == {"tracks": [1, 2]}
    assert head.last_record == {"offset": 4, "timestamp_ms": 1, "sha256": "00"}


def test_the_entry_has_the_specified_fields(open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path) -> None:
    open_dataset().partition(partition).commit(rows.batch(0, 2, details={"windows_closed": 2}))
    (path,) = (tmp_path / "out" / "_commits").rglob("*.json")
    assert path.relative_to(tmp_path / "out/_commits") == Path("calls@T0p1cId/0/00000000000000000000.json")
    entry = json.loads(path.read_text())
    assert list(entry) == [
        "kind", "n", "attempt", "start", "end", "records", "files", "snapshot", "last_record", "config_id",
        "partition_count", "schema_version", "details", "written_at", "erased_by", "sha256",
    ]  # fmt: skip
    assert (entry["kind"], entry["n"], entry["start"], entry["end"], entry["records"]) == ("data", 0, 0, 2, 2)
    assert [set(f) for f in entry["files"]] == [{"table", "staged", "final", "rows", "bytes", "sha256"}] * 2
    assert {f["final"] for f in entry["files"]} == set(files(tmp_path / "out", "windows", "chunks"))
    assert not staged(tmp_path / "out")


def test_files_are_in_the_folder_of_their_event_times_day(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    day = 1_700_006_400_000_000  # 2023-11-15 00:00 UTC
    made = [rows.window(0, day - 1), rows.window(1, day), rows.chunk(0), rows.chunk(1, readable=False)]
    open_dataset().partition(partition).commit(rows.batch(0, 2, rows=made))
    folders = [str(Path(f).parent) for f in files(tmp_path / "out", "windows", "chunks")]
    assert folders == ["chunks/date=2023-11-14", "windows/date=2023-11-14", "windows/date=2023-11-15"]


def test_an_empty_range_may_follow_and_keeps_the_last_record(
    open_dataset: Any, partition: Partition, rows: Any
) -> None:
    writer = open_dataset().partition(partition)
    before = writer.commit(rows.batch(0, 2))
    after = writer.commit(rows.batch(2, 2, snapshot={"idle": True}))
    assert (after.n_next, after.end, after.snapshot) == (2, 2, {"idle": True})
    assert after.last_record == before.last_record


def test_records_removed_by_retention_become_a_gap_entry(open_dataset: Any, partition: Partition, rows: Any) -> None:
    writer = open_dataset().partition(partition)
    writer.commit(rows.batch(0, 2))
    gap = rows.batch(2, 900, kind="gap", rows=[], records=0, details={"reason": "retention", "lost": 898})
    head = writer.commit(gap)
    assert (head.kind, head.end, head.last_record["offset"]) == ("gap", 900, 899)


def test_of_two_writers_the_second_loses_and_follows(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    first, second = open_dataset().partition(partition), open_dataset().partition(partition)
    first.recover()
    second.recover()
    won = first.commit(rows.batch(0, 3))
    with pytest.raises(CommitLost) as lost:
        second.commit(rows.batch(0, 5))
    assert lost.value.head == won
    assert not staged(tmp_path / "out")
    second.commit(rows.batch(3, 5))
    assert shown(tmp_path / "out") == [0, 1, 2, 3, 4]


def test_a_writer_that_was_suspended_for_many_entries_follows_the_newest(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    zombie, worker = open_dataset().partition(partition), open_dataset().partition(partition)
    zombie.recover()
    for offset in range(4):
        head = worker.commit(rows.batch(offset, offset + 1))
    with pytest.raises(CommitLost) as lost:
        zombie.commit(rows.batch(0, 4))
    assert lost.value.head == head
    assert shown(tmp_path / "out") == [0, 1, 2, 3]


def test_the_loser_publishes_the_winners_entry_if_the_winner_could_not(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    disk = FailingFs(tmp_path / "out")
    winner, loser = open_dataset(fs=disk).partition(partition), open_dataset().partition(partition)
    winner.recover()
    loser.recover()
    disk.fail = ("link", "windows/", errno.EIO, False)
    with pytest.raises(SinkError, match="injected"):
        winner.commit(rows.batch(0, 3))
    assert shown(tmp_path / "out") == []
    with pytest.raises(CommitLost):
        loser.commit(rows.batch(0, 2))
    assert shown(tmp_path / "out") == [0, 1, 2]
    assert not staged(tmp_path / "out")


@pytest.mark.parametrize(
    "fail",
    [
        ("write_new", "windows", errno.ENOSPC, False),
        ("write_new", ".json", errno.ENOSPC, False),
        ("sync_dir", "_staging", errno.EIO, False),
        ("link", "_commits", errno.ENOSPC, False),
        ("link", "_commits", errno.ETIMEDOUT, True),
        ("sync_dir", "_commits", errno.EIO, False),
        ("link", "windows", errno.EIO, False),
        ("link", "chunks", errno.ENOSPC, True),
        ("sync_dir", "chunks/date=", errno.EIO, False),
    ],
)
def test_after_any_error_the_same_commit_may_be_repeated(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path, fail: tuple[str, str, int, bool]
) -> None:
    disk = FailingFs(tmp_path / "out")
    writer = open_dataset(fs=disk).partition(partition)
    writer.commit(rows.batch(0, 2))
    batch = rows.batch(2, 4)
    disk.fail = fail
    with pytest.raises(SinkError, match="calls partition 0: cannot commit entry 1: injected"):
        writer.commit(batch)
    assert writer.commit(batch).n_next == 2
    assert shown(tmp_path / "out") == [0, 1, 2, 3]
    assert not staged(tmp_path / "out")


def test_a_failed_stage_frees_the_space(open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path) -> None:
    disk = FailingFs(tmp_path / "out")
    writer = open_dataset(fs=disk).partition(partition)
    writer.recover()
    disk.fail = ("write_new", "windows", errno.ENOSPC, False)
    with pytest.raises(SinkError, match="free some space, then repeat"):
        writer.commit(rows.batch(0, 2))
    assert not staged(tmp_path / "out")


def test_repeating_after_a_lost_reply_stages_nothing_again(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    disk = FailingFs(tmp_path / "out")
    writer = open_dataset(fs=disk).partition(partition)
    batch = rows.batch(0, 2)
    disk.fail = ("link", "_commits", errno.ETIMEDOUT, True)
    with pytest.raises(SinkError):
        writer.commit(batch)
    written = list(disk.written)
    writer.commit(batch)
    assert disk.written == written


def test_another_batch_after_a_lost_reply_loses_to_the_first(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    disk = FailingFs(tmp_path / "out")
    writer = open_dataset(fs=disk).partition(partition)
    disk.fail = ("link", "_commits", errno.ETIMEDOUT, True)
    with pytest.raises(SinkError):
        writer.commit(rows.batch(0, 2))
    with pytest.raises(CommitLost) as lost:
        writer.commit(rows.batch(0, 5))
    assert lost.value.head.end == 2
    assert shown(tmp_path / "out") == [0, 1]


def unsealed(path: Path) -> dict[str, Any]:
    """An entry's fields without its checksum, as earlier versions wrote them, so that they may be changed."""
    values: dict[str, Any] = json.loads(path.read_text())
    del values["sha256"]
    return values


def plant(root: Path, n: int, attempt: str = "0123456789abcdef") -> Path:
    """A staged file that an attempt at entry `n` left behind."""
    path = root / "_staging/calls@T0p1cId/0" / f"{n:020d}-{attempt}-chunks-2023-11-14.parquet"
    path.write_bytes(b"left")
    return path


def test_only_files_that_an_existing_entry_does_not_name_are_garbage(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    writer = open_dataset().partition(partition)
    writer.commit(rows.batch(0, 2))
    entry = json.loads(next((root / "_commits").rglob("*.json")).read_text())
    named = root / entry["files"][0]["staged"]
    named.write_bytes(b"back after a power loss")
    past, coming = plant(root, 0), plant(root, 1)
    assert writer.collect_garbage() == 1
    assert (past.exists(), named.exists(), coming.exists()) == (False, True, True)
    writer.commit(rows.batch(2, 3))
    assert writer.collect_garbage() == 2
    assert (named.exists(), coming.exists()) == (False, False)


def test_a_restart_removes_the_files_of_dead_writers(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    writer = open_dataset().partition(partition)
    writer.commit(rows.batch(0, 2))
    left = plant(tmp_path / "out", 0)
    open_dataset().partition(partition).recover()
    assert not left.exists()


def test_a_log_with_a_hole_or_a_torn_entry_is_refused(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    writer = open_dataset().partition(partition)
    for offset in range(3):
        writer.commit(rows.batch(offset, offset + 1))
    _, second, third = sorted((tmp_path / "out/_commits").rglob("*.json"))
    third.write_bytes(third.read_bytes()[:50])
    with pytest.raises(SinkError, match=r"00000000000000000002\.json is not a whole log entry"):
        open_dataset().partition(partition).recover()
    second.unlink()
    with pytest.raises(SinkError, match=r"00000000000000000001\.json is missing"):
        open_dataset().partition(partition).recover()


@pytest.mark.parametrize("damage", [{"n": 1}, {"end": "2"}, {"files": [None]}, {"attempt": None}, {"details": 5}])
def test_an_entry_that_is_json_but_not_an_entry_is_refused(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path, damage: dict[str, Any]
) -> None:
    """If it were accepted, a writer would lose the same number forever, or end with a traceback."""
    open_dataset().partition(partition).commit(rows.batch(0, 2))
    (path,) = (tmp_path / "out/_commits").rglob("*.json")
    path.write_text(json.dumps({**unsealed(path), "kind": "replace", **damage}))
    with pytest.raises(SinkError, match="restore it from a backup"):
        open_dataset().partition(partition).recover()


@pytest.mark.parametrize("kind", ["erase", "replace"])
def test_erase_and_replace_entries_are_followed(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path, kind: str
) -> None:
    open_dataset().partition(partition).commit(rows.batch(0, 2))
    (path,) = (tmp_path / "out/_commits").rglob("*.json")
    entry = {**unsealed(path), "kind": kind, "n": 1, "start": 2, "records": 0, "files": []}
    path.with_name(f"{1:020d}.json").write_text(json.dumps(entry))
    head = open_dataset().partition(partition).recover()
    assert (head.n_next, head.kind, head.end, head.snapshot) == (2, kind, 2, {"at": 2})


def test_an_entry_of_an_unknown_kind_is_refused(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    open_dataset().partition(partition).commit(rows.batch(0, 2))
    (path,) = (tmp_path / "out/_commits").rglob("*.json")
    path.write_text(json.dumps({**unsealed(path), "kind": "merge"}))
    with pytest.raises(SinkError, match="kind 'merge', unknown to this version"):
        open_dataset().partition(partition).recover()


@pytest.mark.parametrize(("start", "end"), [(1, 3), (3, 4), (2, 1)])
def test_a_range_must_start_where_the_log_ends(
    open_dataset: Any, partition: Partition, rows: Any, start: int, end: int
) -> None:
    writer = open_dataset().partition(partition)
    writer.commit(rows.batch(0, 2))
    with pytest.raises(SinkError, match=r"expected a range that starts at 2, got \["):
        writer.commit(rows.batch(start, end))


@pytest.mark.parametrize("fates", [[0], [0, 1, 2], [0, 0], [0, 7]])
def test_a_batch_needs_one_fate_for_each_record(
    open_dataset: Any, partition: Partition, rows: Any, fates: list[int]
) -> None:
    writer = open_dataset().partition(partition)
    with pytest.raises(SinkError, match="one chunks row for each of 2 records"):
        writer.commit(rows.batch(0, 2, rows=[rows.chunk(o) for o in fates]))


def test_only_public_rows_of_this_partition_are_accepted(open_dataset: Any, partition: Partition, rows: Any) -> None:
    writer = open_dataset().partition(partition)
    row = rows.chunk(0)

    class Lookalike:
        table, values = row.table, row.values

    with pytest.raises(PrivacyRefusal, match="Lookalike"):
        writer.commit(rows.batch(0, 1, rows=[Lookalike()]))
    stranger = rows.chunk(0, partition=Partition("calls", "T0p1cId", 5))
    with pytest.raises(SinkError, match="belongs to another partition"):
        writer.commit(rows.batch(0, 1, rows=[stranger]))


def test_a_snapshot_must_be_plain_json_and_leaves_nothing_behind(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    writer = open_dataset().partition(partition)
    for snapshot in ({"pixels": b"no"}, {"score": float("nan")}):
        with pytest.raises(SinkError, match="plain JSON"):
            writer.commit(rows.batch(0, 1, snapshot=snapshot))
    assert not staged(tmp_path / "out")


@pytest.fixture
def config_batch(make_rows: Callable[..., Any]) -> Callable[[str, int], Batch]:
    """The entry that introduces another configuration."""
    return lambda config_id, at: make_rows(config_id).batch(
        at, at, kind="config", snapshot={}, details={"windows_closed": 0}
    )


def test_another_configuration_needs_a_config_entry(
    open_dataset: Any, partition: Partition, rows: Any, make_rows: Any, config_batch: Any
) -> None:
    open_dataset().partition(partition).commit(rows.batch(0, 2))
    newer = open_dataset(config_id="c2").partition(partition)
    assert newer.recover().config_id == "c1"
    with pytest.raises(SinkError, match="a `config` entry must close the open windows first"):
        newer.commit(make_rows("c2").batch(2, 3))
    assert newer.commit(config_batch("c2", 2)).config_id == "c2"
    assert newer.commit(make_rows("c2").batch(2, 3)).end == 3


def test_a_writer_of_the_older_configuration_stops(
    open_dataset: Any, partition: Partition, rows: Any, config_batch: Any
) -> None:
    older = open_dataset().partition(partition)
    older.commit(rows.batch(0, 2))
    open_dataset(config_id="c2").partition(partition).commit(config_batch("c2", 2))
    with pytest.raises(DatasetMismatch, match="A newer run has taken over"):
        older.commit(rows.batch(2, 3))
    with pytest.raises(DatasetMismatch):
        older.recover()


def test_another_partition_count_needs_a_config_entry(
    open_dataset: Any, partition: Partition, rows: Any, config_batch: Any
) -> None:
    older = open_dataset().partition(partition)
    older.commit(rows.batch(0, 2))
    grown = open_dataset(partitions={"calls": 4}).partition(partition)
    with pytest.raises(SinkError, match="`config` entry"):
        grown.commit(rows.batch(2, 3))
    assert grown.commit(config_batch("c1", 2)).partition_count == 4
    with pytest.raises(CommitLost) as lost:
        older.commit(rows.batch(2, 3))
    assert (lost.value.head.kind, lost.value.head.partition_count) == ("config", 4)
    assert older.commit(rows.batch(2, 3)).partition_count == 4


def test_a_writer_with_a_smaller_partition_count_uses_that_of_the_log(
    open_dataset: Any, partition: Partition, rows: Any, make_rows: Any, config_batch: Any
) -> None:
    open_dataset(partitions={"calls": 4}).partition(partition).commit(rows.batch(0, 2))
    stale = open_dataset().partition(partition)
    assert stale.recover().terms == stale.terms == ("c1", 4)
    assert stale.commit(rows.batch(2, 3)).partition_count == 4
    newer = open_dataset(config_id="c2").partition(partition)
    assert newer.commit(config_batch("c2", 3)).partition_count == 4


def test_a_config_entry_that_loses_to_an_older_writer_is_tried_again(
    open_dataset: Any, partition: Partition, rows: Any, config_batch: Any
) -> None:
    older, newer = open_dataset().partition(partition), open_dataset(config_id="c2").partition(partition)
    older.commit(rows.batch(0, 2))
    newer.recover()
    older.commit(rows.batch(2, 3))
    with pytest.raises(CommitLost) as lost:
        newer.commit(config_batch("c2", 2))
    assert newer.commit(config_batch("c2", lost.value.head.end)).config_id == "c2"
