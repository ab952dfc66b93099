"""The map behind a Mahalanobis distance, which counts a difference by how much those learned from differ that way."""

from __future__ import annotations

import torch
from torch import Tensor

SHRINKAGE = 0.1
"""Share of a round spread that is mixed into the measured one, since the examples are few for its size."""


def even_map(apart: Tensor) -> Tensor:
    """[dim, dim]: multiplied by it, differences [n, dim] from their mean have the same spread in every direction."""
    spread = apart.T @ apart / len(apart)
    even = spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)
    values, axes = torch.linalg.eigh(torch.lerp(spread, even, SHRINKAGE))
    return axes / values.sqrt()  # type: ignore[no-any-return]
