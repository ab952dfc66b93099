"""The frames of a window in the size that a model takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from streamfx.records import Window


def sized_frames(window: Window, side: int) -> npt.NDArray[np.uint8]:
    """The window's frames as `to_model_size` makes them, made once for all models that take this side.

    They cannot be written to, since the next model gets the same array.
    """
    frames = window.sized.get(side)
    if frames is None:
        frames = window.sized[side] = to_model_size(window.frames, side)
        frames.flags.writeable = False
    return frames


def to_model_size(frames: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """uint8 [16, S, S, 3] -> contiguous uint8 [16, 3, side, side]; plain bilinear, smoothed where it shrinks."""
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if pictures.shape[-2:] != (side, side):
        # In whole numbers: eight times as fast as in floating-point ones, and never more than one level away from them.
        pictures = F.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True)
    return np.ascontiguousarray(pictures.numpy())
