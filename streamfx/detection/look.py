"""One look of a detector at a picture, at a chosen size; what it finds is in pixels of the picture itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from streamfx.detection.centerface import GRAIN, Detection, Detector


def look(
    detector: Detector,
    pixels: npt.NDArray[np.uint8] | torch.Tensor,
    longest_px: int,
    threshold: float,
    enlarged: float = 1.0,
) -> list[Detection]:
    """Faces of at least `threshold` in a picture, uint8 RGB [H, W, 3] (an array, or a tensor on a GPU), best first.

    The detector sees the picture `enlarged` so many times, or less, so that its longer side has at most `longest_px`
    pixels; both sides are rounded to what it takes.
    """
    high, wide = int(pixels.shape[0]), int(pixels.shape[1])
    scale = min(enlarged, longest_px / max(wide, high))
    width, height = (max(GRAIN, round(side * scale / GRAIN) * GRAIN) for side in (wide, high))
    factor_x, factor_y = wide / width, high / height
    return [
        Detection(
            d.x0 * factor_x, d.y0 * factor_y, d.x1 * factor_x, d.y1 * factor_y, d.score,
            tuple((x * factor_x, y * factor_y) for x, y in d.landmarks),
        )
        for d in detector.detect(_resized(pixels, width, height), threshold)
    ]  # fmt: skip


def _resized(pixels: npt.NDArray[np.uint8] | torch.Tensor, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The picture at the detector's size. A frame on a device is shrunk there before it is copied to the host."""
    if isinstance(pixels, torch.Tensor):
        frame = pixels.permute(2, 0, 1)[None].float()
        small = torch.nn.functional.interpolate(frame, (height, width), mode="bilinear", antialias=True)
        out: npt.NDArray[np.uint8] = small[0].permute(1, 2, 0).round().clamp(0, 255).byte().cpu().numpy()
        return out
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
