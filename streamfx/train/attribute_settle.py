"""What is set after training: the SVMs and their scale, and from which score the LNets believe a face."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.models.celeba import CELEBA
from streamfx.nets.lnet import LOOSE, STRIDE, LNet, LNets, best_window
from streamfx.nets.lnet_anet import LNetANet
from streamfx.nets.shared_encoder import SharedEncoder
from streamfx.terminal import ProgressBar
from streamfx.train.attribute_phases import tag_loss, tag_weights
from streamfx.train.attribute_pictures import Floats, Pictures, crop_margin, cut_squares, whole_squares
from streamfx.train.augment import PLAIN

COSTS = (0.003, 0.03, 0.3)
"""Weights of an SVM's errors beside its margin that are tried."""
FRAMES = tuple(
    (size, below)
    for size in (0.75, 0.95, 1.2, 1.5, 1.9, 2.4, 3.0, 3.8)
    for below in (-0.3, -0.15, 0.0, 0.15, 0.3, 0.45, 0.6, 0.75)
)
"""What is tried: the face's side in sides of LNet_o's window, and how far its middle is below that of LNet_s's window, in
sides of the face."""
FRAME_PICTURES = 400
_CHUNK = 64


def chunks(pictures: Pictures, squares: Floats, side: int) -> Iterator[Tensor]:
    """float32 [k, 3, side, side]: the squares of all pictures in order, a few at a time, not augmented."""
    for start in range(0, len(pictures), _CHUNK):
        numbers = np.arange(start, min(start + _CHUNK, len(pictures)))
        yield cut_squares(pictures.pixels(numbers), torch.from_numpy(squares[numbers]), PLAIN, side)


@torch.no_grad()
def windows_of(net: LNet, pictures: Pictures, side: int, parts: Floats) -> Floats:
    """For each picture the best window in its square of `parts` [n, 4], as middle x and y, side (pixels) and score,
    float32 [n, 4]. Where the net responds nowhere it is the middle of the square, with score 0."""
    found, number = np.empty((len(pictures), 4), np.float32), 0
    for shown in ProgressBar(" batches", -(-len(pictures) // _CHUNK), title="looking").over(
        chunks(pictures, parts, side)
    ):
        for response in net.response(shown):
            x, y, length = (float(value) for value in parts[number, :3])
            best, step = best_window(response), length / side * STRIDE
            if best is None:
                found[number] = x, y, length / 2, 0
            else:
                found[number] = (
                    x - length / 2 + best.x * step, y - length / 2 + best.y * step, best.side * step, best.score,
                )  # fmt: skip
            number += 1
    return found


def loose(windows: Floats) -> Floats:
    """What LNet_s sees of LNet_o's windows: squares for `cut_squares`, float32 [n, 4]."""
    return np.stack(
        [windows[:, 0], windows[:, 1], LOOSE * windows[:, 2], np.zeros(len(windows), np.float32)], axis=1
    ).astype(np.float32)


def set_thresholds(nets: LNets, pictures: Pictures, false_faces: float) -> dict[str, float]:
    """Set both thresholds so that `false_faces` of the pictures that show nobody pass each, and say how many pictures
    with a face still do. Nothing is known of where the faces are. Without pictures that show nobody, both are 0."""
    heads = windows_of(nets.lnet_o, pictures, nets.sizes.whole, whole_squares(pictures))
    faces = windows_of(nets.lnet_s, pictures, nets.sizes.part, loose(heads))
    scores, empty = np.stack([heads[:, 3], faces[:, 3]], axis=1), pictures.empty
    edges = np.zeros(2)
    if empty.any():
        # Both must be passed: one edge for both, in units of each score's spread among faces, keeps their balance.
        scale = np.median(scores[~empty], axis=0) if (~empty).any() else np.ones(2)
        worst = (scores / np.maximum(scale, 1e-9)).min(axis=1)
        edges = np.quantile(worst[empty], max(0.0, 1 - false_faces)) * scale
    nets.thresholds.copy_(torch.tensor(edges, dtype=torch.float32))
    passed = np.logical_and.reduce(scores > edges, axis=1)
    return {
        "pictures": float((~empty).sum()),
        "empty": float(empty.sum()),
        "threshold_o": float(edges[0]),
        "threshold_s": float(edges[1]),
        "found": float(passed[~empty].mean()) if (~empty).any() else float("nan"),
        "false_faces": float(passed[empty].mean()) if empty.any() else float("nan"),
    }


@torch.no_grad()
def fit_frame(net: LNetANet, others: Pictures, columns: list[int], side: int) -> dict[str, float]:
    """Set how the face lies to the windows, by attributes alone: of FRAMES, the one at which ANet names what `others`,
    people with a face each, show with the least loss, if their faces are cut there."""
    number = np.unique(np.linspace(0, len(others) - 1, min(FRAME_PICTURES, len(others))).astype(int))
    some = others.some(np.isin(np.arange(len(others)), number))
    labels = torch.from_numpy(some.labels[:, columns].astype(np.int64))
    weights = tag_weights(labels)
    heads = windows_of(net.lnets.lnet_o, some, net.lnets.sizes.whole, whole_squares(some))
    windows = windows_of(net.lnets.lnet_s, some, net.lnets.sizes.part, loose(heads))
    x, y, length = windows[:, 0], windows[:, 1], heads[:, 2]
    best, least = FRAMES[0], float("inf")
    for size, below in FRAMES:
        face = size * length
        squares = np.stack([x, y + below * face, crop_margin() * face, np.zeros_like(x)], axis=1).astype(np.float32)
        logits = torch.cat([net(shown) for shown in chunks(some, squares, side)])
        loss = float(tag_loss(logits, labels, weights))
        if loss < least:
            best, least = (size, below), loss
    net.lnets.frame.copy_(torch.tensor(best))
    return {"side": best[0], "below": best[1], "loss": least}


@torch.no_grad()
def vectors_of(net: LNetANet, pictures: Pictures, side: int) -> Tensor:
    """float64 [n, features]: the mean vector of each picture's face."""
    return torch.cat([net.anet(shown).mean(dim=1) for shown in chunks(pictures, pictures.faces(), side)]).double()


def fit_svms(
    net: LNetANet, learned: Pictures, others: Pictures, columns: list[int], side: int
) -> dict[str, dict[str, float]]:
    """Fit a linear SVM for each attribute to `learned`, people whom ANet does not know, and scale it on `others`.

    Squared hinge loss, both answers alike in weight; of COSTS, the one with the highest balanced accuracy on `others`
    is kept. The scores become logits as Platt has it, again with both answers alike in weight: 0 is where yes and no
    are equally likely if they are equally common. An attribute without both answers keeps a score of 0.
    """
    seen, known = vectors_of(net, learned, side), vectors_of(net, others, side)
    mean, spread = seen.mean(dim=0), seen.std(dim=0) + 1e-3
    report: dict[str, dict[str, float]] = {}
    for number, column in enumerate(columns):
        mine, theirs = (torch.from_numpy(p.labels[:, column].astype(np.int64)) for p in (learned, others))
        best: tuple[float, float, Tensor, float] | None = None
        if _both(mine) and _both(theirs):
            for cost in COSTS:
                weight, bias = _svm((seen - mean)[mine >= 0] / spread, mine[mine >= 0], cost)
                scores = (known - mean)[theirs >= 0] / spread @ weight + bias
                right = balanced(scores.numpy(), theirs[theirs >= 0].numpy())
                if best is None or right > best[0]:
                    best = (right, cost, weight, bias)
        with torch.no_grad():
            if best is None:
                net.svm.weight[number] = 0
                net.svm.bias[number] = 0
                continue
            right, cost, weight, bias = best
            net.svm.weight[number] = (weight / spread).float()
            net.svm.bias[number] = bias - float((mean / spread) @ weight)
            scores = (known - mean)[theirs >= 0] / spread @ weight + bias
            net.scale[number], net.shift[number] = _platt(scores, theirs[theirs >= 0])
        report[CELEBA[column]] = {"cost": cost, "balanced_accuracy": right}
    return report


@torch.no_grad()
def fit_scale(net: SharedEncoder, others: Pictures, columns: list[int], side: int) -> dict[str, dict[str, float]]:
    """Scale and shift the logits of the head on `others` as `fit_svms` does those of the SVMs: training weighs rare
    answers, but only up to a limit. An attribute without both answers stays as it is."""
    said = torch.cat([net(shown) for shown in chunks(others, others.faces(), side)]).double()
    report: dict[str, dict[str, float]] = {}
    for number, column in enumerate(columns):
        truth = torch.from_numpy(others.labels[:, column].astype(np.int64))
        if not _both(truth):
            continue
        scale, shift = _platt(said[truth >= 0, number], truth[truth >= 0])
        net.head.weight[number] *= scale
        net.head.bias[number] = net.head.bias[number] * scale + shift
        report[CELEBA[column]] = {"scale": scale, "shift": shift}
    return report


def balanced(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]) -> float:
    """The mean of the shares of yes and of no that a score's sign names rightly; NaN without both."""
    if not ((truth == 1).any() and (truth == 0).any()):
        return float("nan")
    return float(((scores > 0)[truth == 1].mean() + (scores <= 0)[truth == 0].mean()) / 2)


def _both(truth: Tensor) -> bool:
    return bool((truth == 1).any() and (truth == 0).any())


def _weights(truth: Tensor) -> Tensor:
    """float64 [n]: yes and no alike in all, adding up to 1."""
    yes = (truth == 1).double()
    return yes / (2 * yes.sum()) + (1 - yes) / (2 * (1 - yes).sum())


def _svm(x: Tensor, truth: Tensor, cost: float) -> tuple[Tensor, float]:
    """Weights [features] and bias of a linear SVM with squared hinge loss, by L-BFGS."""
    sign, share = torch.where(truth == 1, 1.0, -1.0).double(), _weights(truth)
    values = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)

    def loss(given: Tensor) -> Tensor:
        margins = 1 - sign * (x @ given[:-1] + given[-1])
        return cost * (margins.clamp(min=0).square() * share).sum() * len(x) + given[:-1].square().sum() / 2

    found = _minimised(loss, values)
    return found[:-1], float(found[-1])


def _platt(scores: Tensor, truth: Tensor) -> tuple[float, float]:
    """Scale and shift that make logits of scores; the scale is never negative."""
    yes, share = (truth == 1).double(), _weights(truth)
    values = torch.tensor([0.0, 0.0], dtype=torch.float64, requires_grad=True)

    def loss(given: Tensor) -> Tensor:
        logits = scores * given[0].exp() + given[1]
        losses = F.binary_cross_entropy_with_logits(logits, yes, reduction="none")
        return (losses * share).sum() + 1e-4 * given.square().sum()

    found = _minimised(loss, values)
    return float(found[0].exp()), float(found[1])


def _minimised(loss: object, values: Tensor) -> Tensor:
    optimiser = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        found: Tensor = loss(values)  # type: ignore[operator]
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimiser.step(step)  # type: ignore[no-untyped-call]
    return values.detach()
