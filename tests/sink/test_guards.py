"""Protection against mistakes: commands that remove rows report it first, and refuse what is probably a mistake."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from helpers.failing_disk import FailingFs

from streamfx.cli.main import main
from streamfx.errors import SinkError
from streamfx.privacy import audit
from streamfx.records import Partition
from streamfx.sink.erasure import Rule
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.log import Entry
from streamfx.sink.maintain import compact, forget
from streamfx.sink.verify import verify
from streamfx.testing import TEST_KEY

DAY_US = 86_400_000_000
START_US = 1_700_000_000_000_000


@pytest.fixture
def writer(open_dataset: Any, partition: Partition, rows: Any) -> Any:
    """A worker that has committed offsets 0 to 8 of stream `cam` on two days, with one window and one fate each."""
    made = open_dataset().partition(partition)
    for start in (0, 3):
        made.commit(rows.batch(start, start + 3))
    later = [
        row
        for o in (6, 7, 8)
        for row in (rows.window(o, START_US + DAY_US + o), rows.chunk(o, start_us=START_US + DAY_US + o))
    ]
    made.commit(rows.batch(6, 9, rows=later))
    return made


@pytest.fixture
def config(tmp_path: Path, place: Path, writer: Any) -> Path:
    (tmp_path / "key").write_bytes(TEST_KEY)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"source: {{files: {{paths: [{tmp_path}]}}}}\n"
        f"privacy: {{purpose: test, deployment_context: research, stream_id_key_file: {tmp_path / 'key'}}}\n"
        f"sink: {{path: {place}}}\n"
    )
    return path


def call(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def state(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def windows(place: Path) -> int:
    return sum(pyarrow.parquet.read_metadata(path).num_rows for path in (place / "windows").rglob("*.parquet"))


# --------------------------------------------------------------------------------------------------- removing rows


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["erase", "CONFIG", "--stream", "Cam"], "names this stream"),
        (["erase", "CONFIG", "--stream", "cam", "--stream", "cma"], "names stream 2 of the 2 given"),
        (["erase", "CONFIG", "--stream", "cam"], "nothing would be left in it"),
        (
            ["erase", "CONFIG", "--from", "2023-11-16", "--to", "2023-11-15"],
            "got 2023-11-16T00:00:00Z to 2023-11-15T00:00:00Z",
        ),
        (["erase", "CONFIG", "--from", "2199-01-01"], "give --to as well"),
        (["erase", "CONFIG", "--stream", "cam", "--to", "2199-01-01"], "add --future"),
        (["erase", "CONFIG", "--stream", "cam", "--to", "9999-01-01", "--future"], "more than 100,000"),
        (["retain", "PLACE", "--older-than", "0d"], "nothing would be left in it"),
        (["retain", "PLACE", "--older-than", "90"], "is not an age such as 90d"),
        (["retain", "PLACE"], "say how long rows are kept: --older-than, or a configuration"),
        (["retain", "PLACE", "--config", "CONFIG"], "say how long rows are kept: --older-than, or a configuration"),
        (["retain", "CONFIG"], "say how long rows are kept: --older-than, or a configuration"),
        (["retain", "PLACE-mistyped", "--older-than", "1d"], "there is no such folder or file"),
    ],
    ids=lambda value: " ".join(value).replace("CONFIG ", "") if isinstance(value, list) else "",
)
def test_a_likely_mistake_is_refused_and_changes_nothing(
    config: Path, place: Path, args: list[str], message: str
) -> None:
    before = state(place)
    done = call(*(arg.replace("CONFIG", str(config)).replace("PLACE", str(place)) for arg in args))
    assert done.exit_code != 0
    assert message in done.output
    assert state(place) == before


def test_a_wrong_key_is_refused(config: Path, tmp_path: Path, place: Path) -> None:
    (tmp_path / "key").write_bytes(b"sixteen other bytes")
    before = state(place)
    done = call("erase", config, "--stream", "cam", "--to", "2023-11-15")
    assert (done.exit_code, state(place)) == (1, before)
    assert "the key" in done.output


@pytest.mark.parametrize(
    "args", [["erase", "CONFIG", "--stream", "cam"], ["retain", "PLACE", "--older-than", "0d"], ["compact", "PLACE"]]
)
def test_a_dry_run_reports_what_would_be_removed_and_changes_nothing(
    config: Path, place: Path, args: list[str]
) -> None:
    before = state(place)
    done = call(*(arg.replace("CONFIG", str(config)).replace("PLACE", str(place)) for arg in args), "--dry-run")
    assert done.exit_code == 0, done.output
    assert state(place) == before
    assert "nothing was changed" in done.output
    if args[0] != "compact":
        assert "9 rows of windows go and 9 rows of chunks" in done.output
        assert (
            "in 6 files; 2 stream pseudonyms; event time from 2023-11-14T22:13:20Z to 2023-11-15T22:13:20Z"
            in done.output
        )
        assert "add --yes" in done.output
    else:
        assert "would merge 4 files into 2" in done.output


def test_only_the_removal_of_everything_needs_confirmation(config: Path, place: Path) -> None:
    assert call("erase", config, "--stream", "cam", "--to", "2023-11-15").exit_code == 0
    assert windows(place) == 3
    assert call("erase", config, "--stream", "cam").exit_code == 1
    assert call("erase", config, "--stream", "cam", "--yes").exit_code == 0
    assert windows(place) == 0
    assert verify(place).ok


def test_erasing_a_stream_again_is_not_a_mistake(config: Path, place: Path) -> None:
    """An interrupted erasure is finished by calling it again, when no row may name the stream any longer."""
    assert call("erase", config, "--stream", "cam", "--yes").exit_code == 0
    done = call("erase", config, "--stream", "cam", "--yes")
    assert done.exit_code == 0, done.output
    assert "took 0 rows away" in done.output


def test_a_stream_without_rows_yet_can_be_erased_on_purpose(config: Path, place: Path, writer: Any, rows: Any) -> None:
    done = call("erase", config, "--stream", "another", "--future")
    assert done.exit_code == 0, done.output
    assert writer.recover().erased_by == (3,)
    writer.commit(rows.batch(9, 10))
    assert windows(place) == 10


# --------------------------------------------------------------------------------------------- incomplete backups


@pytest.mark.parametrize("work", ["compact", "erase"])
def test_a_copy_without_staging_index_and_empty_folders_can_be_maintained(
    place: Path, writer: Any, rows: Any, work: str
) -> None:
    fs = LocalFileSystem(place)
    forget(fs, str(place), Rule(None, None, START_US + 2 * DAY_US))
    for folder in ("_staging", "_index", "windows"):
        shutil.rmtree(place / folder)
    if work == "compact":
        compact(fs, str(place))
    else:
        forget(fs, str(place), Rule(None, None, START_US + 3 * DAY_US))
    writer.recover()
    writer.commit(rows.batch(9, 10, rows=[rows.window(9, START_US + 5 * DAY_US), rows.chunk(9)]))
    assert verify(place).ok
    assert windows(place) == 1


def test_rows_lost_with_the_staging_folder_are_reported(
    open_dataset: Any, partition: Partition, rows: Any, place: Path
) -> None:
    dies = FailingFs(place, ("link", "windows/", KeyboardInterrupt, False))
    with pytest.raises(KeyboardInterrupt):
        open_dataset(fs=dies).partition(partition).commit(rows.batch(0, 3))
    shutil.rmtree(place / "_staging")
    with pytest.raises(SinkError, match=r"chunks/.* is missing: entry 0 committed it") as refused:
        compact(LocalFileSystem(place), str(place))
    for table in ("windows", "chunks"):
        (name,) = {f["final"] for f in entry_of(place)["files"] if f["table"] == table}
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    assert "create an empty file at the missing path" in str(refused.value)
    open_dataset().partition(partition).recover()
    assert not verify(place).ok


# ---------------------------------------------------------------------------------------------- the log's checksums


def entry_of(place: Path, n: int = 0) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((place / f"_commits/calls@T0p1cId/0/{n:020d}.json").read_text())
    return values


def test_every_changed_byte_is_detected(writer: Any, place: Path) -> None:
    path = "_commits/calls@T0p1cId/0/00000000000000000001.json"
    whole = (place / path).read_bytes()
    assert Entry.from_json(whole, path).n == 1
    for at in range(len(whole)):
        for bit in (0, 5):
            damaged = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
            with pytest.raises(SinkError, match="restore it from a backup"):
                Entry.from_json(damaged, path)
        with pytest.raises(SinkError, match="restore it from a backup"):
            Entry.from_json(whole[:at], path)


@pytest.mark.parametrize("damage", [('"end": 6', '"end": 7'), ('"sha256": ', '"sha257": '), ('"at": 6', '"at": 5')])
def test_damage_that_leaves_a_valid_entry_is_detected_by_worker_and_verify(
    writer: Any, open_dataset: Any, partition: Partition, place: Path, damage: tuple[str, str]
) -> None:
    path = place / "_commits/calls@T0p1cId/0/00000000000000000001.json"
    text = path.read_text()
    assert damage[0] in text
    path.write_text(damage[1].join(text.rsplit(damage[0], 1)))
    assert any("is damaged" in gap["reason"] for gap in verify(place).gaps)
    with pytest.raises(SinkError, match=r"00000000000000000001\.json is not a whole log entry"):
        compact(LocalFileSystem(place), str(place))


def test_an_entry_of_another_partition_is_refused(writer: Any, place: Path) -> None:
    path = "_commits/calls@T0p1cId/0/00000000000000000001.json"
    with pytest.raises(SinkError, match="its own checksum"):
        Entry.from_json((place / path).read_bytes(), path.replace("/0/", "/1/"))


def test_entries_of_earlier_versions_without_a_checksum_are_accepted(
    writer: Any, rows: Any, place: Path, open_dataset: Any, partition: Partition
) -> None:
    for path in (place / "_commits").rglob("*.json"):
        whole = path.read_bytes()
        old = whole[: whole.rindex(b', "sha256"')] + b"}"
        path.write_bytes(old)
        assert old == json.dumps(json.loads(old)).encode(), "nothing else about an entry has changed"
    assert verify(place).ok
    open_dataset().partition(partition).commit(rows.batch(9, 10))
    assert verify(place).ok


# ---------------------------------------------------------------------------------------- bounds for skipping rows

TEXTS = {
    "windows": ("stream_id", "track_id", "expression_model_version", "config_id", "purpose", "topic"),
    "chunks": ("stream_id", "topic", "fate", "config_id", "purpose"),
}


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("table", ["windows", "chunks"])
def test_every_row_group_has_the_bounds_of_its_texts(writer: Any, place: Path, table: str, compacted: bool) -> None:
    if compacted:
        compact(LocalFileSystem(place), str(place))
    for path in (place / table).rglob("*.parquet"):
        about, rows = pyarrow.parquet.read_metadata(path), pyarrow.parquet.read_table(path)
        columns = {about.row_group(0).column(i).path_in_schema: i for i in range(about.num_columns)}
        engine = dict(
            (name, bounds)
            for name, *bounds in duckdb.sql(
                f"select path_in_schema, stats_min_value, stats_max_value from parquet_metadata('{path}')"
            ).fetchall()
        )
        for name in TEXTS[table]:
            values = [value for value in rows[name].to_pylist() if value is not None]
            found = about.row_group(0).column(columns[name]).statistics
            assert (found.min, found.max) == (min(values), max(values))
            assert engine[name] == [min(values), max(values)]


@pytest.mark.parametrize(("table", "column"), [("windows", "window_start"), ("chunks", "chunk_start")])
def test_a_query_by_time_skips_what_lies_outside(writer: Any, place: Path, table: str, column: str) -> None:
    late = datetime.fromtimestamp(START_US // 1_000_000 + 3, UTC)  # of offset 3, which begins the second of three files
    skipped = []
    for path in sorted((place / table).rglob("*.parquet"), key=lambda path: path.name):
        (fragment,) = pyarrow.dataset.dataset(path).get_fragments()
        skipped.append(not fragment.subset(pyarrow.dataset.field(column) >= late).row_groups)
        bounds = (
            f"select stats_min_value, stats_max_value from parquet_metadata('{path}') where path_in_schema = '{column}'"
        )
        times = pyarrow.parquet.read_table(path)[column].to_pylist()
        assert duckdb.sql(f"select columns(*)::timestamptz from ({bounds})").fetchall() == [(min(times), max(times))]
    assert skipped == [True, False, False]


def test_a_text_with_nulls_has_bounds_too(open_dataset: Any, partition: Partition, rows: Any, place: Path) -> None:
    made = [rows.chunk(0), rows.chunk(1, readable=False)]
    open_dataset().partition(partition).commit(rows.batch(0, 2, rows=made))
    (path,) = (place / "chunks").rglob("*.parquet")
    group = pyarrow.parquet.read_metadata(path).row_group(0)
    found = {group.column(i).path_in_schema: group.column(i).statistics for i in range(group.num_columns)}
    assert found["reason"].min == found["reason"].max == "bad_headers"
    assert (found["stream_id"].null_count, found["stream_id"].has_min_max) == (1, True)


# ------------------------------------------------------------------------------ from a stream id to its pseudonyms

ASKED = ("--stream", "cam", "--from", "2023-11-14", "--to", "2023-11-16", "--why", "ticket 12")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_pseudonym_prints_the_names_in_the_rows(config: Path, place: Path, tmp_path: Path, form: str) -> None:
    done = CliRunner().invoke(main, ["pseudonym", str(config), *ASKED, "--format", form])
    assert done.exit_code == 0, done.output
    file = tmp_path / f"camera.{form}"
    file.write_text(done.stdout)
    joined = duckdb.sql(
        f"select count(*), count(distinct w.stream_id) from read_parquet('{place}/windows/**/*.parquet') w "
        f"join '{file}' c on c.stream_id = w.stream_id"
    ).fetchall()
    assert joined == [(9, 2)]


def test_each_answer_is_recorded_in_the_audit_log_without_the_id(
    config: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "somebody-else")
    monkeypatch.setenv("LOGNAME", "somebody-else")
    printed = "".join(call("pseudonym", config, *ASKED).output for _ in range(2))
    file = place.with_name("out.audit.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["who"], line["why"]) for line in lines] == [(audit.operating_user(), "ticket 12")] * 2
    assert lines[0]["stream"] == lines[1]["stream"]
    assert lines[0]["stream"] in printed
    assert all(field in lines[0] for field in ("at", "from", "to"))
    names = {row for row in printed.split() if row.count(",") == 3 and "salt_period" not in row}
    assert len(names) == 2
    assert '"cam"' not in file.read_text()
    assert not any(name.partition(",")[0] in file.read_text() for name in names)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("where", ["/dev/full", "/dev/null", "MISSING/audit", "DATASET/audit"])
def test_nothing_is_printed_if_the_audit_log_cannot_be_written(
    config: Path, tmp_path: Path, place: Path, where: str
) -> None:
    where = where.replace("MISSING", str(tmp_path / "none")).replace("DATASET", str(place))
    done = call("pseudonym", config, "--set", f"privacy.audit_file={where}", *ASKED)
    assert done.exit_code == 1
    assert "stream_id,salt_period" not in done.output


def test_the_reason_is_required_and_may_not_name_the_stream(config: Path, place: Path) -> None:
    for why in (" ", "for CAM, please"):
        assert call("pseudonym", config, *ASKED[:-1], why).exit_code == 2
    assert not place.with_name("out.audit.jsonl").exists()
    assert call("pseudonym", config, *ASKED[:-1], "camera theft").exit_code == 0


def test_a_name_without_rows_is_reported(config: Path) -> None:
    assert "No row of" in call("pseudonym", config, "--stream", "cma", *ASKED[2:]).output
    assert "No row of" not in call("pseudonym", config, *ASKED).output


def test_an_incomplete_line_does_not_affect_the_others(tmp_path: Path) -> None:
    file = tmp_path / "audit"
    file.write_text('{"at": "20')
    audit.append_line(file, {"at": 1})
    assert file.read_text().splitlines()[1:] == ['{"at": 1}']
