"""MMA-DFER: the authors' parameters, names and shapes; what depends on what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from streamfx.nets.mma_dfer import LABELS_7, LABELS_11, MmaDfer, MmaDferConfig

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "mma_dfer"
TINY = MmaDferConfig(
    image_size=32, dim=32, depth=4, heads=2, latent=8, image_head=0, audio_head=0,
    temporal_dim=24, temporal_heads=2, temporal_head_dim=8, temporal_mlp=32,
)  # fmt: skip


def authors_net(config: MmaDferConfig) -> MmaDfer:
    with torch.device("meta"):
        return MmaDfer(config)


def tiny(seed: int = 0, gates: float = 1.0) -> MmaDfer:
    net = MmaDfer(TINY).eval()
    net.initialise(seed)
    for encoder in (net.image_encoder, net.audio_model):
        for gate in encoder.all_gate:
            gate.data.fill_(gates)
    return net


def window(batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (batch, 16, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return frames, torch.randn(batch, 1, 512, 128, generator=generator)


@pytest.mark.parametrize(("classes", "trainable"), [(7, 7_632_415), (11, 7_634_467)])
def test_the_authors_number_of_trainable_parameters(classes: int, trainable: int) -> None:
    net = authors_net(MmaDferConfig(classes=classes))
    assert sum(value.numel() for value in net.trainable_parameters().values()) == trainable


def test_the_authors_number_of_parameters_with_unused_heads() -> None:
    total = sum(value.numel() for value in authors_net(MmaDferConfig()).parameters())
    assert round(total / 1e6, 2) == 179.31


def test_keys_and_shapes_are_the_authors() -> None:
    path = FIXTURES / "keys_7_classes_224px.json"
    if not path.exists():
        pytest.skip(f"the key list of the authors' checkpoint is not at {path}")
    ours = {key: list(value.shape) for key, value in authors_net(MmaDferConfig()).state_dict().items()}
    assert ours == json.loads(path.read_text())


def test_the_frozen_parts_are_the_encoders_but_not_their_positions() -> None:
    net = authors_net(MmaDferConfig())
    frozen = set(dict(net.named_parameters())) - set(net.trainable_parameters())
    assert {name.split(".")[1] for name in frozen} == {"cls_token", "patch_embed", "blocks", "norm", "head"}
    assert {"image_encoder.pos_embed", "audio_model.pos_embed"} <= set(net.trainable_parameters())


def test_labels_are_in_the_data_sets_order() -> None:
    assert LABELS_7 == ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
    assert LABELS_11[7:] == ("contempt", "anxiety", "helplessness", "disappointment")


@torch.inference_mode()
def test_bytes_and_their_fractions_are_the_same_picture() -> None:
    net, (frames, fbank) = tiny(), window(1)
    torch.testing.assert_close(net(frames, fbank), net(frames.float() / 255, fbank))


@torch.inference_mode()
def test_windows_of_a_batch_do_not_see_each_other() -> None:
    net, (frames, fbank) = tiny(), window(3)
    alone = torch.cat([net(frames[i : i + 1], fbank[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(frames, fbank), alone, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_order_of_frames_and_both_senses_count() -> None:
    net, (frames, fbank) = tiny(), window(1)
    answer = net(frames, fbank)
    assert (net(frames.flip(1), fbank) - answer).abs().max() > 1e-3
    assert (net(frames, -fbank) - answer).abs().max() > 1e-3
    assert (net(255 - frames, fbank) - answer).abs().max() > 1e-3


@torch.inference_mode()
def test_closed_gates_keep_the_two_encoders_apart() -> None:
    """With all gates at zero the sound reaches the answer only through its own CLS token."""
    open_net, shut_net, (frames, fbank) = tiny(gates=1.0), tiny(gates=0.0), window(1)
    for net in (open_net, shut_net):
        net.audio_model.norm.weight.zero_()
        net.audio_model.norm.bias.zero_()
    torch.testing.assert_close(shut_net(frames, fbank), shut_net(frames, -fbank))
    assert (open_net(frames, fbank) - open_net(frames, -fbank)).abs().max() > 1e-4


@torch.inference_mode()
def test_each_step_refreshes_only_its_own_prompts() -> None:
    encoder = tiny().image_encoder
    tokens = torch.zeros(1, 1 + TINY.image_patches + TINY.prompts, TINY.dim)
    for block, fresh in ((0, slice(-6, -3)), (2, slice(-3, None))):
        refreshed = encoder.refresh_prompts(tokens, block)
        assert torch.equal(refreshed[0, fresh], encoder.learnable_prompts_progr[block // 2])
        assert torch.count_nonzero(refreshed.any(dim=-1)) == 3
    for block in (1, 3):
        assert torch.equal(encoder.refresh_prompts(tokens, block), tokens)


def test_a_seed_decides_every_weight() -> None:
    same = [tiny(seed=4).state_dict(), tiny(seed=4).state_dict()]
    assert all(torch.equal(same[0][key], same[1][key]) for key in same[0])
    assert not torch.equal(tiny(seed=4).our_classifier.weight, tiny(seed=5).our_classifier.weight)


@pytest.mark.parametrize("wrong", [{"image_size": 100}, {"dim": 100}, {"depth": 5}, {"classes": 0}])
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"multiple|at least"):
        MmaDferConfig(**wrong)
