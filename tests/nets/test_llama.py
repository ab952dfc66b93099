"""The language model in plain torch answers as the published formulas say, and its adapters begin at nothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamfx.nets.llama import Llama, LlamaSizes, LoraLinear, rotation, without_permutation

TINY = LlamaSizes(vocabulary=50, dim=24, depth=2, heads=6, kv_heads=2, hidden=32, rope_base=10_000.0)


def causal(tokens: int, before: int = 0) -> Tensor:
    """bool [1, tokens, before + tokens]: each may look at all that came before, and itself."""
    return torch.ones(1, tokens, before + tokens, dtype=torch.bool).tril(before)


def tiny(seed: int = 0, **changes: object) -> Llama:
    torch.manual_seed(seed)
    return Llama(LlamaSizes(**{**vars(TINY), **changes})).eval()  # type: ignore[arg-type]


def by_the_formulas(net: Llama, ids: list[int]) -> Tensor:
    """The logits of the last token, number by number from the published formulas."""
    s = net.sizes
    xs = [net.embed_tokens.weight[i].double() for i in ids]

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.square().mean() + s.norm_eps).sqrt() * weight.double()

    def turned(head: Tensor, place: int) -> Tensor:
        out, half = head.clone(), s.head_dim // 2
        for i in range(half):
            angle = place / s.rope_base ** (2 * i / s.head_dim)
            a, b = head[i], head[i + half]
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + half] = b * math.cos(angle) + a * math.sin(angle)
        return out

    for layer in net.layers:
        a, seen = layer.self_attn, []
        ys = [norm(x, layer.input_layernorm.weight) for x in xs]
        q, k, v = ([(p.weight.double() @ y).split(s.head_dim) for y in ys] for p in (a.q_proj, a.k_proj, a.v_proj))
        for t in range(len(xs)):
            heads = []
            for h in range(s.heads):
                shared = h // (s.heads // s.kv_heads)
                mine = turned(q[t][h], t)
                weights = torch.stack([mine @ turned(k[u][shared], u) for u in range(t + 1)]) / math.sqrt(s.head_dim)
                heads.append(sum(w * v[u][shared] for u, w in enumerate(weights.softmax(0))))
            seen.append(a.o_proj.weight.double() @ torch.cat(heads))  # type: ignore[arg-type]
        xs = [x + y for x, y in zip(xs, seen, strict=True)]
        for t, x in enumerate(xs):
            y = norm(x, layer.post_attention_layernorm.weight)
            gate = layer.mlp.gate_proj.weight.double() @ y
            inner = gate * gate.sigmoid() * (layer.mlp.up_proj.weight.double() @ y)
            xs[t] = x + layer.mlp.down_proj.weight.double() @ inner
    return net.embed_tokens.weight.double() @ norm(xs[-1], net.norm.weight)


@torch.no_grad()
def test_its_answer_is_that_of_the_published_formulas() -> None:
    net = tiny()
    ids = [3, 41, 7, 7, 20]
    hidden, _ = net(net.embed_tokens(torch.tensor([ids])), torch.arange(5)[None], causal(5))
    torch.testing.assert_close(net.logits(hidden[0, -1]).double(), by_the_formulas(net, ids), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 49), min_size=2, max_size=9), st.data())
@torch.no_grad()
def test_a_text_read_in_two_parts_is_read_as_in_one(ids: list[int], data: st.DataObject) -> None:
    net, cut = tiny(), data.draw(st.integers(1, len(ids) - 1))
    x, places = net.embed_tokens(torch.tensor([ids])), torch.arange(len(ids))[None]
    whole, _ = net(x, places, causal(len(ids)))
    first, past = net(x[:, :cut], places[:, :cut], causal(cut))
    second, _ = net(x[:, cut:], places[:, cut:], causal(len(ids) - cut, cut), past)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_only_the_distance_between_places_counts() -> None:
    net = tiny()
    x = net.embed_tokens(torch.tensor([[3, 41, 7]]))
    near, _ = net(x, torch.arange(3)[None], causal(3))
    far, _ = net(x, torch.arange(3)[None] + 500, causal(3))
    torch.testing.assert_close(near, far, rtol=1e-3, atol=1e-4)


def test_adapters_change_nothing_until_they_are_trained_and_then_they_alone_do() -> None:
    net, x = tiny(), torch.randn(1, 4, 24)
    before, _ = net(x, torch.arange(4)[None], causal(4))
    net.adapt(3, 6.0, ("q_proj", "v_proj"))
    after, _ = net(x, torch.arange(4)[None], causal(4))
    torch.testing.assert_close(after, before)
    after.square().sum().backward()
    moved = {name for name, p in net.named_parameters() if p.grad is not None}
    assert moved == {name for name, p in net.named_parameters() if p.requires_grad}
    assert all(".lora_" in name for name in moved) and len(moved) == 2 * 2 * TINY.depth


def test_an_adapted_layer_is_the_frozen_matrix_and_a_scaled_product_of_low_rank() -> None:
    layer = LoraLinear(torch.nn.Linear(5, 7, bias=False), 2, 6.0)
    torch.nn.init.normal_(layer.lora_b)
    joined = layer.weight + 3.0 * layer.lora_b @ layer.lora_a
    x = torch.randn(4, 5)
    torch.testing.assert_close(layer(x), x @ joined.T)


def test_a_layer_that_no_part_has_cannot_be_adapted() -> None:
    with pytest.raises(ValueError, match="q_proj and v_proj, got 'query'"):
        tiny().adapt(2, 4.0, ("query",))


@pytest.mark.parametrize("wrong", [{"dim": 25}, {"kv_heads": 4}, {"depth": 0}, {"hidden": 2.0}])
def test_sizes_that_fit_no_net_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        LlamaSizes(**{**vars(TINY), **wrong})  # type: ignore[arg-type]


def test_rows_of_a_gguf_file_turn_in_pairs_that_become_halves() -> None:
    """In such a file, rows 2 i and 2 i + 1 of a head turn together; here, rows i and i + half."""
    torch.manual_seed(1)
    weight, x = torch.randn(2 * 8, 8), torch.randn(8)
    cos, sin = rotation(torch.tensor([11]), LlamaSizes(**{**vars(TINY), "dim": 16, "heads": 2, "kv_heads": 2}))
    pairs = (weight @ x).view(2, 4, 2)
    c, s = cos[0, :4], sin[0, :4]
    theirs = torch.stack((pairs[..., 0] * c - pairs[..., 1] * s, pairs[..., 1] * c + pairs[..., 0] * s), dim=-1)
    first, second = (without_permutation(weight, 2) @ x).view(2, 8).chunk(2, dim=1)
    ours = torch.stack((first * c - second * s, second * c + first * s), dim=-1)
    torch.testing.assert_close(ours, theirs)
