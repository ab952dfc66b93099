"""The probes: linear ones, and ones with a hidden layer, that tell among the classes of a window's group."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

HIDDEN = 64
STEPS = 300
BATCH = 1024
RATE, DECAY = 1e-2, 1e-2
KINDS = {"linear": 0, "hidden": HIDDEN}
"""Kind of a probe -> width of its hidden layer; 0: none."""

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """Trained probes of one kind, one for each row of `sees` [probes, features].

    `allowed` bool [groups, classes] says among which classes they tell in each group.
    """

    layers: list[torch.Tensor]
    sees: torch.Tensor
    allowed: torch.Tensor

    def name(self, x: Floats, group: Numbers) -> Numbers:
        """The classes [probes, windows] that the probes name, from features [windows, features] and groups [windows]."""
        found = []
        with torch.no_grad():
            for at in range(0, len(x), BATCH):
                logits = self.logits(torch.from_numpy(x[at : at + BATCH]), torch.from_numpy(group[at : at + BATCH]))
                found.append(logits.argmax(dim=2))
        return torch.cat(found, dim=1).numpy()

    def logits(self, x: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
        """[probes, windows, classes]; minus infinity for a class of another group."""
        first, bias, *rest = self.layers
        values = torch.baddbmm(bias, x.expand(len(self.sees), -1, -1) * self.sees[:, None], first)
        if rest:
            values = torch.baddbmm(rest[1], F.gelu(values), rest[0])
        return values.masked_fill(~self.allowed[group], float("-inf"))


def train(x: Floats, sees: npt.NDArray[np.bool_], label: Numbers, group: Numbers, hidden: int, seed: int = 0) -> Probes:
    """Probes that learnt to name the `label` [windows] of each window, counted from 0, among those of its `group`.

    Each sees only its own features of x [windows, features]: `sees` bool [probes, features]. They learn side by side and
    from the same start, and nothing of one enters another. What they learn follows from the arguments alone, on one
    machine.
    """
    classes = int(label.max()) + 1
    allowed = torch.zeros((int(group.max()) + 1, classes), dtype=torch.bool)
    allowed[group, label] = True
    random = torch.Generator().manual_seed(seed)
    sizes = [x.shape[1], hidden, classes] if hidden else [x.shape[1], classes]
    layers: list[torch.Tensor] = []
    for inputs, outputs in pairwise(sizes):
        weights = torch.randn((inputs, outputs), generator=random) / max(inputs, 1) ** 0.5
        layers += [weights.repeat(len(sees), 1, 1), torch.zeros((len(sees), 1, outputs))]
    probes = Probes([layer.requires_grad_() for layer in layers], torch.from_numpy(sees).float(), allowed)
    optimiser = torch.optim.AdamW(probes.layers, lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    windows, groups, targets = torch.from_numpy(x), torch.from_numpy(group), torch.from_numpy(label)
    for _ in range(STEPS):
        at = torch.randint(len(x), (BATCH,), generator=random) if len(x) > BATCH else torch.arange(len(x))
        optimiser.zero_grad()
        logits = probes.logits(windows[at], groups[at])
        losses = F.cross_entropy(logits.flatten(0, 1), targets[at].repeat(len(sees)), reduction="none")
        # A sum over probes: each gets the gradient that it would get alone.
        losses.view(len(sees), -1).mean(dim=1).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return probes
