"""An interrupted range is resumed by the same command; another range is refused with both named."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import odd_files, runs


@pytest.fixture
def config(tmp_path: Path) -> Path:
    film = odd_files.film(tmp_path / "a.mp4", seconds=10)
    tree = runs.tree(tmp_path, [film], sink={"roll_chunks": 1})
    tree["source"]["files"]["chunk_s"] = 1.0
    tree["pipeline"] = ["faces", "windows", "redact"]
    return runs.write_config(tmp_path, tree)


def offsets(tmp_path: Path) -> list[int]:
    return sorted(row["offset"] for row in runs.rows(tmp_path / "data", "chunks"))


RANGE = ("--from", "2", "--to", "8")


def test_a_killed_range_is_resumed(tmp_path: Path, config: Path) -> None:
    killed = runs.start("run", config, *RANGE)
    log = tmp_path / "data" / "_commits"
    while killed.poll() is None and len(list(log.rglob("*.json"))) < 2:
        pass
    killed.kill()
    killed.communicate()
    done = runs.streamfx("run", config, *RANGE)
    assert done.returncode == 0, done.stderr
    assert offsets(tmp_path) == [2, 3, 4, 5, 6, 7]
    runs.verified(tmp_path / "data")
    again = runs.streamfx("run", config, *RANGE)
    assert again.returncode == 0 and "1 of 1 already done" in again.stderr
    assert offsets(tmp_path) == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (("--from", "2", "--to", "9"), "offsets from 2 to 9"),
        (("--from", "2"), "offsets from 2 to the end"),
        (("--to", "8"), "offsets from the beginning to 8"),
        (("--from", "2026-01-02T03:04:05Z"), "times from 2026-01-02T03:04:05.000+00:00 to the end"),
        ((), "all of it"),
    ],
)
def test_another_range_is_refused(tmp_path: Path, config: Path, other: tuple[str, ...], named: str) -> None:
    assert runs.streamfx("run", config, *RANGE).returncode == 0
    refused = runs.streamfx("run", config, *other)
    assert refused.returncode == 1
    assert "offsets from 2 to 8" in refused.stderr and named in refused.stderr
    assert offsets(tmp_path) == [2, 3, 4, 5, 6, 7]


def test_a_range_into_the_dataset_of_a_whole_run_is_refused(tmp_path: Path, config: Path) -> None:
    assert runs.streamfx("run", config).returncode == 0
    refused = runs.streamfx("run", config, *RANGE)
    assert refused.returncode == 1 and "all of the input" in refused.stderr and "offsets from 2 to 8" in refused.stderr
