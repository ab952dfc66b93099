"""The way up that a container asks for (its display matrix), as one exact turn or mirroring of the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways to lay a picture: transpose it or not, then mirror left-right, then top-bottom."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def apply(self, pixels: Any) -> Any:
        """The [H, W, C] picture the right way up; a numpy array stays one, and so does a torch tensor (any device)."""
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
        """The same as names of libavfilter filters, to be applied in order."""
        return [
            name
            for name, wanted in (("transpose", self.transpose), ("hflip", self.mirror_x), ("vflip", self.mirror_y))
            if wanted
        ]


UPRIGHT = Orientation()


def orientation_of(frame: Any) -> Orientation:
    """How a decoded PyAV frame is to be laid. A turn that is no multiple of 90 degrees is taken to the nearest."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
            if abs(a) + abs(d) >= abs(b) + abs(c):
                return Orientation(False, a < 0, d < 0)
            return Orientation(True, c < 0, b < 0)
    return UPRIGHT
