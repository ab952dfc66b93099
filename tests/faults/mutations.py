"""Breaks each rule of the commit protocol, and promises of docs/privacy.md, once, and runs the test that must notice:
`python tests/faults/mutations.py`.

A mutation is a change of text in a copy of the package. Its text must occur exactly once, so that it cannot become
stale. Prints a table, and exits with 1 where a broken rule was not noticed. Rules about Kafka need a broker; without
one they are left out, which the table says.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO / "tests"))

from helpers.broken_promises import PROMISES  # noqa: E402
from helpers.broken_rules import RULES  # noqa: E402
from helpers.mutation import Mutation  # noqa: E402


def passes(copy: Path, *tests: str) -> bool | None:
    """Whether the tests pass in the copy; None if all were skipped."""
    paths = os.pathsep.join([str(copy), str(copy / "operators"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{', '.join(tests)} could not be run:\n{done.stdout}{done.stderr}")
    return None if done.returncode == 0 and " passed" not in done.stdout else done.returncode == 0


def is_noticed(mutation: Mutation, copy: Path) -> bool | None:
    """Whether the test fails on the broken copy; None if it was skipped."""
    file = copy / "streamfx" / mutation.file
    whole = file.read_text()
    if whole.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.file}: the text of {mutation.broken!r} is there {whole.count(mutation.old)} times")
    file.write_text(whole.replace(mutation.old, mutation.new))
    try:
        passed = passes(copy, mutation.test)
        return None if passed is None else not passed
    finally:
        file.write_text(whole)


def main() -> None:
    """Break one rule after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="only mutations whose rule or description contains this text")
    parser.add_argument("--json", type=Path, help="also write the table here")
    args = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory(prefix="streamfx-mutations-") as folder:
        copy = Path(folder) / "repo"
        for part in ("streamfx", "operators", "tests", "config", "docs", "weights", "triton_models"):
            shutil.copytree(REPO / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPO / "pyproject.toml", copy)
        # Tests look beside the repository for a broker that they may start, and for clips.
        (copy.parent / "shared").symlink_to(REPO.parent / "shared")
        chosen = [m for m in (*RULES, *PROMISES) if args.only is None or args.only in f"{m.rule} {m.broken}"]
        if not passes(copy, *sorted({mutation.test for mutation in chosen})):
            raise SystemExit("expected the tests to pass before any mutation, but some fail; repair them first")
        print("| rule | broken | noticed by | noticed |\n|---|---|---|---|", flush=True)
        for mutation in chosen:
            noticed = is_noticed(mutation, copy)
            table.append({"rule": mutation.rule, "broken": mutation.broken, "test": mutation.test, "noticed": noticed})
            by = mutation.test.removeprefix("tests/sink/")
            word = {True: "yes", False: "NO", None: "not run: its test was skipped"}[noticed]
            print(f"| {mutation.rule} | {mutation.broken} | `{by}` | {word} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")
    sys.exit(1 if any(row["noticed"] is False for row in table) else 0)


if __name__ == "__main__":
    main()
