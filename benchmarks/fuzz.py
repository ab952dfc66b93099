"""Sends thousands of damaged chunks through the line: does it survive, has each chunk a fate, what does a chunk cost?

A child process runs the line over folders of chunks that a seeded fuzzer damaged; it is started again when it dies. A
verifier in its own process then reads only the output. Prints JSON; exits with 1 where a worker died or hung or a fate
is missing.

    python benchmarks/fuzz.py --chunks 10000 --seed 1 > out/bench/fuzz.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests"))

from helpers import bad_media, runs  # noqa: E402

CHUNKS_A_STREAM = 100
SPACING_US = 130_000_000
"""Time between the chunks of a stream, longer than a chunk may last, so that none is late."""
FIRST_US = 1_767_323_045_000_000
HANG_S = 300.0
"""Seconds on one chunk after which its worker counts as hung and is killed."""
ADDRESS_SPACE = 12 << 30


def write_streams(folder: Path, numbers: range, seed: int, seeds: list[bytes], bombs: list[tuple[str, bytes]]) -> None:
    """Write specimens as folders of chunks, `CHUNKS_A_STREAM` in each."""
    for number in numbers:
        stream, seq = divmod(number, CHUNKS_A_STREAM)
        place = folder / f"s{stream:05d}"
        place.mkdir(parents=True, exist_ok=True)
        one = bad_media.specimen(number, seed, seeds, bombs)
        headers: dict[str, str] = {
            "streamfx-stream-id": place.name,
            "streamfx-seq": str(seq),
            "streamfx-start-us": str(FIRST_US + seq * SPACING_US),
            "content-type": "video/mp4",
        }
        for name, value in one.headers.items():
            headers.pop(name, None)
            if value is not None:
                headers[name] = value.decode("latin-1")
        (place / f"{seq}.json").write_text(json.dumps(headers))
        (place / f"{seq}.mp4").write_bytes(one.body)


def child(config_file: Path, report: Path) -> None:
    """Run the line, recording for each chunk the seconds and the peak memory of its processing."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    from streamfx.pipeline import load_config
    from streamfx.runtime.line import PartitionLine
    from streamfx.runtime.worker import Worker

    process = PartitionLine.process
    with report.open("a", buffering=1) as notes:

        def measured(line: Any, record: Any) -> Any:
            Path("/proc/self/clear_refs").write_text("5")
            wall, cpu = time.monotonic(), time.process_time()
            who = {"stream": record.key.decode(), "offset": record.offset}
            notes.write(json.dumps(who) + "\n")
            outcome = process(line, record)
            costs = {"s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu, "peak_mib": peak_mib()}
            notes.write(json.dumps(who | costs | {"fate": outcome.fate, "reason": outcome.row.values["reason"]}) + "\n")
            return outcome

        PartitionLine.process = measured  # type: ignore[method-assign]
        Worker(load_config(config_file)).run()


def peak_mib() -> float:
    """Peak resident memory since the last reset, MiB."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def run_batch(folder: Path, backend: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run the line over `folder/in` until it ends by itself; return the chunks' records and the deaths of workers."""
    config = runs.tree(folder, [folder / "in"], sink={"roll_chunks": 25, "idle_flush_s": 2}, media={"backend": backend})
    config["faces"] = {"detect_px": 64, "detect_every": 8}
    file, report = runs.write_config(folder, config), folder / "notes.jsonl"
    report.touch()
    deaths = []
    while True:
        with (folder / "log.txt").open("a") as log:
            command = [sys.executable, __file__, "--child", str(file), str(report)]
            worker = subprocess.Popen(command, stdout=log, stderr=log)
            hung = wait(worker, report)
        notes = [json.loads(line) for line in report.read_text().splitlines()]
        if worker.returncode == 0:
            return [note for note in notes if "fate" in note], deaths
        tail = (folder / "log.txt").read_text(errors="replace")[-600:]
        deaths.append({"at": notes[-1] if notes else None, "hung": hung, "returncode": worker.returncode, "log": tail})
        if len(deaths) > 50:
            raise SystemExit(f"the line died {len(deaths)} times: {tail}")


def wait(worker: subprocess.Popen[bytes], report: Path) -> bool:
    """Wait until the worker ends; if it makes no progress, kill it and return True."""
    while worker.poll() is None:
        try:
            worker.wait(1.0)
        except subprocess.TimeoutExpired:
            if time.time() - max(report.stat().st_mtime, worker_started(worker)) > HANG_S:
                worker.kill()
                worker.wait()
                return True
    return False


def worker_started(worker: subprocess.Popen[bytes]) -> float:
    """Start time of the worker, UTC seconds."""
    return Path(f"/proc/{worker.pid}").stat().st_mtime


def verified(folder: Path, expected: int) -> dict[str, Any]:
    """The result of a separate verifier, and how many chunks have how many fates."""
    done = runs.streamfx("verify", folder / "data")
    report = json.loads(done.stdout)
    rows = Counter((row["topic"], row["offset"]) for row in runs.rows(folder / "data", "chunks"))
    return {
        "missing": expected - len(rows),
        "doubled": sum(count - 1 for count in rows.values()),
        "verify_problems": sum(len(report[name]) for name in ("gaps", "duplicates", "orphans")),
    }


def summary(notes: list[dict[str, Any]], kinds: dict[tuple[str, int], str]) -> dict[str, Any]:
    """Fates by kind of damage, and the costs of chunks."""
    fates: dict[str, Counter[str]] = {}
    for note in notes:
        kind = kinds[note["stream"], note["offset"]]
        fates.setdefault(kind, Counter())[f"{note['fate']}:{note['reason']}" if note["reason"] else note["fate"]] += 1
    worst = [note | {"kind": kinds[note["stream"], note["offset"]]} for note in notes]
    return {
        "fates": {kind: dict(sorted(found.items())) for kind, found in sorted(fates.items())},
        "seconds": percentiles([note["s"] for note in notes]),
        "cpu_seconds": percentiles([note["cpu_s"] for note in notes]),
        "peak_mib": percentiles([note["peak_mib"] for note in notes]),
        "slowest": sorted(worst, key=lambda note: -note["s"])[:5],
        "largest": sorted(worst, key=lambda note: -note["peak_mib"])[:5],
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum."""
    return {
        "p50": round(float(np.median(values)), 4),
        "p99": round(float(np.percentile(values, 99)), 4),
        "max": round(max(values), 4),
    }


def main() -> int:
    """Run batch after batch and print JSON to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1_000, help="chunks on disk at once, and in one dataset")
    parser.add_argument("--backend", default="pyav", choices=("pyav", "decord"))
    parser.add_argument("--no-bombs", action="store_true", help="leave out the chunks made to hurt")
    parser.add_argument("--child", nargs=2, metavar=("CONFIG", "REPORT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*map(Path, args.child))
        return 0
    clips = sorted(runs.CLIPS.glob("*.mp*"))
    seeds = bad_media.healthy_chunks(clips)
    bombs = [] if args.no_bombs else bad_media.all_bombs()
    notes: list[dict[str, Any]] = []
    deaths: list[dict[str, Any]] = []
    checks: Counter[str] = Counter()
    kinds: dict[tuple[str, int], str] = {}
    started = time.monotonic()
    for first in range(0, args.chunks, args.batch):
        numbers = range(first, min(first + args.batch, args.chunks))
        for number in numbers:
            stream, seq = divmod(number, CHUNKS_A_STREAM)
            kinds[f"s{stream:05d}", seq] = bad_media.specimen(number, args.seed, seeds, bombs).kind
        with tempfile.TemporaryDirectory(prefix="streamfx-fuzz-") as name:
            write_streams(Path(name) / "in", numbers, args.seed, seeds, bombs)
            batch_notes, batch_deaths = run_batch(Path(name), args.backend)
            notes += batch_notes
            deaths += batch_deaths
            checks.update(verified(Path(name), len(numbers)))
        print(f"{len(notes)} chunks, {len(deaths)} deaths, {dict(checks)}", file=sys.stderr, flush=True)
    result = {
        "command": f"python benchmarks/fuzz.py {' '.join(sys.argv[1:])}".strip(),
        "chunks": args.chunks,
        "seed": args.seed,
        "backend": args.backend,
        "healthy_kinds": len(seeds),
        "cores": os.cpu_count(),
        "took_s": round(time.monotonic() - started),
        "deaths": deaths,
        "hangs": sum(death["hung"] for death in deaths),
        **checks,
        **summary(notes, kinds),
    }
    print(json.dumps(result, indent=1))
    return 1 if deaths or any(checks.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
