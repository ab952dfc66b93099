"""Crops: square, level, black outside, without aliasing, and the same on a tensor as on an array."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from streamfx.media.crop import crop
from streamfx.records import CropBox

WIDTH, HEIGHT = 320, 240


def smooth(seed: int = 3) -> np.ndarray:
    """A picture without hard edges, in which a shift by a pixel shows."""
    rough = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.array(Image.fromarray(rough).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def box(x: float, y: float, side: float, roll_deg: float = 0.0) -> CropBox:
    return CropBox(x, y, side, roll_deg, WIDTH, HEIGHT)


def test_an_upright_crop_at_full_size_is_the_frame_itself() -> None:
    pixels = smooth()
    assert np.array_equal(crop(pixels, box(100, 90, 64), 64), pixels[58:122, 68:132])


def test_outside_the_frame_it_is_black() -> None:
    cut = crop(np.full((HEIGHT, WIDTH, 3), 255, np.uint8), box(0, 0, 100), 100)
    assert (cut[:49] == 0).all() and (cut[:, :49] == 0).all() and (cut[51:, 51:] == 255).all()
    assert not crop(smooth(), box(-200, 50, 60), 32).any()
    assert crop(smooth(), box(2000, 50, 60), 32).shape == (32, 32, 3)


@pytest.mark.parametrize("roll_deg", [-40.0, -10.0, 20.0])
@pytest.mark.parametrize("side", [60, 150])
def test_eyes_off_level_by_the_roll_are_level_in_the_crop(roll_deg: float, side: int) -> None:
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    draw, reach = ImageDraw.Draw(picture), side * 0.3
    dx, dy = reach * math.cos(math.radians(roll_deg)), reach * math.sin(math.radians(roll_deg))
    for x, y, colour in ((160 - dx, 120 - dy, (255, 0, 0)), (160 + dx, 120 + dy, (0, 255, 0))):
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)
    cut = crop(np.array(picture), box(160, 120, side, roll_deg), 112).astype(float)
    y_x = [np.array(np.nonzero(cut[..., channel] > 128)).mean(axis=1) for channel in (0, 1)]
    assert y_x[0] == pytest.approx((56, 56 - 0.3 * 112), abs=1.5)
    assert y_x[1] == pytest.approx((56, 56 + 0.3 * 112), abs=1.5)


def test_fine_patterns_become_grey_where_the_crop_shrinks() -> None:
    rows, columns = np.indices((HEIGHT, WIDTH))
    checks = np.repeat((((rows + columns) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    cut = crop(checks, box(160, 120, 200), 50)
    assert np.abs(cut.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("size", [48, 224])
@pytest.mark.parametrize("place", [box(160, 120, 60, 12), box(150, 110, 160, -30), box(161.3, 99.7, 101.5)])
def test_a_tensor_gives_what_an_array_gives(place: CropBox, size: int) -> None:
    pixels = smooth()
    on_array, on_tensor = crop(pixels, place, size), crop(torch.from_numpy(pixels), place, size)
    assert on_tensor.dtype == np.uint8 and on_tensor.shape == (size, size, 3)
    assert np.abs(on_array.astype(int) - on_tensor).max() <= 2


def test_a_tensor_is_black_outside_the_frame_too() -> None:
    white = torch.full((HEIGHT, WIDTH, 3), 255, dtype=torch.uint8)
    cut = crop(white, box(0, 0, 100), 100)
    assert (cut[:49] == 0).all() and (cut[51:, 51:] == 255).all()
    assert not crop(white, box(-200, 50, 60), 32).any()
