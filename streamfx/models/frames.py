"""The frames of a window in the size that a model takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F


def to_model_size(frames: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """uint8 [16, S, S, 3] -> contiguous uint8 [16, 3, side, side]; plain bilinear, smoothed where it shrinks."""
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if pictures.shape[-2:] != (side, side):
        resized = F.interpolate(pictures.float(), size=(side, side), mode="bilinear", antialias=True)
        pictures = resized.round_().clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pictures.numpy())
