"""The two rules that decide what each moment shows: hysteresis, and the likeliest path through a hidden Markov model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NONE = -1
"""What a moment shows that is known and shows none of the states."""
STAY_S = 4.0
"""Seconds for which a state of the hidden Markov model lasts on average."""
_LEAST_P = 1e-3
"""No window makes a state less likely than this, so that no single window is certain."""


def hysteresis(scores: Floats, piece: Ints, enter: float, leave: float) -> Ints:
    """The state of each moment, 0..K-1 or NONE, from `scores` [N, K] in time order within each `piece` [N].

    A state begins where its score is at least `enter` (above 0.5 where scores add up to 1, so that only one is) and ends
    where its score falls below `leave`, where another begins, and with its piece.
    """
    if not len(scores):
        return np.empty(0, np.int64)
    best = scores.argmax(axis=1)
    enters = scores.max(axis=1) >= enter
    opens = enters | np.diff(piece, prepend=piece[0] - 1).astype(bool)
    group = np.cumsum(opens) - 1
    first = np.flatnonzero(opens)
    state = np.where(enters[first], best[first], NONE)[group]
    below = (state == NONE) | (scores[np.arange(len(scores)), np.maximum(state, 0)] < leave)
    fallen = np.cumsum(below)
    # A score that fell below does not count again until it has reached `enter`, which opens a group.
    return np.where(fallen - (fallen - below)[first][group] > 0, NONE, state)


def likeliest_path(scores: Floats, piece: Ints, middle_s: Floats, share: Floats) -> Ints:
    """The state of each moment, 0..K-1, or of a single score 0 or NONE, by Viterbi's algorithm within each `piece`.

    The likelihood of state k is score_k to the power of `share` [N], the part of its window that a moment is: windows
    overlap, and so what they say of one moment counts once. From one moment to the next, `dt` seconds later (`middle_s`
    [N]), a state stays with probability exp(-dt / STAY_S), and goes to each of the others with equal probability. All
    states are equally likely at the start.
    """
    if not len(scores):
        return np.empty(0, np.int64)
    full = np.concatenate([scores, 1 - scores], axis=1) if scores.shape[1] == 1 else scores
    states = full.shape[1]
    says = np.log(np.maximum(full, _LEAST_P)) * share[:, None]
    stay = np.clip(np.exp(-np.diff(middle_s, prepend=middle_s[0]) / STAY_S), 1 / states, 1 - 1e-9)
    stays, moves = np.log(stay), np.log((1 - stay) / (states - 1))
    begin = np.flatnonzero(np.diff(piece, prepend=piece[0] - 1))
    length = np.diff(begin, append=len(piece))
    # The pieces advance together, the longest first, so that those that have ended are the last.
    order = np.argsort(-length, kind="stable")
    begin, length = begin[order], length[order]
    left = [int(np.searchsorted(-length, -step, side="left")) for step in range(int(length[0]))]
    came = np.empty(full.shape, np.int64)
    total = says[begin].copy()
    for step in range(1, len(left)):
        here = begin[: left[step]] + step
        before = total[: left[step]]
        by_stay, by_move = before + stays[here, None], before.max(axis=1) + moves[here]
        moved = by_move[:, None] > by_stay
        came[here] = np.where(moved, before.argmax(axis=1)[:, None], np.arange(states))
        total[: left[step]] = np.where(moved, by_move[:, None], by_stay) + says[here]
    path = np.empty(len(piece), np.int64)
    path[begin + length - 1] = total.argmax(axis=1)
    for step in range(len(left) - 1, 0, -1):
        here = begin[: left[step]] + step
        path[here - 1] = came[here, path[here]]
    return np.where(path < scores.shape[1], path, NONE)
