"""The search: a coordinate search over a few knobs that believes only what it measured side by side.

A machine is noisy, and its noise comes in stretches. So settings are compared within a round, in which each runs once, by the
ratio of their speeds; what looks better must stay so for several rounds, and the whole find must hold against the start.
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
"""Rounds that a better setting must win before it loses so many. A first round that is lost is enough to drop it."""

Measure = Callable[[Setting], Measurement]


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: the setting, what was measured, and in which round it was run side by side with others."""

    round: int
    setting: Setting
    measured: Measurement


@dataclass(frozen=True, slots=True)
class Found:
    """The setting to use, all runs, and the speeds (start, found) of the last rounds, run by run side by side.

    `pairs` is empty, and `setting` is the start, where nothing was better than noise. `ended` says why the search ended.
    """

    setting: Setting
    trials: Sequence[Trial]
    pairs: Sequence[tuple[Measurement, Measurement]]
    ended: str

    @property
    def ratio(self) -> float:
        """How many times faster the found setting is: the median of the last rounds; 1 where it is the start."""
        return _ratio(_speeds(self.pairs)) if self.pairs else 1.0


class _Over(Exception):
    """No more runs may begin."""


@dataclass(slots=True)
class _Bench:
    """Runs settings, and counts."""

    measure: Measure
    may_run: Callable[[int], bool]
    trials: list[Trial] = field(default_factory=list)
    rounds: int = 0

    def round(self, settings: Sequence[Setting]) -> list[Measurement]:
        """Each setting once; every other round in the opposite order, so that none always profits from its place."""
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
        """The fastest of `news`, if it beats `old` in this round and in further ones, as many as there is time for."""
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

    First all knobs at their `defaults`, since two bad values may hide each other; then knob by knob, those of the stage that
    binds first, a step up and a step down, until a pass brings nothing. At the end the find runs against the start again,
    at least once, until it has won or lost, and is given up unless it wins. `measure` runs one setting; `may_explore` is
    asked before each run, and `may_confirm` before each of the last rounds but the first, with the number of runs so far.
    """
    bench = _Bench(measure, may_explore)
    best: Setting = dict(start)
    ended = "a pass over all knobs brought nothing"
    try:
        if any(defaults[path] != value for path, value in start.items()):
            best = bench.better(best, [dict(defaults)]) or best
        else:
            bench.round([best])
        moved = True
        while moved:
            moved = False
            for knob in _by_what_binds(knobs, bench.trials, best):
                news = _steps(knob, best, cores)
                found = bench.better(best, news) if news else None
                best, moved = found or best, moved or found is not None
    except _Over:
        ended = "the budget was spent"
    if best == start:
        return Found(dict(start), bench.trials, (), ended)
    # What won its way here is worth a round, however late it is.
    bench.may_run = lambda _: True
    pairs: list[tuple[Measurement, Measurement]] = []
    while not pairs or (_open(_speeds(pairs)) and may_confirm(len(bench.trials))):
        before, after = bench.round([start, best])
        pairs.append((before, after))
    if not _wins(_speeds(pairs)):
        return Found(dict(start), bench.trials, (), f"{ended}; what looked faster did not stay so")
    return Found(best, bench.trials, pairs, ended)


def _speeds(pairs: Sequence[tuple[Measurement, Measurement]]) -> list[tuple[float, float]]:
    return [(before.speed, after.speed) for before, after in pairs]


def _won(pairs: Sequence[tuple[float, float]]) -> int:
    return sum(new > old for old, new in pairs)


def _open(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether one more round could tell."""
    won, lost = _won(pairs), len(pairs) - _won(pairs)
    return lost < LOSSES and lost <= won < WINS


def _wins(pairs: Sequence[tuple[float, float]]) -> bool:
    """Faster by more than noise in the middle, and in most rounds."""
    return _ratio(pairs) > NOISE and _won(pairs) > len(pairs) - _won(pairs)


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return median(new / old if old > 0 else (inf if new > 0 else 1.0) for old, new in pairs)


def _steps(knob: Knob, setting: Setting, cores: int) -> list[Setting]:
    """The setting with this knob one step down, and one up."""
    now, ladder = setting[knob.path], knob.ladder(cores)
    below = [value for value in ladder if value < now][-1:]
    above = [value for value in ladder if value > now][:1]
    return [{**setting, knob.path: value} for value in below + above]


def _by_what_binds(knobs: Sequence[Knob], trials: Sequence[Trial], best: Setting) -> list[Knob]:
    """Knobs of the stages with the largest shares first, by the newest run of the best setting."""
    shares = next((trial.measured.shares for trial in reversed(trials) if trial.setting == best), {})
    return sorted(knobs, key=lambda knob: -shares.get(knob.stage, 0.0))
