"""A Llama-shaped language model in plain torch: grouped-query attention, rotary positions, SwiGLU, and low-rank adapters.

Tensors are named as in Hugging Face's `LlamaForCausalLM`, without the leading `model.`. There is no cache between calls:
all that belongs together is read in one pass, with a mask that says what may look at what (`nets/face_mllm.py`); only
free text is written token by token, from the keys and values that `forward` gives back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Past = Sequence[tuple[Tensor, Tensor]]
"""Keys and values [N, kv_heads, tokens, head width] of each layer."""


@dataclass(frozen=True)
class LlamaSizes:
    """Sizes of the net; the defaults are SmolLM2-135M's."""

    vocabulary: int = 49_152
    dim: int = 576
    depth: int = 30
    heads: int = 9
    kv_heads: int = 3
    hidden: int = 1_536
    rope_base: float = 100_000.0
    norm_eps: float = 1e-5
    tied: bool = True
    """Whether the output matrix is that of the embedding."""

    def __post_init__(self) -> None:
        for name in ("vocabulary", "dim", "depth", "heads", "kv_heads", "hidden"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a whole number, at least 1, got {getattr(self, name)!r}")
        if self.dim % self.heads or self.heads % self.kv_heads or self.head_dim % 2:
            raise ValueError(
                f"expected dim a multiple of heads by an even number, and heads one of kv_heads, got {self.dim}, "
                f"{self.heads} and {self.kv_heads}"
            )

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.dim // self.heads


class RmsNorm(nn.Module):
    """Division by the root of the mean square, then a scale for each number."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class LoraLinear(nn.Linear):
    """A frozen linear layer without bias, and beside it a trained one of low rank (LoRA, arXiv 2106.09685).

    The result is W x + scale · B A x, with scale = alpha / rank. B begins at 0, so the layer begins as it was.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float):
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.scale = base.in_features, base.out_features, alpha / rank
        self.weight = base.weight
        self.register_parameter("bias", None)
        device = base.weight.device
        self.lora_a = nn.Parameter(torch.empty(rank, base.in_features, device=device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, device=device))
        if device.type != "meta":
            nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        beside = F.linear(F.linear(x, self.lora_a), self.lora_b)
        return F.linear(x, self.weight) + self.scale * beside


class Attention(nn.Module):
    """Attention in which several heads share keys and values."""

    def __init__(self, sizes: LlamaSizes):
        super().__init__()
        self.sizes, wide = sizes, sizes.kv_heads * sizes.head_dim
        self.q_proj = nn.Linear(sizes.dim, sizes.dim, bias=False)
        self.k_proj = nn.Linear(sizes.dim, wide, bias=False)
        self.v_proj = nn.Linear(sizes.dim, wide, bias=False)
        self.o_proj = nn.Linear(sizes.dim, sizes.dim, bias=False)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [N, tokens, dim]; `turn` as `rotation` gives it; mask bool [N or 1, tokens, all tokens], true where a token
        (second axis) may look (third axis: those of the past first). Returns [N, tokens, dim], and all keys and values."""
        n, tokens, _ = x.shape
        q = _turned(self.q_proj(x).view(n, tokens, -1, self.sizes.head_dim).transpose(1, 2), turn)
        k = _turned(self.k_proj(x).view(n, tokens, -1, self.sizes.head_dim).transpose(1, 2), turn)
        v = self.v_proj(x).view(n, tokens, -1, self.sizes.head_dim).transpose(1, 2)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None], enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(n, tokens, -1)), (k, v)


class Mlp(nn.Module):
    """SwiGLU: down(silu(gate(x)) · up(x))."""

    def __init__(self, sizes: LlamaSizes):
        super().__init__()
        self.gate_proj = nn.Linear(sizes.dim, sizes.hidden, bias=False)
        self.up_proj = nn.Linear(sizes.dim, sizes.hidden, bias=False)
        self.down_proj = nn.Linear(sizes.hidden, sizes.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention, then the MLP, each behind a norm and with a residual."""

    def __init__(self, sizes: LlamaSizes):
        super().__init__()
        self.input_layernorm = RmsNorm(sizes.dim, sizes.norm_eps)
        self.self_attn = Attention(sizes)
        self.post_attention_layernorm = RmsNorm(sizes.dim, sizes.norm_eps)
        self.mlp = Mlp(sizes)


class Llama(nn.Module):
    """The language model. It takes embeddings, so that what is no text can stand among them."""

    def __init__(self, sizes: LlamaSizes):
        super().__init__()
        self.sizes = sizes
        self.embed_tokens = nn.Embedding(sizes.vocabulary, sizes.dim)
        self.layers: Any = nn.ModuleList(Layer(sizes) for _ in range(sizes.depth))
        self.norm = RmsNorm(sizes.dim, sizes.norm_eps)
        self.lm_head = None if sizes.tied else nn.Linear(sizes.dim, sizes.vocabulary, bias=False)

    def forward(self, x: Tensor, places: Tensor, mask: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """What each token says of the next: [N, tokens, dim] after the final norm; `logits` makes words of it.

        x float [N, tokens, dim]: embeddings. places int64 [N or 1, tokens]: the position of each. mask bool [N or 1, tokens,
        tokens of the past + tokens]: true where a token may look. past: what an earlier call gave back.
        """
        turn = rotation(places, self.sizes)
        present: list[tuple[Tensor, Tensor]] = []
        for number, layer in enumerate(self.layers):
            seen, kept = layer.self_attn(layer.input_layernorm(x), turn, mask, past[number] if past else None)
            x = x + seen
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            present.append(kept)
        return self.norm(x), present

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., dim] -> [..., vocabulary]."""
        rows = self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        return F.linear(hidden, rows)

    def adapt(self, rank: int, alpha: float, layers: Sequence[str]) -> None:
        """Put a `LoraLinear` in the place of every linear layer with one of these names (such as `q_proj`), and freeze all
        but the adapters. ValueError for a name that no layer has."""
        self.requires_grad_(False)
        for name in layers:
            owners = [part for part in self.modules() if isinstance(part._modules.get(name), nn.Linear)]
            if not owners:
                raise ValueError(f"expected names of linear layers such as q_proj and v_proj, got {name!r}")
            for owner in owners:
                setattr(owner, name, LoraLinear(owner._modules[name], rank, alpha))  # type: ignore[arg-type]


def rotation(places: Tensor, sizes: LlamaSizes) -> tuple[Tensor, Tensor]:
    """Cosine and sine [..., tokens, head width] by which the pairs (i, i + half) of a head turn at each place (RoPE, arXiv
    2104.09864): angle place / base^(2 i / head width)."""
    steps = torch.arange(0, sizes.head_dim, 2, device=places.device).double() / sizes.head_dim
    angles = places.double()[..., None] / sizes.rope_base**steps
    both = torch.cat((angles, angles), dim=-1)
    return both.cos().float(), both.sin().float()


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = (part.to(x.dtype)[:, None] for part in turn)  # the same for all heads
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def without_permutation(weight: Tensor, heads: int) -> Tensor:
    """A query or key matrix of a GGUF file, whose rows pair (2 i, 2 i + 1), in the order of `Llama`: (i, i + half)."""
    out, dim = weight.shape
    return weight.view(heads, out // heads // 2, 2, dim).transpose(1, 2).reshape(out, dim)


def sizes_of(fields: Mapping[str, Any], tied: bool) -> LlamaSizes:
    """The sizes that the fields of a GGUF file tell. KeyError names a field that is missing."""
    return LlamaSizes(
        vocabulary=int(fields["llama.vocab_size"]),
        dim=int(fields["llama.embedding_length"]),
        depth=int(fields["llama.block_count"]),
        heads=int(fields["llama.attention.head_count"]),
        kv_heads=int(fields["llama.attention.head_count_kv"]),
        hidden=int(fields["llama.feed_forward_length"]),
        rope_base=float(fields["llama.rope.freq_base"]),
        norm_eps=float(fields["llama.attention.layer_norm_rms_epsilon"]),
        tied=tied,
    )
