"""Attributes: what of CelebA's forty facial attributes a face has over a window, from its frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from streamfx.columns import Column
from streamfx.config.findings import Finding, wrong
from streamfx.errors import ConfigError
from streamfx.models.attributes import DEFAULT_METHOD, METHODS, AttributesModel, Method
from streamfx.models.card import ModelCard
from streamfx.models.celeba import CELEBA, SENSITIVE, column_name
from streamfx.models.contract import Answer, ModelInfo
from streamfx.operator import ModelConfig, ModelOperator, OperatorContext


class AttributesConfig(ModelConfig):
    """Which model looks at the faces, and which sensitive attributes are written."""

    method: Method = DEFAULT_METHOD
    """`lnet_anet` is a net of its own; `shared_encoder` a small head on the encoder of the expression model."""
    model: Annotated[str, Field(min_length=1)] = AttributesModel.spec.default_weights
    """Model directory, or the name of one that comes with streamfx; where it is left out, the one of `method`, also
    `attributes-lnet`. Behind Triton the server must serve the same."""
    sensitive: list[str] = []  # noqa: RUF012
    """Sensitive attributes to write, by CelebA's names, such as `Young`, of those that the model answers;
    `privacy.sensitive` must say why, and of which kind they are. None by default."""

    @model_validator(mode="before")
    @classmethod
    def _weights_of_the_method(cls, given: Any) -> Any:
        if isinstance(given, dict) and "model" not in given and given.get("method") in METHODS:
            return given | {"model": METHODS[given["method"]]}
        return given

    @model_validator(mode="after")
    def _sensitive_ones(self) -> Self:
        strange = [name for name in self.sensitive if name not in SENSITIVE]
        if strange or len(set(self.sensitive)) < len(self.sensitive):
            raise ValueError(
                f"sensitive: expected different names of {', '.join(SENSITIVE)}; got {', '.join(self.sensitive)}. "
                "All other attributes are written in any case"
            )
        return self


class Attributes(ModelOperator):
    """The probability of each plain attribute, and yes or no for each sensitive one that the configuration names.

    Attributes that the model does not know are null.
    """

    name = "attributes"
    Config = AttributesConfig
    model = AttributesModel
    config: AttributesConfig

    def __init__(self, config: AttributesConfig, context: OperatorContext):
        super().__init__(config, context)
        for key, problem in _problems(config, self.info):
            self.close()
            raise ConfigError(f"attributes.{key}: {problem}")
        self._columns = columns(config, self.info.name)

    @property
    def columns(self) -> tuple[Column, ...]:
        """`attr_<name>` for each plain attribute of CelebA's forty, and for each of `sensitive`, in CelebA's order."""
        return self._columns

    def values(self, answer: Answer, present: npt.NDArray[np.bool_]) -> Mapping[str, Any]:
        """The logistic function of the logits; for a sensitive attribute, whether that is above one half."""
        known = dict(zip(self.info.labels, answer["logits"].tolist(), strict=True))
        found: dict[str, Any] = {}
        for name, logit in known.items():
            if name in self.config.sensitive:
                found[column_name(name)] = logit > 0
            elif name not in SENSITIVE:
                found[column_name(name)] = _logistic(logit)
        return found

    @classmethod
    def sensitive_columns(cls, section: Any) -> Sequence[Column]:
        """Those of the attributes that the section names."""
        return [column for column in columns(section, "the model") if column.sensitive]

    @classmethod
    def look_at_card(cls, section: Any, card: ModelCard) -> Iterator[Finding]:
        """Whether the model is of the method that the configuration names, and answers all that is asked of it."""
        for key, problem in _problems(section, card.info):
            yield wrong(f"attributes.{key}", problem)


def columns(config: AttributesConfig, model: str) -> tuple[Column, ...]:
    """The columns that a configuration asks for; `model` is named in their descriptions."""
    found = []
    for name in CELEBA:
        words = name.replace("_", " ").lower()
        if name in config.sensitive:
            about = f"Whether {model} sees the attribute `{words}`; null where it does not know it."
            found.append(Column(column_name(name), "bool", about, sensitive=SENSITIVE[name]))
        elif name not in SENSITIVE:
            about = (
                f"How likely the attribute `{words}` is there (0..1), by {model}, as if it were as common as not; null "
                "where it does not know it."
            )
            found.append(Column(column_name(name), "float", about, unit="probability", low=0, high=1))
    return tuple(found)


def _problems(config: AttributesConfig, info: ModelInfo) -> Iterator[tuple[str, str]]:
    """Key and sentence of each thing that is asked and that the model cannot do."""
    method = info.facts.get("method")
    if method != config.method:
        yield (
            "method",
            f"expected weights of {config.method}, got {info.name}, which are of {method}; change attributes.method or "
            "attributes.model",
        )
    unknown = [name for name in config.sensitive if name not in info.labels]
    if unknown:
        known = ", ".join(name for name in info.labels if name in SENSITIVE) or "none"
        yield (
            "sensitive",
            f"{info.name} does not answer {', '.join(unknown)}, and the column would be empty; expected attributes that "
            f"it answers, which are, of the sensitive ones: {known}",
        )


def _logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))
