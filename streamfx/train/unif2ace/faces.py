"""Faces as a UniF2ace sees them: cut tightly, as the line crops them, with quiet corners; and sheets of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from streamfx.train.attribute_pictures import Floats, Pictures, cut_squares
from streamfx.whole_files import write_whole

JITTER = 0.04
"""Largest error of a crop in size, and of its middle as a share of half its side, that is learned from."""
GREY = 0.5
_INNER, _OUTER = 0.95, 1.1
"""Where the corners begin to fade, and where they have faded, in the norm |x|³ + |y|³ of half the side."""
_BATCH = 64


def faces_of(
    pictures: Pictures, numbers: npt.NDArray[np.int64], squares: Floats, side: int, views: Tensor | None = None
) -> Tensor:
    """float32 [n, 3, side, side] in 0..1: the faces of these pictures, whose corners fade to grey: they hold little of a face,
    and what is behind one is not worth a code. `squares` [n, 4] and `views` as for `cut_squares`."""
    views = torch.eye(2, 3)[None] if views is None else views
    return quiet(cut_squares(pictures.pixels(numbers), torch.from_numpy(squares), views, side))


def quiet(faces: Tensor) -> Tensor:
    """The faces [N, 3, S, S] with faded corners."""
    at = torch.linspace(-1, 1, faces.shape[-1], device=faces.device).abs() ** 3
    far = (at[:, None] + at[None, :]) ** (1 / 3)
    kept = ((_OUTER - far) / (_OUTER - _INNER)).clamp(0, 1)
    return GREY + (faces - GREY) * kept


def views(count: int, generator: torch.Generator) -> Tensor:
    """float32 [count, 2, 3]: crops slightly off, half of them mirrored."""
    size, x, y = (2 * torch.rand(3, count, generator=generator) - 1) * JITTER
    mirror = 1 - 2 * torch.randint(0, 2, (count,), generator=generator).float()
    none = torch.zeros(count)
    return torch.stack((mirror * (1 + size), none, x, none, 1 + size, y), dim=1).view(-1, 2, 3)


def at_side(faces: Tensor, side: int) -> Tensor:
    """Faces [N, 3, S, S] in another size."""
    if faces.shape[-1] == side:
        return faces
    return F.interpolate(faces, (side, side), mode="bilinear", antialias=faces.shape[-1] > side, align_corners=False)


def in_parts(count: int) -> list[npt.NDArray[np.int64]]:
    """The numbers below `count`, in parts that fit into memory."""
    return [np.arange(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH)]


def write_sheet(path: Path, faces: Tensor, columns: int) -> None:
    """Faces float [N, 3, S, S] in 0..1 as one PNG, row by row; written whole or not at all, and its folder."""
    count, _, side, _ = faces.shape
    rows = -(-count // columns)
    sheet = torch.ones(rows * columns, 3, side, side)
    sheet[:count] = faces.detach().float().cpu()
    grid = sheet.view(rows, columns, 3, side, side).permute(0, 3, 1, 4, 2).reshape(rows * side, columns * side, 3)
    out = io.BytesIO()
    Image.fromarray((grid.clamp(0, 1) * 255).round().byte().numpy()).save(out, "PNG")
    write_whole(path, out.getvalue())
