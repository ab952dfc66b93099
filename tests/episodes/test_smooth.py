"""The two rules of smoothing, each beside a plain one that is written down moment by moment."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.episodes.smooth import NONE, STAY_S, hysteresis, likeliest_path

score = st.floats(0, 1)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(score, min_size=3, max_size=3), st.booleans()), max_size=40), st.floats(0.51, 1), score
)
def test_hysteresis_is_the_rule_that_is_stated(
    moments: list[tuple[list[float], bool]], enter: float, leave: float
) -> None:
    leave = min(leave, enter)
    scores = np.array([of for of, _ in moments]).reshape(len(moments), 3)
    scores /= np.maximum(scores.sum(axis=1, keepdims=True), 1)
    piece = np.cumsum([new for _, new in moments]).astype(np.int64)
    state, expected = NONE, []
    for at, of in enumerate(scores):
        if at == 0 or piece[at] != piece[at - 1]:
            state = NONE
        if state != NONE and of[state] < leave:
            state = NONE
        if of.max() >= enter:
            state = int(of.argmax())
        expected.append(state)
    assert hysteresis(scores, piece, enter, leave).tolist() == expected


def path_of(scores: list[list[float]], step_s: float, share: float) -> tuple[int, ...]:
    """The likeliest of all paths, by trying each."""
    states = len(scores[0])
    stay = min(max(math.exp(-step_s / STAY_S), 1 / states), 1 - 1e-9)

    def worth(path: tuple[int, ...]) -> float:
        said = sum(share * math.log(max(of[state], 1e-3)) for of, state in zip(scores, path, strict=True))
        kept = sum(a == b for a, b in itertools.pairwise(path))
        return said + kept * math.log(stay) + (len(path) - 1 - kept) * math.log((1 - stay) / (states - 1))

    return max(itertools.product(range(states), repeat=len(scores)), key=worth)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 3), st.floats(0.1, 1))
def test_the_path_is_the_likeliest_of_all_in_each_piece(seed: int, step_s: float, share: float) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 7, size=3)
    pieces = [random.dirichlet(np.ones(3), size=length) for length in lengths]
    scores, piece = np.concatenate(pieces), np.repeat(np.arange(3), lengths)
    times = np.arange(len(scores)) * step_s
    found = likeliest_path(scores, piece, times, np.full(len(scores), share))
    expected = [state for one in pieces for state in path_of(one.tolist(), step_s, share)]
    assert found.tolist() == expected


def test_a_single_score_is_a_state_or_none() -> None:
    scores = np.array([[0.7], [0.7], [0.3], [0.7], [0.7], [0.3], [0.3], [0.3], [0.3]])
    found = likeliest_path(scores, np.zeros(9, np.int64), np.arange(9.0), np.ones(9))
    assert found.tolist() == [0, 0, 0, 0, 0, NONE, NONE, NONE, NONE]


def test_nothing_gives_nothing() -> None:
    nothing = np.empty((0, 3))
    assert hysteresis(nothing, np.empty(0, np.int64), 0.6, 0.4).size == 0
    assert likeliest_path(nothing, np.empty(0, np.int64), np.empty(0), np.empty(0)).size == 0
