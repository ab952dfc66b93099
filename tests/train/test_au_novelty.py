"""Novelty: clear faces of others lie within the borders, covered ones and what is far from all do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamfx.nets.fmae import Fmae, FmaeConfig
from streamfx.train.au_novelty import describe


def described(hidden: int) -> tuple[Fmae, np.random.Generator]:
    """A net of 8 numbers for which clear faces are N(0, 1), and `hidden` covered ones lie 3 along the first axis."""
    rng = np.random.default_rng(0)
    net = Fmae(FmaeConfig(classes=2, image_size=32, dim=8, depth=2, heads=2, novelty=True))
    learned = rng.standard_normal((800 + hidden, 8)).astype(np.float32)
    learned[800:, 0] += 3
    describe(net, learned, np.arange(len(learned)) < 800, rng.standard_normal((800, 8)).astype(np.float32))
    return net, rng


@pytest.mark.parametrize(("hidden", "caught"), [(200, 0.75), (0, 0.0)])
def test_about_one_in_twenty_clear_faces_is_left_out_and_covered_ones_nearly_all(hidden: int, caught: float) -> None:
    net, rng = described(hidden)
    clear = torch.from_numpy(rng.standard_normal((2000, 8)).astype(np.float32))
    covered = clear + torch.tensor([3.0] + [0.0] * 7)
    assert 0.01 < float((net.novelty(clear) > 1).float().mean()) < 0.09
    assert float((net.novelty(covered) > 1).float().mean()) >= caught
    assert (net.novelty(clear + 9) > 1).all() and (net.novelty(clear - 9) > 1).all()
