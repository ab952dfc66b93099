"""Which expression model answers by default on this machine."""

from __future__ import annotations

from streamfx.models.card import resolve_model
from streamfx.models.expression import ExpressionModel


def default_model() -> str:
    """Name of the default model or, without the weights of others that it needs, of the one that is taken instead."""
    return resolve_model(ExpressionModel.spec.default_weights).name
