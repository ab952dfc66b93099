"""FMAE-IAT (arXiv 2407.11243): a masked autoencoder's ViT that names facial action units, and unlearns who people are.

The mean of the patch tokens goes through `fc_norm` to a linear head for action units. In training a second linear head
names the person from the same feature, behind a gradient reversal: it learns as well as it can, while the encoder
learns to leave it nothing to see. Tensors are named as in the authors' checkpoints. On purpose `head` has a bias, which
theirs lacks: it holds how rare a unit is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from streamfx.nets.mae import positions
from streamfx.nets.vit import VIT_NORM_EPS, Block, PatchEmbed, unchanged

SIZES: Mapping[str, Mapping[str, int]] = {
    "tiny": {"dim": 128, "depth": 4, "heads": 4},
    "small": {"dim": 384, "depth": 12, "heads": 6},
    "base": {"dim": 768, "depth": 12, "heads": 12},
    "large": {"dim": 1024, "depth": 24, "heads": 16},
}
"""The authors' ViT-S, ViT-B and ViT-L in patches of 16, for 224 px, and a tiny one of ours, for 112 px."""
FULL_INTENSITY = 5.0
"""Intensity of an action unit at its strongest (FACS: A to E are 1 to 5, and 0 is none)."""


@dataclass(frozen=True)
class FmaeConfig:
    """Sizes of the net; the defaults are the authors' ViT-L for BP4D."""

    classes: int = 12
    """Action units (or expressions) that `head` names, one logit each."""
    image_size: int = 224
    """Side of the square pictures, pixels; a multiple of `patch`."""
    patch: int = 16
    """Side of a patch."""
    dim: int = 1024
    """Width of the encoder."""
    depth: int = 24
    """Blocks of the encoder."""
    heads: int = 16
    """Attention heads of the encoder."""
    mlp_ratio: int = 4
    """Hidden width of the MLPs, as a multiple of the width."""
    intensities: int = 0
    """Action units whose intensity a third head tells; 0: none, as in the authors' net."""
    novelty: bool = False
    """Whether the net tells how novel a face is to it."""

    def __post_init__(self) -> None:
        sizes = (self.classes, self.image_size, self.patch, self.dim, self.depth, self.heads, self.mlp_ratio)
        if any(type(size) is not int or size < 1 for size in sizes) or type(self.novelty) is not bool:
            raise ValueError(f"expected sizes of at least 1, and novelty true or false, got {self}")
        if type(self.intensities) is not int or self.intensities < 0:
            raise ValueError(f"intensities must be at least 0, got {self.intensities!r}")
        if self.image_size % self.patch:
            raise ValueError(f"image_size {self.image_size} must be a multiple of patch {self.patch}")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.image_size // self.patch
        return side, side


class Fmae(nn.Module):
    """The encoder with its heads. Pictures are float [N, 3, S, S] in 0..1, or uint8, which is divided by 255.

    The authors' nets expect ImageNet's normalisation; importing folds it into the patch embedding, so that every net
    here takes plain pixels.

    `drop_path` is the share of pictures for which a branch of the last block is left out in training (stochastic depth,
    arXiv 1603.09382); it grows from 0 in the first block.

    Where the net tells novelty, it reads it from the mean of the patch tokens half way up, since action units are all
    that is left of a face at the top. The buffers hold where clear faces lie there (their mean, the map to coordinates
    in which their spread is even, and the distance beyond which a face is novel), and a linear reader that is above 0
    for covered and turned faces (`streamfx/train/au_novelty.py` sets them).
    """

    def __init__(self, config: FmaeConfig):
        super().__init__()
        self.config, self.drop_path = config, 0.0
        patches = config.grid[0] * config.grid[1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches, config.dim))
        self.patch_embed = PatchEmbed(3, config.patch, config.dim)
        self.blocks: Any = nn.ModuleList(Block(config.dim, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.fc_norm = nn.LayerNorm(config.dim, eps=VIT_NORM_EPS)
        self.head = nn.Linear(config.dim, config.classes)
        self.intensity_head = nn.Linear(config.dim, config.intensities) if config.intensities else None
        if config.novelty:
            self.register_buffer("known_mean", torch.zeros(config.dim))
            self.register_buffer("known_map", unchanged(config.dim))
            self.register_buffer("border", torch.ones(1))
            self.register_buffer("hidden_weight", torch.zeros(config.dim))
            self.register_buffer("hidden_bias", torch.full((1,), -1.0))

    def features(self, pictures: Tensor) -> Tensor:
        """float [N, dim]: `fc_norm` of the mean of the patch tokens after the last block, the CLS token left out."""
        return self.read(pictures)[0]

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """`features`, and float [N, dim]: the mean of the patch tokens after half of the blocks."""
        pixels = pictures / 255 if pictures.dtype == torch.uint8 else pictures
        x = self.patch_embed(pixels)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        last, half, middle = max(self.config.depth - 1, 1), self.config.depth // 2, x
        for number, block in enumerate(self.blocks):
            share = self.drop_path * number / last if self.training else 0.0
            x = x + _dropped(block.attn(block.norm1(x)), share)
            x = x + _dropped(block.mlp(block.norm2(x)), share)
            middle = x if number + 1 == half else middle
        return self.fc_norm(x[:, 1:].mean(dim=1)), middle[:, 1:].mean(dim=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits float [N, classes]; the sigmoid of each is the probability that the unit acts."""
        return self.head(self.features(pictures))  # type: ignore[no-any-return]

    def answer(self, pictures: Tensor) -> dict[str, Tensor]:
        """What `say` makes of the pictures."""
        return self.say(*self.read(pictures))

    def say(self, seen: Tensor, middle: Tensor) -> dict[str, Tensor]:
        """Of both that `read` gives: `presence`, the logits of `forward`; `intensity` [N, intensities] in 0..5 and `novelty`
        [N], where the net tells them: above 1 for a face that is novel, so that it should not be read."""
        said = {"presence": self.head(seen)}
        if self.intensity_head is not None:
            said["intensity"] = (FULL_INTENSITY * self.intensity_head(seen)).clamp(0, FULL_INTENSITY)
        if self.config.novelty:
            said["novelty"] = self.novelty(middle)
        return said

    def novelty(self, middle: Tensor) -> Tensor:
        """float [N], from what `read` gives second: the larger of the distance as a multiple of the border's, and twice
        the probability by the reader that the face is covered or turned. Both are 1 at their borders."""
        hidden = middle @ self.get_buffer("hidden_weight") + self.get_buffer("hidden_bias")
        return torch.maximum(self.distance(middle) / self.get_buffer("border"), 2 * hidden.sigmoid())

    def distance(self, middle: Tensor) -> Tensor:
        """float [N]: Mahalanobis distance of what `read` gives second from the mean of the clear faces learned from."""
        apart: Tensor = (middle - self.get_buffer("known_mean")) @ self.get_buffer("known_map")
        return apart.norm(dim=-1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Fill every parameter from `seed`, the same on every machine, as MAE's authors fill a net before pre-training;
        the positions begin as sines and cosines, and are learned as in their fine-tuning."""
        generator = torch.Generator().manual_seed(seed)
        self.pos_embed.copy_(positions(self.config.dim, self.config.grid))
        for name, value in self.named_parameters():
            if name == "pos_embed":
                continue
            if "norm" in name:
                value.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name.endswith("bias"):
                value.zero_()
            elif name == "cls_token" or "head" in name:
                value.normal_(0.0, 0.02, generator=generator)
            else:
                flat = value.view(len(value), -1)
                spread = (6 / (flat.shape[0] + flat.shape[1])) ** 0.5
                value.uniform_(-spread, spread, generator=generator)


class _Reverse(torch.autograd.Function):
    """The identity, whose gradient is turned round and scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """`x` itself; backward, the gradient is multiplied by -`strength` (Ganin and Lempitsky, arXiv 1409.7495)."""
    reversed_: Tensor = _Reverse.apply(x, strength)  # type: ignore[no-untyped-call]
    return reversed_


class Adversary(nn.Module):
    """`net` with the identity head of its training: `subjects` logits from the same feature behind the reversal.

    The gradient that reaches the encoder from them is multiplied by -`strength`; the head itself learns at full
    strength. With a strength of 0 the encoder learns from the action units alone. The head has no bias, as its authors'.

    With `prior`, -ln(subjects - 1) is added to its logits, so that all begin at the odds of one person among all. Else
    the head's first task is to learn from the feature that hardly anybody is the one. The encoder, driven to deny it,
    then works against all outputs alike, and that gradient is not divided by their number: with 3,300 people and a
    strength of 33 the units are not learned at all.
    """

    def __init__(self, net: Fmae, subjects: int, strength: float, seed: int, prior: bool = False):
        super().__init__()
        self.net, self.strength = net, strength
        self._prior = -math.log(subjects - 1) if prior and subjects > 1 else 0.0
        self.ID_head = nn.Linear(net.config.dim, subjects, bias=False)
        with torch.no_grad():
            self.ID_head.weight.normal_(0.0, 0.02, generator=torch.Generator().manual_seed(seed))

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """`presence` logits [N, classes], `intensity` [N, intensities] as a share of FULL_INTENSITY, unbounded, where
        the net has that head, and `identity` logits [N, subjects]."""
        seen = self.net.features(pictures)
        identity = self.ID_head(reverse_gradient(seen, self.strength)) + self._prior
        said = {"presence": self.net.head(seen), "identity": identity}
        if self.net.intensity_head is not None:
            said["intensity"] = self.net.intensity_head(seen)
        return said


def _dropped(branch: Tensor, share: float) -> Tensor:
    """The branch [N, ...] of a residual, left out for a random share of the pictures and scaled for the others."""
    if not share:
        return branch
    kept = torch.rand(len(branch), *[1] * (branch.ndim - 1), device=branch.device) >= share
    return branch * kept / (1 - share)
