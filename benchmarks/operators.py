"""The Kafka line with every operator that ships, beside the line with expression alone, in turn: windows/s, their ratio.

python benchmarks/operators.py --clips DIR --bootstrap HOST:PORT [--rounds 3] [--copies 4] [--json]

The clips are published once, several copies of each as streams of their own. Each run reads the topic from its start
with a group and a dataset of its own, in one process, and `streamfx verify` then compares the dataset with the topic.
The time is that between the first and the last chunk that were done, so that start-up and idling are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import fastparquet
import torch

from streamfx.config.tree import Config
from streamfx.pipeline import load_config
from streamfx.runtime.worker import Worker

PIPELINES = {
    "expression": ["faces", "windows", "expression", "redact"],
    "all": ["faces", "windows", "expression", "action_units", "attributes", "redact"],
}
IDLE_S = 3.0
STREAMFX = [sys.executable, "-m", "streamfx"]


def configuration(folder: Path, topic: str, name: str, args: argparse.Namespace) -> Config:
    """A configuration that reads the topic from its start into a new dataset."""
    key = folder.parent / "key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(32))
    return load_config(
        {
            "pipeline": PIPELINES[name],
            "source": {"kafka": {"bootstrap": args.bootstrap, "topic": topic, "group": f"{topic}-{folder.name}"}},
            "privacy": {"purpose": "benchmark", "deployment_context": "research", "stream_id_key_file": str(key)},
            "sink": {"path": str(folder / "data")},
            "expression": {"model": args.expression},
            **({"attributes": {"method": args.attributes}} if "attributes" in PIPELINES[name] else {}),
            "serving": {"threads": args.threads, "batch_size": args.batch, "in_flight": 4 * args.batch},
        }
    )


def run_once(config: Config) -> dict[str, float]:
    """Windows and seconds between the first and the last chunk that were done."""
    worker = Worker(config)
    seen: list[tuple[float, int, int]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            status = worker.status()
            if status.chunks and (not seen or status.chunks != seen[-1][1]):
                seen.append((time.perf_counter(), status.chunks, status.windows))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        status = worker.run(IDLE_S)
    finally:
        over.set()
        watcher.join()
    (first, _, before), (last, chunks, windows) = seen[0], seen[-1]
    return {
        "seconds": last - first,
        "windows": windows - before,
        "windows_per_s": (windows - before) / (last - first),
        "chunks": chunks,
        "stage_s": {stage: round(took, 2) for stage, took in status.stage_seconds.items()},  # type: ignore[dict-item]
    }


def verified(dataset: Path, topic: str, args: argparse.Namespace) -> dict[str, Any]:
    """Rows of each table, after `streamfx verify` found nothing wrong, and the versions in the rows of windows."""
    command = [*STREAMFX, "verify", str(dataset), "--bootstrap", args.bootstrap, "--topic", topic]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    versions: dict[str, set[str]] = {}
    for path in dataset.glob("windows/**/*.parquet"):
        rows = fastparquet.ParquetFile(str(path)).to_pandas()
        for column in (name for name in rows if name.endswith("model_version")):
            versions.setdefault(column, set()).update(rows[column].dropna())
    return {
        "rows": json.loads(done.stdout)["rows"],
        "versions": {name: sorted(values) for name, values in sorted(versions.items())},
    }


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Publish the clips and run both pipelines in turn, in an order that alternates."""
    clips = sorted(path for path in args.clips.iterdir() if path.suffix in (".mp4", ".mpg", ".mkv", ".webm", ".mov"))
    if not clips:
        sys.exit(f"{args.clips}: expected video files, found none")
    videos = folder / "videos"
    videos.mkdir()
    for clip in clips:
        for copy in range(args.copies):
            shutil.copy(clip, videos / f"{clip.stem}-{copy}{clip.suffix}")
    topic = f"bench-operators-{os.getpid()}"
    to = ["--topic", topic, "--bootstrap", args.bootstrap, "--create-topic", "1"]
    subprocess.run([*STREAMFX, "publish", str(videos), *to], check=True, stdout=sys.stderr)
    rounds = []
    for number in range(args.rounds):
        runs: dict[str, Any] = {}
        for name in sorted(PIPELINES, reverse=number % 2 == 0):
            here = folder / f"{name}-{number}"
            here.mkdir()
            runs[name] = run_once(configuration(here, topic, name, args)) | verified(here / "data", topic, args)
            print(f"{number + 1}/{args.rounds} {name}: {runs[name]['windows_per_s']:.2f} windows/s", file=sys.stderr)
        rounds.append(runs)
    return {
        "clips": len(clips), "copies": args.copies, "batch": args.batch, "threads": args.threads,
        "models": {"expression": args.expression, "attributes": args.attributes},
        "machine": {"cpus": os.cpu_count(), "torch": torch.__version__},
        "windows_per_s": {
            name: statistics.median(runs[name]["windows_per_s"] for runs in rounds) for name in PIPELINES
        },
        "all_over_expression": statistics.median(
            runs["all"]["windows_per_s"] / runs["expression"]["windows_per_s"] for runs in rounds
        ),
        "rounds": rounds,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of video files")
    parser.add_argument("--bootstrap", required=True, help="Kafka broker")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--expression", default="expression-faces", help="model of the operator expression")
    parser.add_argument("--attributes", choices=["shared_encoder", "lnet_anet"], default="shared_encoder")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = measure(Path(name), args)
    rates = ", ".join(f"{name} {rate:.2f} windows/s" for name, rate in result["windows_per_s"].items())
    print(json.dumps(result, indent=1) if args.json else f"{rates}; ratio {result['all_over_expression']:.2f}")


if __name__ == "__main__":
    main()
