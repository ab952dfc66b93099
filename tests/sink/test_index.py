"""The index beside the log: it only saves time, and losing or damaging it changes nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamfx.errors import SinkError
from streamfx.records import Partition
from streamfx.sink import protocol
from streamfx.sink.current_files import shown_files
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.log import Entry, PartitionLog
from streamfx.sink.maintain import compact

YEAR = 500_000
PARTITION = Partition("calls", "T0p1cId", 0)


class LongLog(LocalFileSystem):
    """A log of `length` entries that are created on demand. It counts the requests."""

    def __init__(self, root: Path, length: int, missing: frozenset[int] = frozenset()):
        super().__init__(root)
        self.length = length
        self.missing = missing
        self.calls: Counter[str] = Counter()

    def _n(self, path: str) -> int | None:
        name = path.rpartition("/")[2]
        return int(name[:20]) if path.startswith("_commits/") and name.endswith(".json") else None

    def exists(self, path: str) -> bool:
        self.calls["exists"] += 1
        n = self._n(path)
        return n is not None and n < self.length and n not in self.missing

    def read(self, path: str) -> bytes:
        self.calls["read"] += 1
        n = self._n(path)
        if n is None:
            return super().read(path)
        return Entry("data", n, "a", n, n + 1, 1, (), {}, None, "c1", 1, 1, {}, "").to_json(path)

    def listdir(self, path: str) -> list[str]:
        raise AssertionError(f"{path} was listed")


def newest(fs: LongLog) -> int | None:
    last = PartitionLog(fs, PARTITION).last()
    return None if last is None else last.n


def write_hint(root: Path, text: str) -> None:
    path = root / PartitionLog(LocalFileSystem(root), PARTITION).hint_path
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 63, 64, 65, 1000, YEAR])
def test_the_end_of_a_log_is_found_without_an_index(tmp_path: Path, length: int) -> None:
    assert newest(LongLog(tmp_path, length)) == (length - 1 if length else None)


@pytest.mark.parametrize(
    "hint", ["0", "1", "499936", "499999", "250000", "", "12x", "-5", "500000", "9" * 18, "9" * 300]
)
def test_the_end_is_the_same_whatever_the_index_contains(tmp_path: Path, hint: str) -> None:
    write_hint(tmp_path, hint)
    assert newest(LongLog(tmp_path, YEAR)) == YEAR - 1


@pytest.mark.parametrize(("hint", "looks"), [(str(YEAR - 64), 30), (str(YEAR - 10_000), 45), (None, 60)])
def test_a_start_after_a_year_reads_two_files_and_checks_a_few_names(
    tmp_path: Path, hint: str | None, looks: int
) -> None:
    if hint is not None:
        write_hint(tmp_path, hint)
    fs = LongLog(tmp_path, YEAR)
    assert newest(fs) == YEAR - 1
    assert fs.calls["read"] <= 2
    assert fs.calls["exists"] <= looks


@pytest.mark.parametrize(("hint", "length", "missing"), [(0, 2, 0), (0, 9, 1), (0, 9, 2), (62, 65, 63), (62, 500, 63)])
def test_a_hole_that_hides_the_end_is_refused_with_the_missing_name(
    tmp_path: Path, hint: int, length: int, missing: int
) -> None:
    write_hint(tmp_path, str(hint))
    with pytest.raises(SinkError, match=f"{missing:020d}.json is missing though later entries exist"):
        newest(LongLog(tmp_path, length, frozenset({missing})))


def test_entries_committed_during_the_search_are_not_a_hole(tmp_path: Path) -> None:
    class Growing(LongLog):
        def exists(self, path: str) -> bool:
            there = super().exists(path)
            self.length = min(40, self.length + 1)
            return there

    for length in range(1, 20):
        found = newest(Growing(tmp_path, length))
        assert found is not None and length - 1 <= found <= 39


def test_a_writer_stores_the_end_of_the_log_now_and_then(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "NOTE_EVERY", 3)
    writer = open_dataset().partition(partition)
    for offset in range(5):
        writer.commit(rows.batch(offset, offset + 1))
    (hint,) = (tmp_path / "out/_index").rglob("newest")
    assert hint.read_text() == "3"
    hint.unlink()
    open_dataset().partition(partition).recover()
    assert hint.read_text() == "4"


@pytest.mark.parametrize("name", ["newest", "live.json"])
def test_an_unusable_index_stops_no_writer(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(protocol, "NOTE_EVERY", 1)
    place, fs = str(tmp_path / "out"), LocalFileSystem(tmp_path / "out")
    (tmp_path / "out" / PartitionLog(fs, partition).index_dir / name).mkdir(parents=True)
    writer = open_dataset().partition(partition)
    for offset in range(3):
        writer.commit(rows.batch(offset, offset + 1))
    assert open_dataset().partition(partition).recover().end == 3
    assert compact(fs, place).after == 2
    assert len(shown_files(fs, place)) == 2


def test_names_that_a_mount_or_file_manager_creates_are_ignored(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path
) -> None:
    place, fs = str(tmp_path / "out"), LocalFileSystem(tmp_path / "out")
    open_dataset().partition(partition).commit(rows.batch(0, 1))
    shown = shown_files(fs, place)
    (tmp_path / "out/_commits/.DS_Store").touch()
    (topic,) = (tmp_path / "out/_commits").glob("*@*")
    (topic / "lost+found").mkdir()
    (topic / ".nfs0001").touch()
    assert shown_files(fs, place) == shown


def torn(text: str) -> str:
    return text[: len(text) // 2]


def of_another_log(text: str) -> str:
    return json.dumps({**json.loads(text), "attempt": "0" * 16})


def with_a_file_less(text: str) -> str:
    index = json.loads(text)
    return json.dumps({**index, "files": index["files"][1:]})


def from_the_future(text: str) -> str:
    return json.dumps({**json.loads(text), "n": 10**6})


@pytest.mark.parametrize("damage", [torn, of_another_log, with_a_file_less, from_the_future, lambda text: "", None])
def test_the_live_files_are_the_same_without_an_index_or_with_a_damaged_one(
    open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path, damage: Callable[[str], str] | None
) -> None:
    place, fs = str(tmp_path / "out"), LocalFileSystem(tmp_path / "out")
    writer = open_dataset().partition(partition)
    for start in (0, 2, 4):
        writer.commit(rows.batch(start, start + 2))
    compact(fs, place)
    head = writer.recover()
    writer.commit(rows.batch(head.end, 8))
    (index,) = (tmp_path / "out/_index").rglob("live.json")
    shown = shown_files(fs, place)
    assert len(shown) == 4
    if damage is None:
        index.unlink()
    else:
        index.write_text(damage(index.read_text()))
    assert shown_files(fs, place) == shown


def test_the_index_is_used(open_dataset: Any, partition: Partition, rows: Any, tmp_path: Path) -> None:
    class Reading(LocalFileSystem):
        entries = 0

        def read(self, path: str) -> bytes:
            self.entries += path.startswith("_commits/")
            return super().read(path)

    writer = open_dataset().partition(partition)
    for offset in range(10):
        writer.commit(rows.batch(offset, offset + 1))
    fs = Reading(tmp_path / "out")
    shown_files(fs, str(tmp_path / "out"))
    without, fs.entries = fs.entries, 0
    compact(LocalFileSystem(tmp_path / "out"), str(tmp_path / "out"))
    shown_files(fs, str(tmp_path / "out"))
    assert (without, fs.entries) == (10, 2)
