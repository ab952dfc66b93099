"""Counts the chunks that a worker reads again when it takes over a partition, after each commit of a run.

Runs the shipped clip through the line with a commit per chunk, for several lengths of chunk and window, and reads the
log: if the worker died right after a commit, exactly the chunks that its open windows name would be read again.
Uncommitted chunks come on top (`sink.roll_chunks` at most). Nothing here is a timing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamfx.config.tree import Config
from streamfx.operator import WindowOperator
from streamfx.pipeline import load_config
from streamfx.records import Partition
from streamfx.runtime.streams import StreamBook
from streamfx.runtime.worker import Worker
from streamfx.sink.current_files import find_partitions
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.log import PartitionLog

CLIP = Path(__file__).parents[1] / "streamfx" / "assets" / "story.mp4"


def configuration(folder: Path, chunk_s: float, window_s: float, hop_s: float) -> Config:
    """The configuration of a run over a file that commits each chunk separately."""
    files = {"paths": [str(CLIP)], "chunk_s": chunk_s, "start": "2026-01-01T00:00:00Z"}
    key = {"stream_id_key_file": str(folder / "key")}
    return load_config(
        {
            "source": {"files": files},
            "privacy": {"purpose": "benchmark", "deployment_context": "research", **key},
            "sink": {"path": str(folder / "data"), "roll_chunks": 1},
            "windows": {"length_s": window_s, "hop_s": hop_s},
        }
    )


def named_chunks(worker: Worker, dataset: Path) -> Iterator[int]:
    """Number of chunks that the open windows name, for each commit but the stream's last."""
    parts = worker.engine.new_parts()
    windows = next(one for one in parts.operators.values() if isinstance(one, WindowOperator))
    fs = LocalFileSystem(dataset)
    [partition] = find_partitions(fs, str(dataset))
    log = PartitionLog(fs, Partition(partition.topic, partition.topic_id, partition.number))
    newest = log.last()
    for n in range(newest.n if newest else 0):
        streams = StreamBook(parts.pseudonyms).restore(log.read(n).snapshot or {})
        yield sum(len(windows.offsets_needed(state["windows"])) for _, state in streams if "windows" in state)


def measure(chunk_s: float, window_s: float, hop_s: float) -> dict[str, Any]:
    """Run once, and return what a restart after each commit would read again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key").write_bytes(b"0123456789abcdef0123456789abcdef")
        worker = Worker(configuration(folder, chunk_s, window_s, hop_s))
        worker.run()
        chunks = list(named_chunks(worker, folder / "data"))
    return {
        "chunk_s": chunk_s,
        "window_s": window_s,
        "hop_s": hop_s,
        "commits": len(chunks),
        "chunks_read_again": {"p50": statistics.median(chunks), "max": max(chunks)},
        "media_s_read_again": {"p50": statistics.median(chunks) * chunk_s, "max": max(chunks) * chunk_s},
        "bound_s": window_s + chunk_s,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print raw JSON")
    args = parser.parse_args()
    cases = [(1.0, 2.0, 1.0), (2.0, 2.0, 1.0), (5.0, 2.0, 1.0), (1.0, 4.0, 1.0), (1.0, 8.0, 4.0)]
    results = [measure(*case) for case in cases]
    within = all(one["media_s_read_again"]["max"] <= one["bound_s"] for one in results)
    if args.json:
        print(
            json.dumps(
                {"command": "python benchmarks/replay.py --json", "within_bound": within, "cases": results}, indent=1
            )
        )
    else:
        for one in results:
            print({key: value for key, value in one.items() if key != "commits"})
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
