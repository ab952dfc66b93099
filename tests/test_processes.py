"""The processes of a pool end with the process that started them, and on Ctrl-C without output; none leaves a core dump
of what it holds."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from helpers.terminal import Terminal

from streamfx.processes import without_collections

SCRIPT = """
import multiprocessing, os, time
from streamfx.processes import Pool

def number(_):
    return os.getpid()

if __name__ == "__main__":
    pool = Pool(1, multiprocessing.get_context("spawn"))
    print(pool.submit(number, 0).result(), flush=True)
    time.sleep(600)
"""


def test_a_pool_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(textwrap.dedent(SCRIPT))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while alive(child):
        assert time.monotonic() < deadline, "the pool's process outlives its parent"
        time.sleep(0.05)


INTERRUPTED = """
import multiprocessing, sys, time
from streamfx.processes import Pool

when = sys.argv[1]
if __name__ == "__mp_main__" and when == "starting":
    print("NOW", flush=True)
    time.sleep(1)

def work(number):
    if when == "working":
        print("NOW", flush=True)
        time.sleep(60)

if __name__ == "__main__":
    try:
        with Pool(2, multiprocessing.get_context("spawn")) as pool:
            for _ in pool.map(work, range(20)):
                pass
            print("NOW", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


@pytest.mark.parametrize("when", ["starting", "working", "waiting"])
def test_ctrl_c_stops_a_pool_without_a_traceback(tmp_path: Path, when: str) -> None:
    script = tmp_path / "pool.py"
    script.write_text(INTERRUPTED)
    terminal = Terminal([sys.executable, str(script), when], tmp_path)
    terminal.wait_for("NOW")
    terminal.press_ctrl_c()
    assert terminal.end(30) == 0, terminal.shown
    assert "Traceback" not in terminal.shown and terminal.shown.rstrip().endswith("stopped"), terminal.shown


DIES = """
import os, resource, sys
from streamfx.processes import leave_no_core_dump

face = bytes(255 - letter for letter in b"this is a face") * 1000
if sys.argv[1] == "closed":
    leave_no_core_dump()
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
if not os.fork():
    os.abort()
os.wait()
"""


@pytest.mark.parametrize("how", ["open", "closed"])
def test_a_process_that_dies_leaves_its_memory_in_no_core_dump(tmp_path: Path, how: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    pattern = Path("/proc/sys/kernel/core_pattern")
    if hard != resource.RLIM_INFINITY or not pattern.exists() or pattern.read_text().strip() != "core":
        pytest.skip("this machine writes no core dumps into the working directory, so there is nothing to compare with")
    command = f'ulimit -c unlimited; exec "{sys.executable}" -c "$1" {how}'
    subprocess.run(["bash", "-c", command, "bash", DIES], cwd=tmp_path, check=True)
    face = bytes(255 - letter for letter in b"this is a face")
    found = any(face in file.read_bytes() for file in tmp_path.iterdir())
    assert found == (how == "open")


def test_every_command_and_what_it_starts_leaves_no_core_dump() -> None:
    show = "print(open('/proc/self/coredump_filter').read(), resource.getrlimit(resource.RLIMIT_CORE))"
    code = f"""
import os, resource, subprocess, sys
from click.testing import CliRunner
from streamfx.cli.main import main

assert CliRunner().invoke(main, ["models"]).exit_code in (0, 2)
subprocess.run([sys.executable, "-c", "import resource; {show}"], check=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["00000000", "(0,", "0)"]


def test_a_start_collects_no_garbage_and_then_leaves_what_it_made_alone() -> None:
    with without_collections():
        assert not gc.isenabled()
        with without_collections():
            pass
        assert not gc.isenabled()
        made = [[number] for number in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() >= len(made)
    gc.unfreeze()


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
