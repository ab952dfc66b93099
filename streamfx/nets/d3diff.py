r"""Losses of masked discrete diffusion, and how they bound the likelihood (D3Diff of UniF2ace, arXiv 2503.08120).

**The process.** Each of N tokens is masked independently; at time t it is still there with probability a, so that the masked
share is g = 1 - a, which grows from 0 to 1. All integrals below are over time and do not depend on how fast g grows, so g
itself is taken for time: -a' dt / (1 - a) = dg / g.

**The masked bound.** With p(v) the model's probability of code v at a masked place, given what is not masked,

    -ln p(x0)  <=  ∫ (dg / g) E [ sum over masked places of -ln p(x0 there) ].                                    (1)

Proof: in the integral each place meets every number of other masked places equally often, so it is the mean over all orders
of -ln of the product of conditionals in that order; by Jensen that is at least -ln of the mean of the products, which is
the likelihood of drawing places in random order.

**The score bound** (Lou et al., arXiv 2310.16834, absorbing case). The ratio of the marginal with code v at a masked place to
that with the mask is s(v) = r p(v), with r = a / (1 - a) = (1 - g) / g. A model s_θ of it has the bound

    ∫ dg / (1 - g) E [ sum over masked places of  sum_v s_θ(v) - r ln s_θ(x0) + r (ln r - 1) ].                    (2)

Write s_θ(v) = r exp(l(v)). Then r comes out of the bracket, r / (1 - g) = 1 / g, and (2) is

    ∫ (dg / g) E [ sum over masked places of  sum_v exp(l(v)) - 1 - l(x0) ].                                       (3)

So with a softmax head, where exp(l) sums to 1, **(2) is (1)**: a reweighted cross-entropy (see also Ou et al., arXiv
2406.03736). With a free head it is more by z - 1 - ln z >= 0, z = sum_v exp(l(v)): a pull to normalise that (1) lacks.

**The mask bound as it is trained** (MaskGIT, Show-o) has weight 1 for each of T steps in place of 1/g:
sum over g = 1/T, 2/T … 1 of E [ sum over masked places of -ln p(x0) ]. It is never below (1) once T >= 1.1 N + 2, whatever
the model: then each number of masked places has at least its weight in (1). For an exact model any T will do. UniF2ace
writes s = p(x0 | xt) / q(xt | x0), that is 1/g in place of r.

**The loss** of D3Diff is the mean cross-entropy of the masked places plus α times (2). The mean is about N times less than the
sum, so it is α N that keeps its meaning when N changes: 0.01 x 256 = 2.56 in the paper.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Head = Literal["softmax", "free"]
"""`softmax`: what the net says is normalised over the codes; `free`: it is l as it stands."""


def shares(uniform: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """From uniform numbers [N] in 0..1 the masked shares g = cos(π u / 2) [N] (MaskGIT's schedule), at least one token's; and
    -dg/du [N], by which an integral over g is the mean over u."""
    angle = uniform * (math.pi / 2)
    return angle.cos().clamp_min(1 / tokens), angle.sin() * (math.pi / 2)


def mask(share: Tensor, tokens: int, generator: torch.Generator | None = None) -> Tensor:
    """bool [N, tokens]: which tokens are masked, each with the probability `share` [N], and at least one of each."""
    drawn = torch.rand(len(share), tokens, generator=generator)
    masked = drawn < share[:, None]
    return masked | (drawn == drawn.amin(dim=1, keepdim=True))


def log_ratios(said: Tensor, head: Head) -> Tensor:
    """l float32 [..., codes] from what a net says of codes."""
    return said.float().log_softmax(dim=-1) if head == "softmax" else said.float()


def mask_loss(said: Tensor, codes: Tensor, masked: Tensor) -> Tensor:
    """float [N]: the mean cross-entropy in nats over the masked places of what is said [N, tokens, codes] and `codes` int64
    [N, tokens]; `masked` bool [N, tokens]."""
    each = F.cross_entropy(said.float().transpose(1, 2), codes, reduction="none")
    return (each * masked).sum(dim=1) / masked.sum(dim=1).clamp_min(1)


def score_loss(ratios: Tensor, codes: Tensor, masked: Tensor, share: Tensor) -> Tensor:
    """float [N]: the integrand of (3) in nats, whose mean over uniform `share` [N] is the bound; `ratios` as by `log_ratios`
    [N, tokens, codes], the rest as for `mask_loss`."""
    true = ratios.gather(2, codes[:, :, None])[:, :, 0]
    each = ratios.exp().sum(dim=2) - 1 - true
    return (each * masked).sum(dim=1) / share


def d3diff(
    said: Tensor,
    codes: Tensor,
    masked: Tensor,
    share: Tensor,
    density: Tensor,
    head: Head,
    mask_weight: float,
    alpha: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scalars: the loss, `mask_weight` times the mask loss plus `alpha` times the score loss, and both of them; shares and
    densities as by `shares`."""
    by_mask = mask_loss(said, codes, masked).mean()
    by_score = (density * score_loss(log_ratios(said, head), codes, masked, share)).mean()
    return mask_weight * by_mask + alpha * by_score, by_mask, by_score
