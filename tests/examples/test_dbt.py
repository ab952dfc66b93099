"""The dbt project in `examples/dbt` tests what the data contract says, builds, and its tables agree with the rows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import yaml
from helpers import runs
from helpers.lacking import lacks

from streamfx.sink.contract import contract
from streamfx.sink.place import open_place

REPO = Path(__file__).parents[2]
EXAMPLES = REPO / "examples"
DATASET = EXAMPLES / "dataset"
REQUIREMENTS = REPO / "requirements" / "dbt.txt"
ENVIRONMENT = REPO / "out" / "dbt-environment"
"""Kept between runs of the tests; dbt's packages stay out of streamfx's own environment."""


def wanted(table: dict[str, Any]) -> dict[str, list[Any]]:
    """Column -> dbt's tests that the contract asks for, of the columns that have any."""
    found = {}
    for field in table["schema"]["fields"]:
        limits = field["constraints"]
        bounds = {name: limits[name] for name in ("minimum", "maximum") if name in limits}
        tests: list[Any] = ["not_null"] if limits["required"] else []
        tests += [{"in_range": {"arguments": bounds}}] if bounds else []
        tests += [{"accepted_values": {"arguments": {"values": limits["enum"]}}}] if "enum" in limits else []
        if tests:
            found[field["name"]] = tests
    return found


def test_the_project_tests_all_that_the_contract_says() -> None:
    models = yaml.safe_load((EXAMPLES / "dbt" / "models" / "staging" / "schema.yml").read_text())["models"]
    tables = {table["name"]: table for table in contract(open_place(DATASET), str(DATASET))["resources"]}
    assert {model["name"] for model in models} == {f"stg_{table}" for table in tables}
    for model in models:
        table = tables[model["name"].removeprefix("stg_")]
        assert {column["name"]: column["data_tests"] for column in model["columns"]} == wanted(table)
        key = {"unique_key": {"arguments": {"columns": table["schema"]["primaryKey"]}}}
        assert model["data_tests"] == [key]


@pytest.fixture(scope="module")
def dbt() -> Path:
    """The command of an environment of its own, which is made once."""
    command = ENVIRONMENT / "bin" / "dbt"
    stamp = ENVIRONMENT / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        pip = [ENVIRONMENT / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
        if subprocess.run(pip, check=False).returncode:
            lacks("a package registry that has dbt", f"pip install -r {REQUIREMENTS.relative_to(REPO)}")
        shutil.copy(REQUIREMENTS, stamp)
    return command


def build(dbt: Path, project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [dbt, "build", "--no-use-colors"], cwd=project, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the dataset beside it, and its contract."""
    copy = tmp_path_factory.mktemp("dbt") / "examples"
    shutil.copytree(EXAMPLES, copy)
    done = runs.streamfx("contract", copy / "dataset")
    assert done.returncode == 0, done.stderr
    (copy / "dbt" / "contract.json").write_text(done.stdout)
    return copy / "dbt"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_builds_and_its_tables_agree_with_the_rows(dbt: Path, project: Path) -> None:
    done = build(dbt, project)
    assert done.returncode == 0, done.stdout
    ask = duckdb.connect(str(project / "streamfx.duckdb"), read_only=True).sql
    episodes = pd.DataFrame(runs.rows(DATASET, "episodes"))
    of = episodes[episodes["measure"] == "expression"].groupby("value")["seconds"].sum()
    shares = ask("select expression, share from expression_shares_per_day").fetchall()
    assert dict(shares) == pytest.approx((of / of.sum()).to_dict())
    # A face is seen for as long as its windows cover, which is another way to count than by where the next one begins.
    windows = pd.DataFrame(runs.rows(DATASET, "windows"))
    covered = {
        (row["track_id"], second)
        for row in windows.to_dict("records")
        for second in pd.date_range(row["window_start"], row["window_end"], freq="s", inclusive="left")
    }
    ((seconds, streams),) = ask(
        "select sum(face_seconds), count(distinct stream_id) from minutes_per_stream"
    ).fetchall()
    assert (seconds, streams) == (len(covered), windows["stream_id"].nunique())
    chunks = runs.rows(DATASET, "chunks")
    assert ask("select chunks, looked_at, face_seconds from coverage_per_day").fetchall() == [
        (len(chunks), 1.0, len(covered))
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_row_outside_the_contract_fails_the_build(dbt: Path, project: Path) -> None:
    place = project / "contract.json"
    package = json.loads(place.read_text())
    (windows,) = (table for table in package["resources"] if table["name"] == "windows")
    good = str(project.parent / "dataset" / windows["path"][0])
    bad = str(project.parent / "dataset" / "bad.parquet")
    duckdb.sql(f"select * replace (1.5 as p_happiness) from '{good}'").write_parquet(bad)
    windows["path"][0] = "bad.parquet"
    place.write_text(json.dumps(package))
    done = build(dbt, project)
    assert done.returncode == 1
    assert "in_range_stg_windows_p_happiness" in done.stdout
