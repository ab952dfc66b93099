"""The ViT encoder of masked autoencoders: its parts, named as in the common checkpoints.

The encoder only holds its parts and has no forward pass: MMA-DFER runs the blocks of two encoders in step and
exchanges information between them after every block. `tokens_of` runs one alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VIT_NORM_EPS = 1e-6
"""Epsilon of every LayerNorm inside a ViT (torch's default is 1e-5)."""


class Attention(nn.Module):
    """Multi-head self-attention over [N, tokens, dim], one joint projection for queries, keys and values."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, dim] -> [N, tokens, dim]."""
        n, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(n, tokens, dim))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm transformer block: attention, then MLP, each with a residual."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=VIT_NORM_EPS)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=VIT_NORM_EPS)
        self.mlp = Mlp(dim, mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, dim] -> [N, tokens, dim]."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class PatchEmbed(nn.Module):
    """Cuts a picture into square patches and projects each; rows of patches follow one another."""

    def __init__(self, channels: int, patch: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, height, width] -> [N, patches, dim]."""
        return self.proj(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class VitEncoder(nn.Module):
    """The parts of a ViT encoder: CLS token, position embedding, patch embedding, blocks, final norm, unused head.

    `extra_tokens` are rows of the position embedding for tokens appended after the patches. `head` is the number of
    outputs of the classifier that a checkpoint holds; nothing here uses the classifier, and 0 leaves it out.
    """

    def __init__(
        self,
        channels: int,
        patches: int,
        extra_tokens: int,
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: int,
        head: int,
    ):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches + extra_tokens, dim))
        self.patch_embed = PatchEmbed(channels, patch, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=VIT_NORM_EPS)
        self.head = nn.Linear(dim, head) if head else None


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes of an encoder of square pictures, as `VitEncoder` has them; `image_size` in pixels. The defaults are those of the
    face encoders that ship."""

    image_size: int = 112
    patch: int = 16
    dim: int = 128
    depth: int = 4
    heads: int = 4
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a whole number, at least 1, got {getattr(self, name)!r}")
        if self.image_size % self.patch or self.dim % self.heads:
            raise ValueError(
                f"expected image_size a multiple of patch and dim one of heads, got {self.image_size} and {self.patch}, "
                f"{self.dim} and {self.heads}"
            )

    @property
    def grid(self) -> int:
        """Patches in a row of the picture."""
        return self.image_size // self.patch

    @property
    def patches(self) -> int:
        """Patches of a picture."""
        return self.grid**2

    def build(self) -> VitEncoder:
        """An encoder of RGB pictures with a CLS token and no more, frozen."""
        return VitEncoder(
            3, self.patches, 0, self.patch, self.dim, self.depth, self.heads, self.mlp_ratio, 0
        ).requires_grad_(False)


def tokens_of(encoder: VitEncoder, pictures: Tensor) -> Tensor:
    """Pictures float [N, channels, S, S] -> tokens [N, 1 + patches, dim] after the final norm, CLS first; of an encoder without
    extra tokens. Gradients reach the pictures, where they are wanted."""
    x = encoder.patch_embed(pictures)
    x = torch.cat((encoder.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + encoder.pos_embed
    for block in encoder.blocks:
        x = block(x)
    return encoder.norm(x)  # type: ignore[no-any-return]


def unchanged(dim: int) -> Tensor:
    """The matrix [dim, dim] that changes nothing.

    `torch.eye` is the same, but on the meta device, where nets are built before their weights are read, it imports
    torch's compiler, which takes longer than all of the weights.
    """
    return torch.zeros(dim, dim).fill_diagonal_(1)
