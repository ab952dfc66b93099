"""ANet's two passes agree for any picture, and each part of a patch has the filters of its own cell."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.nets.lnet import LNetSizes
from streamfx.nets.lnet_anet import ANet, ANetSizes, LNetANet, initialise

SMALL = ANetSizes(patch=32, step=4, cells=3, first=4, second=6, third=5, fourth=7, features=8)


def anet(sizes: ANetSizes, seed: int = 0) -> ANet:
    net = ANet(sizes).eval()
    initialise(net, seed)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("bias"):
                value.normal_(0, 0.1, generator=torch.Generator().manual_seed(seed))
    return net


@torch.no_grad()
def assert_same(net: ANet, pictures: torch.Tensor) -> None:
    fast, slow = net(pictures), net.patch_by_patch(pictures)
    assert fast.shape == slow.shape == (len(pictures), _count(net, pictures), net.sizes.features)
    assert float((fast - slow).abs().max()) <= 1e-5


def _count(net: ANet, pictures: torch.Tensor) -> int:
    rows, columns = net.patches(*pictures.shape[2:])
    return rows * columns


def test_the_shipped_sizes_give_the_same_vectors_fast_and_patch_by_patch() -> None:
    net = anet(ANetSizes())
    assert net.patches(112, 112) == (8, 8)
    assert_same(net, torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1)))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cells=st.sampled_from([2, 3, 4]),
    tile=st.integers(1, 3),
    step=st.sampled_from([4, 8, 12]),
    height=st.integers(0, 45),
    width=st.integers(0, 45),
    pictures=st.integers(1, 3),
)
def test_both_passes_agree_for_any_sizes_and_any_picture(
    seed: int, cells: int, tile: int, step: int, height: int, width: int, pictures: int
) -> None:
    patch = 4 * (tile * cells + 2)
    sizes = ANetSizes(patch=patch, step=step, cells=cells, first=3, second=4, third=5, fourth=4, features=6)
    generator = torch.Generator().manual_seed(seed)
    assert_same(anet(sizes, seed), torch.rand(pictures, 3, patch + height, patch + width, generator=generator))


@torch.no_grad()
def test_a_patch_sees_itself_alone() -> None:
    net, picture = anet(SMALL), torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    changed = picture.clone()
    changed[:, :, 32:] = 0  # below the first row of patches
    before, after = net(picture)[0], net(changed)[0]
    first_row = net.patches(48, 48)[1]
    assert torch.equal(before[:first_row], after[:first_row])
    assert not torch.equal(before[-first_row:], after[-first_row:])


@torch.no_grad()
def test_each_cell_has_filters_of_its_own() -> None:
    """The vector of a patch depends on the filters of every cell, and swapping two cells' filters changes it."""
    net, picture = anet(SMALL), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    before = net(picture)
    for number in range(9):
        layer = net.c3[number]
        kept = layer.weight.clone()
        layer.weight.zero_()
        assert not torch.allclose(net(picture), before)
        layer.weight.copy_(kept)


def test_a_picture_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 32 pixels a side, got 31 x 40"):
        anet(SMALL)(torch.zeros(1, 3, 31, 40))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"patch": 58}, "patch"), ({"step": 6}, "step"), ({"cells": 1}, "cells"), ({"first": 0}, "first")],
)
def test_sizes_that_do_not_fit_are_named(wrong: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ANetSizes(**wrong)


@torch.no_grad()
def test_the_answer_is_the_mean_of_the_patches_svm_scores() -> None:
    net = LNetANet(LNetSizes(), SMALL, 5).eval()
    initialise(net, 4)
    net.scale.copy_(torch.tensor([1.0, 2, 3, 4, 5]))
    net.shift.fill_(0.5)
    faces = torch.rand(2, 3, 40, 44, generator=torch.Generator().manual_seed(5))
    each = net.svm(net.anet.patch_by_patch(faces))
    torch.testing.assert_close(net(faces), each.mean(dim=1) * net.scale + 0.5)
