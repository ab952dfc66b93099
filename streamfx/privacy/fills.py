"""What takes the place of a face: a solid fill, or one of two weaker ones that leave something of it.

A fill changes a picture (uint8 RGB [H, W, 3]) in place, in all boxes at once. Boxes are whole pixels (x0, y0, x1, y1)
inside the picture, the last column and row excluded. It may change more than the boxes, never less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Pixels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

CELL_PX = 16
"""Side of a cell of the mosaic, pixels."""
EPSILON = 0.5
"""Differential-privacy budget of one frame's mosaic."""
CHANGED_PX = 16
"""How many pixels of a frame may differ between two pictures that the mosaic hides from each other (Fan's m)."""
BLUR_SHARE = 0.25
"""Standard deviation of the blur, in units of the box's longer side."""


@dataclass(frozen=True, slots=True)
class Fill:
    """One way to fill. `apply` returns bool [H, W], the pixels it changed. `weakness` is None for a fill that keeps
    nothing, else a sentence that says what is left of a face."""

    name: str
    apply: Callable[[Pixels, Sequence[Box]], npt.NDArray[np.bool_]]
    weakness: str | None = None


def covered(pixels: Pixels, boxes: Sequence[Box]) -> npt.NDArray[np.bool_]:
    """The pixels [H, W] that lie in a box."""
    inside = np.zeros(pixels.shape[:2], bool)
    for x0, y0, x1, y1 in boxes:
        inside[y0:y1, x0:x1] = True
    return inside


def _solid(pixels: Pixels, boxes: Sequence[Box]) -> npt.NDArray[np.bool_]:
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = 0
    return covered(pixels, boxes)


def _pixelated(pixels: Pixels, boxes: Sequence[Box]) -> npt.NDArray[np.bool_]:
    """DP-Pix (Fan 2018): the mean of each cell that a box touches, with Laplace noise.

    Cells lie on one grid for the whole picture, so overlapping boxes share them and each is answered once. A changed
    pixel moves the three means of its cell by at most 3 * 255 / n together, n the pixels of the cell, so noise of
    scale 3 * 255 * m / (n * epsilon) makes the means of a frame epsilon-differentially private for pictures that
    differ in at most m pixels.
    """
    random = np.random.default_rng()
    changed = covered(pixels, boxes)
    height, width = changed.shape
    for top in range(0, height, CELL_PX):
        for left in range(0, width, CELL_PX):
            cell = np.s_[top : top + CELL_PX, left : left + CELL_PX]
            if changed[cell].any():
                scale = 3 * 255 * CHANGED_PX / (changed[cell].size * EPSILON)
                noisy = pixels[cell].mean(axis=(0, 1)) + random.laplace(0.0, scale, 3)
                pixels[cell] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
                changed[cell] = True
    return changed


def _blurred(pixels: Pixels, boxes: Sequence[Box]) -> npt.NDArray[np.bool_]:
    for x0, y0, x1, y1 in boxes:
        face = Image.fromarray(pixels[y0:y1, x0:x1])
        radius = BLUR_SHARE * max(x1 - x0, y1 - y0)
        pixels[y0:y1, x0:x1] = np.asarray(face.filter(ImageFilter.GaussianBlur(radius)))
    return covered(pixels, boxes)


SOLID = Fill("solid", _solid)
FILLS: Mapping[str, Fill] = {
    fill.name: fill
    for fill in (
        SOLID,
        Fill(
            "pixelate",
            _pixelated,
            f"a mosaic of {CELL_PX} pixels with noise hides a change of at most {CHANGED_PX} pixels of one frame with "
            f"epsilon = {EPSILON} (DP-Pix); epsilons add up over frames, so a face that is seen for long is hidden "
            "less, and neither the place of the mosaic nor the film around it is hidden",
        ),
        Fill("blur", _blurred, "a blur has no bound at all: nets still recognise blurred faces"),
    )
}
"""All fills by name."""
