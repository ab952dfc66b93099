"""A whole set by the command: it is the same for any number of processes and after kills, and never mixed up."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from helpers.expert import require_face_api
from helpers.synth import needs_head, needs_renderer
from PIL import Image

from streamfx.cli.main import main
from streamfx.errors import MissingComponent
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.synth.make import make_set
from streamfx.synth.output import SetInfo, read_set

INFO = SetInfo(seed=9, identities=4, clips=14, fps=2.0, size=64, seconds=1.0)
OPTIONS = ["--identities", "4", "--clips", "14", "--seed", "9", "--fps", "2", "--size", "64", "--seconds", "1"]


def command(directory: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "streamfx", "synth", *OPTIONS, "--out", str(directory), *more]


def digests(directory: Path) -> dict[str, str]:
    """Digests of all files of a finished set but the contact sheet."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "contact.png"]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of INFO, made by two processes."""
    directory = tmp_path_factory.mktemp("synth") / "set"
    subprocess.run(command(directory, "--jobs", "2"), check=True, capture_output=True)
    return directory


@needs_renderer
def test_the_command_leaves_a_set_its_tables_and_a_contact_sheet(made: Path) -> None:
    info, clips, frames = read_set(made)
    assert info == INFO
    assert len(clips) == 14 and set(clips["expression"].dropna()) <= set(LABELS_7)
    assert set(frames["clip"]) == set(clips.loc[clips["kind"] != "empty", "clip"])
    assert sorted(path.name for path in made.iterdir()) == sorted(
        ["set.json", "clips", "clips.parquet", "frames.parquet", "contact.png"]
    )
    with Image.open(made / "contact.png") as sheet:
        assert np.asarray(sheet).std() > 20


@needs_renderer
def test_one_process_makes_the_same_bytes_and_a_finished_set_is_left_unchanged(made: Path, tmp_path: Path) -> None:
    """One process instead of two makes the set, and then the command runs again."""
    make_set(INFO, tmp_path / "set", jobs=1)
    assert digests(tmp_path / "set") == digests(made)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set" / "clips").iterdir()}
    make_set(INFO, tmp_path / "set", jobs=1)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "set" / "clips").iterdir()} == before


@needs_renderer
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_leaves_no_process_and_resumes_to_the_same_set(made: Path, tmp_path: Path) -> None:
    directory = tmp_path / "set"
    run = subprocess.Popen(command(directory, "--jobs", "1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while len(list(directory.glob("parts/*.json"))) < 3:
        assert run.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.02)
    drawing = psutil.Process(run.pid).children(recursive=True)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(drawing, timeout=60)
    assert not alive, "drawing processes outlived the run"
    assert not (directory / "clips.parquet").exists()
    subprocess.run(command(directory, "--jobs", "2"), check=True, capture_output=True)
    assert digests(directory) == digests(made)


@needs_head
def test_a_directory_with_another_set_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(INFO.model_copy(update={"seed": 8}).model_dump_json())
    refused = CliRunner().invoke(main, ["synth", *OPTIONS, "--out", str(tmp_path)])
    assert refused.exit_code == 1
    assert "seed 8 (not 9)" in refused.output and "choose another directory" in refused.output
    assert [path.name for path in tmp_path.iterdir()] == ["set.json"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--size", "65", "--size: .* multiple of 2, got 65"), ("--fps", "nan", "--fps.*finite"),
     ("--seed", str(2**31), "'--seed'"), ("--only", "sideways", "--only: .*'frontal', 'turned'.*got sideways")],
)  # fmt: skip
def test_an_invalid_option_is_named(tmp_path: Path, option: str, value: str, message: str) -> None:
    refused = CliRunner().invoke(main, ["synth", *OPTIONS, "--out", str(tmp_path / "set"), option, value])
    assert refused.exit_code == 2 and re.search(message, refused.output)
    assert not (tmp_path / "set").exists()


@needs_head
def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = CliRunner().invoke(main, ["synth", *OPTIONS, "--out", str(tmp_path / "file" / "set")])
    assert refused.exit_code == 1 and "file/set: the set cannot be written: Not a directory" in refused.output


@needs_renderer
@pytest.mark.slow
def test_a_full_disk_is_reported_and_finished_clips_are_kept(made: Path, tmp_path: Path) -> None:
    directory = tmp_path / "set"
    limited = ["bash", "-c", 'ulimit -f 2; exec "$@"', "bash", *command(directory, "--jobs", "1")]
    done = subprocess.run(limited, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the set cannot be written: File too large" in done.stderr and "run the command again" in done.stderr
    subprocess.run(command(directory, "--jobs", "2"), check=True, capture_output=True)
    assert digests(directory) == digests(made)


def test_without_the_head_data_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingComponent, match=r"requirements/synth\.txt"):
        make_set(INFO, tmp_path / "set", jobs=1)
    assert not (tmp_path / "set").exists()


@needs_renderer
@pytest.mark.slow
def test_without_opengl_the_command_says_what_to_install(tmp_path: Path) -> None:
    nowhere = {"__EGL_VENDOR_LIBRARY_FILENAMES": str(tmp_path / "none.json")}
    done = subprocess.run(
        command(tmp_path / "set", "--jobs", "1"), env={**os.environ, **nowhere}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Error: no OpenGL 3.3 through EGL" in done.stderr and "apt install libegl1 libgl1-mesa-dri" in done.stderr


def _benchmark() -> ModuleType:
    """The module `benchmarks/synth.py`, which measures the quality of the pictures."""
    path = Path(__file__).parents[2] / "benchmarks" / "synth.py"
    spec = importlib.util.spec_from_file_location("streamfx_benchmark_synth", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set large enough for shares: 105 clips of 35 people at 4 frames a second."""
    directory = tmp_path_factory.mktemp("judged") / "set"
    info = SetInfo(seed=77, identities=35, clips=105, fps=4.0, size=192, seconds=2.0)
    make_set(info, directory, jobs=len(os.sched_getaffinity(0)))
    return directory


@needs_renderer
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_centerface_finds_98_percent_of_frontal_faces(judged: Path) -> None:
    found = _benchmark().found(judged)
    assert len(found) > 60 and np.mean(found) >= 0.98


@needs_renderer
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_an_independent_net_reads_full_expressions_from_a_clear_camera(judged: Path) -> None:
    benchmark = _benchmark()
    require_face_api()
    read = benchmark.read_expressions(judged)
    right = read["meant"] == read["named"]
    seen_well = (read["intensity"] >= benchmark.FULL) & (read["crf"] < benchmark.POOR_CRF)
    print(
        f"named: {right.mean():.3f} of {len(read)}, {right[seen_well].mean():.3f} of {seen_well.sum()} in full "
        "and clear"
    )
    # Well above chance (1 in 7). The aim is 65 % of all; docs/training.md states the share that is reached.
    assert right[seen_well].mean() >= 0.4
