"""Training examples, independent of the data set: 16 frames of a face, the sound with them, and an expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from streamfx.errors import ConfigError
from streamfx.nets.mma_dfer import FRAMES

Pixels = npt.NDArray[np.uint8]
AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 27, 45)
"""Numbers of the facial action units (FACS) with whose intensities synthetic frames are labelled."""


@dataclass(frozen=True)
class FrameTruth:
    """Labels of synthetic frames.

    `action_units` float32 [k, 19]: intensities 0..5 in the order of AUS. `expression` float32 [k, labels]: how much of
    each expression a frame shows; an expression of less than full intensity leaves the rest to neutral.
    """

    action_units: npt.NDArray[np.float32]
    expression: npt.NDArray[np.float32]


class Examples(Protocol):
    """Examples by number. Reading one changes nothing, so several processes may read them."""

    labels: tuple[str, ...]
    """Names of the classes."""
    targets: npt.NDArray[np.int64]
    """[examples]: the class number of each."""
    pixels: int
    """Side of the square frames as they are stored."""
    margin: float
    """Side of a stored frame as a multiple of the side of the face's plain crop, which lies in its middle."""

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def frames(self, number: int, at: Sequence[int], rng: np.random.Generator | None) -> Pixels:
        """uint8 RGB [len(at), pixels, pixels, 3]: one frame for each number in `at` of the 16 segments of time.

        Where a segment has several frames, `rng` draws one; without `rng` it is the one in the middle.
        """
        ...

    def sound(self, number: int) -> npt.NDArray[np.float32]:
        """float32 [512, 128]: the normalised filter bank, constant where there is no sound."""
        ...

    def truth(self, number: int, at: Sequence[int]) -> FrameTruth:
        """Labels of these frames; raises ConfigError for data without labels of single frames."""
        ...


class Joined:
    """Several sets of the same kind, joined into one."""

    def __init__(self, parts: Sequence[Examples]):
        first = parts[0]
        same = {(part.labels, part.pixels, part.margin) for part in parts}
        if len(same) != 1:
            raise ConfigError(f"sets that are used together must have the same labels and sizes, got {same}")
        self.labels, self.pixels, self.margin = first.labels, first.pixels, first.margin
        self.targets: npt.NDArray[np.int64] = np.concatenate([part.targets for part in parts])
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _find(self, number: int) -> tuple[Examples, int]:
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._parts[part], int(number - self._starts[part])

    def frames(self, number: int, at: Sequence[int], rng: np.random.Generator | None) -> Pixels:
        """See `Examples`."""
        part, number = self._find(number)
        return part.frames(number, at, rng)

    def sound(self, number: int) -> npt.NDArray[np.float32]:
        """See `Examples`."""
        part, number = self._find(number)
        return part.sound(number)

    def truth(self, number: int, at: Sequence[int]) -> FrameTruth:
        """See `Examples`."""
        part, number = self._find(number)
        return part.truth(number, at)


def all_frames(examples: Examples, number: int, rng: np.random.Generator | None) -> torch.Tensor:
    """uint8 [16, pixels, pixels, 3]: one frame for each segment."""
    return torch.from_numpy(np.ascontiguousarray(examples.frames(number, range(FRAMES), rng)))
