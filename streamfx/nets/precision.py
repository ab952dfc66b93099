"""The precision that a net computes in: float32, or what a CPU multiplies faster.

Only the linear layers of the ViT encoders change, where nearly all of the time goes. What lies between them (norms,
attention, residuals), the heads, and what novelty is measured with, stay float32, and so do all inputs and outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.nets.mma_dfer import MmaDfer
from streamfx.nets.vit import Attention, Block, VitEncoder

Precision = Literal["fp32", "bf16", "int8"]
"""float32; bfloat16 products with float32 sums; products of 8-bit integers with 32-bit sums."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
SETS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")
"""Instruction sets that matter here, as Linux names them."""
BF16 = {"avx512_bf16", "amx_bf16"}
"""One of these multiplies bfloat16 numbers faster than float32."""
VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}
"""One of these multiplies 8-bit integers and adds in 32 bits."""
INT8_ENGINE = "onednn"
"""torch's engine for 8-bit products; on CPUs with VNNI a third faster than its others."""


class Bf16Linear(nn.Module):
    """A linear layer with weights and inputs rounded to bfloat16; the sums are float32."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().bfloat16(), requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().bfloat16(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [..., in] -> [..., out]."""
        return F.linear(x.bfloat16(), self.weight, self.bias).float()


class Int8Linear(nn.Module):
    """A linear layer whose weights and inputs are 8-bit integers: one scale for each output of the weights, which never
    changes, and one for each item of the inputs.

    An item is a picture or a sound. Its scale spans its own values, so no calibration set decides it, and an answer does
    not depend on what else is in the batch.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach()
        scales = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        rounded = (weight / scales[:, None]).round().to(torch.int8)
        zeros = torch.zeros(len(weight), dtype=torch.long)
        quantised = torch._make_per_channel_quantized_tensor(rounded, scales.double(), zeros, 0)
        before = torch.backends.quantized.engine
        torch.backends.quantized.engine = INT8_ENGINE
        try:
            bias = None if linear.bias is None else linear.bias.detach()
            self._packed = torch.ops.quantized.linear_prepack(quantised, bias)
        finally:
            torch.backends.quantized.engine = before

    def forward(self, x: Tensor) -> Tensor:
        """float32 [items, tokens, in] -> [items, tokens, out]."""
        said = [torch.ops.quantized.linear_dynamic(item, self._packed) for item in x]
        return said[0][None] if len(said) == 1 else torch.stack(said)


class Bf16Attention(nn.Module):
    """`Attention` whose two products are of bfloat16 numbers; the softmax between them is float32.

    For the few hundred tokens of a picture that is quicker than torch's fused attention.
    """

    def __init__(self, exact: Attention):
        super().__init__()
        self.heads, self.qkv, self.proj = exact.heads, exact.qkv, exact.proj

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, tokens, dim] -> [N, tokens, dim]."""
        n, tokens, dim = x.shape
        q, k, v = self.qkv(x).bfloat16().view(n, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        shares = (q * (dim // self.heads) ** -0.5 @ k.mT).softmax(dim=-1, dtype=torch.float32)
        y = shares.bfloat16() @ v
        return self.proj(y.transpose(1, 2).reshape(n, tokens, dim).float())  # type: ignore[no-any-return]


def instruction_sets() -> tuple[str, ...]:
    """What of SETS this machine's CPU has; empty where the system does not tell."""
    try:
        said = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return ()
    return tuple(name for name in SETS if name in said)


def check_precision(precision: str, device: str) -> str | None:
    """A hint where `precision` is no gain on this machine; ValueError where its answers would be wrong or there is no
    way to them."""
    there = instruction_sets()
    names = ", ".join(there) or "none that is known"
    if precision == "int8" and (device != "cpu" or INT8_ENGINE not in torch.backends.quantized.supported_engines):
        raise ValueError(f"int8 is for CPUs, with a torch that has {INT8_ENGINE}; this is {device}")
    if precision == "int8" and not set(there) & VNNI:
        # Without these, sums of two products are cut at 16 bits.
        raise ValueError(f"int8 needs a CPU with one of {', '.join(sorted(VNNI))}; this one has {names}; take fp32")
    if precision == "bf16" and device == "cpu" and not set(there) & BF16:
        return f"this CPU has no instructions for bf16 (it has {names}), and computes slower in it than in fp32"
    return None


def has_encoders(net: nn.Module) -> bool:
    """Whether `net` holds anything that another precision changes."""
    return any(isinstance(part, Block) for part in net.modules())


def at_precision(net: nn.Module, precision: str) -> nn.Module:
    """`net` itself, the linear layers and the attention of its encoders replaced by those of `precision`."""
    if precision == "fp32":
        return net
    kind = Bf16Linear if precision == "bf16" else Int8Linear
    for part in list(net.modules()):
        # What an encoder holds beside its blocks, such as the bottleneck of MMA-DFER, is replaced too.
        if isinstance(part, VitEncoder | Block):
            _replace(part, kind)
        if isinstance(part, Block):
            part.attn = Bf16Attention(part.attn)  # type: ignore[assignment]
        if isinstance(part, MmaDfer):
            part.by_frame = True
    return net


def _replace(part: nn.Module, kind: type[Bf16Linear | Int8Linear]) -> None:
    """Replace all linear layers within `part`, but for the classifier of an encoder, which nothing uses."""
    for parent in part.modules():
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and name != "head":
                setattr(parent, name, kind(child))
