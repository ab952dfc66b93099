"""A run that is killed, stopped or restarted leaves the same rows as an undisturbed one."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import runs


def commits(dataset: Path) -> int:
    return len(list((dataset / "_commits").glob("*/*/*.json")))


def wait_for_commits(dataset: Path, number: int, process: object) -> None:
    deadline = time.monotonic() + 120
    while commits(dataset) < number and process.poll() is None and time.monotonic() < deadline:  # type: ignore[attr-defined]
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_ended_four_times_leaves_the_rows_of_an_undisturbed_run(
    tmp_path: Path, quickstart: Path, clip: Path, sent: signal.Signals
) -> None:
    """Each end comes after a commit, with open windows and with uncommitted chunks."""
    config = runs.tree(tmp_path, [clip], sink={"roll_chunks": 2})
    config["source"]["files"]["chunk_s"] = 0.5
    file = runs.write_config(tmp_path, config)
    chance = random.Random(7)
    for _ in range(4):
        before = commits(tmp_path / "data")
        process = runs.start("run", file, "--quiet")
        wait_for_commits(tmp_path / "data", before + 1, process)
        time.sleep(chance.random() * 0.3)
        process.send_signal(sent)
        process.communicate(timeout=60)
        assert process.returncode in ((-sent,) if sent == signal.SIGKILL else (0,)), (
            "the run ended before it was stopped"
        )
    assert runs.streamfx("run", file).returncode == 0
    runs.verified(tmp_path / "data")
    assert runs.keys(tmp_path / "data") == runs.keys(quickstart / "data")


def test_a_new_configuration_writes_an_entry_and_closes_the_open_windows(tmp_path: Path, clip: Path) -> None:
    config = runs.tree(tmp_path, [clip], sink={"roll_chunks": 1})
    file = runs.write_config(tmp_path, config)
    process = runs.start("run", file, "--quiet")
    wait_for_commits(tmp_path / "data", 2, process)
    process.kill()
    process.communicate()
    before = runs.keys(tmp_path / "data")
    done = runs.streamfx("run", file, "--set", "windows.hop_s=0.5")
    assert done.returncode == 0, done.stderr
    runs.verified(tmp_path / "data")
    after = runs.keys(tmp_path / "data")
    assert before <= after and len({key[3] for key in after}) == 2
    kinds = [
        p.read_text().count('"kind": "config"') + p.read_text().count('"kind":"config"')
        for p in (tmp_path / "data" / "_commits").glob("*/*/*.json")
    ]
    assert sum(kinds) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda last: last.write_bytes(last.read_bytes() + b"\0"), "its chunk 3 is another one"),
        (lambda last: [file.unlink() for file in (last, last.with_suffix(".json"))], "it has no chunk 3 any more"),
    ],
    ids=["another last chunk", "fewer chunks"],
)
def test_a_stream_that_changed_is_not_continued(
    tmp_path: Path, clip: Path, change: Callable[[Path], object], said: str
) -> None:
    done = runs.streamfx("publish", clip, "--to", tmp_path / "in", "--chunk-s", "2", "--start", runs.START)
    assert done.returncode == 0, done.stderr
    file = runs.write_config(tmp_path, runs.tree(tmp_path, [tmp_path / "in"]))
    assert runs.streamfx("run", file).returncode == 0
    before = runs.keys(tmp_path / "data")
    change(max((tmp_path / "in").glob("*/*.mp4")))
    done = runs.streamfx("run", file)
    assert done.returncode == 3 and said in done.stderr, done.stderr
    assert runs.keys(tmp_path / "data") == before


def test_another_file_joins_the_same_dataset(tmp_path: Path, clip: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    assert runs.streamfx("run", runs.write_config(tmp_path, runs.tree(tmp_path, [clip]))).returncode == 0
    before = runs.keys(tmp_path / "data")
    done = runs.streamfx("run", runs.write_config(tmp_path, runs.tree(tmp_path, [other])))
    assert done.returncode == 0, done.stderr
    assert before < runs.keys(tmp_path / "data") and len(runs.keys(tmp_path / "data")) == 2 * len(before)
    runs.verified(tmp_path / "data")
