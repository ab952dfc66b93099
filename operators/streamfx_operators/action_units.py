"""Action units: how strongly each facial muscle acts over a window and which act, from frames that are not novel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from streamfx.columns import Column
from streamfx.config.findings import Finding
from streamfx.models.action_units import (
    ENOUGH,
    INTENSITIES,
    INTENSITY,
    NOVELTY,
    PRESENCE,
    THRESHOLDS,
    ActionUnitsModel,
    frames_read,
    smoothed,
)
from streamfx.models.card import ModelCard
from streamfx.models.contract import Answer
from streamfx.nets.fmae import FULL_INTENSITY
from streamfx.nets.mma_dfer import FRAMES
from streamfx.operator import ModelConfig, ModelOperator, OperatorContext

_READ = Column(
    "action_units_frames",
    "int",
    f"Frames of the window in which the face was seen and, where the model for action units tells novelty, not novel to "
    f"it, 0 to {FRAMES}; below {ENOUGH}, as for a covered or turned face, all action units are null.",
    unit="frames",
    low=0,
    high=FRAMES,
)


class ActionUnitsConfig(ModelConfig):
    """Which model reads action units."""

    model: Annotated[str, Field(min_length=1)] = ActionUnitsModel.spec.default_weights
    """Model directory, or the name of one that comes with streamfx. Behind Triton the server must serve the same."""


class ActionUnits(ModelOperator):
    """Smoothed intensity of each unit that the model tells it of, and presence where a threshold was calibrated."""

    name = "action_units"
    Config = ActionUnitsConfig
    model = ActionUnitsModel

    def __init__(self, config: ActionUnitsConfig, context: OperatorContext):
        super().__init__(config, context)
        facts, by = self.info.facts, f"by the model {self.info.name}"
        self._intensities = tuple(facts.get(INTENSITIES, ()))
        self._thresholds: Mapping[str, float] = facts.get(THRESHOLDS, {})
        self._present = [(at, unit) for at, unit in enumerate(self.info.labels) if unit in self._thresholds]
        self._columns = (
            _READ,
            *(
                Column(
                    unit,
                    "float",
                    f"Intensity of action unit {int(unit[3:])} (FACS, 0..5) {by}.",
                    unit="FACS intensity",
                    low=0,
                    high=FULL_INTENSITY,
                )
                for unit in self._intensities
            ),
            *(
                Column(f"{unit}_present", "bool", f"Whether action unit {int(unit[3:])} (FACS) acts, {by}.")
                for _, unit in self._present
            ),
        )

    @classmethod
    def look_at_card(cls, section: Any, card: ModelCard) -> Iterator[Finding]:
        """Whether the model tells novelty."""
        if not card.facts.get(NOVELTY):
            yield Finding(
                "warning",
                f"{cls.name}.model",
                f"{card.name} tells no novelty: it writes values for covered and turned faces too",
            )

    @property
    def columns(self) -> tuple[Column, ...]:
        """`action_units_frames`, `au_<nn>` for each intensity that the model tells,
        and `au_<nn>_present` for each unit with a threshold in its card."""
        return self._columns

    def values(self, answer: Answer, present: npt.NDArray[np.bool_]) -> Mapping[str, Any]:
        """Means over the frames that were seen and are not novel (`smoothed`): of the intensities, and of the
        probabilities of presence, which are then compared with the thresholds."""
        read = frames_read(answer, present)
        frames = int(read.sum())
        values: dict[str, Any] = {_READ.name: frames}
        if frames < ENOUGH:
            return values
        if INTENSITY in answer:
            means = smoothed(answer[INTENSITY], read).clip(0, FULL_INTENSITY)  # a mean of fives may round to more
            values |= {unit: float(mean) for unit, mean in zip(self._intensities, means, strict=True)}
        shares = smoothed(1 / (1 + np.exp(-answer[PRESENCE].astype(np.float64))), read)
        values |= {f"{unit}_present": bool(shares[at] >= self._thresholds[unit]) for at, unit in self._present}
        return values
