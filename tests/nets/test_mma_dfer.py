"""MMA-DFER: the authors' parameters, names and shapes, and which outputs depend on which inputs and parts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.lacking import lacks
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


def tiny(seed: int = 0, gates: float = 1.0, **parts: Any) -> MmaDfer:
    net = MmaDfer(dataclasses.replace(TINY, **parts)).eval()
    net.initialise(seed)
    for name, value in net.named_parameters():
        if ".all_gate." in name:
            value.data.fill_(gates)
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
    assert sum(value.numel() for value in authors_net(MmaDferConfig()).parameters()) == 179_312_147


def test_parameter_names_and_shapes_are_those_of_the_authors() -> None:
    path = FIXTURES / "keys_7_classes_224px.json"
    if not path.exists():
        lacks(
            "what the authors' model is compared with", "the development folder's shared/fixtures beside the checkout"
        )
    ours = {key: list(value.shape) for key, value in authors_net(MmaDferConfig()).state_dict().items()}
    assert ours == json.loads(path.read_text())


def test_the_encoders_are_frozen_except_their_position_embeddings() -> None:
    net = authors_net(MmaDferConfig())
    frozen = set(dict(net.named_parameters())) - set(net.trainable_parameters())
    assert {name.split(".")[1] for name in frozen} == {"cls_token", "patch_embed", "blocks", "norm", "head"}
    assert {"image_encoder.pos_embed", "audio_model.pos_embed"} <= set(net.trainable_parameters())


def test_labels_are_in_the_data_sets_order() -> None:
    assert LABELS_7 == ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
    assert LABELS_11[7:] == ("contempt", "anxiety", "helplessness", "disappointment")


@torch.inference_mode()
def test_uint8_frames_and_float_frames_in_0_to_1_give_equal_logits() -> None:
    net, (frames, fbank) = tiny(), window(1)
    torch.testing.assert_close(net(frames, fbank), net(frames.float() / 255, fbank))


@torch.inference_mode()
def test_windows_of_a_batch_do_not_affect_each_other() -> None:
    net, (frames, fbank) = tiny(), window(3)
    alone = torch.cat([net(frames[i : i + 1], fbank[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(frames, fbank), alone, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_logits_depend_on_frame_order_and_on_both_modalities() -> None:
    net, (frames, fbank) = tiny(), window(1)
    answer = net(frames, fbank)
    assert (net(frames.flip(1), fbank) - answer).abs().max() > 1e-3
    assert (net(frames, -fbank) - answer).abs().max() > 1e-3
    assert (net(255 - frames, fbank) - answer).abs().max() > 1e-3


@torch.inference_mode()
def test_closed_gates_keep_the_two_encoders_apart() -> None:
    """With all gates at zero, sound affects the logits only through its own CLS token."""
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


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 100}, "multiple"),
        ({"dim": 100}, "multiple"),
        ({"depth": 5}, "multiple"),
        ({"classes": 0}, "at least"),
        ({"prompts_per_step": -1}, "at least"),
        ({"modalities": ()}, "face, sound or both"),
        ({"modalities": ["sound", "face"]}, "face, sound or both"),
        ({"bottleneck": "no"}, "true or false"),
    ],
)
def test_impossible_sizes_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MmaDferConfig(**wrong)


PARTS: dict[str, dict[str, Any]] = {
    "no prompts": {"prompts_per_step": 0},
    "no bottleneck": {"bottleneck": False},
    "no temporal transformer": {"temporal": False},
    "video only": {"modalities": ("face",)},
    "sound only": {"modalities": ("sound",)},
    "nothing": {"prompts_per_step": 0, "bottleneck": False, "temporal": False, "modalities": ("face",)},
}
ABSENT = {
    "no prompts": ("learnable_prompts",),
    "no bottleneck": ("all_gate", "temporal_att_post", "temporal_pre", "audio_proj_pre"),
    "no temporal transformer": ("temporal_net",),
    "video only": ("audio_model", "all_gate", "temporal_att_post", "temporal_pre", "audio_proj_pre"),
    "sound only": ("image_encoder", "all_gate", "temporal_att_post"),
    "nothing": ("audio_model", "all_gate", "learnable_prompts", "temporal_", "audio_proj_pre"),
}


@pytest.mark.parametrize("row", PARTS)
def test_a_part_that_is_switched_off_has_no_parameters_and_the_others_are_unchanged(row: str) -> None:
    full = authors_net(MmaDferConfig()).state_dict()
    less = authors_net(MmaDferConfig(**PARTS[row])).state_dict()
    assert set(full) - set(less) == {name for name in full if any(part in name for part in ABSENT[row])}
    changed = {name for name in less if name not in full or less[name].shape != full[name].shape}
    # The position embedding has a row for each prompt.
    assert changed == (
        {name for name in less if "pos_embed" in name.split(".")} if "prompts_per_step" in PARTS[row] else set()
    )


@pytest.mark.parametrize("row", PARTS)
def test_every_ablated_net_answers_and_all_its_trainable_parameters_learn(row: str) -> None:
    net, (frames, fbank) = tiny(**PARTS[row]), window(2)
    answer = net(frames, fbank)
    assert answer.shape == (2, 7)
    answer.square().sum().backward()
    idle = {name for name, value in net.trainable_parameters().items() if value.grad is None or not value.grad.any()}
    assert all(".norm2." in name for name in idle), "no forward pass uses norm2 of the temporal transformer"


@torch.inference_mode()
@pytest.mark.parametrize(("row", "deaf", "blind"), [("video only", True, False), ("sound only", False, True)])
def test_a_net_of_one_modality_does_not_read_the_other(row: str, deaf: bool, blind: bool) -> None:
    net, (frames, fbank) = tiny(**PARTS[row]), window(1)
    answer = net(frames, fbank)
    assert torch.equal(net(frames, fbank + torch.nan), answer) is deaf
    assert (
        torch.equal(net(torch.zeros(0, dtype=torch.uint8), fbank) if blind else net(255 - frames, fbank), answer)
        is blind
    )


@torch.inference_mode()
def test_without_the_temporal_transformer_frame_order_has_no_effect() -> None:
    net, (frames, fbank) = tiny(temporal=False), window(1)
    torch.testing.assert_close(net(frames.flip(1), fbank), net(frames, fbank), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_without_the_bottleneck_only_the_cls_tokens_combine_the_encoders() -> None:
    net, (frames, fbank) = tiny(bottleneck=False), window(1)
    net.audio_model.norm.weight.zero_()
    net.audio_model.norm.bias.zero_()
    assert torch.equal(net(frames, fbank), net(frames, -fbank))


def test_a_config_with_lists_from_json_equals_the_original() -> None:
    config = MmaDferConfig(modalities=("face",))
    assert MmaDferConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config
