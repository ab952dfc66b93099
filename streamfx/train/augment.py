"""Augmentation of face pictures and filter banks; everything random comes from the generator that is passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.media.audio import DEVIATION, MEAN

BOX_JITTER = 0.08
"""Largest error of a detector's box in position and in size, either way, as a share of the crop's side."""
_PADDING = -MEAN / (2 * DEVIATION)
"""Value of a filter bank where there is no sound."""
_HEARD_ROWS = 198
"""Rows of a filter bank that two seconds of sound fill."""
_MEL_SHIFT = 5.0
"""How far a voice is moved along the mel scale at most, bins."""
# Quantisation of luminance at quality 50 in the JPEG standard (ITU-T T.81, Annex K).
_JPEG_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """Which part of a stored picture is shown: the ranges from which one view per picture is drawn.

    `scale_min` is the smallest share of the crop's area, `rotate_deg` the largest angle either way, `flip` the
    probability of a mirror image, and `jitter` the largest error of the crop itself as a share of its side (the reason
    for storing a margin).
    """

    scale_min: float
    rotate_deg: float
    flip: float
    jitter: float

    def draw(self, views: int, generator: torch.Generator) -> Tensor:
        """float32 [views, 2, 3]: affine maps from the new picture to the crop, both with coordinates in -1..1."""
        u = torch.rand(views, 9, generator=generator)
        area = self.scale_min + (1 - self.scale_min) * u[:, 0]
        stretch = torch.exp((2 * u[:, 1] - 1) * math.log(4 / 3) / 2)
        # A side that is longer than the crop is cut to the crop; torchvision would draw again instead.
        w, h = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
        x, y = (2 * u[:, 2] - 1) * (1 - w), (2 * u[:, 3] - 1) * (1 - h)
        size = 1 + self.jitter * (2 * u[:, 4] - 1)
        # The crop is 2 wide in these coordinates.
        x, y = size * x + 2 * self.jitter * (2 * u[:, 5] - 1), size * y + 2 * self.jitter * (2 * u[:, 6] - 1)
        angle = (2 * u[:, 7] - 1) * math.radians(self.rotate_deg)
        mirror = 1 - 2 * (u[:, 8] < self.flip).float()
        cos, sin = angle.cos() * size, angle.sin() * size
        rows = torch.stack((w * cos * mirror, -h * sin, x, w * sin * mirror, h * cos, y), dim=1)
        return rows.view(-1, 2, 3)


PLAIN = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
"""The view that shows exactly the crop."""


def show(stored: Tensor, margin: float, views: Tensor, size: int) -> Tensor:
    """float32 [N, 3, size, size] in 0..1: the `views` ([N or 1, 2, 3]) of stored pictures, uint8 [N, P, P, 3].

    Bilinear. Outside the stored picture its mirror image is shown.
    """
    pixels = stored.permute(0, 3, 1, 2).float() / 255
    if torch.equal(views, PLAIN) and round(stored.shape[1] / margin) == size:
        edge = (stored.shape[1] - size) // 2
        return pixels[:, :, edge : edge + size, edge : edge + size].contiguous()
    grid = F.affine_grid(views.expand(len(pixels), -1, -1) / margin, [len(pixels), 3, size, size], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def brighten(pictures: Tensor, factors: Tensor) -> Tensor:
    """Pictures [N, ...] in 0..1, each multiplied by its factor [N] and clipped to 0..1."""
    return (pictures * factors.view(-1, *[1] * (pictures.ndim - 1))).clamp(0, 1)


def between(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    """float32 [count], uniform between `low` and `high`."""
    return low + (high - low) * torch.rand(count, generator=generator)


def spoil(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Degrade pictures, float [N, 3, S, S] in 0..1, as other heads, light, cameras and poor transmission would.

    Each kind of damage hits a random part of the batch: bent shapes, uneven light, skin with a texture, loss of colour,
    over-sharp edges, blur, few pixels, block compression, noise, and a covered rectangle; colours differ in all.
    """
    x = _colour(pictures, generator)
    for damage, share in _DAMAGES:
        hit = (torch.rand(len(x), generator=generator) < share).nonzero()[:, 0]
        if len(hit):
            x = x.index_copy(0, hit, damage(x[hit], generator))
    return x.clamp(0, 1)


def _colour(x: Tensor, generator: torch.Generator) -> Tensor:
    """Exposure, contrast, gamma, saturation and white balance."""
    x = (x * _strengths(0.6, 1.4, x, generator)).clamp(1e-4, 1) ** _strengths(0.7, 1.4, x, generator)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * _strengths(0.6, 1.4, x, generator)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * _strengths(0.4, 1.6, x, generator)
    balance = 0.85 + 0.3 * torch.rand(len(x), 3, 1, 1, generator=generator)
    return (x * balance).clamp(0, 1)


def _field(pictures: Tensor, channels: int, cells: int, generator: torch.Generator) -> Tensor:
    """float32 [N, channels, S, S]: smooth noise of deviation about 1, with `cells` free values along each side."""
    coarse = torch.randn(len(pictures), channels, cells, cells, generator=generator)
    return F.interpolate(coarse, list(pictures.shape[2:]), mode="bicubic", align_corners=True)


def _strengths(low: float, high: float, pictures: Tensor, generator: torch.Generator) -> Tensor:
    """float32 [N, 1, 1, 1], one for each picture."""
    return between(low, high, len(pictures), generator).view(-1, 1, 1, 1)


def _bend(x: Tensor, generator: torch.Generator) -> Tensor:
    """Bend shapes by a few percent of the side, since all drawn heads belong to one family of shapes."""
    shift = _field(x, 2, 5, generator) * _strengths(0.02, 0.07, x, generator)
    places = F.affine_grid(PLAIN.expand(len(x), -1, -1), list(x.shape), align_corners=False)
    places = places + shift.permute(0, 2, 3, 1)
    return F.grid_sample(x, places, mode="bilinear", padding_mode="reflection", align_corners=False)


def _relight(x: Tensor, generator: torch.Generator) -> Tensor:
    return x * torch.exp(_strengths(0.1, 0.6, x, generator) * _field(x, 1, 3, generator))


def _texture(x: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise at four scales, since drawn skin lacks pores, stubble and creases."""
    noise = sum((_field(x, 1, cells, generator) for cells in (8, 16, 32, 56)), torch.zeros(()))
    return x * torch.exp(_strengths(0.01, 0.06, x, generator) * noise)


def _sharpen(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + _strengths(0.5, 2.0, x, generator) * (x - _blur(x, generator))


def _grey(x: Tensor, generator: torch.Generator) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (x * weights).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)


def _blur(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blur each picture with its own Gaussian of 0.5 to 2 pixels."""
    return blurred(x, between(0.5, 2.0, len(x), generator))


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Pictures [N, 3, H, W] under a Gaussian each; `sigma` [N] in pixels, at most 2."""
    reach = torch.arange(-4.0, 5.0)
    kernel = torch.softmax(-(reach**2) / (2 * sigma[:, None] ** 2), dim=1).repeat_interleave(3, dim=0)
    flat = F.pad(x.reshape(1, -1, *x.shape[2:]), (4, 4, 4, 4), mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))
    return F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel)).view_as(x)


def _shrink(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink to between 25 % and 60 % of the side, and enlarge again."""
    side = x.shape[-1]
    small = max(1, round(side * float(between(0.25, 0.6, 1, generator))))
    shrunk = F.interpolate(x, (small, small), mode="bilinear", antialias=True)
    return F.interpolate(shrunk, (side, side), mode="bilinear", align_corners=False)


def _compress(x: Tensor, generator: torch.Generator) -> Tensor:
    """Quantise each channel as JPEG does: 8x8 blocks, cosine transform, rounding by a table that grows with damage."""
    n, channels, height, width = x.shape
    padded = F.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")
    rows, columns = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = padded.view(n, channels, rows, 8, columns, 8).transpose(3, 4) * 255 - 128
    wave = torch.arange(8.0)
    basis = torch.cos(math.pi / 8 * (wave + 0.5) * wave[:, None]) / 2
    basis[0] /= math.sqrt(2)
    table = torch.tensor(_JPEG_TABLE) * between(0.8, 4.0, n, generator).view(-1, 1, 1, 1, 1, 1)
    coded = ((basis @ blocks @ basis.T) / table).round() * table
    shown = ((basis.T @ coded @ basis) + 128) / 255
    return shown.transpose(3, 4).reshape(padded.shape)[:, :, :height, :width]


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + _strengths(0.01, 0.06, x, generator) * torch.randn(x.shape, generator=generator)


def cover(x: Tensor, generator: torch.Generator) -> Tensor:
    """Cover up to a quarter of each picture, float [N, ..., 3, S, S], with a rectangle in one colour."""
    n, height, width = len(x), *x.shape[-2:]
    u = torch.rand(n, 4, 1, 1, generator=generator)
    row, column = torch.arange(height).view(1, -1, 1) / height, torch.arange(width).view(1, 1, -1) / width
    half_h, half_w = 0.08 + 0.17 * u[:, 0], 0.08 + 0.17 * u[:, 1]
    inside = ((row - u[:, 2]).abs() < half_h) & ((column - u[:, 3]).abs() < half_w)
    colour = torch.rand(n, 3, 1, 1, generator=generator)
    between = [1] * (x.ndim - 4)
    return torch.where(inside.view(n, *between, 1, height, width), colour.view(n, *between, 3, 1, 1), x)


_DAMAGES = (
    (_bend, 0.5),
    (_relight, 0.5),
    (_texture, 0.4),
    (_grey, 0.45),
    (_sharpen, 0.15),
    (_blur, 0.2),
    (_shrink, 0.4),
    (_compress, 0.3),
    (_noise, 0.2),
    (cover, 0.2),
)
"""Each kind of damage by `spoil`, in order, with the share of the pictures that it hits."""


@dataclass(frozen=True)
class Mix:
    """Which pictures of a batch are mixed with which others, and how much (Zhang et al., mixup, arXiv 1710.09412)."""

    share: Tensor
    partner: Tensor

    @classmethod
    def draw(cls, pictures: int, probability: float, generator: torch.Generator) -> Mix:
        """Each picture is mixed with this probability; the share that it keeps is uniform."""
        mixed = torch.rand(pictures, generator=generator) < probability
        share = torch.where(mixed, torch.rand(pictures, generator=generator), 1.0)
        return cls(share, torch.randperm(pictures, generator=generator))

    def of(self, values: Tensor) -> Tensor:
        """The mixture of float values [pictures, ...]."""
        share = self.share.view(-1, *[1] * (values.ndim - 1))
        return share * values + (1 - share) * values[self.partner]


def disturb_sound(banks: Tensor, generator: torch.Generator) -> Tensor:
    """Vary normalised filter banks, float [N, 1, 512, 128], as other voices and recordings would, and leave out parts.

    Speech becomes faster or slower, with other resonances, louder or softer, and noisier. Rows of padding stay as they
    are.
    """
    n = len(banks)
    given = banks
    banks = _another_voice(banks, generator)
    padding = (given - _PADDING).abs().amax(dim=-1, keepdim=True) < 1e-6
    log_power = banks * (2 * DEVIATION) + MEAN
    log_power = log_power + between(-2.0, 2.0, n, generator).view(-1, 1, 1, 1)
    floor = between(-14.0, -4.0, n, generator).view(-1, 1, 1, 1)
    noise = floor + 0.5 * torch.randn(banks.shape, generator=generator)
    x = (torch.logaddexp(log_power, noise) - MEAN) / (2 * DEVIATION)
    for dimension, longest in ((2, 24), (2, 24), (3, 16), (3, 16)):
        x = _blank(x, dimension, longest, generator)
    return torch.where(padding, given, x)


def _another_voice(banks: Tensor, generator: torch.Generator) -> Tensor:
    """Stretch or squeeze the rows with sound in time by up to a sixth, shift them, and move them along the mel scale.

    A shift in mel is roughly the effect of a shorter or longer vocal tract. Edge values continue outside the bank.
    """
    n, heard = len(banks), min(_HEARD_ROWS, banks.shape[2])
    zero, one = torch.zeros(n), torch.ones(n)
    speed, start = between(0.86, 1.16, n, generator), between(-0.15, 0.15, n, generator)
    shift = between(-_MEL_SHIFT, _MEL_SHIFT, n, generator) * 2 / banks.shape[3]
    maps = torch.stack((torch.stack((one, zero, shift), dim=1), torch.stack((zero, speed, start), dim=1)), dim=1)
    part = banks[:, :, :heard]
    grid = F.affine_grid(maps, list(part.shape), align_corners=False)
    moved = F.grid_sample(part, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.cat((moved, banks[:, :, heard:]), dim=2)


def _blank(x: Tensor, dimension: int, longest: int, generator: torch.Generator) -> Tensor:
    """Set up to `longest` adjacent rows or bins to the bank's mean (Park et al., SpecAugment, arXiv 1904.08779)."""
    n, size = len(x), x.shape[dimension]
    if dimension == 2:
        size = min(size, _HEARD_ROWS)
    first, length = (torch.rand(n, generator=generator) * size, torch.rand(n, generator=generator) * longest)
    at = torch.arange(x.shape[dimension]).view(1, -1)
    hit = (at >= first[:, None]) & (at < (first + length)[:, None])
    shape = [n, 1, 1, 1]
    shape[dimension] = x.shape[dimension]
    return torch.where(hit.view(shape), x.mean(dim=(2, 3), keepdim=True), x)
