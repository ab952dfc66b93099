"""A long undisturbed run: do memory, file handles, threads and lag stay flat while thousands of streams come and go?

It uses Kafka, one worker with the nets in its process, and very small chunks. Samples are taken from outside, by
process id; slopes are fitted after a warm-up. Prints JSON and, on request, draws a picture. Exits with 1 where memory
or handles grow.

    python benchmarks/soak.py --minutes 60 --picture out/bench/soak.png > out/bench/soak.json
    python benchmarks/soak.py --minutes 60 --faces > out/bench/soak-faces.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image, ImageDraw

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests"))

from helpers import bad_media, runs  # noqa: E402
from helpers.astronaut import make_video  # noqa: E402
from helpers.chaos import Brokers, Feeder, Progress, Run, wait_for  # noqa: E402

from streamfx.media.cut import CutChunk, cut_video  # noqa: E402

PARTITIONS = 4
SAMPLE_S = 5.0
WARM_UP = 0.2
"""Share of the run that slopes leave out."""
START_US = 1_767_323_045_000_000
MOST_GROWTH_PER_HOUR = 0.05
"""Share of resident memory per hour above which it counts as growing; for handles and threads the limit is one."""
QUANTITIES = ("rss_mib", "handles", "threads", "lag_chunks")


def talking(folder: Path) -> list[CutChunk]:
    """A stream that shows a face for 3 s, in chunks of 1 s."""
    make_video(folder / "face.mp4", seconds=3)
    return list(cut_video(folder / "face.mp4", 1.0, START_US))


def stream(chunks: int, seconds: float) -> list[CutChunk]:
    """A stream of small chunks without a face, the last of which ends it."""
    body = bad_media.healthy_chunk(bad_media.RECIPES[0], seconds)
    step_us = round(seconds * 1e6)
    return [
        CutChunk(seq, START_US + seq * step_us, step_us, body, "video/mp4", seq == chunks - 1) for seq in range(chunks)
    ]


def configuration(folder: Path, bootstrap: str) -> Path:
    """One worker in the run's own process."""
    config = runs.tree(
        folder, [], faces={"detect_px": 64, "detect_every": 8}, sink={"roll_chunks": 64, "idle_flush_s": 2}
    )
    config["source"] = {"kafka": {"bootstrap": bootstrap, "topic": "soak", "group": "soak"}}
    return runs.write_config(folder, config)


def sample(run: Run, feeder: Feeder, progress: Progress, started: float) -> dict[str, float]:
    """The resources that the process holds now, and its lag."""
    process, ends = psutil.Process(run.process.pid), progress.ends()
    return {
        "minutes": round((time.monotonic() - started) / 60, 3),
        "rss_mib": round(process.memory_info().rss / 2**20, 1),
        "handles": process.num_fds(),
        "threads": process.num_threads(),
        "lag_chunks": sum(feeder.sent.values()) - sum(ends.values()),
        "chunks": sum(ends.values()),
        "streams": feeder.streams,
    }


def slopes(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    """Growth per hour of each quantity after the warm-up."""
    rest = samples[int(len(samples) * WARM_UP) :]
    hours = [one["minutes"] / 60 for one in rest]
    return {name: round(float(np.polyfit(hours, [one[name] for one in rest], 1)[0]), 3) for name in QUANTITIES}


def draw(samples: Sequence[dict[str, float]], path: Path) -> None:
    """Draw one panel per quantity, from zero to slightly over its maximum, with time to the right."""
    width, height, left, gap = 900, 150, 130, 30
    picture = Image.new("RGB", (width + left + 20, (height + gap) * len(QUANTITIES) + gap), "white")
    pen = ImageDraw.Draw(picture)
    last = max(samples[-1]["minutes"], 1e-9)
    for row, name in enumerate(QUANTITIES):
        top = gap + row * (height + gap)
        most = max(1.0, 1.1 * max(one[name] for one in samples))
        pen.rectangle((left, top, left + width, top + height), outline="gray")
        pen.text((8, top), f"{name}\n\nup to {most:.0f}\nlast {samples[-1][name]:g}", fill="black")
        line = [(left + width * one["minutes"] / last, top + height * (1 - one[name] / most)) for one in samples]
        pen.line(line, fill="navy", width=2)
    pen.text(
        (left, 8),
        f"{last:.0f} minutes, {samples[-1]['chunks']:.0f} chunks, {samples[-1]['streams']:.0f} streams",
        fill="black",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def soak(minutes: float, folder: Path, chunks: Sequence[CutChunk]) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Run for `minutes`; return the samples, and the result of a separate verifier at the end."""
    brokers = Brokers()
    try:
        brokers.create_topic("soak", PARTITIONS)
        progress = Progress(folder / "data")
        feeder = Feeder(brokers.bootstrap, "soak", PARTITIONS, chunks, progress)
        run = Run(configuration(folder, brokers.bootstrap), folder / "run.log")
        samples: list[dict[str, float]] = []
        try:
            wait_for(lambda: bool(progress.ends()), 300, run)
            started = time.monotonic()
            while time.monotonic() - started < minutes * 60 and not run.exits:
                samples.append(sample(run, feeder, progress, started))
                wait_for(lambda: False, SAMPLE_S, run)
            feeder.finish(run, 300)
            wait_for(lambda: progress.ends() == feeder.sent, 300, run)
        finally:
            status = run.end()
        done = runs.streamfx("verify", folder / "data", "--bootstrap", brokers.bootstrap, "--topic", "soak")
        report = json.loads(done.stdout)
        problems = {name: len(report[name]) for name in ("gaps", "duplicates", "orphans")}
        return samples, {"exit": status, "restarts": len(run.exits), "rows": report["rows"], **problems}
    finally:
        brokers.delete()


def main() -> int:
    """Run the soak test and print JSON to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument(
        "--faces", action="store_true", help="use streams that show a face: fewer chunks, but windows are scored"
    )
    parser.add_argument("--picture", type=Path, help="PNG to draw")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streamfx-soak-") as folder:
        chunks = talking(Path(folder)) if args.faces else stream(5, 0.4)
        samples, found = soak(args.minutes, Path(folder), chunks)
    growth = slopes(samples)
    if args.picture:
        draw(samples, args.picture)
    flat = (
        growth["rss_mib"] <= MOST_GROWTH_PER_HOUR * samples[-1]["rss_mib"]
        and growth["handles"] < 1
        and growth["threads"] < 1
    )
    result = {
        "command": f"python benchmarks/soak.py {' '.join(sys.argv[1:])}".strip(),
        "cores": os.cpu_count(),
        "chunks": samples[-1]["chunks"],
        "streams": samples[-1]["streams"],
        "growth_per_hour": growth,
        "flat": flat,
        **found,
        "samples": samples,
    }
    print(json.dumps(result, indent=1))
    return 0 if flat and not (found["gaps"] or found["duplicates"] or found["orphans"] or found["restarts"]) else 1


if __name__ == "__main__":
    sys.exit(main())
