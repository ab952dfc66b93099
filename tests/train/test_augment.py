"""Spoiled pictures: they look like those of other heads, light, cameras and transmission, and stay valid."""

from __future__ import annotations

import pytest
import torch

from streamfx.train.augment import _DAMAGES, spoil


def pictures() -> torch.Tensor:
    return (
        torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
        .repeat_interleave(8, 2)
        .repeat_interleave(8, 3)
    )


def test_spoiled_pictures_are_valid_and_depend_only_on_the_generator() -> None:
    first, again, other = (spoil(pictures(), torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert first.shape == (6, 3, 32, 32) and first.isfinite().all() and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("damage", [damage for damage, _ in _DAMAGES])
def test_each_damage_is_done_to_each_picture_and_stays_moderate(damage) -> None:  # type: ignore[no-untyped-def]
    spoiled = damage(pictures(), torch.Generator().manual_seed(2))
    change = (spoiled - pictures()).abs().flatten(1).mean(dim=1)
    assert spoiled.shape == (6, 3, 32, 32)
    assert (change > 1e-4).all() and (change < 0.3).all()


def test_each_picture_is_bent_differently() -> None:
    same = pictures()[:1].expand(2, -1, -1, -1)
    bent = _DAMAGES[0][0](same, torch.Generator().manual_seed(3))
    assert not torch.equal(bent[0], bent[1])
