"""The command line: wrong input gives a sentence, and a reader of its output may disappear."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers.datasets import Maker

from streamfx.cli.main import ProgressLine, main, parse_range
from streamfx.errors import ConfigError
from streamfx.runtime.worker import RunRange, Status


def test_a_range_has_offsets_or_times_but_not_both() -> None:
    assert parse_range("5", None) == RunRange(5, None, by_time=False)
    assert parse_range("1970-01-01T00:00:01Z", "1970-01-01T00:00:02+00:00") == RunRange(1000, 2000, by_time=True)


@pytest.mark.parametrize("text", ["²", "9" * 19, "9" * 5000, "tomorrow", "-1"])
def test_a_bound_that_is_neither_an_offset_nor_a_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_range(text, None)


class Closed(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("terminal", [True, False])
def test_a_closed_output_does_not_stop_the_progress_line(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamfx.cli.main.PLAIN_LINE_S", 0)
    closed = Closed()
    monkeypatch.setattr(closed, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", closed)
    line = ProgressLine(quiet=False)
    line.show([Status(0, chunks=1)])
    line.show([Status(0, chunks=2)])
    line.close()


REPO = Path(__file__).parents[1]


def commands(command: click.Command, name: str) -> Iterator[str]:
    """All commands below one, as they are typed."""
    if not isinstance(command, click.Group):
        yield name
        return
    context = click.Context(command)
    for one in command.list_commands(context):
        below = command.get_command(context, one)
        assert below is not None
        yield from commands(below, f"{name} {one}")


def test_the_documentation_has_every_command() -> None:
    pages = "\n".join(page.read_text() for page in [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))])
    assert not {name for name in commands(main, "streamfx") if not re.search(rf"{name}(?![\w-])", pages)}


@pytest.mark.parametrize("command", [
    "report DATA --out DATA/report.html", "report DATA --out report.html --films DATA/media/mine",
    "episodes DATA --out DATA/windows/episodes.parquet", "export DATA --format pyfeat --out DATA/exported",
    "audit DATA --out DATA/audit",
])  # fmt: skip
def test_nothing_that_is_made_of_a_dataset_is_written_into_it(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Maker(tmp_path / "data").commit(0, 2)
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(main, command.replace("DATA", "data").split())
    assert done.exit_code == 1 and "it lies in the dataset data" in done.output
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", [
    "sql PLACE", "report PLACE --out x.html", "contract PLACE", "episodes PLACE", "aggregate PLACE",
    "tables publish PLACE --format delta", "export PLACE --format pyfeat --out x",
])  # fmt: skip
@pytest.mark.parametrize("place", ["nowhere", "out/nowhere"])
def test_a_place_that_is_not_there_is_answered_by_what_may_stand_there(
    command: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, command.replace("PLACE", place).split())
    assert done.exit_code == 1 and f"{place}: there is no such folder or file; expected the folder of a" in done.output
    assert "quickstart" in done.output and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_is_as_one_that_leads_nowhere(closed: str, tmp_path: Path) -> None:
    Maker(tmp_path / "data").commit(0, 2)
    command = [sys.executable, "-m", "streamfx", "sql", "data", *(["select 1"] if "<&-" not in closed else [])]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command]
    done = subprocess.run(shell, cwd=tmp_path, input="select 1", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "" if ">&-" in closed.replace("2>&-", "") else closed == "<&-" or "1" in done.stdout
