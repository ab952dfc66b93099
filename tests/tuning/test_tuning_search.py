"""The search compares settings side by side, returns nothing worse than the start, and sets nothing but knobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.tuning.knobs import KNOBS, Knob, Setting
from streamfx.tuning.measurement import FAILED, Measurement
from streamfx.tuning.search import NOISE, Found, search

CORES = 4
BATCH = Knob("serving.batch_size", "inference", (1, 4, 16))
THREADS = Knob("media.threads", "decode", per_core=True)
ROLL = Knob("sink.roll_chunks", "write", (16, 64))
THREE = (BATCH, THREADS, ROLL)
DEFAULTS = {"serving.batch_size": 4.0, "media.threads": 1.0, "sink.roll_chunks": 64.0}
BAD = {"serving.batch_size": 1.0, "media.threads": 64.0, "sink.roll_chunks": 1.0}

starts = st.fixed_dictionaries(
    {
        "serving.batch_size": st.sampled_from([1.0, 3.0, 4.0, 16.0, 200.0]),
        "media.threads": st.sampled_from([0.0, 1.0, 2.0, 4.0, 64.0]),
        "sink.roll_chunks": st.sampled_from([1.0, 16.0, 64.0, 500.0]),
    }
)


def ran(speed: float, **stage_s: float) -> Measurement:
    """The measurement of a run of one second at this speed."""
    return Measurement(1.0, speed, stage_s=stage_s)


def found(start: Setting, measure: Callable[[Setting], Measurement], runs: int = 2000) -> Found:
    return search(start, DEFAULTS, THREE, CORES, measure, lambda n: n < runs, lambda n: n < runs + 6)


def key(setting: Setting) -> tuple[float, ...]:
    return tuple(setting[knob.path] for knob in THREE)


@settings(deadline=None)
@given(starts, st.dictionaries(st.tuples(*[st.floats(0, 500)] * 3), st.floats(0.1, 10)), st.integers(0, 2**32))
def test_on_a_quiet_machine_no_measured_setting_beats_the_found_one_by_more_than_noise(
    start: Setting, speeds: Mapping[tuple[float, ...], float], seed: int
) -> None:
    def speed(setting: Setting) -> float:
        return speeds.get(key(setting), 0.1 + hash((seed, key(setting))) % 1000 / 100)

    best = found(start, lambda setting: ran(speed(setting)))
    assert speed(best.setting) >= speed(start)
    assert all(trial.measured.speed <= speed(best.setting) * NOISE for trial in best.trials)


@settings(deadline=None)
@given(starts, st.lists(st.floats(0, 10), min_size=1), st.integers(1, 60))
def test_on_any_machine_the_found_setting_won_the_last_rounds_or_is_the_start(
    start: Setting, noise: list[float], runs: int
) -> None:
    number = count()
    best = found(start, lambda setting: ran(noise[next(number) % len(noise)]), runs)
    if best.setting == start:
        assert best.pairs == () and best.ratio == 1
        return
    won = sum(after.speed > before.speed for before, after in best.pairs)
    assert best.ratio > NOISE and 2 * won > len(best.pairs)
    last = {trial.round: [] for trial in best.trials[-2 * len(best.pairs) :]}  # type: dict[int, list[Setting]]
    for trial in best.trials[-2 * len(best.pairs) :]:
        last[trial.round].append(trial.setting)
    assert all(start in both and best.setting in both for both in last.values())


@settings(deadline=None)
@given(starts, st.integers(0, 2**32))
def test_only_knobs_are_set_and_only_to_values_of_start_defaults_or_ladders(start: Setting, seed: int) -> None:
    best = found(start, lambda setting: ran(0.1 + hash((seed, key(setting))) % 97))
    for setting in (best.setting, *(trial.setting for trial in best.trials)):
        assert set(setting) == set(start)
        for knob in THREE:
            assert setting[knob.path] in {start[knob.path], DEFAULTS[knob.path], *knob.ladder(CORES)}


@settings(deadline=None)
@given(starts, st.integers(0, 40))
def test_the_search_makes_no_more_runs_than_allowed(start: Setting, runs: int) -> None:
    number = count()
    assert len(found(start, lambda setting: ran(2.0 ** next(number)), runs).trials) <= runs + 6


def test_two_bad_values_that_hide_each_other_are_found() -> None:
    """Neither value helps without the other, so no single step is faster."""

    def speed(setting: Setting) -> float:
        return 5.0 if setting["media.threads"] <= 4 and setting["sink.roll_chunks"] >= 16 else 1.0

    best = found(BAD, lambda setting: ran(speed(setting)))
    assert speed(best.setting) == 5.0 and best.ratio == 5.0


def test_the_knobs_of_the_stage_that_binds_are_tried_first() -> None:
    shares = {"parse": 0.05, "faces": 0.1, "submit": 0.2, "commit": 0.6}
    best = found(DEFAULTS, lambda setting: ran(1.0, **shares))
    moved = [next(path for path, value in trial.setting.items() if value != DEFAULTS[path])
             for trial in best.trials if trial.setting != DEFAULTS]  # fmt: skip
    assert list(dict.fromkeys(moved)) == ["sink.roll_chunks", "serving.batch_size", "media.threads"]


def test_where_all_settings_are_alike_the_start_is_kept_and_the_reason_given() -> None:
    best = found(BAD, lambda setting: ran(1.0))
    assert best.setting == BAD and best.ratio == 1 and best.ended == "a pass over all knobs found nothing faster"


def test_a_found_setting_that_loses_to_the_start_is_dropped() -> None:
    """The machine is slow only during the first rounds of the start."""
    number = count()
    best = found(BAD, lambda setting: ran(1.0 if setting == BAD and next(number) < 3 else 2.0))
    assert best.setting == BAD and "did not stay faster" in best.ended


def test_one_lost_round_is_forgiven_and_two_are_not() -> None:
    def outcome(*ratios: float) -> Found:
        """The result for these speeds of the defaults by round; the start is always at 1, and all else is slow."""
        speeds = iter(ratios)
        return found(BAD, lambda setting: ran(1.0 if setting == BAD else next(speeds) if setting == DEFAULTS else 0.1))

    better = [2.0] * 20  # the defaults are the best setting while single steps are tried
    assert outcome(2.0, 0.5, 2.0, 2.0, *better).setting == DEFAULTS
    assert outcome(2.0, 0.5, 0.5, *better).setting == BAD
    assert outcome(0.5, *better).setting == BAD


def test_a_setting_that_cannot_run_is_never_chosen() -> None:
    best = found(BAD, lambda setting: FAILED if setting["media.threads"] == 1 else ran(1.0))
    assert best.setting == BAD


def test_a_found_setting_that_is_ahead_when_the_budget_ends_is_kept() -> None:
    best = found(BAD, lambda setting: ran(3.0 if setting == DEFAULTS else 1.0), runs=3)
    assert best.setting == DEFAULTS and best.ratio == 3 and best.ended == "the budget was spent"


def test_a_ladder_ends_at_the_cores() -> None:
    threads = next(knob for knob in KNOBS if knob.path == "serving.threads")
    assert threads.ladder(6) == [0, 1, 2, 4, 6]
