"""Cuts the square, level crop of a face out of a frame; the same box gives the same pixels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from streamfx.records import CropBox


def crop(pixels: npt.NDArray[np.uint8] | torch.Tensor, box: CropBox, size: int) -> npt.NDArray[np.uint8]:
    """The crop as uint8 RGB [size, size, 3], bilinear, averaged first where it shrinks; outside the frame it is black."""
    if isinstance(pixels, torch.Tensor):
        return _crop_on_device(pixels, box, size)
    shrink = max(1, int(box.side / size))
    picture = Image.fromarray(pixels)
    if shrink > 1:
        picture = picture.reduce(shrink)
    step = box.side / size / shrink
    cos, sin = (f(math.radians(box.roll_deg)) * step for f in (math.cos, math.sin))
    center_x, center_y = box.center_x / shrink, box.center_y / shrink
    half = size / 2
    matrix = (cos, -sin, center_x - half * cos + half * sin, sin, cos, center_y - half * sin - half * cos)
    return np.asarray(picture.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def _crop_on_device(pixels: torch.Tensor, box: CropBox, size: int) -> npt.NDArray[np.uint8]:
    """The same on the frame's own device; only the crop comes to the host."""
    height, width = pixels.shape[:2]
    cos, sin = (f(math.radians(box.roll_deg)) * box.side / 2 for f in (math.cos, math.sin))
    # grid_sample wants coordinates in -1..1 over the frame.
    theta = torch.tensor(
        [
            [2 * cos / width, -2 * sin / width, 2 * box.center_x / width - 1],
            [2 * sin / height, 2 * cos / height, 2 * box.center_y / height - 1],
        ],
        device=pixels.device,
    )
    grid = torch.nn.functional.affine_grid(theta[None], [1, 3, size, size], align_corners=False)
    frame = pixels.permute(2, 0, 1)[None].float()
    cut = torch.nn.functional.grid_sample(frame, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    out: npt.NDArray[np.uint8] = cut[0].permute(1, 2, 0).round().clamp(0, 255).byte().cpu().numpy()
    return out
