"""The orientation that a container declares (its display matrix), as an exact rotation or mirroring of the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight orientations of a picture: transposed or not, then mirrored left-right, then top-bottom."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def apply(self, pixels: Any) -> Any:
        """The picture [H, W, C] turned upright: a numpy array, or a torch tensor on any device, as it was given."""
        is_tensor = isinstance(pixels, torch.Tensor)
        if self == UPRIGHT:
            return pixels
        if self.transpose:
            pixels = pixels.transpose(0, 1) if is_tensor else pixels.transpose(1, 0, 2)
        axes = tuple(axis for axis, mirrored in ((1, self.mirror_x), (0, self.mirror_y)) if mirrored)
        if is_tensor:
            return (pixels.flip(axes) if axes else pixels).contiguous()
        return np.ascontiguousarray(np.flip(pixels, axes) if axes else pixels)

    @property
    def filters(self) -> list[str]:
        """The names of the libavfilter filters that do the same, in the order in which they are applied."""
        return [
            name
            for name, wanted in (("transpose", self.transpose), ("hflip", self.mirror_x), ("vflip", self.mirror_y))
            if wanted
        ]


UPRIGHT = Orientation()


def orientation_of(frame: Any) -> Orientation:
    """The orientation of a decoded PyAV frame. A rotation is rounded to the nearest multiple of 90 degrees."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
            if abs(a) + abs(d) >= abs(b) + abs(c):
                return Orientation(False, a < 0, d < 0)
            return Orientation(True, c < 0, b < 0)
    return UPRIGHT
