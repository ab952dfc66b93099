"""`streamfx sql` answers from each committed row once, in UTC in every zone, and writes nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import select
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.datasets import Maker
from helpers.object_store import BUCKET, CREDENTIALS, object_store
from helpers.terminal import STREAMFX, Terminal
from helpers.zones import ZONES

from streamfx.columns import Column
from streamfx.errors import QueryError, SinkError
from streamfx.lake.views import TableViews
from streamfx.sink.maintain import compact
from streamfx.sink.place import open_place

BEFORE = Path(__file__).parents[1] / "line" / "data" / "before" / "dataset"


def open_views(place: Path | str) -> TableViews:
    return TableViews(open_place(place), str(place))


def ask(views: TableViews, query: str) -> list[tuple[Any, ...]]:
    (statement,) = views.statements(query)
    return list(views.rows(statement)[1])


def digest(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def test_each_committed_row_is_seen_once_though_a_stray_file_lies_there(maker: Maker, place: Path) -> None:
    maker.commit(0, 3)
    maker.commit(3, 6)
    stray = next(place.glob("windows/*/*.parquet"))
    shutil.copy(stray, stray.with_name("stray.parquet"))
    views = open_views(place)
    assert ask(views, "select count(*) from windows") == [(6,)]
    assert ask(views, 'select count(*), max("offset") from chunks') == [(6, 5)]


def test_rows_that_are_committed_but_not_yet_published_are_seen(maker: Maker, place: Path) -> None:
    maker.commit(0, 3)
    final = next(place.glob("windows/*/*.parquet"))
    entry = json.loads(next(place.glob("_commits/*/0/*.json")).read_text())
    (staged,) = [file["staged"] for file in entry["files"] if file["table"] == "windows"]
    final.rename(place / staged)
    assert ask(open_views(place), "select count(*) from windows") == [(3,)]


def test_a_query_after_a_compaction_is_answered_from_the_merged_files(maker: Maker, place: Path) -> None:
    maker.commit(0, 3)
    maker.commit(3, 6)
    views = open_views(place)
    compact(open_place(place), str(place))
    assert ask(views, "select count(*) from windows") == [(6,)]


def test_rows_committed_meanwhile_are_seen_after_a_refresh(maker: Maker, place: Path) -> None:
    maker.commit(0, 3)
    views = open_views(place)
    maker.commit(3, 4)
    assert ask(views, "select count(*) from windows") == [(3,)]
    views.refresh()
    assert ask(views, "select count(*) from windows") == [(4,)]


def test_an_empty_dataset_has_all_columns_and_no_rows(maker: Maker, place: Path) -> None:
    maker.open()
    views = open_views(place)
    names, rows = views.rows(views.statements("select * from windows")[0])
    assert {"window_start", "p_happiness", "config_id"} <= set(names)
    assert list(rows) == []
    with pytest.raises(QueryError, match="aggregates"):
        ask(views, "select * from aggregates")


def test_a_column_that_some_files_lack_is_null_there(maker: Maker, place: Path) -> None:
    maker.commit(0, 2)
    maker.commit(2, 4, "c2", (Column("p_happiness", "float", "A score"), Column("p_new", "float", "Another")))
    views = open_views(place)
    assert ask(views, "select config_id, p_new is null, count(*) from windows group by all order by all") == [
        ("c1", True, 2),
        ("c2", True, 2),
    ]
    assert ask(views, "select count(*) from windows where au_count is null") == [(4,)]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="not a streamfx dataset"):
        open_views(tmp_path)


def test_a_path_with_signs_of_sql_and_of_globs_is_read(maker: Maker, place: Path, tmp_path: Path) -> None:
    maker.commit(0, 2)
    odd = tmp_path / "it's [1] * odd"
    shutil.copytree(place, odd)
    assert ask(open_views(odd), "select count(*) from windows") == [(2,)]


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to '{place}/x.csv'",
        "copy windows to '{file}'",
        "export database '{place}/x'",
        "attach '{place}/x.db'",
        "explain analyze copy (select 1) to '{file}'",
        "prepare p as copy (select 1) to '{file}'",
        "call enable_logging(storage = 'file', storage_path = '{place}/x')",
        "select 1; copy (select 1) to '{file}'",
        "set profiling_output = '{file}'",
        "pragma profiling_output = '{file}'",
        "pragma enable_profiling = 'json'; set profile_output = '{file}'",
        "set temp_directory = '{place}'",
        "create persistent secret (type s3)",
        "insert into windows select * from windows",
        "delete from windows",
        "drop table windows",
        "install delta",
    ],
)
def test_nothing_can_be_written(maker: Maker, place: Path, query: str) -> None:
    maker.commit(0, 2)
    before = digest(place)
    views = open_views(place)
    file = next(place.glob("windows/*/*.parquet"))
    with pytest.raises(QueryError):
        for statement in views.statements(query.format(place=place, file=file)):
            list(views.rows(statement)[1])
    assert digest(place) == before


def test_tables_of_the_session_are_its_own_and_in_memory(maker: Maker, place: Path) -> None:
    maker.commit(0, 2)
    before = digest(place)
    views = open_views(place)
    for query in ("create table mine as from windows", "insert into mine from windows"):
        ask(views, query)
    assert ask(views, "select count(*) from mine") == [(4,)]
    assert digest(place) == before


@pytest.mark.parametrize("zone", ZONES)
def test_times_are_instants_in_utc_whatever_the_machines_zone(maker: Maker, place: Path, zone: str) -> None:
    maker.commit(0, 1)
    query = "select window_start, hour(window_start) as hour, cast(window_start as varchar) as text from windows"
    done = runs.streamfx("sql", place, query, "--format", "json", env={**os.environ, "TZ": zone})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"window_start": "2023-11-14T22:13:20Z", "hour": 22, "text": "2023-11-14 22:13:20+00"}
    ]


def test_files_of_an_older_version_are_read_under_the_names_of_now() -> None:
    views = open_views(BEFORE)
    first = datetime(2026, 1, 1, 11, 59, 59, tzinfo=UTC)
    query = (
        "select min(window_start), count(expression_confidence), count(expression_model_version), count(*) from windows"
    )
    ((start, confidences, versions, rows),) = ask(views, query)
    assert start == first
    assert rows > 0 and confidences == versions == rows
    ((chunk,),) = ask(views, "select min(append_time) from chunks")
    assert chunk.utcoffset().total_seconds() == 0


def test_csv_and_json_hold_all_rows_and_a_table_says_how_many_it_shows(maker: Maker, place: Path) -> None:
    maker.commit(0, 60)
    query = 'select "offset", reason, purpose from chunks order by 1'
    done = runs.streamfx("sql", place, query, "--format", "csv")
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows[:2] == [["offset", "reason", "purpose"], ["0", "", "test"]] and len(rows) == 61
    done = runs.streamfx("sql", place, query, "--format", "json")
    assert json.loads(done.stdout)[59] == {"offset": 59, "reason": None, "purpose": "test"}
    assert "60 rows" in runs.streamfx("sql", place, query).stdout


def test_statements_come_from_standard_input_and_a_wrong_one_ends_with_1(maker: Maker, place: Path) -> None:
    maker.commit(0, 1)
    done = runs.streamfx("sql", place, "--format", "csv", input="select 1 as a; select count(*) as n from windows;")
    assert (done.returncode, done.stdout) == (0, "a\n1\nn\n1\n")
    done = runs.streamfx("sql", place, "selct 1")
    assert done.returncode == 1 and "syntax error" in done.stderr and "Traceback" not in done.stderr


def test_columns_of_one_name_are_told_apart_in_every_format(maker: Maker, place: Path) -> None:
    maker.commit(0, 1)
    views = open_views(place)
    (statement,) = views.statements("select 1 as a, 2 as a, 3 as a_1, 4 as a")
    assert views.rows(statement)[0] == ["a", "a_1", "a_1_1", "a_2"]
    done = runs.streamfx("sql", place, "select 1 as a, 2 as a", "--format", "json")
    assert json.loads(done.stdout) == [{"a": 1, "a_1": 2}]


def test_a_text_that_is_not_in_utf_8_is_refused_by_its_line(maker: Maker, place: Path) -> None:
    maker.commit(0, 1)
    with pytest.raises(QueryError, match="expected SQL in UTF-8, got a byte in line 2"):
        open_views(place).statements("select 1;\nselect '\udcff'")


def test_all_columns_of_a_table_are_described(maker: Maker, place: Path) -> None:
    maker.commit(0, 1)
    columns = ", ".join(f"{number} as column_{number}" for number in range(60))
    done = runs.streamfx("sql", place, f"create table wide as select {columns}; describe wide")
    assert done.returncode == 0 and all(f" column_{number} " in done.stdout for number in range(60))


@pytest.mark.slow
def test_a_table_that_is_not_there_is_answered_by_those_that_are(maker: Maker, place: Path) -> None:
    maker.commit(0, 2)
    with pytest.raises(QueryError, match=r"episodes does not exist[\s\S]*has the tables chunks, windows\."):
        ask(open_views(place), "select * from episodes")


def test_at_a_prompt_an_error_or_ctrl_c_ends_the_statement_and_not_the_session(maker: Maker, place: Path) -> None:
    maker.commit(0, 2)
    with TerminalWithKeys([*STREAMFX, "sql", place], place) as terminal:
        terminal.type_at_prompt("select count(*)\nfrom windows where\n'a;' = 'a;';\n")
        terminal.wait_for("count_star()")
        terminal.type_at_prompt("bad;\n")
        terminal.wait_for("syntax error")
        terminal.type_at_prompt("select not_finished\n")
        terminal.wait_for("not_finished\r\n   ...> ")
        terminal.press_ctrl_c_until_prompt()
        terminal.type_at_prompt("select 40 + 2 as answer;\n")
        terminal.wait_for("42")
        terminal.type_at_prompt("quit;\n")
        assert terminal.end() == 0


class TerminalWithKeys(Terminal):
    """A terminal on which text is typed once a prompt has come: what is typed before it may be lost."""

    _typed_at = 0

    def __enter__(self) -> TerminalWithKeys:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()

    def type_at_prompt(self, text: str) -> None:
        while "streamfx> " not in self.shown[self._typed_at :]:
            assert self._read(), f"no prompt was shown: {self.shown}"
        self._typed_at = len(self.shown)
        os.write(self._master, text.encode())

    def press_ctrl_c_until_prompt(self) -> None:
        """Again after a second: Python loses a signal that comes between readline's prompt and its wait for a key."""
        while "streamfx> " not in self.shown[self._typed_at :]:
            self.press_ctrl_c()
            while select.select([self._master], [], [], 1)[0]:
                assert self._read(), f"the session has ended: {self.shown}"


@pytest.mark.slow
def test_a_dataset_in_an_object_store_is_read_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with object_store() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        place = f"s3://{BUCKET}/asked/dataset"
        Maker(place).commit(0, 3)
        assert ask(open_views(place), "select count(*) from windows") == [(3,)]
