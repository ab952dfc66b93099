"""Settles a trained net with an expert: what it has learned from, where the expert takes over, and how sure it may be.

Nothing is trained here. The training windows give the means and the spread of the face encoder's answer; windows of
other people (`data.synthetic.calibration`), with and without their sound, give the border to what is novel, and the
temperatures (Guo et al., arXiv 1706.04599).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.errors import ConfigError
from streamfx.media.audio import missing_sound
from streamfx.nets.expert import ExpertMmaDfer
from streamfx.train.batches import plain_windows
from streamfx.train.examples import Examples
from streamfx.train.mahalanobis import even_map
from streamfx.train.metrics import reliability
from streamfx.train.results import write_json

EDGE_QUANTILE = 0.9
"""Share of the calibration windows that lie within the border."""
EDGE_WIDTH = 0.05
"""Width of the border, as a share of its distance."""
TEMPERATURES = np.geomspace(0.25, 16, 121)
"""Temperatures that are tried."""
REPORT = "expression-calibration.json"


@dataclass(frozen=True)
class _Branches:
    """What `ExpertMmaDfer.branches` says of windows, and their true classes."""

    own: Tensor
    distance: Tensor
    expert: Tensor
    target: Tensor


def settle(net: ExpertMmaDfer, learned: Examples, others: Examples, out: Path) -> None:
    """Set the buffers of `net`, and write the calibration errors before and after into `out`.

    `learned` are the examples that it was trained on, `others` the calibration windows.
    """
    _describe(net, learned)
    known = _branches(net, others)
    edge = float(known.distance.quantile(EDGE_QUANTILE))
    net.get_buffer("border").copy_(torch.tensor([edge, EDGE_WIDTH * edge]))
    warm, cool = _best_temperature(known.own[:, None], known.target), _best_temperature(known.expert, known.target)
    net.get_buffer("temperatures").copy_(torch.tensor([warm, cool]))
    raw, calibrated = F.softmax(known.own, dim=-1), F.softmax(known.own / warm, dim=-1)
    said, eased = F.softmax(known.expert, dim=-1).mean(1), F.softmax(known.expert / cool, dim=-1).mean(1)
    report = {
        "windows": len(known.target),
        "border": edge,
        "temperature": warm,
        "expert_temperature": cool,
        "ece_before": _ece(raw, known.target),
        "ece_after": _ece(calibrated, known.target),
        "expert_ece_before": _ece(said, known.target),
        "expert_ece_after": _ece(eased, known.target),
    }
    write_json(out / REPORT, report)


@torch.no_grad()
def _describe(net: ExpertMmaDfer, learned: Examples) -> None:
    """Set the means and the map of `net` from the windows that it was trained on."""
    found = [net.encode(frames, sound)[0].mean(dim=1).double().cpu() for frames, sound, _ in _windows(net, learned)]
    seen, target = torch.cat(found), torch.tensor(learned.targets)
    missing = sorted(set(range(net.config.classes)) - set(target.tolist()))
    if missing:
        raise ConfigError(f"data.synthetic.train: expected windows of every expression, got none of classes {missing}")
    means = torch.stack([seen[target == number].mean(dim=0) for number in range(net.config.classes)])
    net.get_buffer("known_means").copy_(means)
    net.get_buffer("known_map").copy_(even_map(seen - means[target]))


@torch.no_grad()
def _branches(net: ExpertMmaDfer, others: Examples) -> _Branches:
    """Every window twice: with its sound, and without."""
    found = []
    for frames, sound, target in _windows(net, others):
        silence = torch.from_numpy(missing_sound()).to(sound).expand_as(sound)
        for heard in (sound, silence):
            found.append((*(value.float().cpu() for value in net.branches(frames, heard)), target))
    return _Branches(*map(torch.cat, zip(*found, strict=True)))


def _windows(net: ExpertMmaDfer, examples: Examples) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """`plain_windows`, frames and sound on the net's device."""
    device = net.our_classifier.weight.device
    for frames, sound, target in plain_windows(examples, net.config.image_size):
        yield frames.to(device), sound.to(device), target


def _best_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature at which the mean of the probabilities [N, answers, classes] gives the likeliest truth."""
    losses = [
        float(F.nll_loss(torch.log(F.softmax(logits / t, dim=-1).mean(dim=1) + 1e-9), target)) for t in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(losses))])


def _ece(probabilities: Tensor, target: Tensor) -> float:
    return reliability(probabilities.double().numpy(), target.numpy()).ece
