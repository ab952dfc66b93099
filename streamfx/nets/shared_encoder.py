"""Attributes from a face encoder that is there already: a frozen ViT, and one small head for all attributes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.nets.vit import VIT_NORM_EPS, EncoderSizes, tokens_of


@dataclass(frozen=True)
class SharedSizes(EncoderSizes):
    """Sizes of the encoder and of the head: the width to which each
    patch's token is reduced, and the head's hidden width."""

    token: int = 16
    hidden: int = 128


class SharedEncoder(nn.Module):
    """The encoder, which is never trained here, and the head that reads its tokens."""

    def __init__(self, sizes: SharedSizes, attributes: int):
        super().__init__()
        self.sizes = sizes
        self.encoder = sizes.build()
        self.norm = nn.LayerNorm(sizes.dim, eps=VIT_NORM_EPS)
        self.reduce = nn.Linear(sizes.dim, sizes.token)
        self.fc = nn.Linear(sizes.dim + sizes.token * sizes.patches, sizes.hidden)
        self.head = nn.Linear(sizes.hidden, attributes)

    @torch.no_grad()
    def tokens(self, faces: Tensor) -> Tensor:
        """Faces float [N, 3, S, S] in 0..1 -> tokens [N, 1 + patches, dim] after the final norm, CLS first."""
        return tokens_of(self.encoder, faces)

    def read(self, tokens: Tensor) -> Tensor:
        """Tokens of `tokens` -> logits [N, attributes]: what is trained."""
        x = self.norm(tokens)
        patches = F.gelu(self.reduce(x[:, 1:])).flatten(1)
        return self.head(F.gelu(self.fc(torch.cat((x[:, 0], patches), dim=1))))  # type: ignore[no-any-return]

    def forward(self, faces: Tensor) -> Tensor:
        """Faces float [N, 3, S, S] in 0..1 -> logits [N, attributes]."""
        return self.read(self.tokens(faces))
