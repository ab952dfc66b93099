"""How soon `streamfx --help` answers, and how soon a run over a file has its first row committed.

python benchmarks/start.py [--rounds 5] [--against REV] [--json]

Each measurement is a process of its own, started as a user starts it. The first of each kind is left out, since it
reads everything from the disk. A run commits each chunk by itself (`sink.roll_chunks=1`), since it is the start that is
asked for and not the time until a full batch; `first_row_default` is the same with the batches of
`config/quickstart.yaml`, in which the clip's twelve chunks are one. The time of the first commit is that of its entry in
the log, and the CPU is what the process had spent when that was seen.

`--against` measures another revision's tree in turn with this one. `stages` is one more run, in a process that notes
clock and CPU where the work changes hands.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

REPO = Path(__file__).parents[1]
LOOK_S = 0.01
STAGES = (
    ("the line's modules", "streamfx.runtime.reload", "ConfigFile.__init__"),
    ("configuration", "streamfx.runtime.supervisor", "refuse"),
    ("checks before a start", "streamfx.runtime.worker", "build_engine"),
    ("models, detector, dataset", "streamfx.runtime.worker", "open_line"),
    ("the log", "streamfx.runtime.line", "PartitionLine.process"),
    ("first chunk", "streamfx.runtime.line", "PartitionLine.commit"),
    ("scores", "streamfx.sink.commit", "PartitionWriter.commit"),
)
"""What ends where a function is first entered."""


def run_command(folder: Path, *more: str) -> list[str]:
    """A run over the clip that ships, into `folder`."""
    values = {
        "sink.path": str(folder / "data"),
        "privacy.stream_id_key_file": str(folder / "key"),
        "source.files.paths": json.dumps([str(REPO / "streamfx" / "assets" / "story.mp4")]),
        "redact.preview_dir": "null",
    }
    return ["run", "quickstart", "--quiet", *(f"--set={key}={value}" for key, value in values.items()), *more]


def started(tree: Path, path: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """A process of `streamfx`, with nothing on its standard output."""
    return subprocess.Popen(
        [sys.executable, "-m", "streamfx", *command],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
    )


def help_once(tree: Path, path: str) -> dict[str, float]:
    """`--help` from its start to its end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    if started(tree, path, ["--help"]).wait():
        raise SystemExit("--help failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"help_wall_s": time.time() - began, "help_cpu_s": cpu_s}


def first_row(tree: Path, path: str, label: str, *more: str) -> dict[str, float]:
    """From the start of a run to its first commit with rows, after which it is ended."""
    with tempfile.TemporaryDirectory() as name:
        began = time.time()
        process = started(tree, path, run_command(Path(name), *more))
        try:
            while (entry := first_entry(Path(name) / "data" / "_commits")) is None:
                if process.poll() is not None:
                    raise SystemExit(f"the run ended with {process.returncode} and without a row")
                time.sleep(LOOK_S)
            spent = psutil.Process(process.pid).cpu_times()
            return {f"{label}_wall_s": entry.stat().st_mtime - began, f"{label}_cpu_s": spent.user + spent.system}
        finally:
            process.kill()
            process.wait()


def first_entry(log: Path) -> Path | None:
    """The first entry with rows in the log of the run's only partition."""
    entries = sorted(log.glob("*/*/*.json"))
    return next((file for file in entries if json.loads(file.read_text())["kind"] == "data"), None)


def measure(trees: dict[str, tuple[Path, str]], rounds: int) -> dict[str, dict[str, Any]]:
    """All numbers of each tree, in turn; the first round is cold and left out."""
    ways: tuple[Callable[[Path, str], dict[str, float]], ...] = (
        help_once,
        lambda tree, path: first_row(tree, path, "first_row", "--set=sink.roll_chunks=1"),
        lambda tree, path: first_row(tree, path, "first_row_default"),
    )
    found: dict[str, dict[str, list[float]]] = {name: {} for name in trees}
    for number in range(rounds + 1):
        for way in ways:
            for name, (tree, path) in sorted(trees.items(), reverse=number % 2 == 0):
                values = way(tree, path)
                print(f"round {number}/{rounds}, {name}: {values}", file=sys.stderr)
                for key, value in values.items():
                    if number:
                        found[name].setdefault(key, []).append(value)
    return {
        name: {key: statistics.median(values) for key, values in runs.items()} | {"runs": runs}
        for name, runs in found.items()
    }


def stages(folder: Path) -> list[dict[str, Any]]:
    """Clock and CPU of each stage of one run in this process, from the interpreter's start to the first commit."""
    born = psutil.Process().create_time()
    notes: list[tuple[str, float, float]] = []
    seen: set[str] = set()
    guard = threading.Lock()

    def note(stage: str) -> None:
        with guard:
            if stage not in seen:
                seen.add(stage)
                notes.append((stage, time.time() - born, time.process_time()))

    from streamfx.cli.main import main
    from streamfx.processes import without_collections

    note("interpreter, command line")
    with without_collections():
        import importlib

        importlib.import_module("torch")
        note("torch")
        for stage, module, name in STAGES:
            watch(importlib.import_module(module), name, lambda stage=stage: note(stage))  # type: ignore[misc]
    watch(importlib.import_module("streamfx.sink.commit"), "PartitionWriter.commit", None, lambda: note("commit"))
    with contextlib.suppress(SystemExit):
        main(run_command(folder, "--set=sink.roll_chunks=1"), standalone_mode=False)
    made, before = [], (0.0, 0.0)
    for stage, wall_s, cpu_s in notes:
        made.append({"stage": stage, "wall_s": wall_s - before[0], "cpu_s": cpu_s - before[1]})
        before = wall_s, cpu_s
    return made


def watch(module: Any, name: str, entered: Callable[[], None] | None, left: Callable[[], None] | None = None) -> None:
    """Have a function of a module, or a method of its class, say when it is entered, or left."""
    *owners, last = name.split(".")
    owner = module
    for part in owners:
        owner = getattr(owner, part)
    function = getattr(owner, last)

    def watched(*args: Any, **named: Any) -> Any:
        if entered:
            entered()
        result = function(*args, **named)
        if left:
            left()
        return result

    setattr(owner, last, watched)


def stages_of_a_process() -> list[dict[str, Any]]:
    """`stages`, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            [sys.executable, __file__, "--stages-into", name], cwd=REPO, capture_output=True, check=True, text=True
        )
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(rounds: int, revision: str | None) -> dict[str, Any]:
    """The numbers of this tree, and of another revision's."""
    from against import install, tree_of

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trees = {"this": (REPO, install(REPO, folder / "this"))}
        with contextlib.ExitStack() as stack:
            if revision:
                other = stack.enter_context(tree_of(revision, folder))
                trees["other"] = (other, install(other, folder / "other"))
            found: dict[str, Any] = measure(trees, rounds)
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "other_revision": revision,
        **found,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", metavar="REV", help="commit, tag or branch to compare with")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    parser.add_argument("--stages-into", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stages_into:
        print("\n" + json.dumps(stages(args.stages_into)))
        return
    result = compare(args.rounds, args.against)
    result["stages"] = stages_of_a_process()
    if args.json:
        print(json.dumps(result, indent=1))
        return
    for name in ("this", "other"):
        if name in result:
            print(", ".join(f"{key} {value:.2f}" for key, value in result[name].items() if key != "runs"), f"({name})")
    for stage in result["stages"]:
        print(f"  {stage['stage']:28} {stage['wall_s']:6.2f} s, {stage['cpu_s']:6.2f} s of CPU")


if __name__ == "__main__":
    main()
