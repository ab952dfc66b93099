"""Kill and break everything around a running line, by a seeded schedule, and count lost and doubled rows from outside.

Real Kafka, real Triton, Ray workers as real processes. Each kind of fault gets a topic and a dataset of its own:
streams are fed without pause, and the fault strikes `count` times, each after a random wait and once all partitions
have advanced. Then everything is drained and checked by `streamfx verify` in a process of its own, and against the
windows of an undisturbed run. Prints JSON; exits with 1 where anything is lost, doubled or orphaned, or does not
recover.

    python benchmarks/chaos.py --plan long --seed 1 > out/bench/chaos.json      # over 200 kills; 55 minutes on 2 cores
    python benchmarks/chaos.py --plan short --seed 1
    python benchmarks/chaos.py --faults worker=5,broker=2
    python benchmarks/chaos.py --faults worker=12,both_workers=4,supervisor=4,sigterm=2 --films   # redacted films too
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests"))

from helpers import runs  # noqa: E402
from helpers.astronaut import make_video  # noqa: E402
from helpers.chaos import POLL_S, Brokers, Feeder, Model, Progress, Run, judge, wait_for  # noqa: E402

from streamfx.media.cut import CutChunk, cut_video  # noqa: E402

PARTITIONS = 4
CHUNKS_A_STREAM = 6
RECOVER_S = 240.0
"""Seconds without new rows after which a line counts as stuck."""
DRAIN_S = 240.0
DISK_MIB = 48
START_US = 1_767_323_045_000_000
FACES = {"detect_px": 192, "detect_every": 4}
"""Settings of detection that are cheap enough to leave two cores for recovery."""

PLANS = {
    "short": "worker=3,supervisor=1,broker=1,triton_kill=1,sigterm=1",
    "long": (
        "worker=100,both_workers=20,supervisor=15,raylet=5,broker=12,leader=6,rebalance=6,triton_kill=15,triton_hang=4,"
        "triton_slow=3,triton_nan=3,triton_shape=3,disk_full=4,read_only=4,sigterm=10,mixed=12"
    ),
}


@dataclass
class World:
    """One campaign and everything in it that can be broken."""

    folder: Path
    brokers: Brokers
    model: Model
    topic: str
    config: Path
    run: Run
    chance: random.Random
    kills: int = 0

    @property
    def data(self) -> Path:
        """The dataset."""
        return self.folder / "disk" / "data"

    def kill(self, processes: Sequence[psutil.Process]) -> None:
        """Send SIGKILL to the processes, and count them."""
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                self.kills += 1

    def wait(self, seconds: float) -> None:
        """Let time pass while keeping the run alive."""
        wait_for(lambda: False, seconds, self.run)


def worker(world: World) -> None:
    """kill -9 of one worker."""
    found = world.run.family("WorkerActor")
    world.kill(world.chance.sample(found, min(1, len(found))))


def both_workers(world: World) -> None:
    """kill -9 of all workers at once."""
    world.kill(world.run.family("WorkerActor"))


def supervisor(world: World) -> None:
    """kill -9 of the supervisor; its workers may live on for a while, and believe that they own their partitions."""
    world.run.family("")
    world.kill([psutil.Process(world.run.process.pid)])


def raylet(world: World) -> None:
    """kill -9 of Ray's own process on the node, and of all workers, which nobody but the next run can start again."""
    world.kill([*world.run.family("raylet/raylet")[:1], *world.run.family("WorkerActor")])


def sigterm(world: World) -> None:
    """SIGTERM to the supervisor in the middle of everything."""
    world.run.process.terminate()


def broker(world: World) -> None:
    """kill -9 of a broker, which comes back after up to 5 s."""
    world.kills += 1
    world.brokers.kill(1)
    world.wait(world.chance.uniform(0, 5))
    world.brokers.start()


def leader(world: World) -> None:
    """kill -9 of the broker that leads a partition; it comes back once another leads."""
    partition = world.chance.randrange(PARTITIONS)
    before = world.brokers.leader(world.topic, partition)
    world.kills += 1
    world.brokers.kill(before)
    wait_for(lambda: leads_now(world, partition) not in (before, -1), 60, world.run)
    world.brokers.start()


def leads_now(world: World, partition: int) -> int:
    """The partition's leader, or -1 while it is unknown."""
    with contextlib.suppress(Exception):
        return world.brokers.leader(world.topic, partition)
    return -1


def rebalance(world: World) -> None:
    """Members join and leave, some in good order and some killed, faster than the group settles."""
    guests: list[subprocess.Popen[bytes]] = []
    log = (world.folder / "guests.log").open("ab")
    for _ in range(3):
        command = [
            sys.executable,
            "-m",
            "streamfx",
            "run",
            str(world.config),
            "--quiet",
            "--set",
            "runtime.engine=local",
        ]
        guests.append(subprocess.Popen(command, stdout=log, stderr=log))
        world.wait(world.chance.uniform(4, 12))
    world.chance.shuffle(guests)
    for number, guest in enumerate(guests):
        if number % 2:
            guest.kill()
            world.kills += 1
        else:
            guest.terminate()
        world.wait(world.chance.uniform(0, 3))
    for guest in guests:
        guest.wait(120)


def triton_kill(world: World) -> None:
    """kill -9 of the model server, which comes back after up to 10 s."""
    world.kills += 1
    world.model.kill()
    world.wait(world.chance.uniform(0, 10))
    world.model.start()


def triton_hang(world: World) -> None:
    """The model server hangs for longer than a request may take."""
    world.model.hang(world.chance.uniform(6, 15))


def triton_slow(world: World) -> None:
    """The model server takes 2 s for each answer, for 15 s."""
    _answers(world, "slow", 15)


def triton_nan(world: World) -> None:
    """The model server answers NaN for 10 s."""
    _answers(world, "nan", 10)


def triton_shape(world: World) -> None:
    """The model server answers one label too few for 10 s."""
    _answers(world, "shape", 10)


def _answers(world: World, how: str, seconds: float) -> None:
    world.model.answer(how)
    world.wait(seconds)
    world.model.answer("right")


def disk_full(world: World) -> None:
    """The dataset's disk is full to the last byte for 8 s."""
    ballast = world.folder / "disk" / "ballast"
    with ballast.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(bytes(4096))
    world.wait(8)
    ballast.unlink()


def read_only(world: World) -> None:
    """The dataset's disk is read-only for 8 s."""
    _mount("-o", "remount,ro", str(world.folder / "disk"))
    world.wait(8)
    _mount("-o", "remount,rw", str(world.folder / "disk"))


def _mount(*options: str) -> None:
    """Run `mount`, and repeat it while the file system is busy with a file that is being written."""
    for _ in range(200):
        done = subprocess.run(["mount", *options], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return
        time.sleep(POLL_S)
    raise RuntimeError(f"mount {' '.join(options)}: {done.stderr}")


Fault = Callable[[World], None]
_SINGLE: tuple[Fault, ...] = (
    worker, both_workers, supervisor, raylet, broker, leader, rebalance, triton_kill, triton_hang, triton_slow,
    triton_nan, triton_shape, disk_full, read_only, sigterm,
)  # fmt: skip
FAULTS: dict[str, Fault] = {fault.__name__: fault for fault in _SINGLE}
ON_A_SMALL_DISK = {"disk_full", "read_only"}
MIXED = (worker, worker, both_workers, supervisor, broker, triton_kill, triton_hang, sigterm)


def mixed(world: World) -> None:
    """Two of the others, at nearly the same time."""
    for fault in world.chance.sample(MIXED, 2):
        fault(world)
        world.wait(world.chance.random())


FAULTS["mixed"] = mixed


@contextlib.contextmanager
def small_disk(folder: Path, wanted: bool) -> Iterator[None]:
    """Provide a file system of DISK_MIB in memory if `wanted` (needs root)."""
    folder.mkdir(parents=True)
    if wanted:
        _mount("-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder))
    try:
        yield
    finally:
        if wanted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def configuration(folder: Path, bootstrap: str, topic: str, triton: str, films: bool) -> Path:
    """Write the configuration of two Ray workers on four partitions with frequent commits."""
    # A fault may stop the feeder for longer than a stream may be silent, and a stream cut short has other windows.
    config = runs.tree(folder, [], faces=FACES, windows={"idle_s": 3600.0})
    config["source"] = {
        "kafka": {"bootstrap": bootstrap, "topic": topic, "group": topic, "session_timeout_s": 6},
        "queue_chunks": 4,
    }
    config["serving"] = {"backend": "triton", "triton": {"url": triton}, "threads": 1, "deadline_s": 10, "retries": 6}
    config["sink"] = {"path": str(folder / "disk" / "data"), "roll_chunks": 4, "idle_flush_s": 1}
    config["runtime"] = {"engine": "ray", "workers": 2, "worker_cpus": 0.5, "drain_s": 20}
    config["redact"] = {"films": films}
    return runs.write_config(folder, config)


def quiet_windows(folder: Path, clip: Path) -> Counter[Any]:
    """The windows of one stream in an undisturbed run from a file."""
    folder.mkdir()
    start = {"start": "2026-01-02T03:04:05Z", "chunk_s": 1.0}
    config = runs.tree(folder, [clip], faces=FACES)
    config["source"]["files"] |= start
    done = runs.streamfx("run", runs.write_config(folder, config), "--quiet")
    if done.returncode:
        raise RuntimeError(done.stderr[-800:])
    return Counter(row["window_start"] for row in runs.rows(folder / "data", "windows"))


def campaign(
    name: str, count: int, seed: int, folder: Path, brokers: Brokers, model: Model, chunks: Sequence[CutChunk],
    expected: Counter[Any], films: bool,
) -> dict[str, Any]:  # fmt: skip
    """Inflict one kind of fault `count` times, and return the outcome."""
    topic, started = f"chaos-{name}", time.monotonic()
    folder.mkdir()
    with small_disk(folder / "disk", name in ON_A_SMALL_DISK):
        brokers.create_topic(topic, PARTITIONS)
        config = configuration(folder, brokers.bootstrap, topic, model.url, films)
        progress = Progress(folder / "disk" / "data")
        feeder = Feeder(brokers.bootstrap, topic, PARTITIONS, chunks, progress)
        run, crashes = Run(config, folder / "run.log", model), model.crashes
        world = World(folder, brokers, model, topic, config, run, random.Random(f"{name}/{seed}"))
        strikes, stuck = [], False
        try:
            stuck = not moved(progress, {}, run)
            for _ in range(count):
                if stuck:
                    break
                world.wait(world.chance.expovariate(1.0))
                strikes.append(strike(FAULTS[name], world, progress))
                stuck = strikes[-1]["all_rows_s"] is None
                print(f"{name} {len(strikes)}/{count} {strikes[-1]}", file=sys.stderr, flush=True)
            if not stuck:
                stuck = not feeder.finish(run, DRAIN_S) or not wait_for(
                    lambda: progress.ends() == feeder.sent, DRAIN_S, run
                )
            run.keep = False
        finally:
            status = run.end()
        found = {} if stuck else judge(world.data, brokers.bootstrap, topic, feeder.streams, expected, films)
        log = (folder / "run.log").read_text(errors="replace")
    result = {
        "fault": name,
        "what": (FAULTS[name].__doc__ or "").strip(),
        "count": len(strikes),
        "kills": world.kills,
        "stuck": stuck,
        "restarts_of_the_run": len(run.exits),
        "crashes_of_the_model_server": model.crashes - crashes,
        "last_exit": status,
        **found,
        "first_row_s": spread([strike["first_row_s"] for strike in strikes]),
        "all_rows_s": spread([strike["all_rows_s"] for strike in strikes]),
        "strikes": strikes,
        "took_s": round(time.monotonic() - started),
        "log": log[-3000:] if stuck else "",
    }
    print(json.dumps({key: value for key, value in result.items() if key != "strikes"}), file=sys.stderr, flush=True)
    return result


def strike(fault: Fault, world: World, progress: Progress) -> dict[str, Any]:
    """Inflict the fault; return the seconds until the first new row, and until all partitions have new rows."""
    before, started = progress.ends(), time.monotonic()
    first: list[float] = []

    def note() -> bool:
        now = progress.ends()
        if not first and now != before:
            first.append(time.monotonic() - started)
        return all(now.get(partition, 0) > end for partition, end in before.items())

    fault(world)
    outage_s = time.monotonic() - started
    # Only commits after the fault count, since one may have been in progress when it struck.
    before = progress.ends()
    recovered = wait_for(note, RECOVER_S, world.run)
    return {
        "at": sum(before.values()),
        "outage_s": round(outage_s, 2),
        "first_row_s": round(first[0], 2) if first else None,
        "all_rows_s": round(time.monotonic() - started, 2) if recovered else None,
    }


def moved(progress: Progress, before: dict[int, int], run: Run) -> bool:
    """Wait until every partition has rows beyond `before`."""
    numbers = range(PARTITIONS)
    return wait_for(
        lambda: all(progress.ends().get(number, 0) > before.get(number, 0) for number in numbers), RECOVER_S, run
    )


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Median, 95th percentile and maximum of the measured values."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    p50, p95 = (round(float(np.percentile(known, part)), 2) for part in (50, 95))
    return {"p50": p50, "p95": p95, "max": max(known)}


def parse_plan(text: str) -> list[tuple[str, int]]:
    """Parse `worker=3,broker=1` into pairs."""
    plan = []
    for part in text.split(","):
        name, _, count = part.partition("=")
        if name not in FAULTS:
            raise SystemExit(f"--faults: expected some of {', '.join(FAULTS)}, got {name!r}")
        plan.append((name, int(count or 1)))
    return plan


def run_plan(plan: Sequence[tuple[str, int]], seed: int, folder: Path, films: bool) -> list[dict[str, Any]]:
    """Run all campaigns of a plan, one after the other, on the same brokers and the same model server."""
    clip = next(iter(sorted(runs.CLIPS.glob("*.mpg"))), None)
    if clip is None:
        clip = folder / "clip.mp4"
        make_video(clip)
    # The last chunk ends the stream, however long the clip is.
    chunks = list(islice(cut_video(clip, 1.0, START_US), CHUNKS_A_STREAM))
    expected = quiet_windows(folder / "quiet", clip)
    if not chunks[-1].end:
        raise SystemExit(f"{clip}: expected a clip of at most {CHUNKS_A_STREAM} s, got a longer one")
    (folder / "model").mkdir()
    model = Model(folder / "model")
    results = []
    try:
        for count in (1, 3):
            part = [entry for entry in plan if (entry[0] == "leader") == (count == 3)]
            if not part:
                continue
            brokers = Brokers(count)
            try:
                for name, times in part:
                    results.append(campaign(name, times, seed, folder / name, brokers, model, chunks, expected, films))
            finally:
                brokers.delete()
    finally:
        model.close()
    return results


def main() -> int:
    """Run the plan and print JSON to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", choices=tuple(PLANS), default="short")
    parser.add_argument("--faults", help="a plan of one's own, such as worker=5,broker=2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--films", action="store_true", help="the line writes redacted films too")
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="streamfx-chaos-") as folder:
        results = run_plan(parse_plan(args.faults or PLANS[args.plan]), args.seed, Path(folder), args.films)
    wrong = [r["fault"] for r in results if r["stuck"] or r["lost"] or r["doubled"] or r["orphans"]]
    summary = {
        "command": f"python benchmarks/chaos.py {' '.join(sys.argv[1:])}".strip(),
        "seed": args.seed,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "took_s": round(time.monotonic() - started),
        "kills": sum(result["kills"] for result in results),
        "wrong": wrong,
        "campaigns": results,
    }
    print(json.dumps(summary, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
