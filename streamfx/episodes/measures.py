"""What can have episodes: the expression and each action unit, as scores of the windows, of which some are not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.columns import ACTIVE, EXPRESSION, INACTIVE, NOVEL, UNCLEAR, action_units
from streamfx.episodes.moments import FRAMES, KEYS
from streamfx.episodes.smooth import Floats

FLAG_TRUST = 0.9
"""The probability that an action unit acts, as the hidden Markov model takes it, where its window says so; and that it does
not where its window says that."""
_NOVELTY = "expression_novelty"


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that tracks have episodes of.

    `states` are what a moment can show, and `none` the word for a moment that is known and shows none of them. `scores` are
    the columns that say how likely each state is; `worth` is the column that mean and peak are of (None: the scores'
    own). `version` is the column of the model's version.
    """

    name: str
    states: tuple[str, ...]
    none: str
    scores: tuple[str, ...]
    worth: str | None
    version: str

    def scores_of(self, windows: pd.DataFrame) -> Floats:
        """float64 [N, states]; a row that is not known is NaN."""
        if self.name == EXPRESSION and len(self.scores) != len(self.states):
            return self._named(windows)
        found = np.stack([_floats(windows[name]) for name in self.scores], axis=1)
        # Of models that know other expressions, a window has no probability, which is not the same as not being known.
        found[np.isnan(found) & ~np.isnan(found).all(axis=1, keepdims=True)] = 0.0
        if self.name == EXPRESSION and _NOVELTY in windows:
            found[_floats(windows[_NOVELTY]) >= NOVEL] = np.nan
        return found

    def _named(self, windows: pd.DataFrame) -> Floats:
        """Of a model that tells only the likeliest expression and its probability."""
        likely = _floats(windows["expression_confidence"])
        named = windows[EXPRESSION].to_numpy(object)
        found: Floats = np.zeros((len(windows), len(self.states)), np.float64)
        for at, state in enumerate(self.states):
            found[:, at] = np.where(named == state, likely, 0 * likely)  # null stays null
        return found

    def worth_of(self, windows: pd.DataFrame, scores: Floats) -> Floats:
        """float64 [N, states]: what mean and peak are of."""
        return scores if self.worth is None else _floats(windows[self.worth])[:, None]


def measures_of(declared: Mapping[str, tuple[str, ...]]) -> list[Measure]:
    """What a dataset that declares these columns, each with its closed vocabulary, has episodes of."""
    found = []
    labels = declared.get(EXPRESSION, ())
    of_labels = tuple(f"p_{label}" for label in labels)
    if labels and all(name in declared for name in of_labels):
        found.append(Measure(EXPRESSION, labels, UNCLEAR, of_labels, None, "expression_model_version"))
    elif labels and "expression_confidence" in declared:
        found.append(Measure(EXPRESSION, labels, UNCLEAR, ("expression_confidence",), None, "expression_model_version"))
    for unit in action_units(name.removesuffix("_present") for name in declared if name.endswith("_present")):
        worth = unit if unit in declared else None
        found.append(Measure(unit, (ACTIVE,), INACTIVE, (f"{unit}_present",), worth, "action_units_model_version"))
    return found


def columns_of(measures: Sequence[Measure]) -> list[str]:
    """The columns of `windows` that must be read."""
    names = [*KEYS, FRAMES]
    for measure in measures:
        names += [*measure.scores, *([measure.worth] if measure.worth else []), measure.version]
    if any(measure.name == EXPRESSION for measure in measures):
        names += [EXPRESSION, _NOVELTY]
    return list(dict.fromkeys(names))


def _floats(values: pd.Series[float]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = values.astype("Float64").to_numpy(np.float64, na_value=np.nan).astype(np.float64)
    return found
