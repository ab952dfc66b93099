"""Exports say what the dataset says, in the names and units of the tools that read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from helpers.crowds import START_US
from helpers.datasets import Maker
from helpers.tracks import Track, write

from streamfx.cli.main import main
from streamfx.columns import Column

ZERO = datetime.fromtimestamp(START_US / 1_000_000, UTC).isoformat()
UNITS = (Column("au_12", "float", "Intensity"), Column("au_12_present", "bool", "Whether it acts"))
TRACKS = [Track("hhhh.nn", smiles=(3.0, 3.0, 3.0, 3.0, None, 0.5, None)), Track("aaa", 1, stream="door")]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write(tmp_path / "data", TRACKS)
    return tmp_path / "data"


def export(dataset: Path, form: str, zero: str | None = ZERO) -> dict[str, str]:
    """What each file holds, by its name without the suffix."""
    out = dataset.parent / form
    counted = [] if zero is None else ["--zero", zero]
    done = CliRunner().invoke(main, ["export", str(dataset), "--format", form, "--out", str(out), *counted])
    assert done.exit_code == 0, done.output
    return {file.stem: file.read_text(encoding="utf-8") for file in out.iterdir()}


def lines(dataset: Path, form: str, zero: str | None = ZERO) -> pd.DataFrame:
    """The lines of the stream with the most."""
    export(dataset, form, zero)
    return max((pd.read_csv(file) for file in (dataset.parent / form).iterdir()), key=len)


def test_each_stream_has_a_file_named_by_its_pseudonym(dataset: Path) -> None:
    for form in ("openface", "pyfeat", "textgrid", "webvtt"):
        assert len(found := export(dataset, form)) == 2
        assert not {"hall", "door"} & found.keys()


def test_openface_lines_have_intensity_presence_and_no_value_where_a_unit_is_not_known(dataset: Path) -> None:
    rows = lines(dataset, "openface")
    assert list(rows["frame"]) == list(range(1, len(rows) + 1))
    assert (rows["timestamp"].diff().dropna() > 0).all()
    known = rows[rows["success"] == 1]
    assert list(known["AU12_r"]) == [3.0, 3.0, 3.0, 3.0, 0.5] and list(known["AU12_c"]) == [1, 1, 1, 1, 0]
    assert rows.loc[rows["success"] == 0, ["AU12_r", "AU12_c"]].isna().all(axis=None)


def test_pyfeat_lines_have_shares_of_the_strongest_intensity_and_the_expressions(dataset: Path) -> None:
    rows = lines(dataset, "pyfeat")
    assert rows["AU12"].max() == pytest.approx(3.0 / 5)
    assert list(rows["happiness"][:4]) == [0.9] * 4
    assert set(rows["Identity"]) == {0} and rows["frame"].iloc[0] == 0


def test_a_textgrids_intervals_cover_each_tier_without_a_hole(dataset: Path) -> None:
    for grid in export(dataset, "textgrid").values():
        end = float(re.findall(r"^xmax = (\S+)$", grid, re.M)[0])
        tiers = grid.split("IntervalTier")[1:]
        assert len(tiers) == int(re.findall(r"^size = (\d+)$", grid, re.M)[0])
        for tier in tiers:
            found = re.findall(r"xmin = (\S+)\n +xmax = (\S+)\n +text", tier)
            borders = [(float(low), float(high)) for low, high in found]
            assert borders[0][0] == 0 and borders[-1][1] == end
            assert all(before[1] == after[0] for before, after in pairwise(borders))
            assert f"size = {len(borders)}" in tier


def test_captions_name_expressions_and_units_and_leave_out_what_is_not_known(dataset: Path) -> None:
    text = max(export(dataset, "webvtt").values(), key=len)
    assert text.startswith("WEBVTT\n\n")
    cues = re.findall(r"^(\d\d:\d\d:\d\d\.\d{3}) --> (\d\d:\d\d:\d\d\.\d{3})\n(.+)$", text, re.M)
    assert {cue[2] for cue in cues} == {"face 1: happiness", "face 1: neutral", "face 1: AU 12"}
    assert all(since < until for since, until, _ in cues)


def test_seconds_count_from_zero_or_from_the_streams_first_chunk(dataset: Path, tmp_path: Path) -> None:
    assert list(lines(dataset, "openface")["timestamp"])[:3] == [1.0, 2.0, 3.0], "middles of windows of 2 s"
    Maker(tmp_path / "chunks" / "data").commit(2, 5, columns=UNITS)
    rows = lines(tmp_path / "chunks" / "data", "openface", zero=None)
    first = pd.concat(pd.read_parquet(file) for file in (tmp_path / "chunks" / "data" / "windows").rglob("*.parquet"))
    chunks = pd.concat(pd.read_parquet(file) for file in (tmp_path / "chunks" / "data" / "chunks").rglob("*.parquet"))
    middle = first["window_start"] + (first["window_end"] - first["window_start"]) / 2
    expected = (middle - chunks["chunk_start"].min()).dt.total_seconds()
    assert sorted(rows["timestamp"]) == pytest.approx(sorted(expected))


def test_a_stream_whose_chunks_are_gone_needs_zero(dataset: Path, tmp_path: Path) -> None:
    command = ["export", str(dataset), "--format", "openface", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1 and "--zero" in done.output


def test_a_dataset_without_units_is_refused_by_name(tmp_path: Path) -> None:
    Maker(tmp_path / "data").commit(0, 2)
    done = CliRunner().invoke(
        main, ["export", str(tmp_path / "data"), "--format", "openface", "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 1 and "action_units" in done.output


def test_a_folder_with_files_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    done = CliRunner().invoke(main, ["export", str(dataset), "--format", "webvtt", "--out", str(tmp_path / "full")])
    assert done.exit_code == 1 and "new or empty folder" in done.output
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("form", ["openface", "webvtt"])
def test_an_export_that_ends_before_its_time_leaves_no_file_and_can_be_given_again(
    dataset: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    out = dataset.parent / form
    with monkeypatch.context() as now:
        now.setattr(pd.DataFrame, "to_csv", full)
        now.setattr(Path, "write_text", full)
        done = CliRunner().invoke(main, ["export", str(dataset), "--format", form, "--out", str(out)])
    assert done.exit_code == 1 and "No space left on device" in done.output
    assert [file.name for file in dataset.parent.iterdir()] == [dataset.name]
    assert export(dataset, form)


def test_an_export_fills_the_empty_folder_in_which_somebody_stands(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = CliRunner().invoke(main, ["export", str(dataset), "--format", "openface", "--out", ".", "--zero", ZERO])
    assert done.exit_code == 0, done.output
    assert {file.suffix for file in Path().iterdir()} == {".csv"}
