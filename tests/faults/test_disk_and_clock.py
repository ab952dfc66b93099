"""A failing or slow disk and a jumping clock change no key and no count, if a run is restarted until it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import runs
from helpers.astronaut import make_video

FAULTY = Path(runs.__file__).with_name("faulty_run.py")
STARTS = 40
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's own clip."""
    path = tmp_path_factory.mktemp("clip") / "astronaut.mp4"
    make_video(path)
    return path


@pytest.fixture(scope="module")
def quiet(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of an undisturbed run."""
    folder = tmp_path_factory.mktemp("quiet")
    done = runs.streamfx("run", configured(folder, clip))
    assert done.returncode == 0, done.stderr
    return folder / "data"


def configured(folder: Path, clip: Path) -> Path:
    return runs.write_config(folder, runs.tree(folder, [clip], sink={"roll_chunks": 1}, faces={"detect_px": 192}))


def start(fault: str, seed: int, config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", str(FAULTY), fault, str(seed), "run", str(config), "--quiet"]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, env=dict(os.environ), check=False)


@pytest.mark.parametrize(("fault", "words"), [("eio", "Input/output error"), ("enospc", "free some space")])
def test_a_failing_disk_stops_runs_with_a_clear_error_and_changes_no_row(
    tmp_path: Path, clip: Path, quiet: Path, fault: str, words: str
) -> None:
    config, failed = configured(tmp_path, clip), 0
    for seed in range(STARTS):
        done = start(fault, seed, config)
        if done.returncode == 0:
            break
        failed += 1
        assert "Traceback" not in done.stderr and words in done.stderr, done.stderr[-1500:]
    assert done.returncode == 0 and failed, "the disk must fail at least once, and the run must end successfully"
    runs.verified(tmp_path / "data")
    assert runs.keys(tmp_path / "data") == runs.keys(quiet)


@pytest.mark.parametrize("fault", ["slow", "clock"])
def test_a_slow_disk_or_a_jumping_clock_changes_no_row(tmp_path: Path, clip: Path, quiet: Path, fault: str) -> None:
    done = start(fault, 1, configured(tmp_path, clip))
    assert done.returncode == 0, done.stderr[-1500:]
    runs.verified(tmp_path / "data")
    assert runs.keys(tmp_path / "data") == runs.keys(quiet)
