"""The phases of the attributes' recipe: two LNets, ANet's pre-training and training, and the shared encoder's head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.models.celeba import CELEBA
from streamfx.nets.lnet import LNet
from streamfx.nets.lnet_anet import ANet
from streamfx.nets.shared_encoder import SharedEncoder
from streamfx.train.attribute_pictures import Floats, Pictures, cut_squares
from streamfx.train.attribute_recipe import AttributeSteps, IdentitySteps, LNetSteps
from streamfx.train.augment import BOX_JITTER, View, spoil
from streamfx.train.batches import Shuffled
from streamfx.train.loop import Batch, Phase, Schedule, derived
from streamfx.train.recipe import Steps

WHOLE_VIEW = View(scale_min=0.6, rotate_deg=8.0, flip=0.5, jitter=0.0)
FACE_VIEW = View(scale_min=0.9, rotate_deg=8.0, flip=0.5, jitter=BOX_JITTER)
MOST_WEIGHT = 6.0
"""Most that one example of a rare answer counts, in examples of a common one."""


def columns_of(labels: Sequence[str]) -> list[int]:
    """Where the attributes stand among CelebA's forty."""
    return [CELEBA.index(name) for name in labels]


class SquareBatches(Shuffled):
    """Squares of pictures, augmented: float32 `pictures` [N, 3, side, side], int64 `labels` [N, attributes] with -1 for
    unknown, and `people` [N]."""

    def __init__(
        self,
        pictures: Pictures,
        squares: Floats,
        labels: Sequence[str],
        side: int,
        view: View,
        section: Steps,
        seed: int,
        phase: str,
    ):
        super().__init__(len(pictures), section.batch_size, seed, phase)
        self._pictures, self._squares, self._side, self._view = pictures, torch.from_numpy(squares), side, view
        self._labels = pictures.labels[:, columns_of(labels)].astype(np.int64)
        self._spoiled = section.spoiled if isinstance(section, AttributeSteps) else 0.0

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """See `Shuffled`."""
        views = self._view.draw(len(items), generator)
        shown = cut_squares(self._pictures.pixels(items), self._squares[items], views, self._side)
        hit = (torch.rand(len(items), generator=generator) < self._spoiled).nonzero()[:, 0]
        if len(hit):
            shown[hit] = spoil(shown[hit], generator)
        return {
            "pictures": shown,
            "labels": torch.from_numpy(self._labels[items]),
            "people": torch.from_numpy(self._pictures.people[items]),
        }


class PairBatches(SquareBatches):
    """The same, each picture beside another one of the same person: the second half of a batch are the others."""

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """See `Shuffled`."""
        people = self._pictures.people
        others = []
        for item in items[: max(1, len(items) // 2)]:
            same = np.flatnonzero(people == people[item])
            others.append(int(same[int(torch.randint(len(same), (1,), generator=generator))]))
        return super().of(items[: len(others)] + others, epoch, generator)


def tag_weights(labels: Tensor) -> Tensor:
    """float32 [2, attributes]: how much a no and a yes count, so that both count alike in all, up to MOST_WEIGHT."""
    known = (labels >= 0).sum(dim=0).clamp(min=1)
    share = ((labels == 1).sum(dim=0) / known).clamp(0.01, 0.99)
    return torch.stack((0.5 / (1 - share), 0.5 / share)).clamp(max=MOST_WEIGHT)


def tag_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Sigmoid cross-entropy of [N, attributes], each label weighed as `tag_weights` says, without the unknown ones."""
    known = (labels >= 0).float()
    yes = (labels == 1).float()
    weight = known * torch.where(labels == 1, weights[1], weights[0]).to(logits)
    losses = F.binary_cross_entropy_with_logits(logits.float(), yes, reduction="none")
    return (losses * weight).sum() / weight.sum().clamp(min=1)


def learned_share(loss: Tensor, answers: int) -> Tensor:
    """How far a cross-entropy is below that of guessing among so many answers: from 0, for chance, to 1; no gradient."""
    return (1 - loss.detach() / math.log(max(2, answers))).clamp(0, 1)


class TagPhase(Phase):
    """Attributes by sigmoid cross-entropy: of an LNet, of ANet with a head, or of the shared encoder's head."""

    betas = (0.9, 0.999)

    def __init__(self, name: str, net: nn.Module, batches: SquareBatches, section: Steps, decided_by: Any):
        self.name, self.net, self.batches, self.decided_by = name, net, batches, decided_by
        self.schedule, self.weight_decay = Schedule.of(section, batches.steps), section.weight_decay
        self.optimiser = section.optimiser
        self._weights = tag_weights(torch.from_numpy(batches._labels))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See `Phase`; `right` and `known` count answers."""
        return self._answers(self.net(batch["pictures"]), batch["labels"])

    def _answers(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        known = labels >= 0
        right = ((logits > 0).long() == labels) & known
        loss = tag_loss(logits, labels, self._weights.to(logits.device))
        return {"loss": loss, "right": right.sum(), "known": known.sum()}

    def epoch_row(self, sums: Any, steps: int) -> dict[str, float]:
        """Mean loss, and accuracy over the labels that are known."""
        return {"loss": float(sums["loss"]) / steps, "accuracy": float(sums["right"]) / max(1, float(sums["known"]))}


class LNetPhase(TagPhase):
    """Attributes of an LNet, whose responses are to lie together.

    `focus` weighs the mean over the root mean square of a picture's response map, which is 1 where it responds
    everywhere alike and the smaller, the fewer places respond (after Hoyer, JMLR 2004). Its scale does not matter, so
    the net cannot escape by responding less. It counts as far as the tags are better than chance: a net that has learned
    nothing yet would only lose its responses.
    """

    net: LNet

    def __init__(self, name: str, net: LNet, batches: SquareBatches, section: LNetSteps, decided_by: Any):
        super().__init__(name, net, batches, section, decided_by)
        self._focus = section.focus

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See `Phase`; `spread` is what `focus` weighs."""
        features = self.net.features(batch["pictures"])
        found = self._answers(self.net.read(features), batch["labels"])
        response = features.float().mean(dim=1).flatten(1)
        spread = (response.mean(dim=1) / (response.square().mean(dim=1) + 1e-20).sqrt()).mean()
        learned = learned_share(found["loss"], 2)
        return found | {"loss": found["loss"] + self._focus * learned * spread, "tags": found["loss"], "spread": spread}

    def epoch_row(self, sums: Any, steps: int) -> dict[str, float]:
        """As of `TagPhase`, and the loss of the tags alone, and the spread."""
        return super().epoch_row(sums, steps) | {name: float(sums[name]) / steps for name in ("tags", "spread")}


class TaggedANet(nn.Module):
    """ANet with the heads that its training needs: attributes or people, read from the mean over the patches."""

    def __init__(self, anet: ANet, outputs: int, seed: int):
        super().__init__()
        self.anet = anet
        self.head = nn.Linear(anet.sizes.features, outputs)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.normal_(0.0, 0.05, generator=generator)
            self.head.bias.zero_()

    def vectors(self, pictures: Tensor) -> Tensor:
        """The mean vector of each picture, [N, features]; a linear head on it is the mean of its answers on patches."""
        return self.anet(pictures).mean(dim=1)  # type: ignore[no-any-return]

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits [N, outputs]."""
        return self.head(self.vectors(pictures))  # type: ignore[no-any-return]


class IdentityPhase(Phase):
    """Who somebody is: softmax over all people, and the distance between two pictures of one.

    The distance counts as far as people are named better than by chance. At its full weight from the start, the shortest
    way to a small one is the same vector for everybody, after which nothing is learned.
    """

    name = "anet-identity"
    betas = (0.9, 0.999)

    def __init__(self, net: TaggedANet, batches: PairBatches, section: IdentitySteps, decided_by: Any):
        self.net: TaggedANet = net
        self.batches, self.decided_by, self._together = batches, decided_by, section.together
        self.schedule, self.weight_decay = Schedule.of(section, batches.steps), section.weight_decay
        self.optimiser = section.optimiser

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See `Phase`."""
        vectors = self.net.vectors(batch["pictures"])
        logits = self.net.head(vectors)
        first, second = vectors.float().chunk(2)
        apart = (first - second).square().sum(dim=1).mean()
        named = F.cross_entropy(logits.float(), batch["people"])
        right = (logits.argmax(dim=1) == batch["people"]).float().mean()
        learned = learned_share(named, logits.shape[1])
        return {"loss": named + self._together * learned * apart, "named": named, "apart": apart, "right": right}

    def epoch_row(self, sums: Any, steps: int) -> dict[str, float]:
        """The mean of the loss, of its parts, and the share of people who were named rightly."""
        return {name: float(value) / steps for name, value in sums.items()}


class SharedTags(nn.Module):
    """The head of a shared encoder in training; the encoder stays as it is."""

    def __init__(self, net: SharedEncoder):
        super().__init__()
        self.shared = net

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits [N, attributes]."""
        return self.shared(pictures)  # type: ignore[no-any-return]


def head_seed(seed: int, name: str) -> int:
    """The seed of a head that is thrown away."""
    return derived(seed, "head", name)
