"""RandAugment and random erasing with the settings that FMAE's authors take from timm.

RandAugment (Cubuk et al., arXiv 1909.13719) as timm's `rand-m9-mstd0.5-inc1`: two operations a picture, drawn from 15,
each done with probability a half at a magnitude from N(9, 0.5) of 10. Random erasing (Zhong et al., arXiv 1708.04896).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

OPERATIONS, PROBABILITY, MAGNITUDE, SPREAD, MOST = 2, 0.5, 9.0, 0.5, 10.0
AREA = (0.02, 1 / 3)
"""Share of the picture that random erasing covers."""
LONGEST = 10 / 3
"""Longest side of the rectangle as a multiple of the other."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, which make the noise of the rectangle that of normalised pictures."""
_GREY = (128, 128, 128)
_TRIES = 10

Operation = Callable[[Image.Image, float, float], Image.Image]
"""A picture, the magnitude as a share of the largest, and a sign, -1 or 1."""


def _moved(picture: Image.Image, map_: tuple[float, ...]) -> Image.Image:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, map_, resample=Image.Resampling.BILINEAR, fillcolor=_GREY
    )


def _solarize_add(picture: Image.Image, share: float, sign: float) -> Image.Image:
    add = int(share * 110)
    return picture.point([min(255, value + add) if value < 128 else value for value in range(256)] * 3)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda picture, share, sign: kind(picture).enhance(max(0.1, 1 + sign * 0.9 * share))


_OPERATIONS: Mapping[str, Operation] = {
    "auto_contrast": lambda picture, share, sign: ImageOps.autocontrast(picture),
    "equalize": lambda picture, share, sign: ImageOps.equalize(picture),
    "invert": lambda picture, share, sign: ImageOps.invert(picture),
    "rotate": lambda picture, share, sign: picture.rotate(
        sign * 30 * share, resample=Image.Resampling.BILINEAR, fillcolor=_GREY
    ),
    "posterize": lambda picture, share, sign: ImageOps.posterize(picture, max(1, 4 - int(share * 4))),
    "solarize": lambda picture, share, sign: ImageOps.solarize(picture, 256 - int(share * 256)),
    "solarize_add": _solarize_add,
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "shear_x": lambda picture, share, sign: _moved(picture, (1, sign * 0.3 * share, 0, 0, 1, 0)),
    "shear_y": lambda picture, share, sign: _moved(picture, (1, 0, 0, sign * 0.3 * share, 1, 0)),
    "translate_x": lambda picture, share, sign: _moved(picture, (1, 0, sign * 0.45 * share * picture.width, 0, 1, 0)),
    "translate_y": lambda picture, share, sign: _moved(picture, (1, 0, 0, 0, 1, sign * 0.45 * share * picture.height)),
}
"""The 15 operations, the stronger, the larger the share ("increasing")."""


def rand_augment(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """float32 [N, 3, S, S] in 0..1, each picture changed by operations of its own."""
    names = list(_OPERATIONS)
    done = []
    for picture in (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
        image = Image.fromarray(picture)
        for _ in range(OPERATIONS):
            kind = int(torch.randint(len(names), (), generator=generator))
            often, sign = torch.rand(2, generator=generator).tolist()
            magnitude = MAGNITUDE + SPREAD * float(torch.randn((), generator=generator))
            if often < PROBABILITY:
                share = min(max(magnitude, 0.0), MOST) / MOST
                image = _OPERATIONS[names[kind]](image, share, 1.0 if sign < 0.5 else -1.0)
        done.append(np.asarray(image))
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2).float() / 255


def erase(pictures: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """float32 [N, 3, S, S]: in a random share of the pictures a rectangle becomes noise, pixel by pixel."""
    out = pictures.clone()
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    height, width = pictures.shape[-2:]
    for picture in out:
        if float(torch.rand((), generator=generator)) >= probability:
            continue
        for _ in range(_TRIES):
            u = torch.rand(4, generator=generator).tolist()
            area = (AREA[0] + (AREA[1] - AREA[0]) * u[0]) * height * width
            ratio = math.exp((2 * u[1] - 1) * math.log(LONGEST))
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < h < height and 0 < w < width:
                top, left = int(u[2] * (height - h + 1)), int(u[3] * (width - w + 1))
                noise = torch.randn(3, h, w, generator=generator)
                picture[:, top : top + h, left : left + w] = noise * deviation + mean
                break
    return out
