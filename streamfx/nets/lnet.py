"""The LNets of LNet+ANet (Liu et al., ICCV 2015, arXiv 1411.7766): where a face is, from attribute tags alone.

Two nets of five convolutional layers learn which attributes a picture shows, and nothing of boxes. Where the last layer
responds, averaged over its channels, there is what the attributes belong to: `LNet_o` finds head and shoulders in the
whole picture, `LNet_s` the face in that part of it.

Three things differ from the paper. The nets are small and start at random, since no ImageNet weights are at hand. The
attributes are read from the mean of the last layer, so that its responses stay in their places. And windows are sliding
squares of several sizes in place of EdgeBoxes; their summed response is divided by their side, because divided by the
area the smallest window would always win.

Of several peaks the paper keeps the place with the largest sqrt(rho^2 + sigma^2), where rho is its density and sigma its
distance from the nearest denser place, both as shares of their largest values. The densest place has the largest of both
(its sigma is defined as the largest distance: Rodriguez and Laio, Science 2014), so where one peak is kept, as here, the
rule says no more than that it is the densest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 8
"""Pixels between two places of a response map."""
SCALES = (0.25, 0.35, 0.45, 0.6, 0.75, 0.95)
"""Sides of the windows that are tried, as shares of the map's shorter side."""
LOOSE = 1.25
"""Side of what LNet_s sees, in sides of LNet_o's window."""
WIDTHS = (16, 32, 48, 64, 64)


class Square(NamedTuple):
    """A square part of a picture: its middle and its side in pixels, and the score of the window."""

    x: float
    y: float
    side: float
    score: float


@dataclass(frozen=True)
class LNetSizes:
    """Sides of the square pictures that LNet_o and LNet_s see, pixels; multiples of STRIDE."""

    whole: int = 160
    part: int = 96

    def __post_init__(self) -> None:
        for name in ("whole", "part"):
            side = getattr(self, name)
            if type(side) is not int or side < 4 * STRIDE or side % STRIDE:
                raise ValueError(f"{name}: expected a multiple of {STRIDE}, at least {4 * STRIDE}, got {side!r}")


class LNet(nn.Module):
    """Five convolutional layers; `head`, which only training needs, reads `attributes` logits from their mean."""

    def __init__(self, attributes: int = 0):
        super().__init__()
        sizes = zip((3, *WIDTHS[:-1]), WIDTHS, (5, 3, 3, 3, 3), strict=True)
        self.layers = nn.ModuleList(
            nn.Conv2d(into, out, kernel, stride=2 if into == 3 else 1, padding=kernel // 2)
            for into, out, kernel in sizes
        )
        self.head = nn.Linear(WIDTHS[-1], attributes) if attributes else None

    def features(self, pictures: Tensor) -> Tensor:
        """Pictures float [N, 3, H, W] in 0..1 -> the last layer's responses [N, 64, H / 8, W / 8], none below 0."""
        x = pictures - 0.5
        for number, layer in enumerate(self.layers):
            x = F.relu(halved(layer(x)) if number < 2 else layer(x))
        return x

    def forward(self, pictures: Tensor) -> Tensor:
        """Attribute logits [N, attributes] of pictures float [N, 3, H, W] in 0..1."""
        return self.read(self.features(pictures))

    def read(self, features: Tensor) -> Tensor:
        """Attribute logits [N, attributes] of `features`."""
        assert self.head is not None, "this LNet was made without a head"
        return self.head(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]

    def response(self, pictures: Tensor) -> Tensor:
        """The responses averaged over the channels, [N, H / 8, W / 8]."""
        return self.features(pictures).mean(dim=1)


def halved(maps: Tensor) -> Tensor:
    """The largest of each 2 x 2 places of [N, C, H, W], without an odd last row or column: what max_pool2d gives, in a
    tenth of its time on a CPU."""
    rows, columns = (size // 2 * 2 for size in maps.shape[2:])
    pairs = torch.maximum(maps[:, :, 0:rows:2, :columns], maps[:, :, 1:rows:2, :columns])
    return torch.maximum(pairs[..., 0::2], pairs[..., 1::2])


class LNets(nn.Module):
    """LNet_o and LNet_s, and the scores from which a window is believed (`thresholds`, in that order).

    `frame` says how the face lies to their windows: its side in sides of LNet_o's window, since LNet_s's responses gather at
    one part of a face whatever its size, and how far its middle is below that of LNet_s's window, in sides of the face.
    """

    thresholds: Tensor
    frame: Tensor

    def __init__(self, sizes: LNetSizes):
        super().__init__()
        self.sizes = sizes
        self.lnet_o, self.lnet_s = LNet(), LNet()
        self.register_buffer("thresholds", torch.zeros(2))
        self.register_buffer("frame", torch.tensor([1.0, 0.0]))

    @torch.no_grad()
    def find(self, picture: Tensor) -> tuple[Square, float] | None:
        """The face in an RGB picture, uint8 [H, W, 3], and how sure it is: 0.5 at the threshold, towards 1 above it.

        None where the net responds nowhere. One face is found, also where there are several.
        """
        pixels = picture.permute(2, 0, 1)[None].float() / 255
        height, width = pixels.shape[2:]
        whole = Square(width / 2, height / 2, float(max(height, width)), 0.0)
        head = self._window(self.lnet_o, pixels, whole, self.sizes.whole)
        if head is None:
            return None
        face = self._window(self.lnet_s, pixels, head._replace(side=LOOSE * head.side), self.sizes.part)
        if face is None:
            return None
        edges, (size, below) = self.thresholds.tolist(), self.frame.tolist()
        side = size * head.side
        placed = face._replace(y=face.y + below * side, side=side)
        return placed, min(_sureness(score, edge) for score, edge in zip((head.score, face.score), edges, strict=True))

    @staticmethod
    def _window(net: LNet, pixels: Tensor, part: Square, side: int) -> Square | None:
        """The best window in a square part of the picture, in the picture's pixels."""
        best = best_window(net.response(cut(pixels, part, side))[0])
        if best is None:
            return None
        step = part.side / side
        left, top = part.x - part.side / 2, part.y - part.side / 2
        return Square(
            left + best.x * STRIDE * step, top + best.y * STRIDE * step, best.side * STRIDE * step, best.score
        )


def _sureness(score: float, edge: float) -> float:
    return score / (score + edge) if score > 0 else 0.0


def cut(pixels: Tensor, part: Square, side: int) -> Tensor:
    """float [1, 3, side, side]: a square part of a picture [1, 3, H, W], black outside it, as in training."""
    height, width = pixels.shape[2:]
    maps = torch.tensor(
        [
            [part.side / width, 0.0, 2 * part.x / width - 1],
            [0.0, part.side / height, 2 * part.y / height - 1],
        ],
        device=pixels.device,
    )
    shrink = math.floor(part.side / side)
    source = F.avg_pool2d(pixels, shrink, ceil_mode=True) if shrink > 1 else pixels
    grid = F.affine_grid(maps[None], [1, 3, side, side], align_corners=False)
    return F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def best_window(response: Tensor) -> Square | None:
    """The window around the peak of a response map [h, w] that has the highest score, in places of the map.

    What all places share, the map's median, is taken away first. A window's score is its summed response divided by its
    side. None where the map is flat.
    """
    rows, columns = response.shape
    above = (response - response.median()).clamp(min=0).double()
    if float(above.max()) <= 0:
        return None
    peak_row, peak_column = density_peak(above)
    sums = F.pad(above, (1, 0, 1, 0)).cumsum(0).cumsum(1)
    best = None
    for side in sorted({max(2, round(scale * min(rows, columns))) for scale in SCALES}):
        found = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        top = _around(peak_row, side, rows)
        left = _around(peak_column, side, columns)
        near = found[top.start : top.stop, left.start : left.stop]
        number = int(near.argmax())
        score = float(near.flatten()[number]) / side
        if best is None or score > best.score:
            row, column = divmod(number, near.shape[1])
            best = Square(left.start + column + side / 2, top.start + row + side / 2, float(side), score)
    return best


def _around(peak: int, side: int, size: int) -> range:
    """Where windows of `side` may begin that have the peak in their middle half."""
    last = size - side
    first = min(max(peak - (3 * side) // 4, 0), last)
    return range(first, min(max(peak - side // 4, first), last) + 1)


def density_peak(density: Tensor) -> tuple[int, int]:
    """Row and column of the one peak that is kept of a map [h, w] without negative values: the densest place, where a
    place's density is the mean of it and its neighbours."""
    smooth = F.avg_pool2d(density[None, None].float(), 3, stride=1, padding=1, count_include_pad=False)[0, 0]
    row, column = divmod(int(smooth.argmax()), density.shape[1])
    return row, column
