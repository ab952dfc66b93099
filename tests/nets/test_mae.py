"""Masked autoencoder: the encoder sees only visible patches, the loss covers only hidden ones, and training works."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamfx.nets.mae import WHITE_DEVIATION, Mae, MaeConfig, positions
from streamfx.nets.vit import PatchEmbed

SMALL = MaeConfig(
    channels=3, height=32, width=48, patch=8, dim=16, depth=2, heads=2, mlp_ratio=2, decoder_dim=8, decoder_depth=1,
    decoder_heads=2, mask_ratio=0.75,
)  # fmt: skip


def small(seed: int = 0) -> Mae:
    mae = Mae(SMALL)
    mae.initialise(seed)
    return mae


def order(pictures: int, seed: int = 0, patches: int = SMALL.patches) -> Tensor:
    return torch.rand(pictures, patches, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 32, 48, generator=torch.Generator().manual_seed(seed))


def patch_slices(number: int) -> tuple[slice, slice]:
    row, column = divmod(number, SMALL.grid[1])
    return slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8)


def test_sizes_of_the_papers() -> None:
    face, audio = MaeConfig(), MaeConfig(channels=1, height=512, width=128, mask_ratio=0.8)
    assert (face.patches, face.visible, face.grid) == (196, 49, (14, 14))
    assert (audio.patches, audio.visible, audio.grid) == (256, 51, (32, 8))
    with torch.device("meta"):
        encoder = Mae(face).encoder
    # ViT-B/16 without a classifier, as MAE's authors count it: 85.8 million.
    assert sum(value.numel() for value in encoder.parameters()) == 85_798_656


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"height": 33}, "height 33"),
        ({"heads": 3}, "heads 3"),
        ({"decoder_heads": 3}, "decoder"),
        ({"mask_ratio": 0.99}, "mask_ratio"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        MaeConfig(**{**vars(SMALL), **change})


def test_patches_are_in_the_order_of_the_vit_embedding() -> None:
    embed = PatchEmbed(3, 8, 16)
    shown = pictures(2)
    by_patch = torch.nn.functional.linear(small().patchify(shown), embed.proj.weight.flatten(1), embed.proj.bias)
    torch.testing.assert_close(by_patch, embed(shown))


def test_without_masking_the_encoder_is_a_plain_vit() -> None:
    mae, shown = small(), pictures(2)
    encoder = mae.encoder
    x = torch.cat((encoder.cls_token.expand(2, -1, -1), encoder.patch_embed(shown)), dim=1) + encoder.pos_embed
    for block in encoder.blocks:
        x = block(x)
    torch.testing.assert_close(mae.encode(shown), encoder.norm(x))


def test_the_encoder_does_not_see_hidden_patches() -> None:
    mae, shown, shuffled = small(), pictures(1), order(1)
    keep = shuffled[:, : SMALL.visible]
    changed = shown.clone()
    for number in shuffled[0, SMALL.visible :].tolist():
        rows, columns = patch_slices(number)
        changed[0, :, rows, columns] = 0.123
    tokens = [mae._encode(mae.patchify(one), keep) for one in (shown, changed)]
    torch.testing.assert_close(*tokens, rtol=0, atol=0)
    assert tokens[0].shape == (1, 1 + SMALL.visible, SMALL.dim)


def test_whitened_patches_are_uncorrelated_and_of_equal_variance() -> None:
    """This holds however strong one component is, here brightness, a thousand times stronger than the others."""
    mae = small()
    shown = pictures(512) * 0.1 + 10 * torch.rand(512, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    mae.whiten(shown)
    embedded = mae.encoder.patch_embed(shown).flatten(0, 1).detach()
    spread = torch.cov(embedded.T)
    assert float(embedded.mean(dim=0).abs().max()) < 1e-2
    strongest, weakest = float(spread.diagonal().max()), float(spread.diagonal().min())
    assert strongest == pytest.approx(WHITE_DEVIATION**2, rel=0.02) and weakest > 0.2 * strongest
    assert float((spread - torch.diag(spread.diagonal())).abs().max()) < 1e-2


def test_a_patch_with_fewer_values_than_the_encoder_is_wide_cannot_be_whitened() -> None:
    wide = Mae(MaeConfig(**{**vars(SMALL), "channels": 1, "dim": 128}))
    with pytest.raises(ValueError, match=r"expected at least 128 values a patch .*, got 64"):
        wide.whiten(torch.rand(4, 1, SMALL.height, SMALL.width))


def test_visible_patches_do_not_affect_the_loss() -> None:
    """A perfect prediction of the hidden patches has loss 0, whatever the decoder predicts for the visible ones."""
    mae, shown, shuffled = small(), pictures(2), order(2)
    hidden = shuffled[:, SMALL.visible :]
    patches = mae.patchify(shown)
    target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    wanted = target.gather(1, hidden[:, :, None].expand(-1, -1, target.shape[-1]))
    mae._decode = lambda tokens, order: wanted  # type: ignore[method-assign]
    assert float(mae(shown, shuffled)) < 1e-10


def test_targets_do_not_depend_on_brightness_and_contrast() -> None:
    mae, shuffled = small(), order(4)
    dim = pictures(4)
    mae._decode = lambda tokens, order: torch.zeros(4, SMALL.patches - SMALL.visible, 192)  # type: ignore[method-assign]
    # Patches normalised by their own values have variance 1, whatever their contrast.
    assert float(mae(dim, shuffled)) == pytest.approx(191 / 192, abs=1e-3)
    assert float(mae(dim * 0.4 + 0.3, shuffled)) == pytest.approx(float(mae(dim, shuffled)), abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(SMALL.patches - SMALL.visible)), st.permutations(range(SMALL.visible)))
def test_the_order_within_visible_and_hidden_patches_does_not_matter(hidden: list[int], seen: list[int]) -> None:
    mae, shown, shuffled = small(), pictures(1), order(1)
    other = torch.cat((shuffled[:, : SMALL.visible][:, seen], shuffled[:, SMALL.visible :][:, hidden]), dim=1)
    torch.testing.assert_close(mae(shown, shuffled), mae(shown, other), rtol=1e-4, atol=1e-5)


def test_training_learns_to_fill_in_stripes() -> None:
    sizes = {"channels": 1, "height": 16, "width": 32, "dim": 32, "decoder_dim": 32, "mask_ratio": 0.5}
    mae = Mae(MaeConfig(**{**vars(SMALL), **sizes}))
    mae.initialise(0)
    optimiser = torch.optim.AdamW([p for p in mae.parameters() if p.requires_grad], lr=3e-3)
    phase = torch.rand(32, 1, 1, 1, generator=torch.Generator().manual_seed(0)) * 6.28
    stripes = (0.5 + 0.5 * torch.sin(phase + torch.arange(32) * math.pi / 5)).expand(32, 1, 16, 32).contiguous()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in range(150):
            loss = mae(stripes, order(32, step, patches=8))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    finally:
        torch.set_num_threads(threads)
    # An uninformed prediction has loss 1.
    assert loss.item() < 0.3


def test_position_embeddings_are_fixed_and_distinct() -> None:
    mae = small()
    assert not mae.encoder.pos_embed.requires_grad and not mae.decoder_pos_embed.requires_grad
    table = positions(16, (4, 6))[0]
    assert table.shape == (25, 16) and not table[0].any()
    distances = torch.cdist(table[1:], table[1:]) + 10 * torch.eye(24)
    assert distances.min() > 0.1
    # Neighbours are nearer to each other than to the far corner.
    assert distances[0, 1] < distances[0, 23]


def test_the_seed_decides_every_weight() -> None:
    first, again, other = (small(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.blocks.0.attn.qkv.weight"], other["encoder.blocks.0.attn.qkv.weight"])
