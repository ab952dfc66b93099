"""Attributes from a face encoder that is there already: a frozen ViT, and one small head for all attributes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.nets.vit import VIT_NORM_EPS, VitEncoder


@dataclass(frozen=True)
class SharedSizes:
    """Sizes of the encoder (as `VitEncoder` has them, `image_size` in pixels) and of the head: the width to which each
    patch's token is reduced, and the head's hidden width."""

    image_size: int = 112
    patch: int = 16
    dim: int = 128
    depth: int = 4
    heads: int = 4
    mlp_ratio: int = 4
    token: int = 16
    hidden: int = 128

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
    def patches(self) -> int:
        """Patches of a picture."""
        return (self.image_size // self.patch) ** 2


class SharedEncoder(nn.Module):
    """The encoder, which is never trained here, and the head that reads its tokens."""

    def __init__(self, sizes: SharedSizes, attributes: int):
        super().__init__()
        self.sizes = sizes
        self.encoder = VitEncoder(
            3, sizes.patches, 0, sizes.patch, sizes.dim, sizes.depth, sizes.heads, sizes.mlp_ratio, 0
        )
        self.encoder.requires_grad_(False)
        self.norm = nn.LayerNorm(sizes.dim, eps=VIT_NORM_EPS)
        self.reduce = nn.Linear(sizes.dim, sizes.token)
        self.fc = nn.Linear(sizes.dim + sizes.token * sizes.patches, sizes.hidden)
        self.head = nn.Linear(sizes.hidden, attributes)

    @torch.no_grad()
    def tokens(self, faces: Tensor) -> Tensor:
        """Faces float [N, 3, S, S] in 0..1 -> tokens [N, 1 + patches, dim] after the final norm, CLS first."""
        encoder = self.encoder
        patches = encoder.patch_embed(faces)
        x = torch.cat((encoder.cls_token.expand(faces.shape[0], -1, -1), patches), dim=1) + encoder.pos_embed
        for block in encoder.blocks:
            x = block(x)
        return encoder.norm(x)  # type: ignore[no-any-return]

    def read(self, tokens: Tensor) -> Tensor:
        """Tokens of `tokens` -> logits [N, attributes]: what is trained."""
        x = self.norm(tokens)
        patches = F.gelu(self.reduce(x[:, 1:])).flatten(1)
        return self.head(F.gelu(self.fc(torch.cat((x[:, 0], patches), dim=1))))  # type: ignore[no-any-return]

    def forward(self, faces: Tensor) -> Tensor:
        """Faces float [N, 3, S, S] in 0..1 -> logits [N, attributes]."""
        return self.read(self.tokens(faces))
