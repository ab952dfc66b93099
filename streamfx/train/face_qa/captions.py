"""Captions: a grammar that words facts in many ways."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def render(facts: Mapping[str, str], rng: np.random.Generator) -> str:
    """A caption that states these facts and nothing else."""
    return "A face: " + ", ".join(f"{name} {value}" for name, value in facts.items()) + "."
