"""How many workers there should be: a pure function of load, of what a worker sustains, and of what was decided before.

Lag is counted in seconds, never in messages: a message may hold one second of media or ten. Growing is fast, since late
rows are what a reader notices; shrinking is slow, since each change moves partitions and a burst may follow a burst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from streamfx.config.runtime import Scaling

ABOUT_AS_MUCH = 0.85
"""Part of an earlier load from which on it counts as the same."""
REMEMBERED_S = 3600.0
"""How long a number that was too few stays so, before it is tried again."""
SERVER_BINDS = 0.5
"""Part of the workers' time that is waiting for room at the model server from which on more workers would only wait
more."""
HEADROOM = 0.8
"""Part of what a worker sustains that is planned with: chunks and partitions do not come evenly."""


@dataclass(frozen=True, slots=True)
class PartitionLoad:
    """What one partition asks for. `lag_s`: age of its oldest unprocessed chunk; `waiting_s`: seconds of media that
    wait; `arriving`: seconds of media that arrive a second; `shared`: its worker has other partitions as well."""

    lag_s: float = 0.0
    waiting_s: float = 0.0
    arriving: float = 0.0
    shared: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """What the next decision must know of the earlier ones: when workers were last added, and since `since_s` how many
    were needed at each time. Times are those of one monotonic clock. `too_few`: how many workers ran late although they
    should have sufficed, what arrived then (seconds of media a second), and when that was last."""

    grown_s: float | None = None
    since_s: float | None = None
    needed: tuple[tuple[float, int], ...] = ()
    too_few: tuple[int, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers there should be from now on, why, and what to hand to the next decision. `held`: there would be
    more of them if it were not the model server that binds."""

    workers: int
    reason: str
    history: History
    held: bool = False


def decide(
    limits: Scaling,
    loads: Sequence[PartitionLoad],
    partitions: int,
    sustains: float | None,
    workers: int,
    now_s: float,
    history: History,
    waits: float = 0.0,
) -> Decision:
    """The number of workers for `loads` (one for each partition that somebody reads) of a topic with `partitions`.

    `sustains`: seconds of media one busy worker gets through in a second, None before it was measured. `workers`: how
    many are wanted so far. `waits`: part of their time (0 to 1) in which they wait for room at the model server; a
    server that is slow makes them sustain little, and more of them would not make it faster. The answer lies in
    min_workers..max_workers and never above `partitions`.
    """
    top = max(1, min(limits.max_workers, partitions))
    bottom = min(limits.min_workers, top)
    needed, why = _needed(limits, loads, sustains, workers)
    if sustains and needed <= workers:
        if waits < SERVER_BINDS:
            history = _learned(limits, loads, workers, now_s, history)
        if history.too_few is not None:
            few, arrived, at_s = history.too_few
            if now_s == at_s or math.fsum(load.arriving for load in loads) > arrived * ABOUT_AS_MUCH:
                needed = max(needed, few + 1)
                why = f"{why}; {few} ran late with as much, because a worker had several partitions"
    needed = min(top, max(bottom, needed))
    held = waits >= SERVER_BINDS and needed > workers >= bottom
    if held:
        needed = workers
        why = f"{why}; more would not help, they wait {waits:.0%} of their time for the model server"
    since_s = now_s if history.since_s is None else history.since_s
    seen = (*((at, n) for at, n in history.needed if at >= now_s - limits.shrink_after_s), (now_s, needed))
    kept = History(history.grown_s, since_s, seen, history.too_few)
    changed = History(history.grown_s, now_s, (), history.too_few)

    bounded = min(top, max(bottom, workers))
    if bounded != workers:
        return Decision(bounded, f"{workers} is outside {bottom} to {top}", changed)
    if needed > workers:
        if history.grown_s is not None and now_s - history.grown_s < limits.grow_every_s:
            return Decision(workers, f"{why}; the last growth must show first", kept)
        return Decision(needed, why, replace(changed, grown_s=now_s))
    enough = max(n for _, n in seen)
    if enough < workers and now_s - since_s >= limits.shrink_after_s:
        return Decision(enough, f"{enough} were enough for {limits.shrink_after_s:g} s", changed)
    return Decision(workers, why, kept, held)


def _learned(limits: Scaling, loads: Sequence[PartitionLoad], workers: int, now_s: float, history: History) -> History:
    """Remember a number that runs late although it should suffice: partitions are dealt by number, not by load.

    Without it, the workers that help would be sent away as soon as they have helped.
    """
    if any(load.shared and load.lag_s > limits.target_lag_s for load in loads):
        return replace(history, too_few=(workers, math.fsum(load.arriving for load in loads), now_s))
    if history.too_few is not None and now_s - history.too_few[2] > REMEMBERED_S:
        return replace(history, too_few=None)
    return history


def _needed(limits: Scaling, loads: Sequence[PartitionLoad], sustains: float | None, workers: int) -> tuple[int, str]:
    """Workers that would keep up now and catch up within the target, whatever was decided before."""
    if not sustains:
        return workers, "what a worker sustains is not known yet"
    # One partition is read by one worker, so it never asks for more than one.
    shares = [min(1.0, _asks(limits, load) / (sustains * HEADROOM)) for load in loads]
    worst_s = max((load.lag_s for load in loads), default=0.0)
    arriving = math.fsum(load.arriving for load in loads)
    waiting_s = math.fsum(load.waiting_s for load in loads)
    # A sum of shares must not ask for one worker more because of its last bit.
    return math.ceil(math.fsum(shares) - 1e-9), (
        f"lag {worst_s:.0f} s, {waiting_s:.0f} s of media wait, {arriving:.1f} s/s arrive, a worker sustains "
        f"{sustains:.1f}"
    )


def _asks(limits: Scaling, load: PartitionLoad) -> float:
    """Seconds of media a second that a partition needs done."""
    late = load.lag_s > limits.target_lag_s / 2
    return load.arriving + (load.waiting_s / limits.target_lag_s if late else 0.0)
