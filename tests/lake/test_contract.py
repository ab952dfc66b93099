"""The data contract says of each column what holds for real rows, and queries of older readers still run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.datasets import Maker

from streamfx.cli import tables_docs
from streamfx.columns import AGGREGATES_COLUMNS, CHUNKS_COLUMNS, FILMS_COLUMNS, windows_columns
from streamfx.errors import SinkError
from streamfx.lake.views import TableViews
from streamfx.sink.contract import contract, facts_of, since
from streamfx.sink.place import open_place

REPO = Path(__file__).parents[2]
BEFORE = REPO / "tests" / "line" / "data" / "before" / "dataset"
DRAWN = REPO / "examples" / "dataset"
"""What the operators of streamfx wrote of drawn people."""
CORE = {
    "windows": windows_columns((), ["expression"]),
    "chunks": CHUNKS_COLUMNS,
    "films": FILMS_COLUMNS,
    "aggregates": AGGREGATES_COLUMNS,
}
PAGE = (REPO / "docs" / "querying.md").read_text()
QUERIES = [
    re.sub(r"read_parquet\('out/demo/dataset/(\w+)/[^)]*\)", r"\1", query)
    for query in re.findall(r"```sql\n(.*?)```", PAGE[: PAGE.index("## 12.")], flags=re.DOTALL)
    if "read_parquet" in query
]


@pytest.mark.parametrize("table", CORE)
def test_each_column_of_the_engine_has_an_example_of_its_kind(table: str) -> None:
    types: dict[str, Any] = {"string": str, "instant": str, "int32": int, "int64": int, "float": float, "bool": bool}
    for column in CORE[table]:
        facts = facts_of(table, column.name)
        assert facts is not None, column.name
        assert type(facts.example) is types[column.kind], column.name
        assert not column.values or facts.example in column.values
        assert facts.low is None or facts.low <= facts.example
        assert facts.high is None or facts.example <= facts.high


def test_since_agrees_with_a_dataset_of_version_1() -> None:
    tables = json.loads((BEFORE / "_schema" / "000001.json").read_text())["tables"]
    for table, columns in CORE.items():
        before = {column["name"] for column in tables.get(table, ())}
        assert {column.name for column in columns if since(table, column.name) == 1} == {
            column.name for column in columns if column.name in before
        }


@pytest.mark.parametrize("place", [BEFORE, DRAWN, None], ids=["version 1", "drawn people", "now"])
def test_the_rows_keep_the_contract(place: Path | None, tmp_path: Path) -> None:
    if place is None:
        place = tmp_path / "out"
        Maker(place).commit(0, 3)
    package = contract(open_place(place), str(place))
    views = TableViews(open_place(place), str(place))
    for resource in package["resources"]:
        fields = {field["name"]: field for field in resource["schema"]["fields"]}
        assert set(resource["schema"]["primaryKey"]) <= set(fields)
        assert all((place / path).exists() for path in resource["path"])
        names, rows = views.rows(views.statements(f"select * from {resource['name']}")[0])
        assert names == list(fields)
        for row in rows:
            for name, value in zip(names, row, strict=True):
                limits = fields[name]["constraints"]
                assert value is not None or not limits["required"], name
                if value is not None:
                    assert value in limits.get("enum", [value]), name
                    assert limits.get("minimum", value) <= value <= limits.get("maximum", value), name


def test_the_contract_says_the_units_and_ranges_that_our_operators_declare() -> None:
    (windows,) = (r for r in contract(open_place(DRAWN), str(DRAWN))["resources"] if r["name"] == "windows")
    fields = {field["name"]: field for field in windows["schema"]["fields"]}
    ours = [column for operator, column in tables_docs.declared() if operator in ("expression", "action_units")]
    assert {column.name for column in ours} < set(fields)
    for column in ours:
        limits = fields[column.name]["constraints"]
        assert fields[column.name].get("unit", "") == column.unit
        assert (limits.get("minimum"), limits.get("maximum")) == (column.low, column.high)


def test_each_number_that_our_operators_declare_has_a_range() -> None:
    numbers = [column for _, column in tables_docs.declared() if column.kind in ("float", "int")]
    assert len(numbers) >= 30
    assert all(column.low is not None and column.high is not None for column in numbers)


def test_the_command_prints_it_and_refuses_what_is_no_dataset(tmp_path: Path) -> None:
    Maker(tmp_path / "out").open()
    done = runs.streamfx("contract", tmp_path / "out")
    package = json.loads(done.stdout)
    assert [(r["name"], r["data"]) for r in package["resources"]] == [("windows", []), ("chunks", [])]
    with pytest.raises(SinkError, match="not a streamfx dataset"):
        contract(open_place(tmp_path), str(tmp_path))


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_the_queries_of_the_page_run_over_the_views_of_an_older_dataset(query: str) -> None:
    views = TableViews(open_place(BEFORE), str(BEFORE))
    (statement,) = views.statements(query)
    names, rows = views.rows(statement)
    assert names and list(rows) is not None
