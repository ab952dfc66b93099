"""The Kafka line with all operators but `ask`, with redacted films, or with five questions about each face
every two seconds, beside the line with expression alone, in turn: windows/s, their ratio.

python benchmarks/operators.py --clips DIR --bootstrap HOST:PORT [--beside films|ask] [--rounds 3] [--copies 4] [--json]

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
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from streamfx.config.tree import Config
from streamfx.pipeline import load_config
from streamfx.runtime.worker import Worker
from streamfx.source.folders import sort_out

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers import runs

PIPELINES = {
    "expression": ["faces", "windows", "expression", "redact"],
    "all": ["faces", "windows", "expression", "action_units", "attributes", "redact"],
    "films": ["faces", "windows", "expression", "redact"],
    "ask": ["faces", "windows", "expression", "ask", "redact"],
}
QUESTIONS = {
    "glasses": {"question": "Does this person wear glasses?"},
    "smile": {"question": "Does this person smile?"},
    "mouth": {"question": "Is the mouth open?"},
    "beard": {"question": "Can you see a beard?"},
    "mood": {
        "question": "Which expression does this face show?",
        "answers": ["happiness", "sadness", "anger", "neutral"],
    },
}
IDLE_S = 3.0


def configuration(folder: Path, topic: str, name: str, args: argparse.Namespace) -> Config:
    """A configuration that reads the topic from its start into a new dataset."""
    sections: dict[str, dict[str, Any]] = {
        "expression": {"model": args.expression},
        "redact": {"films": name == "films"},
        "serving": {"threads": args.threads, "batch_size": args.batch, "in_flight": 4 * args.batch},
    }
    if "attributes" in PIPELINES[name]:
        sections["attributes"] = {"method": args.attributes}
    if "ask" in PIPELINES[name]:
        sections["ask"] = {"model": args.ask, "every_s": 2.0, "questions": QUESTIONS}
    tree = runs.tree(folder, [], **sections)
    tree["source"] = {"kafka": {"bootstrap": args.bootstrap, "topic": topic, "group": f"{topic}-{folder.name}"}}
    return load_config(tree | {"pipeline": PIPELINES[name]})


def run_once(config: Config) -> dict[str, Any]:
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
        "stage_s": {stage: round(took, 2) for stage, took in status.stage_seconds.items()},
    }


def verified(dataset: Path, topic: str, args: argparse.Namespace) -> dict[str, Any]:
    """Rows of each table, after `streamfx verify` found nothing wrong, and the versions in the rows of windows."""
    report = runs.verified(dataset, "--bootstrap", args.bootstrap, "--topic", topic)
    windows = runs.rows(dataset, "windows")
    columns = sorted(name for name in windows[0] if name.endswith("model_version"))
    return {
        "rows": report["rows"],
        "versions": {name: sorted({row[name] for row in windows if row[name] is not None}) for name in columns},
    }


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Publish the clips and run both pipelines in turn, in an order that alternates."""
    clips = [found.path for found in sort_out(args.clips) if not found.chunks]
    videos = folder / "videos"
    videos.mkdir()
    for clip in clips:
        for copy in range(args.copies):
            shutil.copy(clip, videos / f"{clip.stem}-{copy}{clip.suffix}")
    topic = f"bench-operators-{os.getpid()}"
    to = ["--topic", topic, "--bootstrap", args.bootstrap, "--create-topic", "1"]
    published = runs.streamfx("publish", videos, *to)
    if published.returncode:
        sys.exit(published.stderr)
    rounds = []
    for number in range(args.rounds):
        pair: dict[str, Any] = {}
        for name in sorted(["expression", args.beside], reverse=number % 2 == 0):
            here = folder / f"{name}-{number}"
            here.mkdir()
            pair[name] = run_once(configuration(here, topic, name, args)) | verified(here / "data", topic, args)
            print(f"{number + 1}/{args.rounds} {name}: {pair[name]['windows_per_s']:.2f} windows/s", file=sys.stderr)
        rounds.append(pair)
    return {
        "clips": len(clips), "copies": args.copies, "batch": args.batch, "threads": args.threads,
        "models": {"expression": args.expression, "attributes": args.attributes, "ask": args.ask},
        "machine": {"cpus": os.cpu_count(), "torch": torch.__version__},
        "windows_per_s": {
            name: statistics.median(pair[name]["windows_per_s"] for pair in rounds)
            for name in ("expression", args.beside)
        },
        f"{args.beside}_over_expression": statistics.median(
            pair[args.beside]["windows_per_s"] / pair["expression"]["windows_per_s"] for pair in rounds
        ),
        "rounds": rounds,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of video files")
    parser.add_argument("--bootstrap", required=True, help="Kafka broker")
    parser.add_argument(
        "--beside", choices=["all", "films", "ask"], default="all", help="what is compared with expression alone"
    )
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--expression", default="expression-faces", help="model of the operator expression")
    parser.add_argument("--ask", default="ask", help="model of the operator ask")
    parser.add_argument("--attributes", choices=["shared_encoder", "lnet_anet"], default="shared_encoder")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = measure(Path(name), args)
    rates = ", ".join(f"{name} {rate:.2f} windows/s" for name, rate in result["windows_per_s"].items())
    print(
        json.dumps(result, indent=1) if args.json else f"{rates}; ratio {result[f'{args.beside}_over_expression']:.2f}"
    )


if __name__ == "__main__":
    main()
