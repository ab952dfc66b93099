"""UniF2ace in small or in the paper's size: one transformer that reads faces and draws them (arXiv 2503.08120).

A sequence is a picture's codes (`face_tokens.py`) and words. To **draw**, words come first: each sees the words before it;
codes see all words and one another, and those that are masked are told. To **read**, the picture comes first: codes see
one another; words see the picture and the words before them, and the next word is told. So places do not move between
the tasks; only the mask of attention does.

A block is attention, token-level experts and sequence-level experts, each normed before and added. Experts come in two groups,
one for each task, with routers and balance losses of their own. Of the **token** level one expert is shared by all tokens and
groups, and of N routed ones the best k join, weighted by the router. Of the **sequence** level the best two of three: copy,
zero and noise to draw; copy, semantic and face to read, chosen by the picture alone, since a choice by the words would tell
each word what comes after it. `face(x) = w x + (1 - w) S(F(image))`, w of a softmax, S a resampler; semantic and noise alike.

The authors have published no code; what their text leaves open is chosen here: one shared expert for both groups, experts in
every second block (`every`), a resampler of one narrow cross-attention. Two things differ on purpose. Their face expert asks
AntelopeV2, which recognises people. **Ours has no recogniser**: F is an encoder of expressions and action units, and nothing in
this net knows who somebody is. And the semantic expert is no CLIP, but whatever encoder the caller shows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.nets.vit import VIT_NORM_EPS, Mlp

DRAW, READ = 0, 1
"""The tasks, and the groups of experts."""
BEST = 2
"""Sequence-level experts that are used at once."""
LEVELS = 16
"""Sines, and as many cosines, that tell the noise expert the masked share."""
NOISE_TOKENS = 4


@dataclass(frozen=True)
class UniF2aceSizes:
    """Sizes of the net. `words` is the vocabulary, `places` the most words of a sequence."""

    words: int
    tokens: int = 64
    codes: int = 512
    places: int = 64
    dim: int = 192
    depth: int = 6
    heads: int = 6
    shared: int = 384
    """Hidden width of the shared expert."""
    routed: int = 6
    """Routed experts of each group; 0: none, and each block is dense."""
    routed_width: int = 192
    """Hidden width of a routed expert."""
    best: int = 2
    """Routed experts of a token."""
    every: int = 2
    """Every how many blocks there are experts; the others have an MLP as wide as the experts that a token meets."""
    sequence: bool = True
    """Whether there are sequence-level experts."""
    resampled: int = 48
    """Width of the resamplers' attention."""
    semantic: int = 128
    """Width of what the semantic expert is shown; face likewise."""
    face: int = 128

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value, least = getattr(self, name), 0 if name == "routed" else 1
            if name != "sequence" and (type(value) is not int or value < least):
                raise ValueError(f"{name}: expected a whole number, at least {least}, got {value!r}")
        if self.dim % self.heads:
            raise ValueError(f"dim: expected a multiple of heads, got {self.dim} and {self.heads}")
        if self.routed and self.best > self.routed:
            raise ValueError(f"best: expected at most the {self.routed} routed experts, got {self.best}")

    @property
    def dense(self) -> int:
        """Hidden width of an MLP in place of experts: as wide as those that a token meets."""
        return self.shared + (self.best * self.routed_width if self.routed else 0)


PAPER = UniF2aceSizes(
    words=50_295, tokens=256, codes=8_192, places=128, dim=2_048, depth=24, heads=32, shared=3_072, routed=4,
    routed_width=1_024, best=2, every=1, resampled=256, semantic=1_024, face=512,
)  # fmt: skip
"""The paper's 1.8 billion: the shape of Show-o (Phi-1.5, 256 tokens of 8,192 codes), on which it builds, and the best two of
the routed experts. How many experts and how wide is not known; these make the sum right."""


@dataclass(frozen=True)
class Sequences:
    """A batch. codes int64 [N, tokens], `tokens` values `codes` being the mask; words int64 [N, length], filled up at the end
    where `written` bool [N, length] is false; task int64 [N]; share float [N], the masked share; `seen` float [N, M, semantic
    + face] what the encoders say of the picture, only looked at where it is read."""

    codes: Tensor
    words: Tensor
    written: Tensor
    task: Tensor
    share: Tensor
    seen: Tensor


@dataclass
class Balance:
    """What routers did: the sum of balance losses (each 1 where all experts are used alike), how many they are, and the share
    of assignments [experts] by router."""

    loss: Tensor
    count: int
    loads: dict[str, Tensor]

    def add(self, name: str, chances: Tensor, chosen: Tensor) -> None:
        """One router's answer: chances [n, experts] and chosen int64 [n, k]."""
        experts = chances.shape[1]
        load = F.one_hot(chosen.flatten(), experts).float().mean(dim=0)
        self.loss = self.loss + experts * (load * chances.float().mean(dim=0)).sum()
        self.count += 1
        self.loads[name] = load.detach()


class TokenExperts(nn.Module):
    """The routed experts of one group."""

    def __init__(self, sizes: UniF2aceSizes):
        super().__init__()
        self.best = sizes.best
        self.router = nn.Linear(sizes.dim, sizes.routed, bias=False)
        self.experts = nn.ModuleList(Mlp(sizes.dim, sizes.routed_width) for _ in range(sizes.routed))

    def forward(self, x: Tensor, name: str, balance: Balance) -> Tensor:
        """Tokens [n, dim] -> [n, dim], the best experts' answers weighted by the router."""
        chances = self.router(x).float().softmax(dim=1)
        weights, chosen = chances.topk(self.best, dim=1)
        weights = weights / weights.sum(dim=1, keepdim=True)
        balance.add(name, chances, chosen)
        out = torch.zeros_like(x, dtype=torch.float32)
        for number, expert in enumerate(self.experts):
            rows, rank = (chosen == number).nonzero(as_tuple=True)
            if len(rows):
                out = out.index_add(0, rows, weights[rows, rank, None] * expert(x[rows]).float())
        return out


class Resampler(nn.Module):
    """S: from any tokens to a sequence's places, by one cross-attention of learned queries."""

    def __init__(self, width: int, sizes: UniF2aceSizes):
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(sizes.tokens + sizes.places, sizes.resampled))
        self.keys, self.values = nn.Linear(width, sizes.resampled), nn.Linear(width, sizes.resampled)
        self.out = nn.Linear(sizes.resampled, sizes.dim)
        self.mix = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, shown: Tensor) -> Tensor:
        """w x + (1 - w) S(shown): x [N, T, dim], shown [N, M, width]."""
        keys, values = self.keys(shown), self.values(shown)
        queries = self.queries[: x.shape[1]].expand(len(x), -1, -1).to(keys.dtype)
        found = F.scaled_dot_product_attention(queries, keys, values)
        kept, new = self.mix.softmax(dim=0)
        return kept * x + new * self.out(found)  # type: ignore[no-any-return]


class SequenceExperts(nn.Module):
    """The sequence-level experts of one group: copy, and two others of its task."""

    def __init__(self, sizes: UniF2aceSizes, task: int):
        super().__init__()
        self.sizes, self.task = sizes, task
        self.router = nn.Linear(sizes.dim, 3, bias=False)
        if task == DRAW:
            self.levels = nn.Linear(2 * LEVELS, NOISE_TOKENS * sizes.resampled)
            self.noise = Resampler(sizes.resampled, sizes)
        else:
            self.semantic, self.face = Resampler(sizes.semantic, sizes), Resampler(sizes.face, sizes)

    def forward(self, x: Tensor, real: Tensor, share: Tensor, seen: Tensor, name: str, balance: Balance) -> Tensor:
        """Sequences x [n, T, dim] -> [n, T, dim]; `real` bool [n, T] leaves out what only fills up."""
        if self.task == READ:
            real = real & (torch.arange(x.shape[1], device=x.device) < self.sizes.tokens)
        middle = (x * real[:, :, None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
        chances = self.router(middle).float().softmax(dim=1)
        weights, chosen = chances.topk(BEST, dim=1)
        balance.add(name, chances, chosen)
        weights = torch.zeros_like(chances).scatter(1, chosen, weights / weights.sum(dim=1, keepdim=True))
        if self.task == DRAW:
            shown = self.levels(waves(share)).view(len(x), NOISE_TOKENS, self.sizes.resampled)
            answers = (x, torch.zeros_like(x), self.noise(x, shown))
        else:
            wide = self.sizes.face
            answers = (x, self.semantic(x, seen[:, :, wide:]), self.face(x, seen[:, :, :wide]))
        first, second, third = (weights[:, number, None, None] * one for number, one in enumerate(answers))
        joined: Tensor = first + second + third
        return joined


def waves(share: Tensor) -> Tensor:
    """Masked shares [N] in 0..1 -> [N, 2 * LEVELS], sines and cosines of rising frequency."""
    turns = share.float()[:, None] * (math.pi * 2 ** (torch.arange(LEVELS, device=share.device) / 2))
    return torch.cat((turns.sin(), turns.cos()), dim=1)


class _Block(nn.Module):
    def __init__(self, sizes: UniF2aceSizes, experts: bool):
        super().__init__()
        dim = sizes.dim
        self.heads = sizes.heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=VIT_NORM_EPS), nn.LayerNorm(dim, eps=VIT_NORM_EPS)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        routed = experts and sizes.routed > 0
        self.shared = Mlp(dim, sizes.shared if routed else sizes.dense)
        self.routed = nn.ModuleList(TokenExperts(sizes) for _ in (DRAW, READ)) if routed else None
        sequence = experts and sizes.sequence
        self.norm3 = nn.LayerNorm(dim, eps=VIT_NORM_EPS) if sequence else None
        self.sequence = nn.ModuleList(SequenceExperts(sizes, task) for task in (DRAW, READ)) if sequence else None

    def forward(self, x: Tensor, mask: Tensor, real: Tensor, batch: Sequences, name: str, balance: Balance) -> Tensor:
        n, length, dim = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.proj(seen.transpose(1, 2).reshape(n, length, dim))
        y = self.norm2(x)
        added = self.shared(y)
        if self.routed is not None:
            for task, group in enumerate(self.routed):
                which = (real & (batch.task == task)[:, None]).nonzero(as_tuple=True)
                if len(which[0]):
                    told = group(y[which], f"{name}-tokens-{task}", balance)
                    added = added.float().index_put(which, told, accumulate=True)
        x = x + added
        if self.sequence is not None and self.norm3 is not None:
            y, parts = self.norm3(x), x
            for task, group in enumerate(self.sequence):
                rows = (batch.task == task).nonzero()[:, 0]
                if len(rows):
                    told = group(
                        y[rows], real[rows], batch.share[rows], batch.seen[rows], f"{name}-sequences-{task}", balance
                    )
                    parts = parts.index_add(0, rows, told.to(parts.dtype))
            x = parts
        return x


class UniF2ace(nn.Module):
    """The net."""

    def __init__(self, sizes: UniF2aceSizes):
        super().__init__()
        self.sizes = sizes
        self.code = nn.Embedding(sizes.codes + 1, sizes.dim)
        self.word = nn.Embedding(sizes.words, sizes.dim)
        self.code_place = nn.Parameter(torch.zeros(sizes.tokens, sizes.dim))
        self.word_place = nn.Parameter(torch.zeros(sizes.places, sizes.dim))
        self.blocks = nn.ModuleList(
            _Block(sizes, experts=number % sizes.every == sizes.every - 1) for number in range(sizes.depth)
        )
        self.norm = nn.LayerNorm(sizes.dim, eps=VIT_NORM_EPS)
        self.code_head = nn.Linear(sizes.dim, sizes.codes)
        self.word_head = nn.Linear(sizes.dim, sizes.words)

    def forward(self, batch: Sequences) -> tuple[Tensor, Tensor, Balance]:
        """What is said of each code [N, tokens, codes], of each next word [N, length, words], and what the routers did."""
        places = batch.words.shape[1]
        x = torch.cat(
            (self.code(batch.codes) + self.code_place, self.word(batch.words) + self.word_place[:places]), dim=1
        )
        mask, real = sight(batch, self.sizes.tokens)
        balance = Balance(x.new_zeros((), dtype=torch.float32), 0, {})
        for number, block in enumerate(self.blocks):
            x = block(x, mask, real, batch, f"block-{number}", balance)
        x = self.norm(x)
        return self.code_head(x[:, : self.sizes.tokens]), self.word_head(x[:, self.sizes.tokens :]), balance

    @torch.no_grad()
    def initialise(self, seed: int, head: Literal["softmax", "free"] = "softmax") -> None:
        """Fill every parameter from `seed`, the same on every machine; with a `free` head, exp(l) sums to about 1 at first."""
        generator = torch.Generator().manual_seed(seed)
        for name, value in self.named_parameters():
            if "norm" in name:
                value.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name.endswith(("bias", "mix")):
                value.zero_()
            elif (
                value.ndim == 2
                and name.endswith(".weight")
                and "head" not in name
                and not name.startswith(("code", "word"))
            ):
                value.normal_(0.0, value.shape[1] ** -0.5, generator=generator)
            else:
                value.normal_(0.0, 0.02, generator=generator)
        # Blocks begin near the identity.
        for name, value in self.named_parameters():
            if name.endswith(("proj.weight", "fc2.weight")):
                value.mul_((2 * self.sizes.depth) ** -0.5)
        if head == "free":
            self.code_head.bias.fill_(-math.log(self.sizes.codes))


def sight(batch: Sequences, tokens: int) -> tuple[Tensor, Tensor]:
    """bool [N, 1, T, T], whether the first may look at the second, and bool [N, T], what does not only fill up."""
    n, words = batch.words.shape
    real = torch.cat((batch.written.new_ones(n, tokens), batch.written), dim=1)
    draws = (batch.task == DRAW)[:, None, None]
    mask = torch.zeros(n, tokens + words, tokens + words, dtype=torch.bool, device=batch.words.device)
    mask[:, :tokens, :tokens] = True
    mask[:, :tokens, tokens:] = draws & batch.written[:, None]
    mask[:, tokens:, :tokens] = ~draws
    mask[:, tokens:, tokens:] = torch.ones(words, words, dtype=torch.bool, device=mask.device).tril()
    return mask[:, None], real


@torch.no_grad()
def draw(
    net: UniF2ace, words: Tensor, written: Tensor, plain: int, steps: int, guidance: float, temperature: float,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Codes int64 [N, tokens] for prompts: words int64 and written bool [N, length], the first of each the word that asks for a
    picture.

    All is masked at first; in each step the codes that the net is surest of stay (Chang et al., MaskGIT, arXiv 2202.04200).
    The number `plain` is of the word for a drawing of anything, which what is said is moved away from by `guidance`; 0: not.
    `temperature` is of the noise in which places stay, which falls to 0.
    """
    sizes, n = net.sizes, len(words)
    codes = torch.full((n, sizes.tokens), sizes.codes)
    seen = torch.zeros(n, 1, sizes.semantic + sizes.face)
    bare, bare_written = torch.full_like(words, plain), torch.zeros_like(written)
    bare_written[:, 0] = True

    def said(by: Tensor, there: Tensor, share: float) -> Tensor:
        batch = Sequences(codes, by, there, torch.full((n,), DRAW), torch.full((n,), share), seen)
        return net(batch)[0].float().log_softmax(dim=2)  # type: ignore[no-any-return]

    for step in range(steps):
        share = math.cos(math.pi / 2 * step / steps)
        found = said(words, written, share)
        if guidance:
            found = (found + guidance * (found - said(bare, bare_written, share))).log_softmax(dim=2)
        drawn = (found + _gumbel(found, generator)).argmax(dim=2)
        unknown = codes == sizes.codes
        sure = found.gather(2, drawn[:, :, None])[:, :, 0]
        sure = sure + temperature * (1 - (step + 1) / steps) * _gumbel(sure, generator)
        left = int(sizes.tokens * math.cos(math.pi / 2 * (step + 1) / steps)) if step + 1 < steps else 0
        order = sure.masked_fill(~unknown, float("inf")).argsort(dim=1, descending=True)
        stays = torch.zeros_like(unknown).scatter(1, order[:, : sizes.tokens - left], True)
        codes = torch.where(unknown & stays, drawn, codes)
    return codes


def _gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    uniform: Any = torch.rand(like.shape, generator=generator).clamp(1e-9, 1 - 1e-7)
    return -(-uniform.log()).log()  # type: ignore[no-any-return]
