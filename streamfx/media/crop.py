"""Cuts the square, level crop of a face out of a frame; the same box gives the same pixels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from streamfx.records import CropBox


def crop(pixels: npt.NDArray[np.uint8] | torch.Tensor, box: CropBox, size: int) -> npt.NDArray[np.uint8]:
    """The crop as uint8 RGB [size, size, 3] in host memory; outside the frame it is black.

    `pixels` uint8 RGB [H, W, 3]: an array, or a tensor, which is then cut on its own device. Bilinear; where the crop
    shrinks by two or more, blocks of pixels are averaged first.
    """
    left, top, right, bottom = _surroundings(box)
    if right <= left or bottom <= top:
        return np.zeros((size, size, 3), np.uint8)
    blocks = max(1, int(box.side / size))
    around = pixels[top:bottom, left:right]
    center = (box.center_x - left) / blocks, (box.center_y - top) / blocks
    side = box.side / blocks
    if isinstance(around, torch.Tensor):
        return _cut_tensor(around, blocks, center, side, box.roll_deg, size)
    return _cut_array(around, blocks, center, side, box.roll_deg, size)


def _surroundings(box: CropBox) -> tuple[int, int, int, int]:
    """The upright part of the frame that contains the turned square: left, top, right, bottom. Only it is read."""
    reach = box.side * math.sqrt(0.5) + 2
    left, top = max(0, math.floor(box.center_x - reach)), max(0, math.floor(box.center_y - reach))
    right = min(box.frame_width, math.ceil(box.center_x + reach))
    bottom = min(box.frame_height, math.ceil(box.center_y + reach))
    return left, top, right, bottom


def _cut_array(
    around: npt.NDArray[np.uint8], blocks: int, center: tuple[float, float], side: float, roll_deg: float, size: int
) -> npt.NDArray[np.uint8]:
    picture = Image.fromarray(np.ascontiguousarray(around))
    if blocks > 1:
        picture = picture.reduce(blocks)
    step, (x, y), half = side / size, center, size / 2
    cos, sin = math.cos(math.radians(roll_deg)) * step, math.sin(math.radians(roll_deg)) * step
    matrix = (cos, -sin, x - half * cos + half * sin, sin, cos, y - half * sin - half * cos)
    return np.asarray(picture.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def _cut_tensor(
    around: torch.Tensor, blocks: int, center: tuple[float, float], side: float, roll_deg: float, size: int
) -> npt.NDArray[np.uint8]:
    picture = around.permute(2, 0, 1)[None].float()
    if blocks > 1:
        picture = F.avg_pool2d(picture, blocks, ceil_mode=True)
    height, width = picture.shape[-2:]
    cos, sin = math.cos(math.radians(roll_deg)) * side, math.sin(math.radians(roll_deg)) * side
    # grid_sample counts from -1 to 1 across the picture.
    matrix = torch.tensor(
        [
            [cos / width, -sin / width, 2 * center[0] / width - 1],
            [sin / height, cos / height, 2 * center[1] / height - 1],
        ],
        device=picture.device,
    )
    grid = F.affine_grid(matrix[None], [1, 3, size, size], align_corners=False)
    cut = F.grid_sample(picture, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    out: npt.NDArray[np.uint8] = cut[0].permute(1, 2, 0).round().clamp(0, 255).byte().cpu().numpy()
    return out
