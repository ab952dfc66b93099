"""How much of people's identity a frozen feature gives away: fresh probes that name training people in other clips.

The authors of FMAE-IAT measure it by a linear probe. An adversary may only hide identity from the one linear head that it
fights, so a second probe has a hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from streamfx.train.metrics import Interval, over_people

STEPS = 300
HIDDEN = 256
MOST_PEOPLE = 200
"""People among whom the probes tell; more only take longer."""


@dataclass(frozen=True)
class Leak:
    """Accuracy of both probes over `people`, with intervals over people; guessing gives 1 / people."""

    people: int
    linear: Interval
    two_layers: Interval

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"people": self.people, "linear": self.linear.as_json(), "two_layers": self.two_layers.as_json()}


def identity_leak(
    features: npt.NDArray[np.float32], people: npt.NDArray[np.str_], clips: npt.NDArray[np.str_], seed: int = 0
) -> Leak | None:
    """Train both probes on all but the last clip of each person, and let them name the people of that last clip.

    `features` [n, dim] of single frames, with the person and the clip of each. None where fewer than two people have
    two clips.
    """
    last = {person: max(clips[people == person]) for person in np.unique(people)}
    several = [person for person in last if len(np.unique(clips[people == person])) > 1][:MOST_PEOPLE]
    if len(several) < 2:
        return None
    number = {person: at for at, person in enumerate(several)}
    within = np.isin(people, several)
    held = np.array([clip == last[person] for person, clip in zip(people, clips, strict=True)])
    x = torch.from_numpy(features).float()
    mean, spread = x[within & ~held].mean(dim=0), x[within & ~held].std(dim=0) + 1e-6
    x = (x - mean) / spread
    targets = torch.tensor([number.get(person, -1) for person in people])
    learn, test = torch.from_numpy(within & ~held), torch.from_numpy(within & held)
    found = []
    for hidden in (0, HIDDEN):
        probe = _probe(x[learn], targets[learn], len(several), hidden, seed)
        with torch.no_grad():
            right = (probe(x[test]).argmax(dim=1) == targets[test]).numpy()
        found.append(over_people(people[test.numpy()], lambda at, right=right: right[at].mean(keepdims=True)).mean())  # type: ignore[misc]
    return Leak(len(several), *found)


def _probe(x: torch.Tensor, targets: torch.Tensor, classes: int, hidden: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe: nn.Module = (
            nn.Sequential(nn.Linear(x.shape[1], hidden), nn.GELU(), nn.Linear(hidden, classes))
            if hidden
            else nn.Linear(x.shape[1], classes)
        )
    optimiser = torch.optim.AdamW(probe.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        optimiser.zero_grad()
        F.cross_entropy(probe(x), targets).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return probe
