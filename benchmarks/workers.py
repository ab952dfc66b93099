"""Two workers beside one: how much sooner a backlog in Kafka is done where each worker has a core of its own.

The same films lie in a topic of 8 partitions. One worker reads it on one core, then two workers on two, as Ray actors with
single-threaded nets, each time from the start into a new dataset, in turn. Counted are the chunks that become visible while
SHARE of the backlog is done, so that starting and ending do not count. The brokers' and Ray's own processes share the cores.
Prints JSON; exits with 1 where rows are lost or differ. Wants cores that nothing else uses.

    python benchmarks/workers.py > out/bench/workers.json      # 10 minutes
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests"))

from helpers import runs  # noqa: E402
from helpers.astronaut import make_video  # noqa: E402
from helpers.chaos import Brokers, Progress  # noqa: E402

PARTITIONS = 8
SHARE = 0.3, 0.9
TOPIC = "backlog"


def configuration(folder: Path, bootstrap: str, workers: int, group: str) -> Path:
    """So many workers in a Ray of their own."""
    config = runs.tree(folder, [], sink={"roll_chunks": 4, "idle_flush_s": 1})
    config["source"] = {"kafka": {"bootstrap": bootstrap, "topic": TOPIC, "group": group}}
    config["runtime"] = {"engine": "ray", "workers": workers, "worker_cpus": 0.1}
    return runs.write_config(folder, config)


def once(folder: Path, bootstrap: str, workers: int, chunks: int) -> dict[str, Any]:
    """Read the whole topic with `workers` workers on as many cores."""
    folder.mkdir()
    config = configuration(folder, bootstrap, workers, folder.name)
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:workers]))
    command = ["taskset", "-c", cores, sys.executable, "-m", "streamfx", "run", str(config), "--quiet"]
    progress, times = Progress(folder / "data"), {}
    with (folder / "run.log").open("wb") as log:
        run = subprocess.Popen([*command, "--until-idle", "5s"], stdout=log, stderr=log)
        while run.poll() is None:
            done = sum(progress.ends().values())
            times.setdefault(done, time.monotonic())
            time.sleep(0.05)
    if run.returncode or sum(progress.ends().values()) != chunks:
        raise RuntimeError((folder / "run.log").read_text()[-1500:])
    first, last = (min(done for done in times if done >= share * chunks) for share in SHARE)
    return {"workers": workers, "chunks_per_s": (last - first) / (times[last] - times[first]), "chunks": last - first}


def main() -> int:
    """Measure in turn and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=16, help="length of each stream")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("expected two cores, got one; run it on another machine")
    brokers = Brokers()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="streamfx-workers-") as name:
        folder = Path(name)
        try:
            brokers.create_topic(TOPIC, PARTITIONS)
            make_video(folder / "film.mp4", args.seconds)
            (folder / "films").mkdir()
            for number in range(args.streams):
                (folder / "films" / f"stream-{number}.mp4").symlink_to(folder / "film.mp4")
            to = ["--topic", TOPIC, "--bootstrap", brokers.bootstrap, "--chunk-s", "1", "--start", runs.START]
            done = runs.streamfx("publish", folder / "films", *to)
            if done.returncode:
                raise RuntimeError(done.stderr)
            chunks, keys = args.streams * args.seconds, []
            for number in range(args.rounds):
                pair = {}
                for workers in (1, 2) if number % 2 else (2, 1):
                    place = folder / f"round-{number}-{workers}"
                    pair[workers] = once(place, brokers.bootstrap, workers, chunks)
                    keys.append(runs.keys(place / "data"))
                    print(f"round {number + 1}/{args.rounds}: {pair[workers]}", file=sys.stderr)
                rounds.append({"ratio": pair[2]["chunks_per_s"] / pair[1]["chunks_per_s"], "runs": list(pair.values())})
        finally:
            brokers.delete()
    ratios = [one["ratio"] for one in rounds]
    same = all(found == keys[0] for found in keys)
    result = {"cores": os.cpu_count(), "ratio": statistics.median(ratios), "same_rows": same, "rounds": rounds}
    print(json.dumps(result, indent=1))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
