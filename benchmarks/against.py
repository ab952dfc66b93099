"""The line of this tree beside that of another revision, in turn, in one run: windows/s and their ratio.

python benchmarks/against.py REV [--rounds 4] [--json] [-- OPTIONS OF line.py]

Each round runs `benchmarks/line.py` once in each tree, in an order that alternates, on one clip that is made once. Both
use the packages of this environment, so a revision with other requirements cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[1]


def install(tree: Path, folder: Path) -> str:
    """The PYTHONPATH under which Python takes `tree` for the installed streamfx, its entry points too."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    info = folder / "streamfx-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: streamfx\nVersion: 0\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points))
    return os.pathsep.join(map(str, (folder, tree, tree / "operators")))


@contextmanager
def tree_of(revision: str, folder: Path) -> Iterator[Path]:
    """The files of a revision in `folder`/tree, as long as the block lasts."""
    tree = folder / "tree"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), revision], cwd=REPO, check=True)
    try:
        yield tree
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=REPO, check=True)


def run_once(tree: Path, path: str, clip: Path, options: list[str]) -> dict[str, Any]:
    """What `benchmarks/line.py` of a tree measures, once."""
    command = [sys.executable, "benchmarks/line.py", "--json", "--repeats", "1", "--video", str(clip), *options]
    done = subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compare(revision: str, rounds: int, options: list[str], folder: Path) -> dict[str, Any]:
    """The raw numbers of both trees, and the ratio of each round."""
    with tree_of(revision, folder) as other:
        sys.path.append(str(REPO / "tests"))  # the clip is that of the tests
        from helpers.astronaut import make_video

        clip = folder / "clip.mp4"
        make_video(clip, 24, keyframe_s=10)
        paths = {"this": install(REPO, folder / "this"), "other": install(other, folder / "other")}
        trees = {"this": REPO, "other": other}
        found: dict[str, list[dict[str, Any]]] = {"this": [], "other": []}
        for number in range(rounds):
            for name in ("other", "this") if number % 2 else ("this", "other"):
                found[name].append(run_once(trees[name], paths[name], clip, options))
                print(
                    f"round {number + 1}/{rounds}, {name}: {found[name][-1]['windows_per_s_line']:.3f} windows/s",
                    file=sys.stderr,
                )
    speed = {name: [one["windows_per_s_line"] for one in runs] for name, runs in found.items()}
    ratios = [this / that for this, that in zip(speed["this"], speed["other"], strict=True)]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", revision], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "other_revision": commit,
        "windows_per_s": {name: statistics.median(values) for name, values in speed.items()},
        "ratio_of_medians": statistics.median(speed["this"]) / statistics.median(speed["other"]),
        "ratio_of_fastest": max(speed["this"]) / max(speed["other"]),
        "ratios": ratios,
        "runs": found,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="commit, tag or branch to compare with")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    parser.add_argument("options", nargs="*", help="options of line.py, after --")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = compare(args.revision, args.rounds, args.options, Path(name))
    print(
        json.dumps(result, indent=1)
        if args.json
        else f"this tree {result['windows_per_s']['this']:.2f} windows/s, {result['other_revision']} "
        f"{result['windows_per_s']['other']:.2f}; ratio of medians {result['ratio_of_medians']:.3f}, of the fastest "
        f"{result['ratio_of_fastest']:.3f}"
    )


if __name__ == "__main__":
    main()
