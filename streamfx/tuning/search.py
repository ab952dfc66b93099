"""A coordinate search over a few knobs that compares only settings measured side by side.

A machine's speed varies, and slow phases last a while. So settings are compared by the ratio of their speeds within a
round, in which each runs once; a better one must stay better for several rounds, and the final setting must beat the
start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from statistics import median

from streamfx.tuning.knobs import Knob, Setting
from streamfx.tuning.measurement import Measurement

NOISE = 1.05
"""A ratio of speeds up to this is noise."""
WINS, LOSSES = 3, 2
"""A better setting must win WINS rounds before it loses LOSSES; losing the first round is enough to drop it."""

Measure = Callable[[Setting], Measurement]


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: the setting, its measurement, and the round in which it ran side by side with others."""

    round: int
    setting: Setting
    measured: Measurement


@dataclass(frozen=True, slots=True)
class Found:
    """The setting to use, all runs, and the pairs (start, found) of the last rounds, measured side by side.

    Where no setting was better by more than noise, `pairs` is empty and `setting` is the start. `ended` says why the
    search ended.
    """

    setting: Setting
    trials: Sequence[Trial]
    pairs: Sequence[tuple[Measurement, Measurement]]
    ended: str

    @property
    def ratio(self) -> float:
        """How many times as fast the found setting is, the median of the last rounds; 1 where it is the start."""
        return _ratio(_speeds(self.pairs)) if self.pairs else 1.0


class _Over(Exception):
    """No more runs may begin."""


@dataclass(slots=True)
class _Bench:
    """Runs settings, and records the trials."""

    measure: Measure
    may_run: Callable[[int], bool]
    trials: list[Trial] = field(default_factory=list)
    rounds: int = 0

    def round(self, settings: Sequence[Setting]) -> list[Measurement]:
        """Run each setting once; every other round reverses the order, so that no place in it is always favoured."""
        self.rounds += 1
        order = range(len(settings)) if self.rounds % 2 else range(len(settings) - 1, -1, -1)
        measured: dict[int, Measurement] = {}
        for index in order:
            if not self.may_run(len(self.trials)):
                raise _Over
            measured[index] = self.measure(settings[index])
            self.trials.append(Trial(self.rounds, dict(settings[index]), measured[index]))
        return [measured[index] for index in range(len(settings))]

    def better(self, old: Setting, news: Sequence[Setting]) -> Setting | None:
        """The fastest of `news` if it beats `old` in this round and in further ones, as many as time allows."""
        first, *others = self.round([old, *news])
        speeds = [other.speed for other in others]
        best = max(range(len(news)), key=lambda index: speeds[index])
        pairs = [(first.speed, speeds[best])]
        with suppress(_Over):
            while _open(pairs):
                again, new = self.round([old, news[best]])
                pairs.append((again.speed, new.speed))
        return news[best] if _wins(pairs) else None


def search(
    start: Setting,
    defaults: Setting,
    knobs: Sequence[Knob],
    cores: int,
    measure: Measure,
    may_explore: Callable[[int], bool],
    may_confirm: Callable[[int], bool],
) -> Found:
    """Look for a setting that is faster than `start`, by more than noise.

    The search tries all knobs at their `defaults` first, since two bad values may hide each other. Then it tries one
    knob at a time, a step up and a step down, beginning with the stage that binds, until a pass finds nothing better.
    At the end the found setting runs against the start again, at least once, until it has won or lost, and is dropped
    unless it wins. `measure` runs one setting. `may_explore` is called before each run, and `may_confirm` before each
    of the last rounds but the first, with the number of runs so far.
    """
    bench = _Bench(measure, may_explore)
    best: Setting = dict(start)
    ended = "a pass over all knobs found nothing faster"
    try:
        if any(defaults[path] != value for path, value in start.items()):
            best = bench.better(best, [dict(defaults)]) or best
        else:
            bench.round([best])
        moved = True
        while moved:
            moved = False
            for knob in _by_binding_stage(knobs, bench.trials, best):
                news = _steps(knob, best, cores)
                found = bench.better(best, news) if news else None
                best, moved = found or best, moved or found is not None
    except _Over:
        ended = "the budget was spent"
    if best == start:
        return Found(dict(start), bench.trials, (), ended)
    # A setting that has won so far gets a last round even if the budget is spent.
    bench.may_run = lambda _: True
    pairs: list[tuple[Measurement, Measurement]] = []
    while not pairs or (_open(_speeds(pairs)) and may_confirm(len(bench.trials))):
        before, after = bench.round([start, best])
        pairs.append((before, after))
    if not _wins(_speeds(pairs)):
        return Found(dict(start), bench.trials, (), f"{ended}; a setting that looked faster did not stay faster")
    return Found(best, bench.trials, pairs, ended)


def _speeds(pairs: Sequence[tuple[Measurement, Measurement]]) -> list[tuple[float, float]]:
    return [(before.speed, after.speed) for before, after in pairs]


def _won(pairs: Sequence[tuple[float, float]]) -> int:
    return sum(new > old for old, new in pairs)


def _open(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether one more round could decide."""
    won, lost = _won(pairs), len(pairs) - _won(pairs)
    return lost < LOSSES and lost <= won < WINS


def _wins(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether the new setting is faster by more than noise in the median, and faster in most rounds."""
    return _ratio(pairs) > NOISE and _won(pairs) > len(pairs) - _won(pairs)


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return median(new / old if old > 0 else (inf if new > 0 else 1.0) for old, new in pairs)


def _steps(knob: Knob, setting: Setting, cores: int) -> list[Setting]:
    """The setting with this knob one step down, and one up."""
    now, ladder = setting[knob.path], knob.ladder(cores)
    below = [value for value in ladder if value < now][-1:]
    above = [value for value in ladder if value > now][:1]
    return [{**setting, knob.path: value} for value in below + above]


def _by_binding_stage(knobs: Sequence[Knob], trials: Sequence[Trial], best: Setting) -> list[Knob]:
    """The knobs, those of the stages with the largest shares first, by the newest run of the best setting."""
    shares = next((trial.measured.shares for trial in reversed(trials) if trial.setting == best), {})
    return sorted(knobs, key=lambda knob: -shares.get(knob.stage, 0.0))
