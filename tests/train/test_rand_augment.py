"""RandAugment and random erasing: pictures stay pictures, equal seeds give equal ones, and rectangles have their size."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from streamfx.train.rand_augment import _OPERATIONS, erase, rand_augment


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def test_pictures_stay_pictures_and_follow_from_the_seed() -> None:
    shown = pictures(40)
    once, again = (rand_augment(shown, torch.Generator().manual_seed(2)) for _ in range(2))
    assert once.shape == shown.shape and once.dtype == torch.float32
    assert once.min() >= 0 and once.max() <= 1 and torch.equal(once, again)
    untouched = ((once - shown).abs().amax(dim=(1, 2, 3)) < 0.003).float().mean()
    assert 0.1 < untouched < 0.6  # both operations are left out in a quarter of the pictures


def test_there_are_15_operations_and_each_keeps_the_size() -> None:
    assert len(_OPERATIONS) == 15
    picture = Image.fromarray((pictures(1)[0].permute(1, 2, 0) * 255).byte().numpy())
    for name, operation in _OPERATIONS.items():
        changed = operation(picture, 0.9, 1.0)
        assert (changed.size, changed.mode) == (picture.size, "RGB"), name


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_erased_rectangles_are_as_often_and_as_large_as_asked(probability: float) -> None:
    shown = pictures(200)
    changed = (erase(shown, probability, torch.Generator().manual_seed(0)) != shown).any(dim=1)
    share = changed.flatten(1).float().mean(dim=1)
    assert abs(float((share > 0).float().mean()) - probability) < 0.1
    assert all(0.01 <= float(one) <= 0.36 for one in share[share > 0])
