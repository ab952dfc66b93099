"""Deaths of workers are counted per chunk, outside the log, and only during the chunk's processing."""

from __future__ import annotations

from pathlib import Path

from streamfx.records import Partition
from streamfx.runtime.attempts import Attempts

HERE = Partition("t", "id", 0)


def test_a_chunk_that_was_finished_has_no_deaths(tmp_path: Path) -> None:
    first = Attempts(tmp_path, HERE)
    assert first.begin(4) == 0
    first.end()
    assert Attempts(tmp_path, HERE).begin(4) == 0


def test_each_start_that_finds_the_mark_counts_one_more_death(tmp_path: Path) -> None:
    assert [Attempts(tmp_path, HERE).begin(4) for _ in range(4)] == [0, 1, 2, 3]


def test_another_chunk_starts_without_deaths(tmp_path: Path) -> None:
    Attempts(tmp_path, HERE).begin(4)
    assert Attempts(tmp_path, HERE).begin(5) == 0


def test_replayed_chunks_keep_the_count_of_the_chunk_that_kills(tmp_path: Path) -> None:
    """A restart replays from the last commit, and the chunks before the poisonous one must not reset its count."""
    for deaths in range(3):
        attempts = Attempts(tmp_path, HERE)
        for offset in (2, 3):
            attempts.begin(offset)
            attempts.end()
        assert attempts.begin(4) == deaths


def test_a_broken_mark_is_ignored(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path, HERE)
    attempts.begin(1)
    next(tmp_path.rglob("*.json")).write_text("{")
    assert Attempts(tmp_path, HERE).begin(1) == 0
