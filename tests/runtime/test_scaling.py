"""The number of workers suffices for arriving and waiting media, stays in its bounds, and does not oscillate."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamfx.config.runtime import Scaling
from streamfx.runtime.scaling import Decision, History, PartitionLoad, decide

LIMITS = Scaling(min_workers=1, max_workers=8, target_lag_s=30, grow_every_s=30, shrink_after_s=300)
QUIET = PartitionLoad()


def first(loads: list[PartitionLoad], workers: int = 1, partitions: int = 8, sustains: float | None = 4.0) -> Decision:
    return decide(LIMITS, loads, partitions, sustains, workers, 0.0, History())


def course(
    steps: list[list[PartitionLoad]], workers: int, tick_s: float = 10.0, limits: Scaling = LIMITS
) -> list[Decision]:
    """The decisions for a changing load, each based on the last."""
    decisions, history = [], History()
    for number, loads in enumerate(steps):
        decisions.append(decide(limits, loads, 8, 4.0, workers, number * tick_s, history))
        workers, history = decisions[-1].workers, decisions[-1].history
    return decisions


def test_arriving_media_get_as_many_workers_as_sustain_them_with_headroom() -> None:
    # 8 partitions of 2 s/s are 16 s/s; a worker is planned to sustain 4 · 0.8 = 3.2 s/s.
    assert first([PartitionLoad(arriving=2.0)] * 8).workers == 5


def test_a_backlog_is_caught_up_within_the_target() -> None:
    # 384 s of media in 30 s are 12.8 s/s, spread evenly: 4 workers of 3.2 s/s.
    assert first([PartitionLoad(lag_s=60, waiting_s=48)] * 8).workers == 4


def test_a_young_backlog_adds_no_workers() -> None:
    assert first([PartitionLoad(lag_s=5, waiting_s=48)] * 8).workers == 1


def test_one_busy_partition_gets_one_worker_whatever_its_backlog() -> None:
    assert first([PartitionLoad(lag_s=500, waiting_s=9000, arriving=90), QUIET, QUIET]).workers == 1


def test_a_late_partition_that_shares_its_worker_gets_another_worker() -> None:
    late = PartitionLoad(lag_s=500, waiting_s=9000, arriving=90, shared=True)
    decision = first([late, QUIET, QUIET])
    assert decision.workers == 2 and "several partitions" in decision.reason


def test_workers_that_helped_stay_while_the_load_lasts() -> None:
    uneven = [PartitionLoad(arriving=2.0, shared=True), *[PartitionLoad(arriving=0.5, shared=True)] * 2]
    late = [PartitionLoad(lag_s=40, waiting_s=1, arriving=2.0, shared=True), *uneven[1:]]
    less = [PartitionLoad(arriving=1.0), *uneven[1:]]
    counts = [decision.workers for decision in course([late, *[uneven] * 100, *[less] * 40], workers=1)]
    assert counts[:101] == [2] * 101
    assert counts[-1] == 1


def test_a_number_of_workers_that_was_too_low_is_tried_again_after_an_hour() -> None:
    even = [PartitionLoad(arriving=1.0, shared=True)] * 3
    late = [PartitionLoad(lag_s=40, arriving=1.0, shared=True), *even[1:]]
    counts = [decision.workers for decision in course([late, *[even] * 400], workers=1)]
    assert counts[350] == 2 and counts[-1] == 1


def test_a_finished_backlog_is_forgotten() -> None:
    late = [PartitionLoad(lag_s=40, waiting_s=1.0, shared=True)] * 3
    counts = [decision.workers for decision in course([late, *[[QUIET] * 3] * 40], workers=1)]
    assert (counts[0], counts[-1]) == (2, 1)


def test_a_slow_model_server_adds_no_workers() -> None:
    late = [PartitionLoad(lag_s=500, waiting_s=900, arriving=2.0)] * 8
    held = decide(LIMITS, late, 8, 0.5, 2, 0.0, History(), waits=0.8)
    assert held.workers == 2 and held.held
    assert "80% of their time for the model server" in held.reason
    grown = decide(LIMITS, late, 8, 0.5, 2, 10.0, held.history, waits=0.2)
    assert grown.workers == 8 and not grown.held, "growth starts as soon as the workers bind"


def test_a_slow_model_server_does_not_keep_unneeded_workers() -> None:
    history, workers = History(), 6
    for at in range(40):
        decision = decide(LIMITS, [QUIET] * 8, 8, 0.5, workers, at * 10.0, history, waits=0.9)
        workers, history = decision.workers, decision.history
        assert not decision.held
    assert workers == 1


def test_the_minimum_is_kept_even_where_the_model_server_binds() -> None:
    assert decide(Scaling(min_workers=3), [QUIET], 8, 0.5, 1, 0.0, History(), waits=1.0).workers == 3


def test_lag_caused_by_the_model_server_is_forgotten() -> None:
    late = [PartitionLoad(lag_s=40, arriving=0.1, shared=True)] * 3
    decision = decide(LIMITS, late, 8, 4.0, 1, 0.0, History(), waits=0.9)
    assert decision.workers == 1 and decision.history.too_few is None


def test_nothing_is_decided_before_anything_is_measured() -> None:
    assert first([PartitionLoad(lag_s=900, shared=True)] * 8, workers=3, sustains=None).workers == 3


def test_growth_waits_for_the_effect_of_the_last_growth() -> None:
    busy = [PartitionLoad(arriving=2.0)] * 8
    burst = [PartitionLoad(arriving=3.0)] * 8
    counts = [decision.workers for decision in course([busy, burst, burst, burst, burst], workers=1)]
    assert counts == [5, 5, 5, 8, 8]


def test_workers_are_removed_only_after_a_calm_period() -> None:
    busy, calm = [PartitionLoad(arriving=2.0)] * 8, [PartitionLoad(arriving=1.0)] * 8
    counts = [decision.workers for decision in course([busy, *[calm] * 20, busy, *[calm] * 60], workers=5)]
    assert counts[:52] == [5] * 52, "a burst restarts the wait"
    assert counts[52:] == [3] * 30


def test_a_number_outside_its_bounds_is_corrected_at_once() -> None:
    assert first([QUIET], workers=20).workers == 8
    assert first([QUIET], workers=6, partitions=4).workers == 4
    assert decide(Scaling(min_workers=3), [QUIET], 8, 4.0, 1, 0.0, History()).workers == 3


def test_a_reason_names_the_measured_load() -> None:
    reason = first([PartitionLoad(lag_s=61, waiting_s=48, arriving=2)] * 8).reason
    assert "lag 61 s" in reason and "384 s of media wait" in reason and "16.0 s/s arrive" in reason


positive = st.floats(0, 1e5, allow_nan=False)
loads = st.lists(st.builds(PartitionLoad, positive, positive, positive, st.booleans()), min_size=0, max_size=8)
limits = st.builds(
    lambda low, more, target, grow, shrink: Scaling(
        min_workers=low, max_workers=low + more, target_lag_s=target, grow_every_s=grow, shrink_after_s=shrink
    ),
    st.integers(1, 10), st.integers(0, 20), st.floats(1, 600), st.floats(1, 600), st.floats(10, 3600),
)  # fmt: skip


@given(
    limits,
    st.lists(st.tuples(loads, st.floats(0, 1)), min_size=1, max_size=40),
    st.integers(1, 30),
    st.integers(1, 40),
    positive,
)
def test_the_number_is_always_within_the_bounds(
    limits: Scaling, steps: list[tuple[list[PartitionLoad], float]], partitions: int, workers: int, sustains: float
) -> None:
    history = History()
    for number, (step, waits) in enumerate(steps):
        decision = decide(limits, step, partitions, sustains, workers, number * 7.0, history, waits)
        workers, history = decision.workers, decision.history
        assert 1 <= workers <= min(limits.max_workers, partitions)
        assert workers >= min(limits.min_workers, partitions)


@given(limits, loads, st.integers(1, 8))
def test_a_steady_load_never_reverses_a_change(limits: Scaling, load: list[PartitionLoad], workers: int) -> None:
    workers = min(limits.max_workers, max(limits.min_workers, workers))
    counts = [workers] + [d.workers for d in course([load] * 100, workers, tick_s=60.0, limits=limits)]
    steps = [after - before for before, after in pairwise(counts)]
    assert all(step >= 0 for step in steps) or all(step <= 0 for step in steps)


@given(limits, st.lists(loads, min_size=2, max_size=60), st.floats(1, 120))
def test_two_changes_are_never_closer_than_the_rules_allow(
    limits: Scaling, steps: list[list[PartitionLoad]], tick_s: float
) -> None:
    start = min(limits.max_workers, max(limits.min_workers, 4), 8)
    if limits.min_workers > 8:
        start = 8
    counts = [start] + [d.workers for d in course(steps, start, tick_s, limits)]
    grown = [at * tick_s for at, (before, after) in enumerate(pairwise(counts)) if after > before]
    shrunk = [at * tick_s for at, (before, after) in enumerate(pairwise(counts)) if after < before]
    assert all(later - earlier >= limits.grow_every_s - 1e-6 for earlier, later in pairwise(grown))
    changes = sorted([*grown, *shrunk])
    assert all(
        later - max((at for at in changes if at < later), default=0.0) >= limits.shrink_after_s - 1e-6
        for later in shrunk
    )


@given(loads, st.integers(1, 8), st.integers(0, 7), st.floats(0, 1e4), st.floats(0, 1e4))
def test_more_load_never_asks_for_fewer(
    load: list[PartitionLoad], workers: int, which: int, waiting_s: float, arriving: float
) -> None:
    if not load:
        return
    which %= len(load)
    old = load[which]
    more = [*load]
    more[which] = PartitionLoad(old.lag_s, old.waiting_s + waiting_s, old.arriving + arriving, old.shared)
    assert first(more, workers).workers >= first(load, workers).workers
