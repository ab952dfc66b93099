"""The notebooks in `examples/` run on the dataset beside them, and what they print agrees with its rows."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from helpers import runs
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from streamfx.episodes.statistics import statistics
from streamfx.sink.contract import contract
from streamfx.sink.place import open_place

EXAMPLES = Path(__file__).parents[2] / "examples"
DATASET = EXAMPLES / "dataset"
NOTEBOOKS = sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))
Row = dict[str, Any]


def run(name: str, folder: Path) -> str:
    """What a notebook prints that is run in this folder. CellExecutionError for a cell that fails."""
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=250, startup_timeout=250, resources=where).execute()
    return "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "stream"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `examples/`."""
    copy = tmp_path_factory.mktemp("examples") / "examples"
    shutil.copytree(EXAMPLES, copy)
    return copy


@pytest.fixture(scope="module")
def windows() -> list[Row]:
    return sorted(runs.rows(DATASET, "windows"), key=lambda row: (row["track_id"], row["window_start"]))


@pytest.fixture(scope="module")
def episodes() -> list[Row]:
    return runs.rows(DATASET, "episodes")


def test_the_dataset_is_whole_and_small() -> None:
    runs.verified(DATASET)
    assert sum(path.stat().st_size for path in DATASET.rglob("*") if path.is_file()) < 300_000


def test_the_notebooks_are_kept_without_what_they_printed() -> None:
    assert len(NOTEBOOKS) == 3
    for name in NOTEBOOKS:
        cells = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4).cells
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), name


def face_seconds(windows: list[Row]) -> dict[tuple[str, bool], float]:
    """By expression, and whether the window is good: each window counts until the next one of its track begins."""
    found: defaultdict[tuple[str, bool], float] = defaultdict(float)
    for row, following in zip(windows, [*windows[1:], None], strict=True):
        until = row["window_end"]
        if following is not None and following["track_id"] == row["track_id"]:
            until = min(until, following["window_start"])
        good = row["frames"] >= 12 and row["expression_novelty"] < 0.5
        found[row["expression"], good] += (until - row["window_start"]).total_seconds()
    return found


def test_the_first_look_says_what_the_rows_say(folder: Path, windows: list[Row]) -> None:
    said = run("first_look", folder)
    tracks, streams = ({row[name] for row in windows} for name in ("track_id", "stream_id"))
    first, last = (pick(row[name] for row in windows) for pick, name in ((min, "window_start"), (max, "window_end")))
    assert (
        f"{len(windows)} windows of {len(tracks)} tracks in {len(streams)} streams, {first:%Y-%m-%d %H:%M:%S}" in said
    )
    assert f" to {last:%Y-%m-%d %H:%M:%S} UTC" in said
    chunks = runs.rows(DATASET, "chunks")
    seen = sum(row["fate"] in ("processed", "no_face") for row in chunks)
    assert f"{seen} of {len(chunks)} chunks were looked at" in said
    seconds = face_seconds(windows)
    good = {name: much for (name, is_good), much in seconds.items() if is_good}
    assert f"{sum(seconds.values()):.1f} face-seconds, of which {sum(good.values()):.1f} are good" in said
    assert f"windows as 2 s each would make {2 * len(windows)}" in said
    for name, much in good.items():
        assert f"{name:10} {much:6.1f} s" in said
    (fields,) = (
        resource["schema"]["fields"]
        for resource in contract(open_place(DATASET), str(DATASET))["resources"]
        if resource["name"] == "windows"
    )
    assert {"p_happiness", "au_12", "frames"} <= {
        field["name"] for field in fields if "minimum" in field["constraints"]
    }
    assert f"{'au_12':24} {'0 to 5':10} FACS intensity" in said


def test_shares_and_their_intervals_are_those_of_the_command(folder: Path, episodes: list[Row]) -> None:
    said = run("shares_and_episodes", folder)
    of = statistics(pd.DataFrame(episodes)).measures["expression"]
    assert f"{of.known_s:.1f} s of " in said
    for value, share in of.share.items():
        if share.estimate is None:
            assert f"{value:10} not enough data: {share.showing} of {share.tracks} tracks show it" in said
            continue
        (line,) = (line for line in said.splitlines() if line.startswith(f"{value} ") and "interval" in line)
        found, _, low, high = (float(number) / 100 for number in re.findall(r"([\d.]+) ?%", line))
        assert found == pytest.approx(share.estimate.value, abs=0.0006)
        assert (low, high) == pytest.approx((share.estimate.low, share.estimate.high), abs=0.02), (
            "other draws, so only about as wide"
        )
    whole = [r for r in episodes if r["measure"] == "expression" and r["start_seen"] and r["end_seen"]]
    for value in {row["value"] for row in whole} - {"unclear"}:
        lengths = sorted(row["seconds"] for row in whole if row["value"] == value)
        assert f"{value:10} {len(lengths):3} whole episodes" in said
        assert f"longest {lengths[-1]:.2f} s" in said
    for value in {row["value"] for row in episodes if row["measure"] == "au_12"}:
        assert value in ("active", "inactive")
    assert f"au_12 is active in {together(episodes, 'happiness', 'au_12'):4.0%} of happiness" in said


def together(episodes: list[Row], expression: str, unit: str) -> float:
    """The part of the expression's time in which the unit was active."""
    shown = [row for row in episodes if row["measure"] == "expression" and row["value"] == expression]
    active = [row for row in episodes if row["measure"] == unit and row["value"] == "active"]
    both = timedelta()
    for one in shown:
        for other in active:
            if one["track_id"] == other["track_id"]:
                start = max(one["episode_start"], other["episode_start"])
                both += max(timedelta(), min(one["episode_end"], other["episode_end"]) - start)
    return both.total_seconds() / sum(row["seconds"] for row in shown)


def test_events_are_joined_as_instants_whatever_the_zone_of_the_machine(
    folder: Path, windows: list[Row], episodes: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    said = run("events_in_utc", folder)
    lines = (EXAMPLES / "events.csv").read_text().splitlines()[1:]
    events = sorted((datetime.fromisoformat(at), name) for at, name in (line.split(",") for line in lines))
    for at, name in events:
        near = [
            row
            for row in windows
            if abs(middle(row) - at) <= timedelta(seconds=5) and middle(row) - at != timedelta(seconds=5)
        ]
        tracks = len({row["track_id"] for row in near})
        means = [mean([row["p_happiness"] for row in near if (middle(row) >= at) is late]) for late in (False, True)]
        plural = "" if tracks == 1 else "s"
        assert f"{name:22} {tracks} track{plural}, happiness before {means[0]}, after {means[1]}" in said
        for row in episodes:
            if row["measure"] == "expression" and row["episode_start"] <= at < row["episode_end"]:
                assert f"{name:22} {row['value']}" in said
    assert "3 of 5 events are an hour early: alarm, alarm is switched off, visitor leaves" in said
    assert f"as it happened:                 {', '.join(name for _, name in events)}" in said
    assert "ambiguous" in said and "02:01:06 CET  alarm" in said and "02:39:04 CEST  front door opens" in said


def middle(row: Row) -> datetime:
    start: datetime = row["window_start"]
    return start + (row["window_end"] - start) / 2


def mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "none"


def test_without_episodes_the_notebook_says_which_command_makes_them(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    shutil.rmtree(tmp_path / "examples" / "dataset" / "_commits" / "~episodes@")
    with pytest.raises(CellExecutionError, match="`streamfx episodes dataset` makes the table"):
        run("shares_and_episodes", tmp_path / "examples")
