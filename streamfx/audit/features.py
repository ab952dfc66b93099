"""What the probes see of a window: its published columns as numbers, in groups. Never ids, keys or places of origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.audit.questions import DAY_US

Floats = npt.NDArray[np.float32]
_FARTHEST = 8.0
"""Standard deviations beyond which a value counts as this far."""
_GROUPS: Mapping[str, str] = {
    "window_start": "times",
    "window_end": "times",
    "face_height_px": "sizes",
    "frames": "quality",
    "face_score": "quality",
    "audio_present": "quality",
    "expression": "scores",
}
_PREFIXES: Mapping[str, str] = {
    "p_": "scores",
    "expression_": "scores",
    "au_": "action_units",
    "action_units_": "action_units",
    "attr_": "attributes",
}


def group_of(column: str) -> str:
    """The group of a column: all that one operator writes, or one thing that the engine tells. Columns of other operators
    go by their name up to the first `_`."""
    if column in _GROUPS:
        return _GROUPS[column]
    known = [group for prefix, group in _PREFIXES.items() if column.startswith(prefix)]
    return known[0] if known else column.partition("_")[0]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """float32 [windows, features], standardised over the learnt windows; and the column that each feature is of."""

    values: Floats
    columns: tuple[str, ...]

    def of(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        """The numbers of the features of some columns."""
        return np.flatnonzero(np.isin(self.columns, list(columns)))


def features_of(
    sample: pd.DataFrame, columns: Sequence[str], learnt: npt.NDArray[np.bool_], by_the_clock: bool
) -> Features:
    """The features of a sample's windows, in the order of `columns`.

    A null becomes the learnt mean, and a feature says that it was one. Of the times, a window tells how long it is and
    how long ago the one before it began; the clock itself only with `by_the_clock`, as the hour of the day.
    """
    values, names = [], []
    for column in columns:
        for raw in _numbers(sample, column, by_the_clock):
            known = ~np.isnan(raw)
            of_learnt = raw[known & learnt]
            mean = of_learnt.mean() if of_learnt.size else 0.0
            spread = of_learnt.std() if of_learnt.size else 0.0
            standard = np.where(known, (raw - mean) / (spread if spread > 1e-9 else 1.0), 0.0)
            values.append(np.clip(standard, -_FARTHEST, _FARTHEST))
            names.append(column)
            if not known.all():
                values.append((~known).astype(np.float64))
                names.append(column)
    together = np.stack(values, axis=1) if values else np.zeros((len(sample), 0))
    return Features(together.astype(np.float32), tuple(names))


def _numbers(sample: pd.DataFrame, column: str, by_the_clock: bool) -> list[npt.NDArray[np.float64]]:
    if column == "window_end":
        return [((sample["end_us"] - sample["start_us"]) / 1e6).to_numpy(np.float64)]
    if column == "window_start":
        turn = 2 * np.pi * (sample["start_us"] % DAY_US).to_numpy(np.float64) / DAY_US
        return [sample["gap_s"].to_numpy(np.float64), *((np.sin(turn), np.cos(turn)) if by_the_clock else ())]
    if column not in sample:
        return [np.full(len(sample), np.nan)]
    raw = sample[column]
    if pd.api.types.is_numeric_dtype(raw):
        return [raw.to_numpy(np.float64)]
    words = sorted(set(raw.dropna()))
    return [np.where(raw.isna(), np.nan, (raw == word).astype(np.float64)) for word in words]
