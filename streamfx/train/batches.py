"""Batches of face frames and of filter banks: which examples a step sees, and how they are augmented for it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamfx.nets.mma_dfer import FRAMES
from streamfx.train.augment import BOX_JITTER, PLAIN, Mix, View, disturb_sound, show, spoil
from streamfx.train.examples import Examples, all_frames
from streamfx.train.loop import Batch, Batches, derived

_WINDOWS = 8


class Shuffled(Batches):
    """Batches of numbered items: each epoch takes them in another order and drops an incomplete last batch.

    `taken`: how many items an epoch takes, others each time; 0: all.
    """

    def __init__(self, items: int, batch_size: int, seed: int, phase: str, taken: int = 0):
        super().__init__(max(1, min(taken or items, items) // batch_size), seed, phase)
        self._items, self._batch_size = items, batch_size
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def make(self, epoch: int, step: int, generator: torch.Generator) -> Batch:
        """See `Batches`."""
        if self._order[0] != epoch:
            rng = np.random.default_rng(derived(self.seed, self.phase, "order", epoch))
            self._order = (epoch, rng.permutation(self._items))
        return self.of(self._order[1][step * self._batch_size :][: self._batch_size].tolist(), epoch, generator)

    @abstractmethod
    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """The batch of these items."""


class FaceBatches(Shuffled):
    """Single frames, `per_clip` of each clip an epoch, as float32 `pictures` [N, 3, image_size, image_size] in 0..1."""

    def __init__(self, examples: Examples, per_clip: int, image_size: int, batch_size: int, seed: int, phase: str):
        super().__init__(len(examples) * per_clip, batch_size, seed, phase)
        self.examples, self._per_clip, self.image_size = examples, per_clip, image_size
        self.jitter = BOX_JITTER if examples.margin > 1 else 0.0

    def chosen(self, items: list[int], epoch: int) -> list[tuple[int, int]]:
        """Clip and segment of each item; segments are drawn anew in each epoch."""
        pairs = []
        for item in items:
            clip, place = divmod(item, self._per_clip)
            rng = np.random.default_rng(derived(self.seed, self.phase, "frames", epoch, clip))
            pairs.append((clip, int(rng.permutation(FRAMES)[place])))
        return pairs

    def stored(self, chosen: list[tuple[int, int]], epoch: int) -> Tensor:
        """uint8 [N, pixels, pixels, 3]: the frames as they are stored."""
        rngs = [np.random.default_rng(derived(self.seed, self.phase, "file", epoch, *one)) for one in chosen]
        frames = [self.examples.frames(clip, [at], rng) for (clip, at), rng in zip(chosen, rngs, strict=True)]
        return torch.from_numpy(np.concatenate(frames))


class MaeFaceBatches(FaceBatches):
    """Frames, some mirrored; masking makes other augmentation unnecessary. `order` shuffles their patches."""

    def __init__(self, examples: Examples, per_clip: int, image_size: int, patches: int, batch_size: int, seed: int):
        super().__init__(examples, per_clip, image_size, batch_size, seed, "face-mae")
        self._patches = patches

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """See `Shuffled`."""
        stored = self.stored(self.chosen(items, epoch), epoch)
        view = View(scale_min=1.0, rotate_deg=0.0, flip=0.5, jitter=self.jitter)
        pictures = show(stored, self.examples.margin, view.draw(len(items), generator), self.image_size)
        return {"pictures": pictures, "order": shuffled_patches(len(items), self._patches, generator)}


class TuneFaceBatches(FaceBatches):
    """Frames, some spoiled, some mixed, with their labels: `action_units` in 0..1 and `expression` shares."""

    view = View(scale_min=0.35, rotate_deg=10.0, flip=0.5, jitter=BOX_JITTER)
    """The tightest views end at brows and chin, as the pictures in sets of stills do."""
    spoiled = 0.8
    """Share of the frames that are spoiled."""

    def __init__(
        self,
        examples: Examples,
        per_clip: int,
        image_size: int,
        mixup: float,
        batch_size: int,
        seed: int,
    ):
        super().__init__(examples, per_clip, image_size, batch_size, seed, "face-tune")
        self._mixup = mixup

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """See `Shuffled`."""
        chosen = self.chosen(items, epoch)
        views = self.view.draw(len(items), generator)
        pictures = show(self.stored(chosen, epoch), self.examples.margin, views, self.image_size)
        hit = (torch.rand(len(items), generator=generator) < self.spoiled).nonzero()[:, 0]
        pictures[hit] = spoil(pictures[hit], generator)
        truths = [self.examples.truth(clip, [at]) for clip, at in chosen]
        units = torch.from_numpy(np.concatenate([truth.action_units for truth in truths])) / 5
        expression = torch.from_numpy(np.concatenate([truth.expression for truth in truths]))
        mix = Mix.draw(len(items), self._mixup, generator)
        return {
            "pictures": mix.of(pictures),
            "action_units": mix.of(units),
            "expression": mix.of(expression),
        }


class MaeSoundBatches(Shuffled):
    """Unchanged filter banks, float32 `pictures` [N, 1, 512, 128]; `order` shuffles their patches."""

    def __init__(self, examples: Examples, patches: int, batch_size: int, seed: int):
        super().__init__(len(examples), batch_size, seed, "audio-mae")
        self._examples, self._patches = examples, patches

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """See `Shuffled`."""
        order = shuffled_patches(len(items), self._patches, generator)
        return {"pictures": sounds(self._examples, items), "order": order}


class TuneSoundBatches(Shuffled):
    """Filter banks disturbed and mixed, with the `expression` of their clips as shares."""

    def __init__(self, examples: Examples, mixup: float, batch_size: int, seed: int):
        super().__init__(len(examples), batch_size, seed, "audio-tune")
        self._examples, self._mixup = examples, mixup

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """See `Shuffled`."""
        banks = disturb_sound(sounds(self._examples, items), generator)
        targets = torch.from_numpy(self._examples.targets[items])
        shares = torch.nn.functional.one_hot(targets, len(self._examples.labels)).float()
        mix = Mix.draw(len(items), self._mixup, generator)
        return {"pictures": mix.of(banks), "expression": mix.of(shares)}


def sounds(examples: Examples, items: list[int]) -> Tensor:
    """float32 [N, 1, 512, 128]: the filter banks of these examples."""
    return torch.from_numpy(np.stack([examples.sound(item) for item in items]))[:, None]


def plain_windows(examples: Examples, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """All windows in order and without augmentation, a few at a time: `frames` float32 [N, 16, 3, size, size], `sound`
    [N, 1, 512, 128], and class numbers int64 [N]."""
    for start in range(0, len(examples), _WINDOWS):
        items = list(range(start, min(start + _WINDOWS, len(examples))))
        stored = torch.cat([all_frames(examples, item, None) for item in items])
        shown = show(stored, examples.margin, PLAIN, size)
        frames = shown.view(-1, FRAMES, *shown.shape[1:])
        yield frames, sounds(examples, items), torch.from_numpy(examples.targets[items])


def shuffled_patches(pictures: int, patches: int, generator: torch.Generator) -> Tensor:
    """int64 [pictures, patches]: for each picture a random permutation of its patches."""
    return torch.rand(pictures, patches, generator=generator).argsort(dim=1)
