"""Compacting and erasing on a real disk: their results, concurrent writers, and crashes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from click.testing import CliRunner
from helpers.failing_disk import FailingFs

from streamfx.cli.main import main
from streamfx.errors import CommitLost, SinkError
from streamfx.records import Partition
from streamfx.sink import maintain
from streamfx.sink.current_files import shown_files
from streamfx.sink.erasure import Rule
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.maintain import compact, forget
from streamfx.sink.verify import verify
from streamfx.testing import TEST_KEY

SECOND = 1_000_000
START_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000


@pytest.fixture
def fs(place: Path) -> LocalFileSystem:
    return LocalFileSystem(place)


@pytest.fixture
def writer(open_dataset: Any, partition: Partition, rows: Any) -> Any:
    """A worker that has committed offsets 0 to 8 in three entries, with one window and one fate each."""
    made = open_dataset().partition(partition)
    for start in (0, 3, 6):
        made.commit(rows.batch(start, start + 3))
    return made


def table(place: Path, name: str, paths: list[str] | None = None) -> list[dict[str, Any]]:
    """All rows of a table by offset, from the files that a glob finds or from `paths`."""
    files = sorted((place / name).rglob("*.parquet")) if paths is None else [place / p for p in paths]
    rows = [row for file in files for row in pyarrow.parquet.ParquetFile(file).read().to_pylist()]
    return sorted(rows, key=lambda row: row["offset"])


def offsets(place: Path, name: str) -> list[int]:
    return [row["offset"] for row in table(place, name)]


def entries(place: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((place / "_commits").rglob("*.json"))]


def between(first: int, end: int, streams: frozenset[str] | None = None) -> Rule:
    """The rule that matches the rows of offsets `[first, end)`."""
    return Rule(streams, START_US + first * SECOND, START_US + end * SECOND)


# -------------------------------------------------------------------------------------------------- compacting


def test_compacting_leaves_one_file_a_day_and_every_row_as_it_was(writer: Any, place: Path, fs: Any) -> None:
    before = {name: table(place, name) for name in ("windows", "chunks")}
    done = compact(fs, str(place))
    assert (done.entries, done.before, done.after, done.rows) == (2, 6, 2, 0)
    for name, rows in before.items():
        assert len(list((place / name).rglob("*.parquet"))) == 1
        assert table(place, name) == rows
    assert verify(place).ok


def test_columns_descriptions_and_provenance_survive_compacting(writer: Any, place: Path, fs: Any) -> None:
    old = pyarrow.parquet.read_schema(next((place / "windows").rglob("*.parquet")))
    compact(fs, str(place))
    new = pyarrow.parquet.read_schema(next((place / "windows").rglob("*.parquet")))
    assert new.remove_metadata().equals(old.remove_metadata())
    kept = (
        "streamfx.columns",
        "streamfx.rows_version",
        "streamfx.purpose",
        "streamfx.config_id",
        "streamfx.schema_version",
    )
    assert all(new.metadata[key.encode()] == old.metadata[key.encode()] for key in kept)
    assert (new.metadata[b"streamfx.start"], new.metadata[b"streamfx.end"]) == (b"0", b"9")


def test_days_and_configurations_are_not_mixed(
    open_dataset: Any, partition: Partition, rows: Any, make_rows: Any, place: Path, fs: Any
) -> None:
    older = open_dataset().partition(partition)
    for offset in (0, 1):
        older.commit(rows.batch(offset, offset + 1))
    newer, new_rows = open_dataset(config_id="c2").partition(partition), make_rows("c2")
    newer.recover()
    newer.commit(new_rows.batch(2, 2, kind="config", snapshot={}))
    for offset in (2, 3):
        day_after = new_rows.window(offset, START_US + DAY_US)
        newer.commit(new_rows.batch(offset, offset + 1, rows=[day_after, new_rows.chunk(offset)]))
    compact(fs, str(place))
    found = Counter(
        (str(p.parent.name), pyarrow.parquet.read_schema(p).metadata[b"streamfx.config_id"])
        for p in (place / "windows").rglob("*.parquet")
    )
    assert found == {("date=2023-11-14", b"c1"): 1, ("date=2023-11-15", b"c2"): 1}
    configs = [
        pyarrow.parquet.read_table(p)["config_id"].unique().to_pylist() for p in (place / "chunks").rglob("*.parquet")
    ]
    assert sorted(configs) == [["c1"], ["c2"]]


def test_compacting_again_does_nothing(writer: Any, place: Path, fs: Any) -> None:
    compact(fs, str(place))
    before = entries(place)
    assert compact(fs, str(place)).entries == 0
    assert entries(place) == before


def test_an_entry_that_replaces_keeps_range_state_and_terms(writer: Any, place: Path, fs: Any) -> None:
    head = writer.recover()
    compact(fs, str(place))
    entry = entries(place)[-1]
    assert (entry["kind"], entry["start"], entry["end"], entry["records"]) == ("replace", 9, 9, 0)
    after = writer.recover()
    assert (after.end, after.snapshot, after.last_record, after.terms) == (
        *(head.end, head.snapshot, head.last_record, head.terms),
    )


def test_a_worker_that_loses_its_number_to_compaction_continues(writer: Any, rows: Any, place: Path, fs: Any) -> None:
    compact(fs, str(place))
    with pytest.raises(CommitLost) as lost:
        writer.commit(rows.batch(9, 12))
    assert (lost.value.head.end, lost.value.head.snapshot) == (9, {"at": 9})
    writer.commit(rows.batch(9, 12))
    assert offsets(place, "chunks") == list(range(12))
    assert verify(place).ok


def test_compaction_that_loses_its_number_to_a_worker_continues(
    writer: Any, rows: Any, place: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, turns = maintain.LogWriter.stage, iter([9, 10])

    def overtaken(self: Any, draft: Any, files: Any) -> Any:
        entry = stage(self, draft, files)
        if draft.kind == "replace" and (offset := next(turns, None)) is not None:
            monkeypatch.setattr(maintain.LogWriter, "stage", stage)
            head = writer.recover()
            writer.commit(rows.batch(head.end, offset + 1))
            monkeypatch.setattr(maintain.LogWriter, "stage", overtaken)
        return entry

    monkeypatch.setattr(maintain.LogWriter, "stage", overtaken)
    done = compact(fs, str(place))
    assert (done.before, done.after) == (6, 2)
    assert offsets(place, "chunks") == offsets(place, "windows") == list(range(11))
    assert verify(place).ok


def test_of_two_concurrent_compactions_one_gives_in(
    writer: Any, place: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = maintain.LogWriter.stage

    def overtaken(self: Any, draft: Any, files: Any) -> Any:
        monkeypatch.setattr(maintain.LogWriter, "stage", stage)
        compact(LocalFileSystem(place), str(place))
        return stage(self, draft, files)

    monkeypatch.setattr(maintain.LogWriter, "stage", overtaken)
    assert compact(fs, str(place)).entries == 0
    assert offsets(place, "chunks") == list(range(9))
    assert verify(place).ok


def test_the_file_list_is_exact_before_during_and_after(
    writer: Any, place: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> None:
        for name in ("windows", "chunks"):
            shown = shown_files(LocalFileSystem(place), str(place), name)
            assert [row["offset"] for row in table(place, name, shown)] == list(range(9))

    class Watched(LocalFileSystem):
        def link(self, source: str, target: str) -> None:
            super().link(source, target)
            check()

        def retire(self, path: str, emptied: Any) -> None:
            super().retire(path, emptied)
            check()

    check()
    compact(Watched(place), str(place))
    check()
    assert len(shown_files(fs, str(place))) == 2


@pytest.mark.parametrize("call", ["link:windows", "link:chunks", "link:_commits", "retire:windows", "retire:chunks"])
def test_the_next_process_finishes_what_a_dead_one_began(writer: Any, rows: Any, place: Path, call: str) -> None:
    kind, where = call.split(":")
    with pytest.raises(KeyboardInterrupt):
        compact(FailingFs(place, (kind, where, KeyboardInterrupt, False)), str(place))
    assert verify(place).ok
    head = writer.recover()
    writer.commit(rows.batch(head.end, 11))
    assert offsets(place, "chunks") == offsets(place, "windows") == list(range(11))
    assert verify(place).ok


def test_a_damaged_file_is_not_merged_away(writer: Any, place: Path, fs: Any) -> None:
    next((place / "chunks").rglob("*.parquet")).write_bytes(b"PAR1")
    with pytest.raises(SinkError, match=r"chunks/.* is gone or damaged; see `streamfx verify`"):
        compact(fs, str(place))


def test_a_dry_run_counts_what_is_merged_then_and_changes_nothing(writer: Any, place: Path, fs: Any) -> None:
    said = CliRunner().invoke(main, ["compact", str(place), "--dry-run"]).output
    assert "would merge 6 files into 2" in said and len(list(place.rglob("*.parquet"))) == 6
    done = compact(fs, str(place))
    assert (done.before, done.after) == (6, 2)
    assert "would merge 0 files into 0" in CliRunner().invoke(main, ["compact", str(place), "--dry-run"]).output


def test_a_dry_run_names_a_damaged_file(writer: Any, place: Path) -> None:
    next((place / "chunks").rglob("*.parquet")).write_bytes(b"PAR1")
    said = CliRunner().invoke(main, ["compact", str(place), "--dry-run"])
    assert said.exit_code == 1 and "is gone or damaged; see `streamfx verify`" in said.output


# ----------------------------------------------------------------------------------------------------- erasing


def test_erased_windows_are_removed_and_erased_chunks_keep_only_their_fate(writer: Any, place: Path, fs: Any) -> None:
    before = table(place, "chunks")
    done = forget(fs, str(place), between(2, 4))
    assert done.rows == 2
    assert offsets(place, "windows") == [0, 1, 4, 5, 6, 7, 8]
    after = table(place, "chunks")
    gone = {"stream_id": None, "seq": None, "chunk_start": None, "chunk_end": None, "reason": "erased"}
    counts = dict.fromkeys(("frames", "faces", "windows"), 0)
    assert after == [{**row, **gone, **counts} if row["offset"] in (2, 3) else row for row in before]
    assert verify(place, {("calls", 0): range(9)}).ok


def test_only_the_named_streams_are_erased(
    open_dataset: Any, partition: Partition, rows: Any, place: Path, fs: Any
) -> None:
    open_dataset().partition(partition).commit(rows.batch(0, 2))
    mine = rows.window(0).values["stream_id"]
    forget(fs, str(place), between(0, 9, frozenset({"0" * 32})))
    assert offsets(place, "windows") == [0, 1]
    forget(fs, str(place), between(1, 9, frozenset({mine})))
    assert offsets(place, "windows") == [0]
    assert [row["stream_id"] for row in table(place, "chunks")] == [mine, None]


def test_later_writers_leave_out_what_was_erased(writer: Any, rows: Any, place: Path, fs: Any) -> None:
    forget(fs, str(place), between(8, 11))
    with pytest.raises(CommitLost):
        writer.commit(rows.batch(9, 12))
    writer.commit(rows.batch(9, 12))
    writer.commit(rows.batch(12, 13, rows=[rows.window(12, START_US + 10 * SECOND), rows.chunk(12)]))
    assert offsets(place, "windows") == [*range(8), 11]
    assert [row["offset"] for row in table(place, "chunks") if row["reason"] == "erased"] == [8, 9, 10]
    assert verify(place, {("calls", 0): range(13)}).ok


def test_a_new_process_also_leaves_out_what_was_erased(
    writer: Any, open_dataset: Any, partition: Partition, rows: Any, place: Path, fs: Any
) -> None:
    forget(fs, str(place), between(8, 11))
    open_dataset().partition(partition).commit(rows.batch(9, 12))
    assert offsets(place, "windows") == [*range(8), 11]


def test_a_rule_that_covers_earlier_ones_replaces_them(writer: Any, place: Path, fs: Any) -> None:
    for first, end in ((0, 1), (4, 5), (0, 5)):
        forget(fs, str(place), between(first, end))
    assert entries(place)[-1]["erased_by"] == [entries(place)[-1]["n"]]
    forget(fs, str(place), between(6, 7))
    assert len(entries(place)[-1]["erased_by"]) == 2


def test_erasing_again_does_nothing(writer: Any, place: Path, fs: Any) -> None:
    forget(fs, str(place), between(2, 4))
    before = entries(place)
    assert forget(fs, str(place), between(2, 4)).entries == 0
    assert entries(place) == before


def test_a_rule_without_matches_still_applies_to_later_writers(writer: Any, rows: Any, place: Path, fs: Any) -> None:
    assert forget(fs, str(place), between(9, 10)).rows == 0
    writer.recover()
    writer.commit(rows.batch(9, 11))
    assert offsets(place, "windows") == [*range(9), 10]


@pytest.mark.parametrize("at", range(1, 7))
def test_files_that_are_merged_while_they_are_read_to_be_erased_are_read_again(
    writer: Any, place: Path, at: int
) -> None:
    class Meanwhile(LocalFileSystem):
        reads = 0

        def read(self, path: str) -> bytes:
            if path.endswith(".parquet"):
                self.reads += 1
                if self.reads == at:
                    compact(LocalFileSystem(place), str(place))
            return super().read(path)

    forget(Meanwhile(place), str(place), between(2, 7))
    assert offsets(place, "windows") == [0, 1, 7, 8]
    assert offsets(place, "chunks") == list(range(9))
    assert verify(place).ok


def test_many_files_are_rewritten_in_several_entries(
    writer: Any, place: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintain, "MERGED_FILES", 2)
    done = forget(fs, str(place), between(0, 9))
    assert (done.entries, done.before) == (3, 6)
    assert offsets(place, "windows") == []
    assert verify(place).ok


@pytest.mark.parametrize("stop_at", range(1, 5))
def test_an_erasure_that_was_interrupted_is_finished_by_calling_it_again(
    writer: Any, rows: Any, place: Path, fs: Any, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintain, "MERGED_FILES", 2)

    class Dies(LocalFileSystem):
        links = 0

        def link(self, source: str, target: str) -> None:
            super().link(source, target)
            self.links += 1
            if self.links == stop_at:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forget(Dies(place), str(place), between(0, 9))
    forget(fs, str(place), between(0, 9))
    assert offsets(place, "windows") == []
    assert {row["stream_id"] for row in table(place, "chunks")} == {None}
    assert verify(place).ok


def test_what_was_erased_cannot_come_back_from_staging(writer: Any, place: Path, fs: Any) -> None:
    entry = entries(place)[2]
    spec = next(file for file in entry["files"] if file["table"] == "windows")
    rows_of_old = (place / spec["final"]).read_bytes()
    forget(fs, str(place), between(0, 9))
    (place / spec["staged"]).write_bytes(rows_of_old)  # a name that a power loss brought back
    writer.recover()
    assert not (place / spec["staged"]).exists()
    assert offsets(place, "windows") == []


def test_erasing_a_compacted_dataset_and_compacting_an_erased_one(writer: Any, rows: Any, place: Path, fs: Any) -> None:
    compact(fs, str(place))
    forget(fs, str(place), between(0, 2))
    writer.recover()
    writer.commit(rows.batch(9, 12))
    compact(fs, str(place))
    assert offsets(place, "windows") == list(range(2, 12))
    assert verify(place, {("calls", 0): range(12)}).ok


# ------------------------------------------------------------------------------------------- the command line


def run(*args: str) -> str:
    result = CliRunner().invoke(main, list(args))
    assert result.exit_code == 0, result.output
    return result.output


def test_files_prints_paths_that_can_be_read(writer: Any, place: Path) -> None:
    printed = run("files", str(place), "--table", "windows").splitlines()
    assert sorted(printed) == sorted(str(path) for path in (place / "windows").rglob("*.parquet"))
    run("compact", str(place))
    assert len(run("files", str(place)).splitlines()) == 2


def test_retain_removes_older_rows(writer: Any, place: Path) -> None:
    run("retain", str(place), "--older-than", "36500d")
    assert len(offsets(place, "windows")) == 9
    run("retain", str(place), "--older-than", "1d", "--yes")
    assert offsets(place, "windows") == []
    assert offsets(place, "chunks") == list(range(9))


@pytest.mark.parametrize("given", [["PLACE", "--config", "CONFIG"], ["CONFIG"]], ids=" ".join)
def test_retain_takes_its_age_from_the_configuration_where_none_is_given(
    writer: Any, place: Path, config_file: Path, given: list[str]
) -> None:
    written = config_file.read_text()
    arguments = [{"PLACE": str(place), "CONFIG": str(config_file)}.get(one, one) for one in given]
    for days, left in ((36_500, 9), (0.5, 0)):
        config_file.write_text(written.replace("privacy: {", f"privacy: {{retention_days: {days}, "))
        run("retain", *arguments, "--yes")
        assert len(offsets(place, "windows")) == left


def test_a_configuration_stands_for_the_dataset_of_its_run(writer: Any, place: Path, config_file: Path) -> None:
    assert run("files", str(config_file)) == run("files", str(place))
    assert run("compact", str(config_file), "--dry-run") == run("compact", str(place), "--dry-run")


@pytest.fixture
def config_file(tmp_path: Path, place: Path) -> Path:
    (tmp_path / "key").write_bytes(TEST_KEY)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"source: {{files: {{paths: [{tmp_path}]}}}}\n"
        f"privacy: {{purpose: test, deployment_context: research, stream_id_key_file: {tmp_path / 'key'}}}\n"
        f"sink: {{path: {place}}}\n"
    )
    return path


def test_erase_finds_a_stream_by_its_raw_id_in_every_salt_period(
    open_dataset: Any, partition: Partition, rows: Any, place: Path, config_file: Path
) -> None:
    times = [START_US, START_US + DAY_US, START_US + 5 * DAY_US]
    made = [rows.window(at, time) for at, time in enumerate(times)] + [rows.chunk(at) for at in range(3)]
    open_dataset().partition(partition).commit(rows.batch(0, 3, rows=made))
    assert len({row["stream_id"] for row in table(place, "windows")}) == 3
    assert "took 0 rows away" in run("erase", str(config_file), "--stream", "another", "--future")
    run("erase", str(config_file), "--stream", "cam", "--from", "2023-11-15T00:00:00Z")
    assert offsets(place, "windows") == [0]
    run("erase", str(config_file), "--stream", "cam", "--yes")
    assert offsets(place, "windows") == []
    assert "cam" not in "".join(path.read_text() for path in (place / "_commits").rglob("*.json")).replace("cam_", "")


def test_erase_by_time_alone(writer: Any, place: Path, config_file: Path) -> None:
    run("erase", str(config_file), "--from", "2023-11-14T22:13:22Z", "--to", "2023-11-14T22:13:24Z")
    assert offsets(place, "windows") == [0, 1, 4, 5, 6, 7, 8]


def test_erase_needs_a_selection_and_the_key_of_the_pseudonyms(writer: Any, config_file: Path) -> None:
    assert "say what to erase" in CliRunner().invoke(main, ["erase", str(config_file)]).output
    (config_file.parent / "key").unlink()
    refused = CliRunner().invoke(main, ["erase", str(config_file), "--stream", "cam"])
    assert (refused.exit_code, "only the key of the rows knows them" in refused.output) == (1, True)
    assert not (config_file.parent / "key").exists()


def test_a_shipped_configuration_is_accepted_wherever_one_can_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["erase", "quickstart", "--stream", "cam"], ["files", "nowhere", "--config", "quickstart"]):
        output = CliRunner().invoke(main, command).output
        assert "nowhere" in output or "out/demo" in output, output
        assert "cannot read the configuration" not in output
