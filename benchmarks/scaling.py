"""Simulates a day of load with bursts: workers by lag in seconds, by lag in messages (as in KEDA), and a fixed number.

Cameras come and go with the day, some stores send one-second chunks and others ten-second ones, crowds come in bursts,
and partitions are unevenly loaded. A worker takes a while to start, partitions pause while they move, and a worker
reads no more than it sustains. Every policy gets the same seeded load. This compares policies; it measures nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from streamfx.config.runtime import Scaling
from streamfx.runtime.scaling import History, PartitionLoad, decide

DAY_S, STEP_S, DECIDE_S = 86_400, 1, 5
PARTITIONS = 12
SUSTAINS = 4.0
"""Seconds of media that a worker processes per second."""
START_S, MOVE_S = 25, 4
"""Seconds that a new worker takes to start, and that the group pauses while partitions move."""
LIMITS = Scaling(min_workers=1, max_workers=PARTITIONS, target_lag_s=30, grow_every_s=30, shrink_after_s=300)
KEDA_MESSAGES, KEDA_POLL_S, KEDA_COOLDOWN_S = (10, 100), 30, 300
"""KEDA's Kafka scaler: messages of lag per worker (10 is its default), seconds between polls, and the seconds that
Kubernetes' autoscaler waits before it scales down."""


@dataclass
class View:
    """The input of a policy: load by partition, waiting messages, and the clock."""

    now_s: float
    loads: list[PartitionLoad]
    messages: float
    workers: int


Policy = Callable[[View], int]


def by_seconds() -> Policy:
    """streamfx's own policy."""
    history = History()

    def policy(view: View) -> int:
        nonlocal history
        decision = decide(LIMITS, view.loads, PARTITIONS, SUSTAINS, view.workers, view.now_s, history)
        history = decision.history
        return decision.workers

    return policy


def by_messages(threshold: int) -> Policy:
    """ceil(messages / threshold) within the bounds; fewer only if fewer were enough during the whole cooldown."""
    seen: list[tuple[float, int]] = []

    def policy(view: View) -> int:
        nonlocal seen
        if view.now_s % KEDA_POLL_S:
            return view.workers
        wanted = min(PARTITIONS, max(1, math.ceil(view.messages / threshold)))
        seen = [(at, n) for at, n in seen if at > view.now_s - KEDA_COOLDOWN_S] + [(view.now_s, wanted)]
        return max(n for _, n in seen)

    return policy


def fixed(workers: int) -> Policy:
    """A fixed number of workers."""
    return lambda view: workers


@dataclass
class Load:
    """Seconds of media that arrive in each partition in each second of the day, and the length of its chunks."""

    arriving: list[list[float]]
    chunk_s: list[float]


def day(seed: int) -> Load:
    """A day: quiet nights, two peaks, and bursts of five to forty minutes in a few partitions each."""
    chance = random.Random(seed)
    weight = [chance.uniform(0.5, 1.5) for _ in range(PARTITIONS)]
    chunk_s = [chance.choice((1.0, 2.0, 10.0)) for _ in range(PARTITIONS)]
    bursts = [
        (
            chance.uniform(6, 22) * 3600,
            chance.uniform(300, 2400),
            chance.uniform(0.8, 2.5),
            chance.sample(range(PARTITIONS), chance.randint(2, 6)),
        )
        for _ in range(14)
    ]
    arriving = []
    for second in range(0, DAY_S, STEP_S):
        hour = second / 3600
        base = 0.08 + 0.9 * math.exp(-(((hour - 12.5) / 2.2) ** 2)) + 1.1 * math.exp(-(((hour - 18) / 1.6) ** 2))
        now = [base * w for w in weight]
        for begin, length, height, where in bursts:
            if begin <= second < begin + length:
                for partition in where:
                    now[partition] += height
        arriving.append(now)
    return Load(arriving, chunk_s)


@dataclass
class Course:
    """The course of the day under one policy, by the second."""

    lag_s: list[float] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)
    changes: int = 0

    def figures(self) -> dict[str, Any]:
        """The figures of one row of the table."""
        cuts = statistics.quantiles(self.lag_s, n=100)
        return {
            "lag_p50_s": round(cuts[49], 1),
            "lag_p95_s": round(cuts[94], 1),
            "lag_max_s": round(max(self.lag_s), 1),
            "over_target_percent": round(
                100 * sum(lag > LIMITS.target_lag_s for lag in self.lag_s) / len(self.lag_s), 2
            ),
            "worker_hours": round(sum(self.workers) * STEP_S / 3600, 1),
            "changes": self.changes,
        }


class Partition:
    """A queue of media by the second of arrival."""

    def __init__(self) -> None:
        self.arrived: list[float] = []
        self.first = 0
        self.waiting_s = 0.0
        self.rate = 0.0

    def arrive(self, media_s: float) -> None:
        """Add the media of one second."""
        self.arrived.append(media_s)
        self.waiting_s += media_s
        self.rate += (media_s / STEP_S - self.rate) * (1 - math.exp(-STEP_S / 30))

    def work(self, media_s: float) -> float:
        """Take up to `media_s` seconds of media, the oldest first, and return how much was taken."""
        taken = 0.0
        while self.first < len(self.arrived) and taken < media_s:
            part = min(self.arrived[self.first], media_s - taken)
            self.arrived[self.first] -= part
            taken += part
            if self.arrived[self.first] > 1e-12:
                break
            self.first += 1
        self.waiting_s = max(0.0, self.waiting_s - taken)
        return taken

    @property
    def lag_s(self) -> float:
        """Age of the oldest waiting media."""
        return float(len(self.arrived) - self.first) * STEP_S


def simulate(load: Load, policy: Policy, workers: int) -> Course:
    """Simulate the day under a policy that begins with `workers` workers."""
    course, partitions = Course(), [Partition() for _ in load.chunk_s]
    working, wanted, ready_at, moving_until = workers, workers, 0.0, 0.0
    for second, arriving in enumerate(load.arriving):
        for partition, media_s in zip(partitions, arriving, strict=True):
            partition.arrive(media_s)
        if working != wanted and second >= ready_at:
            working, moving_until = wanted, second + MOVE_S
        if second >= moving_until:
            for worker in range(working):
                _share(partitions[worker::working], SUSTAINS * STEP_S)
        if second % DECIDE_S == 0:
            messages = sum(p.waiting_s / size for p, size in zip(partitions, load.chunk_s, strict=True))
            loads = [PartitionLoad(p.lag_s, p.waiting_s, p.rate, working < PARTITIONS) for p in partitions]
            chosen = policy(View(float(second), loads, messages, wanted))
            if chosen != wanted:
                ready_at = second + (START_S if chosen > wanted else 0)
                wanted, course.changes = chosen, course.changes + 1
        course.lag_s.append(max(p.lag_s for p in partitions))
        # A starting worker already costs worker-hours.
        course.workers.append(max(working, wanted))
    return course


def _share(partitions: list[Partition], media_s: float) -> None:
    """One second of a worker: its partitions share it fairly, and the others use what one leaves."""
    hungry = list(partitions)
    while hungry and media_s > 1e-9:
        turn = media_s / len(hungry)
        taken = [partition.work(turn) for partition in hungry]
        media_s -= sum(taken)
        hungry = [p for p, got in zip(hungry, taken, strict=True) if got >= turn - 1e-12]


COLOURS = {"by lag in seconds": (0, 114, 178), "by lag in messages": (213, 94, 0), "fixed": (110, 110, 110)}
INK, PALE, PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
WIDTH, LEFT, RIGHT, PANEL, GAP, HEAD = 1200, 76, 24, 190, 54, 96


def draw(load: Load, courses: dict[str, Course], path: Path) -> None:
    """Draw load, lag (logarithmic) and workers over the day, with the worker-hours of each policy in the legend."""
    picture = Image.new("RGB", (WIDTH, HEAD + 3 * (PANEL + GAP)), PAPER)
    pen, small, large = ImageDraw.Draw(picture), ImageFont.load_default(14), ImageFont.load_default(20)
    pen.text((LEFT, 10), "A simulated day: load, lag and workers", INK, large)
    for number, (name, course) in enumerate(courses.items()):
        left = LEFT + number * 370
        pen.line((left, 58, left + 26, 58), COLOURS[name], 4)
        figures = course.figures()
        pen.text((left + 34, 42), f"{name}: {figures['worker_hours']:g} worker-hours,", INK, small)
        pen.text((left + 34, 60), f"lag p95 {figures['lag_p95_s']:g} s, {figures['changes']} changes", INK, small)
    total = [sum(now) for now in load.arriving]
    _panel(pen, small, 0, "media arriving, s/s", {(0, 158, 115): total}, [0, 10, 20, 30, 40], max(total))
    lags = {COLOURS[name]: [math.log10(1 + lag) for lag in course.lag_s] for name, course in courses.items()}
    marks = [1, 10, 30, 100, 1000, 10_000]
    _panel(pen, small, 1, "lag, s", lags, marks, max(map(max, lags.values())), lambda v: math.log10(1 + v))
    counts = {COLOURS[name]: [float(n) for n in course.workers] for name, course in courses.items()}
    _panel(pen, small, 2, "workers", counts, [0, 3, 6, 9, 12], PARTITIONS)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


def _panel(
    pen: ImageDraw.ImageDraw,
    font: Any,
    number: int,
    title: str,
    lines: dict[tuple[int, int, int], list[float]],
    marks: list[int],
    highest: float,
    place: Callable[[float], float] = float,
) -> None:
    top = HEAD + 22 + number * (PANEL + GAP)
    across, bottom, highest = WIDTH - LEFT - RIGHT, top + PANEL, highest * 1.04

    def height(value: float) -> float:
        return bottom - PANEL * value / highest

    pen.text((LEFT, top - 22), title, INK, font)
    for mark in marks:
        if place(mark) <= highest:
            pen.line((LEFT, height(place(mark)), WIDTH - RIGHT, height(place(mark))), PALE)
            pen.text((LEFT - 8, height(place(mark))), f"{mark:,}", INK, font, anchor="rm")
    for hour in range(0, 25, 3):
        left = LEFT + across * hour / 24
        pen.text((left, bottom + 5), f"{hour:02}:00", INK, font, anchor="ma")
    for colour, values in reversed(lines.items()):
        step = max(1, len(values) // across)
        points = [
            (LEFT + across * at / len(values), height(max(values[at : at + step])))
            for at in range(0, len(values), step)
        ]
        pen.line(points, colour, 2)


def main() -> None:
    """Simulate, print the table, and write raw figures and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/scaling.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/scaling.png"))
    options = parser.parse_args()
    load = day(options.seed)
    own = simulate(load, by_seconds(), 1)
    # The fair comparison is a fixed number of the same cost, which somebody who knew the day's mean would choose.
    mean = round(sum(own.workers) / len(own.workers))
    courses = {
        "by lag in seconds": own,
        "by lag in messages": simulate(load, by_messages(KEDA_MESSAGES[0]), 1),
        "fixed": simulate(load, fixed(mean), mean),
    }
    many = simulate(load, by_messages(KEDA_MESSAGES[1]), 1)
    most = simulate(load, fixed(PARTITIONS), PARTITIONS)
    figures = {name: course.figures() for name, course in courses.items()}
    figures |= {f"by lag in messages, {KEDA_MESSAGES[1]} a worker": many.figures()}
    figures["fixed"] = {"workers": mean, **figures["fixed"]}
    figures["fixed, one a partition"] = {"workers": PARTITIONS, **most.figures()}
    settings = {
        "seed": options.seed, "partitions": PARTITIONS, "sustains_media_s_per_s": SUSTAINS, "start_s": START_S,
        "move_s": MOVE_S, "policy": LIMITS.model_dump(), "chunk_s": load.chunk_s,
        "keda": {"messages": KEDA_MESSAGES, "poll_s": KEDA_POLL_S, "cooldown_s": KEDA_COOLDOWN_S},
    }  # fmt: skip
    options.json.write_text(json.dumps({"settings": settings, "policies": figures}, indent=2) + "\n")
    draw(load, courses, options.picture)
    names = ("lag_p50_s", "lag_p95_s", "lag_max_s", "over_target_percent", "worker_hours", "changes")
    print(
        "| policy | lag p50, s | p95, s | max, s | over target, % | worker-hours | changes "
        "|\n|---|---|---|---|---|---|---|"
    )
    for name, row in figures.items():
        label = f"{name} ({row['workers']})" if "workers" in row else name
        print(f"| {label} | " + " | ".join(f"{row[key]:,}" for key in names) + " |")


if __name__ == "__main__":
    main()
