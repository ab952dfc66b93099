"""The operator `light`: one column, from the served model of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from light.model import LightModel
from streamfx.columns import Column
from streamfx.models.contract import Answer
from streamfx.operator import ModelConfig, ModelOperator


class LightConfig(ModelConfig):
    """Which weights to take."""

    model: Annotated[str, Field(min_length=1)] = LightModel.spec.default_weights
    """Model directory, or the name of one that comes with this package."""


class Light(ModelOperator):
    """How much light is on the face."""

    name = "light"
    Config = LightConfig
    model = LightModel
    columns = (Column("light", "float", "How much light is on the face (0..1)."),)

    def values(self, answer: Answer, present: npt.NDArray[np.bool_]) -> Mapping[str, Any]:
        return {"light": float(answer["light"][0])}
