"""Measures the start of a partition with a long log: calls, bytes and time, with the index and by listing all names.

Makes a log of `--entries` entries, such as a year of commits leaves, and recovers it on the local disk with the index
fresh, stale, torn and missing. `by_listing` is the cost of a start that lists all names of the log instead of looking
for single ones. Times are medians; the page cache is warm.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamfx.records import Partition
from streamfx.sink.current_files import LiveFiles
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.log import Entry, FileSpec, PartitionLog
from streamfx.sink.protocol import LogWriter

PARTITION = Partition("chunks", "T0p1cIdT0p1cIdT0p1cId", 0)


class CountingFs(LocalFileSystem):
    """A file system that counts calls by name, and the names that listings returned."""

    def __init__(self, root: Path):
        super().__init__(root)
        self.calls: Counter[str] = Counter()

    def read(self, path: str) -> bytes:
        self.calls["read"] += 1
        return super().read(path)

    def exists(self, path: str) -> bool:
        self.calls["exists"] += 1
        return super().exists(path)

    def listdir(self, path: str) -> list[str]:
        names = super().listdir(path)
        self.calls["listdir"] += 1
        self.calls["names_listed"] += len(names)
        return names


def entry(log: PartitionLog, n: int) -> Entry:
    """An entry like that of a commit of 64 chunks."""
    attempt = f"{n:016x}"
    files = tuple(
        FileSpec(
            table,
            log.staged_path(n, attempt, table, "2026-01-01", 0),
            log.final_path(n, attempt, table, "2026-01-01", 0),
            64,
            20_000,
            "0" * 64,
        )
        for table in ("windows", "chunks")
    )
    last = {"offset": 64 * n + 63, "timestamp_ms": 1, "sha256": "0" * 64}
    return Entry(
        "data", n, attempt, 64 * n, 64 * n + 64, 64, files, {}, last, "c1", 1, 1, {}, "2026-01-01T00:00:00+00:00"
    )


def make_log(root: Path, entries: int) -> PartitionLog:
    """Write the entries without syncing, since they need not survive a crash."""
    log = PartitionLog(LocalFileSystem(root), PARTITION)
    for folder in (log.entries_dir, log.staging_dir, "windows/date=2026-01-01", "chunks/date=2026-01-01"):
        (root / folder).mkdir(parents=True)
    for n in range(entries):
        path = log.entry_path(n)
        (root / path).write_bytes(entry(log, n).to_json(path))
    return log


def measure(root: Path, start: Callable[[CountingFs], Any], prepare: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Median seconds of `start`, and the calls of its first run."""
    times, first = [], None
    for _ in range(repeats):
        prepare()
        fs = CountingFs(root)
        began = time.perf_counter()
        start(fs)
        times.append(time.perf_counter() - began)
        first = first or dict(fs.calls)
    return {"seconds": round(statistics.median(times), 6), "calls": first}


def by_listing(fs: CountingFs) -> None:
    """Find the newest entry by listing all names and checking that none is missing."""
    log = PartitionLog(fs, PARTITION)
    numbers = sorted(int(name[:20]) for name in fs.listdir(log.entries_dir))
    assert numbers == list(range(len(numbers)))
    log.read(numbers[-1])


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--live", action="store_true", help="also time reading which files are live, with and without index"
    )
    parser.add_argument("--json", action="store_true", help="accepted for symmetry; the output is always JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streamfx-log-") as folder:
        root = Path(folder)
        log = make_log(root, args.entries)
        hint = root / log.hint_path
        hint.parent.mkdir(parents=True)

        def recover(fs: CountingFs) -> None:
            last = LogWriter(fs, PARTITION).recover()
            assert last is not None and last.n == args.entries - 1

        cases: dict[str, tuple[Callable[[CountingFs], Any], Callable[[], Any]]] = {
            "by_listing": (by_listing, lambda: None),
            "index_fresh": (recover, lambda: hint.write_text(str(args.entries - 1 - 63))),
            "index_stale_by_10000": (recover, lambda: hint.write_text(str(max(0, args.entries - 10_001)))),
            "index_torn": (recover, lambda: hint.write_text("")),
            "index_missing": (recover, lambda: hint.unlink(missing_ok=True)),
        }
        starts = {name: measure(root, start, prepare, args.repeats) for name, (start, prepare) in cases.items()}
        if args.live:
            newest = log.read(args.entries - 1)
            live = LiveFiles(LocalFileSystem(root), log, newest)
            starts["live_files_without_index"] = measure(
                root, lambda fs: LiveFiles(fs, PartitionLog(fs, PARTITION), newest), lambda: None, 1
            )
            live.save(newest)
            starts["live_files_with_index"] = measure(
                root, lambda fs: LiveFiles(fs, PartitionLog(fs, PARTITION), newest), lambda: None, 1
            )
    about = {
        "entries": args.entries,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }
    json.dump({**about, "starts": starts}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
