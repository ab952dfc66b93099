"""Masked autoencoder over a ViT encoder: it learns what pictures look like by filling in the patches hidden from it.

As He et al., Masked Autoencoders Are Scalable Vision Learners (arXiv 2111.06377), and for log-mel filter banks Huang et
al., Masked Autoencoders that Listen (arXiv 2207.06405), here with plain attention in the decoder. The encoder sees only
the patches that are left, so most of the work is a quarter (faces) or a fifth (sound) of a ViT's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.nets.vit import VIT_NORM_EPS, Block, VitEncoder

WHITE_DEVIATION = 0.7
"""Standard deviation of each component of a whitened patch, about that of the position embedding."""
NOISE_VARIANCE = 1e-3
"""Least variance of a principal component, in pixels or normalised filter banks; weaker ones are not amplified."""


@dataclass(frozen=True)
class MaeConfig:
    """Sizes of the net; the defaults are ViT-B/16 on 224 px with the decoder of the paper."""

    channels: int = 3
    """Channels of a picture: 3 for RGB, 1 for a filter bank."""
    height: int = 224
    """Rows of a picture; a multiple of `patch`."""
    width: int = 224
    """Columns of a picture; a multiple of `patch`."""
    patch: int = 16
    """Side of a patch."""
    dim: int = 768
    """Width of the encoder."""
    depth: int = 12
    """Blocks of the encoder."""
    heads: int = 12
    """Attention heads of the encoder."""
    mlp_ratio: int = 4
    """Hidden width of every MLP, as a multiple of the width."""
    decoder_dim: int = 512
    """Width of the decoder."""
    decoder_depth: int = 8
    """Blocks of the decoder."""
    decoder_heads: int = 16
    """Attention heads of the decoder."""
    mask_ratio: float = 0.75
    """Share of the patches that the encoder does not see."""

    def __post_init__(self) -> None:
        if self.height % self.patch or self.width % self.patch:
            raise ValueError(f"height {self.height} and width {self.width} must be multiples of patch {self.patch}")
        if self.dim % self.heads or self.dim % 4:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads} and of 4")
        if self.decoder_dim % self.decoder_heads or self.decoder_dim % 4:
            raise ValueError(
                f"decoder_dim {self.decoder_dim} must be a multiple of its {self.decoder_heads} heads, and 4"
            )
        if not 0 < self.mask_ratio < 1 or not 0 < self.visible < self.patches:
            raise ValueError(f"mask_ratio {self.mask_ratio} must hide some, but not all, of the {self.patches} patches")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.height // self.patch, self.width // self.patch

    @property
    def patches(self) -> int:
        """Patches of a picture."""
        return self.grid[0] * self.grid[1]

    @property
    def visible(self) -> int:
        """Patches that the encoder sees."""
        return int(self.patches * (1 - self.mask_ratio))


class Mae(nn.Module):
    """Encoder and decoder; `encoder` is the result of pre-training, its tensors named as in the common checkpoints."""

    def __init__(self, config: MaeConfig):
        super().__init__()
        self.config = config
        pixels = config.channels * config.patch**2
        self.encoder = VitEncoder(
            config.channels,
            config.patches,
            0,
            config.patch,
            config.dim,
            config.depth,
            config.heads,
            config.mlp_ratio,
            0,
        )
        self.decoder_embed = nn.Linear(config.dim, config.decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_dim))
        self.decoder_pos_embed = nn.Parameter(positions(config.decoder_dim, config.grid), requires_grad=False)
        self.decoder_blocks = nn.ModuleList(
            Block(config.decoder_dim, config.decoder_heads, config.mlp_ratio) for _ in range(config.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(config.decoder_dim, eps=VIT_NORM_EPS)
        self.decoder_pred = nn.Linear(config.decoder_dim, pixels)
        self.encoder.pos_embed.requires_grad_(False)

    def forward(self, pictures: Tensor, order: Tensor) -> Tensor:
        """The loss, a float scalar: mean squared error over the hidden patches, each normalised by its own values.

        `pictures` float [N, channels, height, width]; `order` int64 [N, patches], for each picture a permutation of its
        patches: the first `config.visible` of them are seen, the others are to be filled in.
        """
        predicted = self._decode(self.encode(pictures, order[:, : self.config.visible]), order)
        return self.loss(predicted, pictures, order)

    def loss(self, predicted: Tensor, pictures: Tensor, order: Tensor) -> Tensor:
        """The loss of a prediction [N, hidden patches, channels * patch * patch], in the order of the hidden
        patches."""
        target = self.patchify(pictures).float()
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        hidden = order[:, self.config.visible :]
        return F.mse_loss(predicted.float(), _take(target, hidden))

    def encode(self, pictures: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens [N, 1 + visible patches, dim] after the final norm, CLS first.

        `keep` int64 [N, visible patches]: the patches of each picture that are visible; None: all of them.
        """
        if keep is None:
            keep = torch.arange(self.config.patches, device=pictures.device).expand(len(pictures), -1)
        patches, encoder = self.patchify(pictures), self.encoder
        # The patch embedding is a linear map of each patch, so only the visible patches need it.
        embed = encoder.patch_embed.proj
        seen = F.linear(_take(patches, keep), embed.weight.flatten(1), embed.bias)
        seen = seen + _take(encoder.pos_embed[:, 1:].expand(len(keep), -1, -1), keep)
        cls = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(len(keep), -1, -1)
        x = torch.cat((cls, seen), dim=1)
        for block in encoder.blocks:
            x = block(x)
        return encoder.norm(x)  # type: ignore[no-any-return]

    def patchify(self, pictures: Tensor) -> Tensor:
        """[N, channels, height, width] -> [N, patches, channels * patch * patch], in the order of `PatchEmbed`."""
        n, channels, _, _ = pictures.shape
        rows, columns = self.config.grid
        side = self.config.patch
        cut = pictures.view(n, channels, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(n, rows * columns, channels * side * side)

    def _decode(self, tokens: Tensor, order: Tensor) -> Tensor:
        """Predicted values [N, hidden patches, channels * patch * patch], in the order of the hidden patches."""
        x = self.decoder_embed(tokens)
        hidden = self.config.patches - self.config.visible
        masks = self.mask_token.to(x.dtype).expand(len(x), hidden, -1)
        places = _take(self.decoder_pos_embed[:, 1:].expand(len(x), -1, -1), order)
        # Attention does not depend on the order of tokens, so they stay shuffled.
        x = torch.cat((x[:, :1] + self.decoder_pos_embed[:, :1], torch.cat((x[:, 1:], masks), dim=1) + places), dim=1)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x[:, -hidden:]))  # type: ignore[no-any-return]

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Fill every parameter from `seed`: Xavier for linear maps, N(0, 0.02) for tokens, fixed sine positions."""
        generator = torch.Generator().manual_seed(seed)
        self.encoder.pos_embed.copy_(positions(self.config.dim, self.config.grid))
        self.encoder.cls_token.normal_(0.0, 0.02, generator=generator)
        self.mask_token.normal_(0.0, 0.02, generator=generator)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()
            elif isinstance(module, (nn.Linear, nn.Conv2d)):
                weight = module.weight.view(len(module.weight), -1)
                spread = (6 / (weight.shape[0] + weight.shape[1])) ** 0.5
                weight.uniform_(-spread, spread, generator=generator)
                assert module.bias is not None
                module.bias.zero_()

    @torch.no_grad()
    def whiten(self, pictures: Tensor) -> None:
        """Initialise the patch embedding with the strongest principal components of patches of `pictures`, whitened.

        Raw patches differ mostly in brightness. Undoing that by gradient steps takes long, so training from scratch on
        few pictures is many times faster from here (whitening: LeCun et al., Efficient BackProp, 1998). A patch must
        have at least as many values as the encoder is wide; `pictures` are as `forward` takes them.
        """
        patches = self.patchify(pictures).flatten(0, 1).double()
        if patches.shape[1] < self.config.dim:
            raise ValueError(
                f"whiten: expected at least {self.config.dim} values a patch (encoder width), got {patches.shape[1]}"
            )
        mean = patches.mean(dim=0)
        variance, axes = torch.linalg.eigh(torch.cov(patches.T))
        # eigh sorts in ascending order. Components below the floor are nothing but camera noise.
        scale = WHITE_DEVIATION / (variance[-self.config.dim :] + NOISE_VARIANCE).sqrt()
        weight = (axes[:, -self.config.dim :] * scale).T
        proj = self.encoder.patch_embed.proj
        assert proj.bias is not None
        proj.weight.copy_(weight.view_as(proj.weight))
        proj.bias.copy_(-(weight @ mean))


def positions(dim: int, grid: tuple[int, int]) -> Tensor:
    """float32 [1, 1 + rows * columns, dim]: sine and cosine of row and column, zeros for the CLS token.

    Half of `dim` (a multiple of 4) codes the column, half the row, each by sines, then cosines, of frequencies from 1
    down to 1/10000 (arXiv 1706.03762, in two dimensions as in MAE).
    """
    rows, columns = grid
    frequencies = 10_000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    row = torch.arange(rows).repeat_interleave(columns)[:, None] * frequencies
    column = torch.arange(columns).repeat(rows)[:, None] * frequencies
    table = torch.cat((column.sin(), column.cos(), row.sin(), row.cos()), dim=1)
    return torch.cat((torch.zeros(1, dim, dtype=torch.float64), table)).float()[None]


def _take(rows: Tensor, which: Tensor) -> Tensor:
    """Select rows [N, k, dim] of [N, rows, dim] by their indices [N, k]."""
    return rows.gather(1, which[:, :, None].expand(-1, -1, rows.shape[-1]))
