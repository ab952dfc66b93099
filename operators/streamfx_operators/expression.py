"""Expression: what a face shows over a window, from its frames and their sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from streamfx.columns import Column
from streamfx.models.contract import Answer
from streamfx.models.expression import NOVELTY, ExpressionModel
from streamfx.operator import ModelConfig, ModelOperator, OperatorContext

_NOVELTY = Column(
    "expression_novelty",
    "float",
    "How far the face is from all that the model knows (0..1): near 0 for a clear face; near 1 for one that is covered, "
    "turned away or hardly visible, or for what is no face, and then the scores should not be believed.",
    low=0,
    high=1,
)


def _probability(name: str, about: str) -> Column:
    return Column(name, "float", about, unit="probability", low=0, high=1)


class ExpressionConfig(ModelConfig):
    """Which model scores the windows."""

    model: Annotated[str, Field(min_length=1)] = ExpressionModel.spec.default_weights
    """Model directory, or the name of one that comes with streamfx. Behind Triton the server must serve the same."""


class Expression(ModelOperator):
    """One probability for each expression, the most probable one, and how far the answer may be believed."""

    name = "expression"
    Config = ExpressionConfig
    model = ExpressionModel

    def __init__(self, config: ExpressionConfig, context: OperatorContext):
        super().__init__(config, context)
        of = f"by the model {self.info.name}"
        self._columns = (
            *(
                _probability(f"p_{label}", f"Probability of {label} (0..1, all expressions add up to 1) {of}.")
                for label in self.info.labels
            ),
            Column("expression", "category", f"The likeliest expression {of}.", self.info.labels),
            _probability("expression_confidence", "Probability of `expression` (0..1)."),
            *((_NOVELTY,) if self.info.facts.get(NOVELTY) else ()),
        )

    @property
    def columns(self) -> tuple[Column, ...]:
        """`p_<label>` for each of the model's labels, `expression`, `expression_confidence`, and `expression_novelty` of
        models that tell it."""
        return self._columns

    def values(self, answer: Answer, present: npt.NDArray[np.bool_]) -> Mapping[str, Any]:
        """The softmax of the logits."""
        logits = answer["logits"].astype(np.float64)
        shifted = np.exp(logits - logits.max())
        probabilities = shifted / shifted.sum()
        best = int(probabilities.argmax())
        values: dict[str, Any] = {
            f"p_{label}": float(p) for label, p in zip(self.info.labels, probabilities, strict=True)
        }
        values |= {"expression": self.info.labels[best], "expression_confidence": float(probabilities[best])}
        return values | ({_NOVELTY.name: float(answer[NOVELTY][0])} if NOVELTY in answer else {})
