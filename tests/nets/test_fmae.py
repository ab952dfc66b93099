"""FMAE-IAT: timm's ViT with the same weights, the authors' sizes, and the law of the gradient reversal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.timm_vit import import_timm

from streamfx.nets.fmae import SIZES, Adversary, Fmae, FmaeConfig, _dropped, reverse_gradient

SMALL = FmaeConfig(classes=5, image_size=32, dim=16, depth=3, heads=2, mlp_ratio=2, intensities=4, novelty=True)


def small(seed: int = 1, **changes: Any) -> Fmae:
    net = Fmae(FmaeConfig(**{**vars(SMALL), **changes})).eval()
    net.initialise(seed)
    return net


def pictures(count: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("size", "millions"), [("tiny", 0.9), ("small", 21.7), ("base", 85.8), ("large", 303.3)])
def test_the_authors_sizes_have_their_numbers_of_parameters(size: str, millions: float) -> None:
    with torch.device("meta"):
        net = Fmae(FmaeConfig(image_size=112 if size == "tiny" else 224, **SIZES[size]))
    assert round(sum(value.numel() for value in net.parameters()) / 1e6, 1) == millions


def test_it_is_timms_vit_with_the_same_weights() -> None:
    """Mean of the patches without CLS, then `fc_norm`: features and logits within 1e-5."""
    timm = import_timm()
    net = small(2, image_size=64, dim=48, depth=4, heads=3, mlp_ratio=4, intensities=0, novelty=False)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())))
    theirs = timm.models.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=48, depth=4, num_heads=3, num_classes=5, global_pool="avg", fc_norm=True
    ).eval()
    theirs.load_state_dict(net.state_dict(), strict=True)
    shown = pictures(6, 64)
    with torch.no_grad():
        pooled = theirs.forward_head(theirs.forward_features(shown), pre_logits=True)
        assert (pooled - net.features(shown)).abs().max() <= 1e-5
        assert (theirs(shown) - net(shown)).abs().max() <= 1e-5


def test_tensors_are_named_as_in_the_authors_files() -> None:
    block = (
        "norm1.weight norm1.bias attn.qkv.weight attn.qkv.bias attn.proj.weight attn.proj.bias norm2.weight norm2.bias "
        "mlp.fc1.weight mlp.fc1.bias mlp.fc2.weight mlp.fc2.bias"
    )
    expected = {
        "cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "fc_norm.weight", "fc_norm.bias",
        "head.weight", "head.bias", *(f"blocks.{number}.{name}" for number in range(3) for name in block.split()),
    }  # fmt: skip
    net = small(intensities=0, novelty=False)
    assert set(net.state_dict()) == expected
    adversary = Adversary(net, 7, 2.0, 1)
    assert adversary.ID_head.weight.shape == (7, 16) and adversary.ID_head.bias is None


def test_the_cls_token_is_left_out_of_the_mean_but_takes_part_in_attention() -> None:
    net, shown = small(), pictures(1)
    with torch.no_grad():
        seen = net.features(shown)
        net.cls_token.copy_(torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(7)))
        assert not torch.allclose(net.features(shown), seen)
        for block in net.blocks:
            block.attn.proj.weight.zero_()
        without = net.features(shown)
        net.cls_token.zero_()
        assert torch.equal(net.features(shown), without)


def test_bytes_and_shares_give_the_same_answer() -> None:
    net = small()
    whole = (pictures(3) * 255).round()
    for name, value in net.answer(whole.to(torch.uint8)).items():
        torch.testing.assert_close(value, net.answer(whole / 255)[name])


def test_a_reversed_gradient_is_minus_lambda_times_the_numeric_one() -> None:
    strength, z = 2.5, torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(x @ weights).sum()

    through = z.clone().requires_grad_()
    reversed_ = reverse_gradient(through, strength)
    assert torch.equal(reversed_, through)
    loss(reversed_).backward()  # type: ignore[no-untyped-call]
    assert through.grad is not None
    step = 1e-6
    for place in ((0, 0), (1, 3), (3, 5)):
        bumped, lowered = z.clone(), z.clone()
        bumped[place] += step
        lowered[place] -= step
        numeric = float((loss(bumped) - loss(lowered)) / (2 * step))
        assert float(through.grad[place]) == pytest.approx(-strength * numeric, rel=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
def test_the_encoder_gets_both_gradients_and_the_identity_head_its_own_at_full_strength(strength: float) -> None:
    """theta_encoder: grad L_au - lambda grad L_id; W_id: grad L_id, whatever lambda."""
    shown, generator = pictures(4), torch.Generator().manual_seed(5)
    units, people = torch.rand(4, 5, generator=generator).round(), torch.eye(7)[[0, 3, 3, 6]]

    def gradients(reversal: float | None, parts: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of a weight of the encoder and of the identity head; without `reversal`, the plain gradient."""
        adversary = Adversary(small(), 7, -1.0 if reversal is None else reversal, 3).eval()
        said = adversary(shown)
        targets = {"presence": units, "identity": people}
        losses = [torch.nn.functional.binary_cross_entropy_with_logits(said[name], targets[name]) for name in parts]
        sum(losses, torch.zeros(())).backward()  # type: ignore[no-untyped-call]
        encoder, head = adversary.net.blocks[0].mlp.fc1.weight.grad, adversary.ID_head.weight.grad
        assert encoder is not None
        return encoder, torch.zeros(7, 16) if head is None else head

    both, head = gradients(strength, ("presence", "identity"))
    of_units, _ = gradients(strength, ("presence",))
    of_people, plain_head = gradients(None, ("identity",))
    torch.testing.assert_close(both, of_units - strength * of_people, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(head, plain_head)


@pytest.mark.parametrize("prior", [True, False])
def test_units_are_learned_beside_2000_people_if_the_identity_head_begins_at_their_odds(prior: bool) -> None:
    """At even odds head and encoder fight over an offset of all outputs, whose gradient is not divided by the people."""
    people, shown = 2000, pictures(16)
    units = torch.rand(16, 5, generator=torch.Generator().manual_seed(5)).round()
    adversary = Adversary(small(), people, 0.01 * people, 3, prior)
    optimiser = torch.optim.AdamW(adversary.parameters(), lr=3e-3)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    for _ in range(90):
        said = adversary(shown)
        of_units, of_people = bce(said["presence"], units), bce(said["identity"], torch.eye(people)[:16])
        optimiser.zero_grad()
        (of_units + of_people).backward()
        optimiser.step()
    assert (of_units.item() < 0.3) is prior and (of_people.item() < 0.01) is prior


def test_blocks_are_dropped_in_training_only_and_the_mean_stays() -> None:
    net, shown = small(), pictures(2)
    still = net.features(shown)
    net.drop_path = 0.5
    assert torch.equal(net.features(shown), still)
    net.train()
    torch.manual_seed(0)
    assert not torch.equal(net.features(shown), still)
    left = _dropped(torch.ones(4000, 2, 3), 0.25)
    assert left.unique().tolist() == pytest.approx([0, 4 / 3]) and (left == left[:, :1, :1]).all()
    assert abs(float(left.mean()) - 1) < 0.05


@torch.no_grad()
def test_novelty_is_the_distance_as_a_multiple_of_the_border_or_what_the_reader_says() -> None:
    """Half way up: the mean of the patches after the first of three blocks."""
    net, shown = small(), pictures(3)
    x = torch.cat((net.cls_token.expand(3, -1, -1), net.patch_embed(shown)), dim=1) + net.pos_embed
    middle = net.blocks[0](x)[:, 1:].mean(dim=1)
    torch.testing.assert_close(net.read(shown)[1], middle)
    net.get_buffer("known_mean").copy_(middle[0])
    net.get_buffer("border").fill_(float((middle[1] - middle[0]).norm()))
    net.get_buffer("hidden_bias").fill_(-50.0)
    torch.testing.assert_close(net.answer(shown)["novelty"][:2], torch.tensor([0.0, 1.0]), rtol=1e-5, atol=1e-6)
    net.get_buffer("hidden_bias").fill_(3.0)
    assert (net.answer(shown)["novelty"] > 1.9).all()


def test_intensities_stay_within_their_scale() -> None:
    net = small()
    with torch.no_grad():
        assert net.intensity_head is not None
        net.intensity_head.bias.copy_(torch.tensor([-9.0, 9.0, 0.5, 0.0]))
    low, high, *_ = net.answer(pictures(1))["intensity"][0].tolist()
    assert (low, high) == (0.0, 5.0)


@pytest.mark.parametrize(
    "wrong", [{"dim": 30, "heads": 4}, {"image_size": 40}, {"classes": 0}, {"intensities": -1}, {"novelty": 1}]
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        FmaeConfig(**{**vars(SMALL), **wrong})
