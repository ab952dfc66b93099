"""The bounds of masked discrete diffusion, summed exactly over chains so small that every state can be visited."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamfx.nets.d3diff import d3diff, log_ratios, mask, mask_loss, score_loss, shares

TOKENS, CODES = 3, 3
MASKED = CODES
STATES = list(itertools.product(range(CODES), repeat=TOKENS))
PATTERNS = [one for one in itertools.product((False, True), repeat=TOKENS) if any(one)]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(4)  # exact for polynomials of the degree that occurs here


class Chain:
    """A distribution over all STATES, and a model of its conditionals that errs by `noise`; `l` double [states, patterns,
    places, codes] is what the model says of each place when these are masked."""

    def __init__(self, seed: int, noise: float, normalised: bool = True):
        random = np.random.default_rng(seed)
        chances = random.random(len(STATES)) ** 2 + 1e-4
        self.chances = chances / chances.sum()
        table: dict[tuple[int, ...], np.ndarray] = {}
        self.ratios = torch.zeros(len(STATES), len(PATTERNS), TOKENS, CODES, dtype=torch.float64)
        for s, p, _, seen in self.each():
            if seen not in table:
                fits = np.array([all(b in (MASKED, a) for a, b in zip(one, seen, strict=True)) for one in STATES])
                of = np.array([[self.chances[fits & (np.array(STATES)[:, i] == c)].sum() for c in range(CODES)]
                               for i in range(TOKENS)])  # fmt: skip
                of = of / of.sum(axis=1, keepdims=True)
                table[seen] = np.log(of.clip(1e-12)) + noise * random.standard_normal((TOKENS, CODES))
            said = torch.from_numpy(table[seen])
            self.ratios[s, p] = said.log_softmax(dim=-1) if normalised else said

    @staticmethod
    def each() -> Iterator[tuple[int, int, tuple[int, ...], tuple[int, ...]]]:
        for s, state in enumerate(STATES):
            for p, pattern in enumerate(PATTERNS):
                seen = tuple(MASKED if hidden else code for hidden, code in zip(pattern, state, strict=True))
                yield s, p, state, seen

    @property
    def nll(self) -> float:
        """Of drawing places in random order, by the softmax of what is said."""
        said, total = self.ratios.log_softmax(dim=-1), 0.0
        for s, state in enumerate(STATES):
            orders = []
            for order in itertools.permutations(range(TOKENS)):
                hidden, log = [True] * TOKENS, 0.0
                for place in order:
                    log += float(said[s, PATTERNS.index(tuple(hidden)), place, state[place]])
                    hidden[place] = False
                orders.append(log)
            total -= self.chances[s] * (np.logaddexp.reduce(orders) - math.log(len(orders)))
        return total

    def expected(self, share: float, loss: Tensor) -> float:
        """The mean over states and masks at this masked share of `loss` [states, patterns]."""
        counts = np.array([sum(pattern) for pattern in PATTERNS])
        chance = share**counts * (1 - share) ** (TOKENS - counts)
        return float(torch.from_numpy(self.chances) @ loss @ torch.from_numpy(chance))

    def losses(self, share: float) -> tuple[Tensor, Tensor]:
        """What the product says at this share, of each state and pattern: the score loss, and the sum of cross-entropies."""
        ratios = self.ratios.flatten(0, 1)
        codes = torch.tensor(STATES).repeat_interleave(len(PATTERNS), dim=0)
        hidden = torch.tensor(PATTERNS).repeat(len(STATES), 1)
        shape = (len(STATES), len(PATTERNS))
        score = score_loss(ratios, codes, hidden, torch.full((len(codes),), share, dtype=torch.float64))
        each = -ratios.log_softmax(dim=-1).gather(2, codes[:, :, None])[:, :, 0]
        return score.view(shape), (each * hidden).sum(dim=1).view(shape)

    @property
    def score_bound(self) -> float:
        return sum(
            w / 2 * self.expected((x + 1) / 2, self.losses((x + 1) / 2)[0]) for x, w in zip(NODES, WEIGHTS, strict=True)
        )

    def mask_bound(self, steps: int) -> float:
        return sum(self.expected(step / steps, self.losses(step / steps)[1]) for step in range(1, steps + 1))

    def score_entropy(self) -> float:
        """The bound of Lou et al. as they write it, with scores, r and the rate."""
        total = 0.0
        for x, w in zip(NODES, WEIGHTS, strict=True):
            g = (x + 1) / 2
            r = (1 - g) / g
            for s, p, state, seen in self.each():
                for place in (i for i in range(TOKENS) if seen[i] == MASKED):
                    scores = r * self.ratios[s, p, place].exp()
                    inner = float(scores.sum()) - r * math.log(float(scores[state[place]])) + r * (math.log(r) - 1)
                    count = sum(PATTERNS[p])
                    chance = g**count * (1 - g) ** (TOKENS - count)
                    total += self.chances[s] * chance * w / 2 * inner / (1 - g)
        return total


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(0, 2), steps=st.integers(TOKENS + 2, 30))
def test_the_likelihood_is_bounded_by_the_score_and_the_score_by_the_mask(seed: int, noise: float, steps: int) -> None:
    chain = Chain(seed, noise)
    assert chain.nll <= chain.score_bound + 1e-9 <= chain.mask_bound(steps) + 2e-9


@pytest.mark.parametrize("tokens", [1, 3, 16, 64])
def test_with_enough_steps_the_mask_gives_each_number_of_masked_places_its_weight(tokens: int) -> None:
    steps = math.ceil(1.1 * tokens + 2)
    for others in range(tokens):
        weight = math.comb(tokens - 1, others) * sum(
            (t / steps) ** (others + 1) * (1 - t / steps) ** (tokens - 1 - others) for t in range(1, steps + 1)
        )
        assert weight >= 1 / tokens - 1e-12


def test_an_exact_model_reaches_the_bound_and_a_few_steps_do_for_the_mask() -> None:
    chain = Chain(seed=1, noise=0.0)
    entropy = -float((chain.chances * np.log(chain.chances)).sum())
    assert chain.nll == pytest.approx(entropy, abs=1e-9)
    assert chain.score_bound == pytest.approx(entropy, abs=1e-9)
    assert chain.mask_bound(2) > chain.score_bound


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000), normalised=st.booleans())
def test_what_is_summed_is_the_score_entropy(seed: int, normalised: bool) -> None:
    chain = Chain(seed, 0.5, normalised)
    assert chain.score_bound == pytest.approx(chain.score_entropy(), abs=1e-9)


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_free_head_is_bounded_no_better_than_its_softmax(seed: int) -> None:
    free = Chain(seed, 0.5, normalised=False)
    softmax = Chain(seed, 0.5)
    assert free.nll == pytest.approx(softmax.nll)
    assert softmax.score_bound <= free.score_bound + 1e-12


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), tokens=st.integers(1, 12), codes=st.integers(2, 9))
def test_with_a_softmax_the_score_loss_and_its_gradient_are_a_reweighted_cross_entropy(
    seed: int, tokens: int, codes: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    said = torch.randn(4, tokens, codes, generator=generator, requires_grad=True)
    true = torch.randint(codes, (4, tokens), generator=generator)
    share = torch.rand(4, generator=generator).clamp_min(0.05)
    hidden = mask(share, tokens, generator)
    score = score_loss(log_ratios(said, "softmax"), true, hidden, share)
    weighted = mask_loss(said, true, hidden) * hidden.sum(dim=1) / share
    torch.testing.assert_close(score, weighted, rtol=1e-6, atol=1e-5)
    (one,) = torch.autograd.grad(score.sum(), said, retain_graph=True)
    (other,) = torch.autograd.grad(weighted.sum(), said)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_mean_over_the_schedule_is_an_integral_over_the_share() -> None:
    uniform = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    share, density = shares(uniform, 10_000)
    for power in (0, 1, 3):
        assert float((density * share**power).mean()) == pytest.approx(1 / (power + 1), abs=1e-3)


def test_at_least_one_place_is_masked() -> None:
    assert mask(torch.zeros(50), 7, torch.Generator().manual_seed(1)).sum(dim=1).tolist() == [1] * 50


def test_the_parts_of_the_loss_are_weighted_as_asked() -> None:
    said, codes = torch.randn(2, 5, 4), torch.randint(4, (2, 5))
    share, density = shares(torch.tensor([0.3, 0.7]), 5)
    hidden = mask(share, 5)
    total, by_mask, by_score = d3diff(said, codes, hidden, share, density, "free", 0.5, 2.0)
    assert float(total) == pytest.approx(float(0.5 * by_mask + 2 * by_score), rel=1e-5)
