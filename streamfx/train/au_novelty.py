"""How a net for action units tells novelty: where clear faces lie half way up, and a reader for covered and turned ones.

A net answers for a hand before a face or a face from the side too. Where it has learned action units, its last feature
says little else; half way up, both still show. The training frames give the mean and the spread of clear faces there,
and teach the reader; frames of other people (the calibration set) give the borders within which nearly all clear faces
lie. The distance catches what no drawing shows, the reader what many do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.nets.fmae import Fmae
from streamfx.train.au_sets import AuExamples
from streamfx.train.mahalanobis import even_map

EDGE_QUANTILE = 0.975
"""Share of the clear calibration frames that lie within each of the two borders."""
STEPS, RATE, DECAY = 300, 1e-2, 0.3
"""Steps, learning rate and weight decay (AdamW, all frames at once) with which the reader learns."""
CLEAR_KINDS = ("frontal", "several")
"""Kinds of drawn clips that show a face from the front with nothing before it."""


def clear(examples: AuExamples) -> npt.NDArray[np.bool_]:
    """bool [n]: the drawn frames that show a clear face, by what is known of their clips."""
    return np.array(examples.groups["kind"].isin(CLEAR_KINDS), bool)


def describe(
    net: Fmae,
    learned: npt.NDArray[np.float32],
    plain: npt.NDArray[np.bool_],
    others: npt.NDArray[np.float32],
) -> None:
    """Set the buffers of `net` from what `read` gives second: [n, dim] of the training frames, of which `plain` bool [n]
    are clear, and of clear calibration frames. Without a frame that is not clear there is no reader."""
    seen, them = torch.from_numpy(learned).double(), torch.from_numpy(others).double()
    middle = seen[plain].mean(dim=0)
    net.get_buffer("known_mean").copy_(middle)
    net.get_buffer("known_map").copy_(even_map(seen[plain] - middle))
    border = net.get_buffer("border")
    with torch.no_grad():
        border.fill_(float(net.distance(torch.from_numpy(others).to(border)).quantile(EDGE_QUANTILE)))
    if plain.all():
        return
    weight = _reader(seen.float(), torch.from_numpy(~plain)).double()
    net.get_buffer("hidden_weight").copy_(weight)
    net.get_buffer("hidden_bias").fill_(-float((them @ weight).quantile(EDGE_QUANTILE)))


def _reader(seen: Tensor, hidden: Tensor) -> Tensor:
    """Weights [dim] of a logistic regression on standardised values, both kinds of frame counting alike."""
    scale = seen.std(dim=0) + 1e-6
    x, target = (seen - seen.mean(dim=0)) / scale, hidden.float()
    weight, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.AdamW([weight, bias], lr=RATE, weight_decay=DECAY)
    balance = (1 - target).sum() / target.sum()
    for _ in range(STEPS):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(x @ weight + bias, target, pos_weight=balance).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return weight.detach() / scale
