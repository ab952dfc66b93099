"""The queries of docs/querying.md return rows, the same ones in any time zone."""

from __future__ import annotations

import json
import re
from datetime import UTC
from pathlib import Path

import duckdb
import pytest
from helpers import runs
from helpers.zones import ZONES, in_zone

REPO = Path(__file__).parents[2]
PAGE, OLDER = (REPO / "docs" / "querying.md").read_text().split("## Datasets that an older version began")
QUERIES = [
    (f"{title} ({part})", query)
    for title, body in re.findall(r"^## (\d+\. [^\n]+)\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    for part, query in enumerate(re.findall(r"```sql\n(.*?)```", body, flags=re.DOTALL), start=1)
]
SNIPPETS = [one for one in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL) if "pyspark" not in one]  # 0.4 GB

ASK = """
import json, sys, duckdb
from datetime import UTC, datetime
def plain(value):
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
for query in json.load(sys.stdin):
    answer = duckdb.execute(query).fetchall()
    if not query.startswith("set "):
        print(json.dumps(answer, default=plain))
"""


@pytest.fixture(scope="module")
def there(quickstart: Path) -> dict[str, str]:
    """Maps values on the page to those of the tests' dataset."""
    found = duckdb.sql(
        f"select min(window_start), max(window_end) from read_parquet('{quickstart}/data/windows/**/*.parquet')"
    ).fetchall()[0]
    first, last = (time.astimezone(UTC).replace(tzinfo=None) for time in found)
    days = ("--from", f"{first:%Y-%m-%d}", "--to", f"{last:%Y-%m-%d}T23:59:59")
    config = quickstart / "config.yaml"
    done = runs.streamfx("pseudonym", config, "--stream", "astronaut", *days, "--why", "a test")
    assert done.returncode == 0, done.stderr
    (quickstart / "camera.csv").write_text(done.stdout)
    return {
        "out/demo/dataset": str(quickstart / "data"),
        "out/demo/camera.csv": str(quickstart / "camera.csv"),
        "2026-01-01 12:00:00": str(first),
        "2026-01-02 00:00:00": str(last),
        "2026-01-01T12:00:12Z": f"{first.isoformat()}Z",
    }


def put(text: str, there: dict[str, str]) -> str:
    for old, new in there.items():
        text = text.replace(old, new)
    return text


def test_the_page_contains_its_queries() -> None:
    assert len(QUERIES) == 14
    assert len(SNIPPETS) == 2


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=lambda text: text[:40] if text[0].isdigit() else "")
def test_each_query_of_the_page_returns_rows(there: dict[str, str], title: str, query: str) -> None:
    rows = duckdb.sql(put(query, there).rstrip().rstrip(";")).fetchall()
    assert rows or title.startswith("8."), "only the query for changes of expression may be empty"


def test_all_queries_give_equal_answers_in_every_time_zone(there: dict[str, str]) -> None:
    queries = json.dumps([put(query, there) for _, query in QUERIES])
    utc, *others = (in_zone(zone, ASK, queries) for zone in ZONES)
    assert all(other == utc for other in others)


def test_an_instant_means_the_same_in_every_zone_and_a_plain_time_does_not(there: dict[str, str]) -> None:
    query = put(
        "select count(*) from read_parquet('out/demo/dataset/windows/**/*.parquet') "
        "where window_start <= timestamptz '2026-01-01T12:00:12Z'",
        there,
    )
    assert len({in_zone(zone, ASK, json.dumps([query])) for zone in ZONES}) == 1
    naive = query.replace("timestamptz", "timestamp").replace("Z'", "'")
    asked = {zone: in_zone(zone, ASK, json.dumps([naive])) for zone in ZONES}
    assert len(set(asked.values())) > 1, "the page warns of times without a zone"
    setting = re.search(r"```sql\n(set timezone[^\n]*)\n```", PAGE)
    assert setting
    assert {in_zone(zone, ASK, json.dumps([setting[1], naive])) for zone in ZONES} == {asked["UTC"]}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["pandas", "polars"])
def test_the_dataframe_snippets_find_the_same_rows_in_every_time_zone(there: dict[str, str], snippet: str) -> None:
    found = {in_zone(zone, put(snippet, there) + "\nprint(len(late), len(set(late['stream_id'])))") for zone in ZONES}
    assert len(found) == 1
    assert int(found.pop().split()[0]) > 0


def test_face_seconds_count_each_moment_once(there: dict[str, str]) -> None:
    """A face in view throughout has as many face-seconds as from its first window's start to its last one's end."""
    (query,) = (query for title, query in QUERIES if title.startswith("5."))
    for _, _, first, last, windows, seconds in duckdb.sql(put(query, there).rstrip().rstrip(";")).fetchall():
        assert seconds == (last - first).total_seconds()
        assert windows >= seconds - 1, "each second but the first lies in two windows"


def ask(query: str, table: str, rows: str, tmp_path: Path) -> list[tuple[object, ...]]:
    """The answer to a query of the page if the table has the rows of a `select`."""
    duckdb.sql(rows).write_parquet(str(tmp_path / "rows.parquet"))
    query = query.replace(f"out/demo/dataset/{table}/**/*.parquet", str(tmp_path / "rows.parquet"))
    return duckdb.sql(query.rstrip().rstrip(";")).fetchall()


def test_no_change_of_expression_is_seen_across_a_gap(tmp_path: Path) -> None:
    (query,) = (query for title, query in QUERIES if title.startswith("8."))
    rows = """select 's' as stream_id, 't' as track_id, 'c' as config_id, expression,
              timestamp '2026-01-01' + start * interval '1 second' as window_start,
              window_start + interval '2 seconds' as window_end
              from (values (0, 'neutral'), (1, 'fear'), (2, 'fear'), (9, 'anger'), (10, 'sadness'))
              as rows(start, expression)"""
    changes = [(before, after) for *_, before, after in ask(query, "windows", rows, tmp_path)]
    assert changes == [("neutral", "fear"), ("anger", "sadness")]


def test_a_gap_gives_no_face_seconds(tmp_path: Path) -> None:
    (query,) = (query for title, query in QUERIES if title.startswith("5."))
    rows = """select 's' as stream_id, 't' as track_id, 'c' as config_id,
              timestamp '2026-01-01' + start * interval '1 second' as window_start,
              window_start + interval '2 seconds' as window_end from (values (0), (1), (9)) as rows(start)"""
    ((*_, windows, seconds),) = ask(query, "windows", rows, tmp_path)
    assert (windows, seconds) == (3, 5.0)


def test_files_have_no_lag_and_kafkas_lag_ignores_negative_values(there: dict[str, str], tmp_path: Path) -> None:
    (query,) = (query for title, query in QUERIES if title.startswith("11."))
    answer = duckdb.sql(put(query, there).rstrip().rstrip(";")).fetchall()
    assert [(timed, p95_s) for *_, timed, p95_s in answer] == [(0, None)]
    rows = """select 't' as topic, 0 as partition, timestamp '2026-01-01' as chunk_end, chunk_end + lag * interval '1 second' as
              append_time from (values (-2), (3), (3)) as rows(lag)"""
    assert ask(query, "chunks", rows, tmp_path) == [("t", 0, 3, 2, 3.0)]
