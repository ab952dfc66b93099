"""Precisions below float32: how far answers may move, and that they depend on the item alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from streamfx.errors import ModelError
from streamfx.models.attributes import AttributesModel
from streamfx.models.base import precision_of
from streamfx.models.card import resolve_model
from streamfx.models.expression import ExpressionModel
from streamfx.nets import precision as room
from streamfx.nets.mma_dfer import MmaDfer, MmaDferConfig
from streamfx.nets.precision import PRECISIONS, Precision, at_precision, check_precision, instruction_sets
from streamfx.testing import window_tensors

SMALL = "expression-small"
LOWER: tuple[Precision, ...] = ("bf16", "int8")
BOUNDS = {"bf16": 0.1, "int8": 0.4}
"""How far a logit of `SMALL` may lie from that of float32."""
NET = MmaDferConfig(
    image_size=32, dim=64, depth=4, heads=2, latent=16, image_head=3, audio_head=0,
    temporal_dim=24, temporal_heads=2, temporal_head_dim=8, temporal_mlp=32,
)  # fmt: skip


def loaded(name: str, precision: Precision) -> ExpressionModel:
    if precision == "int8" and not set(instruction_sets()) & room.VNNI:
        pytest.skip("this CPU has no VNNI, and int8 is refused")
    return ExpressionModel.load(resolve_model(name), precision=precision)


def batch(windows: int, size: int) -> dict[str, Tensor]:
    each = [window_tensors(seed, size) for seed in range(windows)]
    return {name: torch.stack([torch.from_numpy(one[name].copy()) for one in each]) for name in each[0]}


def small_batch(windows: int) -> dict[str, Tensor]:
    size = ExpressionModel.read_card(resolve_model(SMALL)).info.image_size
    assert size is not None
    return batch(windows, size)


@pytest.mark.parametrize("precision", LOWER)
def test_trained_weights_name_the_same_class_within_a_bound(precision: Precision) -> None:
    windows = small_batch(4)
    exact = loaded(SMALL, "fp32").run(windows)["logits"]
    own = loaded(SMALL, precision).run(windows)["logits"]
    assert own.dtype == torch.float32 and not torch.equal(own, exact)
    assert (own - exact).abs().max() < BOUNDS[precision]
    clear = exact.topk(2).values.diff().abs()[:, 0] > 2 * BOUNDS[precision]
    assert torch.equal(own.argmax(1)[clear], exact.argmax(1)[clear])


@pytest.mark.parametrize("precision", LOWER)
def test_an_answer_is_the_same_again_and_beside_whatever_shares_its_batch(precision: Precision) -> None:
    model, windows = loaded(SMALL, precision), small_batch(3)
    windows["frames"][1], windows["fbank"][1] = 255, 40.0  # a neighbour of another range
    together = model.run(windows)["logits"]
    assert torch.equal(model.run(windows)["logits"], together)
    for one in range(3):
        alone = model.run({name: value[one : one + 1] for name, value in windows.items()})["logits"]
        torch.testing.assert_close(alone[0], together[one], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_frame_by_frame_is_the_same_net() -> None:
    net = MmaDfer(NET).eval()
    net.initialise(0)
    for name, value in net.named_parameters():
        if ".all_gate." in name:
            value.fill_(0.5)
    windows = batch(2, 32)
    whole = net(windows["frames"], windows["fbank"])
    net.by_frame = True
    torch.testing.assert_close(net(windows["frames"], windows["fbank"]), whole, atol=1e-5, rtol=1e-5)


def test_heads_and_the_temporal_transformer_stay_float32() -> None:
    net = at_precision(MmaDfer(NET), "bf16")
    linear = {name for name, part in net.named_modules() if isinstance(part, nn.Linear)}
    assert all(
        name.startswith(("temporal_net.", "our_classifier", "vision_proj", "image_encoder.head")) for name in linear
    )
    assert isinstance(net.image_encoder.temporal_pre[0], room.Bf16Linear)  # type: ignore[union-attr, index]


def test_an_8_bit_layer_is_close_and_takes_zeros_and_no_bias() -> None:
    linear = nn.Linear(64, 16, bias=False)
    linear.weight.data[3] = 0
    own, x = room.Int8Linear(linear), torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    assert (own(x) - linear(x)).abs().max() < 0.05
    assert not own(torch.zeros(1, 5, 64)).any()


def test_float32_changes_nothing() -> None:
    net = MmaDfer(NET)
    before = copy.deepcopy(net.state_dict())
    assert at_precision(net, "fp32") is net and not net.by_frame
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_rows_can_tell_which_precision_answered() -> None:
    card = ExpressionModel.read_card(resolve_model(SMALL))
    assert ExpressionModel.info_at(card, "fp32") == card.info
    info = ExpressionModel.info_at(card, "bf16")
    assert (info.version, info.precision) == (f"{card.info.version}+bf16", "bf16")
    assert type(info).from_json(info.to_json()) == info
    assert "precision" not in card.info.to_json()


def test_a_net_without_encoders_stays_as_it_is() -> None:
    model = AttributesModel.load(resolve_model("attributes-lnet"), precision="bf16")
    assert model.info == model.card.info


def test_a_cpu_that_would_answer_wrongly_or_slowly_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "instruction_sets", lambda: ("avx2",))
    with pytest.raises(ValueError, match=r"int8 needs a CPU with one of .*avx512_vnni.* this one has avx2; take fp32"):
        check_precision("int8", "cpu")
    with pytest.raises(ModelError, match="expression-small: int8 needs a CPU"):
        ExpressionModel.load(resolve_model(SMALL), precision="int8")
    assert "slower" in (check_precision("bf16", "cpu") or "")
    assert check_precision("fp32", "cpu") is None
    with pytest.raises(ValueError, match="int8 is for CPUs"):
        check_precision("int8", "cuda:0")


def test_an_environment_variable_names_a_precision() -> None:
    assert [precision_of(word) for word in PRECISIONS] == list(PRECISIONS)
    with pytest.raises(ModelError, match="STREAMFX_PRECISION: expected one of fp32, bf16, int8, got 'fp16'"):
        precision_of("fp16")
