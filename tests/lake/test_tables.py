"""Delta and Iceberg tables list exactly the dataset's current files, whatever happened to it, and read like its rows."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pytest
from helpers import runs
from helpers.datasets import COLUMNS, Maker
from helpers.object_store import BUCKET, CREDENTIALS, object_store
from helpers.zones import in_zone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfx.columns import Column
from streamfx.errors import SinkError
from streamfx.lake.iceberg import IcebergTables
from streamfx.lake.plan import plan
from streamfx.lake.tables import publish_tables
from streamfx.sink.current_files import shown_files
from streamfx.sink.erasure import Rule
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.maintain import compact, forget
from streamfx.sink.place import open_place
from streamfx.sink.verify import verify
from streamfx.testing import START_US

deltalake = pytest.importorskip("deltalake", reason="pip install 'streamfx[delta]'")
pyiceberg_table = pytest.importorskip("pyiceberg.table", reason="pip install 'streamfx[iceberg]'")

OTHERS = (Column("p_happiness", "float", "A score"), Column("p_new", "float", "Another score"))
BEFORE = Path(__file__).parents[1] / "line" / "data" / "before" / "dataset"
FORMATS = ("delta", "iceberg")
pytestmark = pytest.mark.filterwarnings("ignore:Iceberg scan planning with the polars_iceberg plugin")


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def publish(place: Path, form: str, fs: Any = None) -> dict[str, list[tuple[str, int, int]]]:
    """Table -> (operation, files added, files removed) of each change."""
    done = publish_tables(fs or open_place(place), str(place), form)
    return {table: [(c.kind, len(c.add), len(c.remove)) for c in todo.changes] for table, _, todo in done}


def of_iceberg(place: Path, table: str) -> Any:
    where = IcebergTables(open_place(place), str(place)).where(table)
    return pyiceberg_table.StaticTable.from_metadata(where)


def arrow(place: Path, form: str, table: str = "windows") -> pa.Table:
    """The rows as the format's own library reads them."""
    if form == "delta":
        return deltalake.DeltaTable(str(place / table)).to_pyarrow_table()
    return of_iceberg(place, table).scan().to_arrow()


def in_polars(place: Path, form: str, table: str = "windows") -> polars.DataFrame:
    if form == "delta":
        return polars.scan_delta(str(place / table)).collect()
    where = IcebergTables(open_place(place), str(place)).where(table)
    return polars.scan_iceberg(where).collect()


def listed(place: Path, form: str, table: str) -> list[str]:
    """The files that the table's newest version lists, relative to the dataset."""
    if form == "delta":
        if not (place / table / "_delta_log").exists():
            return []
        paths = deltalake.DeltaTable(str(place / table)).file_uris()
    else:
        if not (place / "_iceberg" / table).exists():
            return []
        paths = [task.file.file_path for task in of_iceberg(place, table).scan().plan_files()]
    return sorted(str(Path(path.removeprefix("file://")).relative_to(place)) for path in paths)


def is_right(place: Path, form: str) -> bool:
    """Whether both tables list the current files that have rows."""
    fs = open_place(place)
    for table in ("windows", "chunks"):
        live = shown_files(fs, str(place), table)
        if listed(place, form, table) != sorted(live):
            return False
    return True


def erase_before(place: Path, offset: int) -> None:
    forget(open_place(place), str(place), Rule(None, None, START_US + offset * 1_000_000))


def squeeze(place: Path) -> None:
    compact(open_place(place), str(place))


def test_rows_are_the_same_in_each_reader_with_the_day_as_a_column(maker: Maker, place: Path, form: str) -> None:
    maker.commit(0, 3)
    maker.commit(3, 6)
    publish(place, form)
    rows = arrow(place, form)
    ((windows, first, days),) = duckdb.sql(
        "select count(*), min(window_start), list(distinct date) from rows"
    ).fetchall()
    assert windows == 6 and first.timestamp() * 1e6 == START_US and [str(day) for day in days] == ["2023-11-14"]
    frame = in_polars(place, form)
    assert frame.height == 6 and frame["window_start"].dtype == polars.Datetime("us", "UTC")
    assert frame["date"].cast(str).unique().to_list() == ["2023-11-14"]
    stored = Counter(row["window_start"] for row in runs.rows(place, "windows"))
    assert Counter(frame["window_start"].to_list()) == stored == Counter(rows["window_start"].to_pylist())
    assert frame["p_happiness"].to_list() == [0.25] * 6


def test_no_data_are_copied(maker: Maker, place: Path, form: str) -> None:
    maker.commit(0, 3)
    before = {path: path.stat().st_ino for path in place.rglob("*.parquet")}
    publish(place, form)
    assert {path: path.stat().st_ino for path in place.rglob("*.parquet")} == before


def test_a_second_call_has_nothing_to_do_and_a_third_only_what_is_new(maker: Maker, place: Path, form: str) -> None:
    maker.commit(0, 3)
    assert publish(place, form)["windows"] == [("append", 1, 0)]
    assert publish(place, form) == {"windows": [], "chunks": []}
    maker.commit(3, 6)
    maker.commit(6, 9)
    assert publish(place, form)["windows"] == [("append", 2, 0)]
    assert is_right(place, form)


def test_compaction_and_erasure_are_operations_of_their_own(maker: Maker, place: Path, form: str) -> None:
    maker.commit(0, 3)
    maker.commit(3, 6)
    publish(place, form)
    squeeze(place)
    assert publish(place, form)["windows"] == [("compact", 1, 2)]
    maker.commit(6, 9)
    erase_before(place, 2)
    assert publish(place, form)["windows"] == [("erase", 1, 1), ("append", 1, 0)]
    assert arrow(place, form).num_rows == 7
    if form == "delta":
        history = deltalake.DeltaTable(str(place / "windows")).history()
        assert [version["operation"] for version in reversed(history)] == ["WRITE", "OPTIMIZE", "DELETE", "WRITE"]
        flags = [
            {action["dataChange"] for line in path.read_text().splitlines() for action in json.loads(line).values()
             if "dataChange" in action}
            for path in sorted((place / "windows" / "_delta_log").glob("*.json"))
        ]  # fmt: skip
        assert flags == [{True}, {False}, {True}, {True}]
    else:
        kinds = [snapshot.summary["streamfx.operation"] for snapshot in of_iceberg(place, "windows").snapshots()]
        assert kinds == ["append", "compact", "erase", "append"]


def test_fresh_rows_that_were_merged_with_published_ones_are_no_mere_compaction(
    maker: Maker, place: Path, form: str
) -> None:
    maker.commit(0, 3)
    publish(place, form)
    maker.commit(3, 6)
    squeeze(place)
    assert publish(place, form)["windows"] == [("append", 1, 1)]
    assert arrow(place, form).num_rows == 6


def test_merged_and_then_erased_is_one_erasure_so_no_version_lacks_rows_that_stay(
    maker: Maker, place: Path, form: str
) -> None:
    maker.commit(0, 3)
    maker.commit(3, 6)
    publish(place, form)
    squeeze(place)
    erase_before(place, 1)
    assert publish(place, form)["windows"] == [("erase", 1, 2)]
    assert arrow(place, form).num_rows == 5


def test_erased_rows_are_in_no_version_that_can_still_be_read(maker: Maker, place: Path, form: str) -> None:
    maker.commit(0, 3)
    publish(place, form)
    erase_before(place, 2)
    publish(place, form)
    assert is_right(place, form)
    with pytest.raises(FileNotFoundError):
        if form == "delta":
            deltalake.DeltaTable(str(place / "windows"), version=0).to_pyarrow_table()
        else:
            table = of_iceberg(place, "windows")
            table.scan(snapshot_id=table.snapshots()[0].snapshot_id).to_arrow()


def test_no_value_of_a_row_is_in_what_is_published(maker: Maker, place: Path, form: str) -> None:
    maker.commit(0, 3)
    publish(place, form)
    pseudonyms = {row[name] for row in runs.rows(place, "windows") for name in ("stream_id", "track_id")}
    folder = place / ("_iceberg" if form == "iceberg" else "windows/_delta_log")
    published = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert published and not any(pseudonym.encode()[:12] in published for pseudonym in pseudonyms)


def test_columns_of_all_configurations_are_in_one_schema(maker: Maker, place: Path, form: str) -> None:
    maker.commit(0, 2)
    publish(place, form)
    maker.commit(2, 4, "c2", OTHERS)
    publish(place, form)
    maker.commit(4, 6)
    publish(place, form)
    rows = arrow(place, form)
    names = {column.name for column in (*COLUMNS, *OTHERS)}
    assert names <= set(rows.schema.names)
    counts = duckdb.sql("select count(*), count(p_happiness), count(p_new) from rows").fetchall()
    assert counts == [(6, 6, 0)]
    assert in_polars(place, form).height == 6


class Killed(BaseException):
    """The process ends here."""


class Mortal(LocalFileSystem):
    """A file system whose process ends before its call number `left`."""

    def __init__(self, root: Path, left: int):
        super().__init__(root)
        self.left = left

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def _mortal(name: str) -> Callable[..., Any]:
    def call(self: Mortal, *arguments: Any) -> Any:
        self._count()
        return getattr(LocalFileSystem, name)(self, *arguments)

    return call


for _name in ("mkdir", "write_new", "write_over", "link", "remove", "sync_dir"):
    setattr(Mortal, _name, _mortal(_name))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_anywhere_it_can_be_called_again(maker: Maker, place: Path, form: str, tmp_path: Path) -> None:
    maker.commit(0, 3)
    maker.commit(3, 6)
    publish(place, form)
    erase_before(place, 1)
    maker.commit(6, 9, "c2", OTHERS)
    before = tmp_path / "before"
    shutil.copytree(place, before)
    for left in range(0, 1000, 3):  # each publication is long, and its calls repeat for each table
        shutil.rmtree(place)
        shutil.copytree(before, place)
        try:
            publish(place, form, Mortal(place, left))
        except Killed:
            publish(place, form)
            assert is_right(place, form)
            assert arrow(place, form).num_rows == 8
        else:
            break
    assert left > 10


OPERATIONS = st.lists(st.sampled_from(["commit", "compact", "erase", "publish"]), max_size=8)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@given(operations=OPERATIONS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happened_the_table_lists_the_current_files(
    form: str, operations: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("any") / "out"
    maker = Maker(place)
    maker.commit(0, 2)
    end = 2
    for operation in operations:
        if operation == "commit":
            maker.commit(end, end + 2)
            end += 2
        elif operation == "compact":
            squeeze(place)
        elif operation == "erase":
            erase_before(place, end // 2)
        else:
            publish(place, form)
            assert is_right(place, form)
    publish(place, form)
    assert is_right(place, form)
    assert verify(place).ok


def test_verify_finds_no_orphans_beside_published_tables(maker: Maker, place: Path, form: str) -> None:
    maker.commit(0, 3)
    publish(place, form)
    assert verify(place).ok


def test_what_a_dead_worker_committed_is_published_first(maker: Maker, place: Path, form: str) -> None:
    maker.commit(0, 3)
    final = next(place.glob("windows/*/*.parquet"))
    entry = json.loads(next(place.glob("_commits/*/0/*.json")).read_text())
    (staged,) = [file["staged"] for file in entry["files"] if file["table"] == "windows"]
    final.rename(place / staged)
    publish(place, form)
    assert arrow(place, form).num_rows == 3


def test_files_of_an_older_version_are_left_out_and_the_command_says_so(tmp_path: Path) -> None:
    shutil.copytree(BEFORE, tmp_path / "dataset")
    done = runs.streamfx("tables", "publish", tmp_path / "dataset", "--format", "delta")
    assert done.returncode == 3
    assert "4 files that an older version" in done.stderr and "windows: nothing new" in done.stdout


def test_an_empty_dataset_gives_no_table(maker: Maker, place: Path, form: str) -> None:
    maker.open()
    assert publish(place, form) == {"windows": [], "chunks": []}
    assert listed(place, form, "windows") == []


def test_a_folder_that_is_no_dataset_and_a_damaged_table_are_named(maker: Maker, place: Path, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="not a streamfx dataset"):
        publish(tmp_path, "delta")
    maker.commit(0, 3)
    for form in FORMATS:
        publish(place, form)
    (place / "_iceberg/windows/metadata/v3.metadata.json").write_text("{}")
    next(place.glob("windows/_delta_log/*.json")).write_text("{")
    for form in FORMATS:
        with pytest.raises(SinkError, match="publish again"):
            publish(place, form)


COUNT = {
    "delta": """
import os, sys, polars
options = {"aws_endpoint": os.environ["AWS_ENDPOINT_URL"], "aws_allow_http": "true"}
print(polars.scan_delta(sys.stdin.read(), storage_options=options).collect().height)
""",
    "iceberg": """
import os, sys, pyiceberg.table
options = {"s3.endpoint": os.environ["AWS_ENDPOINT_URL"], "s3.region": "us-east-1"}
print(pyiceberg.table.StaticTable.from_metadata(sys.stdin.read(), options).scan().to_arrow().num_rows)
""",
}


@pytest.mark.slow
def test_in_an_object_store_the_same_holds(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with object_store() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        place = f"s3://{BUCKET}/published/{form}"
        maker, fs = Maker(place), open_place(place)
        # The server is in this process, and deltalake lets no other thread run while it waits for one.
        maker.commit(0, 3)
        assert runs.streamfx("tables", "publish", place, "--format", form).returncode == 0
        maker.commit(3, 6)
        compact(fs, place)
        forget(fs, place, Rule(None, None, START_US + 1_000_000))
        done = runs.streamfx("tables", "publish", place, "--format", form)
        assert done.returncode == 0 and "windows: erase (+1 -1 files)" in done.stdout
        where = re.findall(r"windows: .* -> (.*)", done.stdout)[0]
        assert in_zone("UTC", COUNT[form], where).strip() == "5"


def test_iceberg_says_what_to_do_after_the_dataset_was_moved(maker: Maker, place: Path, tmp_path: Path) -> None:
    maker.commit(0, 3)
    publish(place, "iceberg")
    place.rename(tmp_path / "moved")
    with pytest.raises(SinkError, match="moved"):
        publish(tmp_path / "moved", "iceberg")
    shutil.rmtree(tmp_path / "moved" / "_iceberg")
    publish(tmp_path / "moved", "iceberg")
    assert is_right(tmp_path / "moved", "iceberg")


def test_a_plan_of_nothing_is_empty(maker: Maker, place: Path) -> None:
    maker.commit(0, 3)
    have = set(shown_files(open_place(place), str(place), "windows"))
    assert plan(open_place(place), str(place), "windows", have).changes == ()


def test_checkpoints_keep_long_histories_readable(maker: Maker, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamfx.lake.delta._CHECKPOINT_EVERY", 2)
    for start in range(0, 10, 2):
        maker.commit(start, start + 2)
        publish(place, "delta")
    assert (place / "windows/_delta_log/_last_checkpoint").exists()
    assert arrow(place, "delta").num_rows == 10
    assert is_right(place, "delta")
    assert verify(place).ok
