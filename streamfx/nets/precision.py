"""The precision that a net computes in: float32, or what a CPU multiplies faster.

Only the linear layers of the ViT encoders change, where nearly all of the time goes. What lies between them (norms,
attention, residuals), the heads, and what novelty is measured with, stay float32, and so do all inputs and outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

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
BY_FRAME = 2**16
"""Numbers in the tokens of one frame from which on frames go one by one; small nets spend that gain on the calls."""
TINY = 1e-12
"""The least scale."""


class _FastLinear(nn.Module):
    dtype: torch.dtype = torch.float32
    """Type of the outputs."""


class Bf16Linear(_FastLinear):
    """A linear layer with weights and inputs rounded to bfloat16; the sums are float32."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().bfloat16(), requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().bfloat16(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [..., in] -> [..., out]."""
        return F.linear(x.bfloat16(), self.weight, self.bias).to(self.dtype)


class Int8Linear(_FastLinear):
    """A linear layer whose weights and inputs are 8-bit integers: one scale for each output of the weights, which never
    changes, and one for each item of the inputs.

    An item is a picture or a sound. Its scale spans its own values, so no calibration set decides it, and an answer does
    not depend on what else is in the batch.
    """

    after = "none"
    """What is done to each output in the same pass: nothing, or `gelu`."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach()
        self._scales = (weight.abs().amax(dim=1) / 127).clamp_min(TINY)
        self._zeros = torch.zeros(len(weight), dtype=torch.long)
        self._bias = None if linear.bias is None else linear.bias.detach()
        rounded = (weight / self._scales[:, None]).round().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [items, tokens, in] -> [items, tokens, out]."""
        said = [self._product(*rounded_item(item)) for item in x]
        return said[0][None] if len(said) == 1 else torch.stack(said)

    def _product(self, item: Tensor, scale: float, zero: int) -> Tensor:
        weight, bias = (self._weight, self._scales, self._zeros), self._bias
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            item, scale, zero, *weight, bias, 1.0, 0, self.dtype, self.after, [], "none"
        )
        return product


def rounded_item(item: Tensor) -> tuple[Tensor, float, int]:
    """uint8 of float32 values, with the scale and the zero point that span them: value = scale * (uint8 - zero)."""
    lowest, highest = (float(end) for end in item.aminmax())
    lowest, highest = min(lowest, 0.0), max(highest, 0.0)
    scale = max((highest - lowest) / 255, TINY)
    zero = round(-lowest / scale)
    # By way of int8, of which the top bit is turned: torch is six times as slow to uint8.
    signed = torch.add(torch.tensor(zero - 128.0), item, alpha=1 / scale).round_().clamp_(-128, 127).to(torch.int8)
    return signed.view(torch.uint8).bitwise_xor_(128), scale, zero


class Bf16Attention(nn.Module):
    """`Attention` between bfloat16 numbers; torch sums in float32, within the softmax too.

    For the few hundred tokens of a picture that is quicker than torch's fused attention.
    """

    def __init__(self, exact: Attention):
        super().__init__()
        self.heads, self.proj = exact.heads, exact.proj
        qkv: Any = exact.qkv
        qkv.dtype = torch.bfloat16
        self.qkv = qkv

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, tokens, dim] -> [N, tokens, dim]."""
        n, tokens, dim = x.shape
        qkv = self.qkv(x).view(n, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.contiguous().flatten(1, 2)  # one copy here saves three within the products
        shares = torch.bmm(q * (dim // self.heads) ** -0.5, k.mT).softmax(dim=-1)
        y = torch.bmm(shares, v).view(n, self.heads, tokens, -1).transpose(1, 2)
        return self.proj(y.reshape(n, tokens, dim).float())  # type: ignore[no-any-return]


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
    if precision == "int8" and device != "cpu":
        raise ValueError(f"int8 is for CPUs, and this is {device}; take bf16")
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
            if precision == "int8":
                hidden: Any = part.mlp.fc1
                hidden.after = "gelu"
                part.mlp = nn.Sequential(hidden, part.mlp.fc2)  # type: ignore[assignment]
        if isinstance(part, MmaDfer):
            part.by_frame = part.config.image_patches * part.config.dim >= BY_FRAME
    return net


def _replace(part: nn.Module, kind: type[Bf16Linear | Int8Linear]) -> None:
    """Replace all linear layers within `part`, but for the classifier of an encoder, which nothing uses."""
    for parent in part.modules():
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and name != "head":
                setattr(parent, name, kind(child))
