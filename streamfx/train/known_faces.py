"""What a net for action units knows: where the features of clear faces lie, and beyond which distance a face is strange.

A net answers for a hand before a face or a face from the side too. The training frames give the mean and the spread of
its features, frames of other people (the calibration set) the distance within which nearly all clear faces lie.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from streamfx.nets.fmae import Fmae
from streamfx.train.au_sets import AuExamples

SHRINKAGE = 0.1
"""Share of a round spread that is mixed into the measured one, since the frames are few for its size."""
EDGE_QUANTILE = 0.95
"""Share of the clear calibration frames that lie within the border."""
CLEAR_KINDS = ("frontal", "several")
"""Kinds of drawn clips that show a face from the front with nothing before it."""


def clear(examples: AuExamples) -> npt.NDArray[np.bool_]:
    """bool [n]: the drawn frames that show a clear face, by what is known of their clips."""
    return examples.groups["kind"].isin(CLEAR_KINDS).to_numpy(bool)


def describe(net: Fmae, learned: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> None:
    """Set the buffers of `net` from the features [n, dim] of clear training frames and of clear calibration frames."""
    seen = torch.from_numpy(learned).double()
    middle = seen.mean(dim=0)
    apart = seen - middle
    spread = apart.T @ apart / len(apart)
    even = spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)
    values, axes = torch.linalg.eigh(torch.lerp(spread, even, SHRINKAGE))
    net.get_buffer("known_mean").copy_(middle)
    net.get_buffer("known_map").copy_(axes / values.sqrt())
    with torch.no_grad():
        net.get_buffer("border").fill_(float(net.distance(torch.from_numpy(others)).quantile(EDGE_QUANTILE)))
