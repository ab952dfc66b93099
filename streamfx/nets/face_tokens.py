"""A face as 8 x 8 words: an autoencoder whose middle is a grid of codes from a small codebook.

Two quantisers. `vq` compares directions: a code is a unit vector, the mean of the vectors that were given it (exponential
moving average; van den Oord et al., arXiv 1711.00937, and the cosine form of Yu et al., arXiv 2110.04627). A code that hardly
anything is given begins again at what the others describe worst. `lfq` has no codebook: the signs of log2(codes) numbers are
the code (lookup-free quantisation, Yu et al., arXiv 2310.05737).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8
"""Groups of channels that are normed together."""
DECAY = 0.98
"""Of the moving averages of codes."""
DEAD = 0.05
"""A code begins again when it is given less than this share of what each would get if all got the same."""
SHARPNESS = 10.0
"""Of the soft assignment by which `lfq` measures how evenly codes are used."""


@dataclass(frozen=True)
class FaceTokensSizes:
    """Sizes of the autoencoder; `image_size` in pixels, `grid` codes along each side."""

    image_size: int = 64
    grid: int = 8
    codes: int = 512
    code_dim: int = 16
    """Numbers of a code of `vq`; `lfq` has log2(codes)."""
    width: int = 32
    """Channels at a quarter of the picture's pixels; twice and three times as many further in."""
    quantiser: Literal["vq", "lfq"] = "vq"

    def __post_init__(self) -> None:
        for name in ("image_size", "grid", "codes", "code_dim", "width"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a whole number, at least 1, got {getattr(self, name)!r}")
        halvings = self.image_size // self.grid
        if self.grid * halvings != self.image_size or halvings < 4 or halvings & (halvings - 1):
            raise ValueError(
                f"image_size: expected grid times 4, 8, 16 and so on, got {self.image_size} and a grid of {self.grid}"
            )
        if self.width % GROUPS:
            raise ValueError(f"width: expected a multiple of {GROUPS}, got {self.width}")
        if self.quantiser not in ("vq", "lfq"):
            raise ValueError(f"quantiser: expected vq or lfq, got {self.quantiser!r}")
        if self.quantiser == "lfq" and self.codes & (self.codes - 1):
            raise ValueError(f"codes: lfq needs a power of two, got {self.codes}")

    @property
    def tokens(self) -> int:
        """Codes of a picture."""
        return self.grid**2

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each size of the map, from half of the picture's side down to the grid."""
        count = (self.image_size // self.grid).bit_length() - 1
        return tuple(self.width * min(level + 1, 3) for level in range(count))


@dataclass(frozen=True)
class Quantised:
    """What a quantiser made of vectors [N, D, h, w]: `vectors` of the same shape, through which gradients pass as if nothing
    had happened; `codes` int64 [N, h, w]; and `loss`, which keeps vectors near codes."""

    vectors: Tensor
    codes: Tensor
    loss: Tensor


class Codebook(nn.Module):
    """The quantiser `vq`. Codes are not trained by gradients: `learn` moves them."""

    def __init__(self, codes: int, dim: int):
        super().__init__()
        self.codes, self.dim = codes, dim
        self.register_buffer("vectors", F.normalize(torch.randn(codes, dim), dim=1))
        self.register_buffer("sums", self.get_buffer("vectors").clone())
        self.register_buffer("counts", torch.ones(codes))

    def forward(self, x: Tensor) -> Quantised:
        """[N, dim, h, w] -> the nearest codes by angle."""
        with torch.autocast(x.device.type, enabled=False):
            found = F.normalize(x.float(), dim=1)
            codes = self._nearest(found.permute(0, 2, 3, 1))
            near = self.look_up(codes)
            loss = (found - near).square().sum(dim=1).mean()
            return Quantised(found + (near - found).detach(), codes, loss)

    def look_up(self, codes: Tensor) -> Tensor:
        """Codes int64 [N, h, w] -> their vectors float [N, dim, h, w]."""
        return self.get_buffer("vectors")[codes].permute(0, 3, 1, 2)

    def _nearest(self, directions: Tensor) -> Tensor:
        return (directions @ self.get_buffer("vectors").T).argmax(dim=-1)

    @torch.no_grad()
    def learn(self, x: Tensor, codes: Tensor) -> None:
        """Move the codes towards the vectors x [N, dim, h, w] that were given them, and restart those that are dead."""
        found = F.normalize(x.detach().float(), dim=1).permute(0, 2, 3, 1).reshape(-1, self.dim)
        given = codes.reshape(-1)
        vectors, sums, counts = (self.get_buffer(name) for name in ("vectors", "sums", "counts"))
        counts.mul_(DECAY).add_(torch.bincount(given, minlength=self.codes).to(counts), alpha=1 - DECAY)
        sums.mul_(DECAY).index_add_(0, given, found, alpha=1 - DECAY)
        even = len(given) / self.codes
        # Sorted, so that the same batch restarts the same codes on every machine.
        dead = (counts < DEAD * even).nonzero()[:, 0]
        worst = (found * vectors[given]).sum(dim=1).argsort(stable=True)[: len(dead)]
        dead = dead[: len(worst)]
        sums[dead], counts[dead] = found[worst] * even, even
        vectors.copy_(F.normalize(sums, dim=1))


class Signs(nn.Module):
    """The quantiser `lfq`: a number of the vector gives one bit of the code by its sign."""

    def __init__(self, codes: int):
        super().__init__()
        self.codes, self.dim = codes, codes.bit_length() - 1
        self.register_buffer("places", 2 ** torch.arange(self.dim), persistent=False)

    def forward(self, x: Tensor) -> Quantised:
        """[N, dim, h, w] -> signs, scaled to length 1. The loss has the entropy of each vector's soft code, less that of the
        batch's mean: each code sure, all codes used."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            codes = ((x > 0).permute(0, 2, 3, 1) * self.get_buffer("places")).sum(dim=-1)
            near = self.look_up(codes)
            every = self.look_up(torch.arange(self.codes, device=x.device).view(-1, 1, 1))[:, :, 0, 0]
            soft = (SHARPNESS * torch.einsum("ndhw,kd->nhwk", x, every)).flatten(0, 2).log_softmax(dim=1)
            each = -(soft.exp() * soft).sum(dim=1).mean()
            mean = soft.exp().mean(dim=0)
            together = -(mean * mean.clamp_min(1e-12).log()).sum()
            loss = (x - near).square().sum(dim=1).mean() + 0.1 * (each - together)
            return Quantised(x + (near - x).detach(), codes, loss)

    def look_up(self, codes: Tensor) -> Tensor:
        """Codes int64 [N, h, w] -> vectors float [N, dim, h, w]."""
        bits: Tensor = (codes[..., None] & self.get_buffer("places")) > 0
        vectors: Tensor = (2.0 * bits - 1) / self.dim**0.5
        return vectors.permute(0, 3, 1, 2)

    def learn(self, x: Tensor, codes: Tensor) -> None:
        """Nothing: there is no codebook."""


class _Residual(nn.Module):
    """Two 3 x 3 convolutions with a residual."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, channels), nn.GroupNorm(GROUPS, channels)
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y)))  # type: ignore[no-any-return]


class FaceTokens(nn.Module):
    """The autoencoder. The picture is folded to half its side first, since convolutions at full size cost most and see
    least."""

    def __init__(self, sizes: FaceTokensSizes):
        super().__init__()
        self.sizes = sizes
        self.quantiser: Codebook | Signs = (
            Codebook(sizes.codes, sizes.code_dim) if sizes.quantiser == "vq" else Signs(sizes.codes)
        )
        widths, inner = sizes.widths, sizes.widths[-1]
        down: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(12, widths[0], 3, padding=1)]
        up: list[nn.Module] = [nn.Conv2d(self.quantiser.dim, inner, 1), _Residual(inner), _Residual(inner)]
        for wide, deep in pairwise(widths):
            down += [_Residual(wide), nn.Conv2d(wide, deep, 4, stride=2, padding=1)]
        for wide, deep in reversed(list(pairwise(widths))):
            up += [nn.Conv2d(deep, 4 * wide, 3, padding=1), nn.PixelShuffle(2), _Residual(wide)]
        self.encoder = nn.Sequential(
            *down,
            _Residual(inner),
            _Residual(inner),
            nn.GroupNorm(GROUPS, inner),
            nn.Conv2d(inner, self.quantiser.dim, 1),
        )
        self.decoder = nn.Sequential(
            *up, nn.GroupNorm(GROUPS, widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 12, 3, padding=1), nn.PixelShuffle(2)
        )

    def read(self, faces: Tensor) -> Tensor:
        """Faces float [N, 3, S, S] in 0..1 -> vectors [N, dim, grid, grid], before they are quantised."""
        return self.encoder(2 * faces - 1)  # type: ignore[no-any-return]

    def draw(self, vectors: Tensor) -> Tensor:
        """Vectors of codes -> faces float [N, 3, S, S], about 0..1 and not clipped."""
        return (self.decoder(vectors) + 1) / 2  # type: ignore[no-any-return]

    @torch.no_grad()
    def encode(self, faces: Tensor) -> Tensor:
        """Faces float [N, 3, S, S] in 0..1 -> codes int64 [N, tokens], row by row."""
        found: Quantised = self.quantiser(self.read(faces))
        return found.codes.flatten(1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 [N, tokens] -> faces float [N, 3, S, S] in 0..1."""
        grid = codes.view(-1, self.sizes.grid, self.sizes.grid)
        return self.draw(self.quantiser.look_up(grid)).float().clamp(0, 1)
