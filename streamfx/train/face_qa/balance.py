"""Choosing pictures so that every answer is right equally often, and people so that nobody is in two splits."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from streamfx.train.face_qa.facts import UNKNOWN, Texts
from streamfx.train.face_qa.table import SPLITS

Numbers = npt.NDArray[np.int64]
SHARES: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Shares of the people of a set that is not given to one split as a whole."""


def chance(seed: int, *what: object) -> np.random.Generator:
    """Random numbers of their own for each purpose, so that a new purpose changes no other."""
    return np.random.default_rng([seed, zlib.crc32("/".join(map(str, what)).encode())])


def deal(people: Texts, seed: int, without: Sequence[str] = ()) -> Texts:
    """The split of each picture, by who it shows: SHARES of the people, those of splits in `without` going to `train`."""
    names = np.array(sorted(set(people)), object)
    order = chance(seed, "people").permutation(len(names))
    ends = np.cumsum([SHARES[split] for split in SPLITS])
    split_of = {
        names[number]: SPLITS[int(np.searchsorted(ends, (place + 0.5) / len(names)))]
        for place, number in enumerate(order)
    }
    return np.array(["train" if (split := split_of[who]) in without else split for who in people], object)


def balanced(values: Texts, choices: Sequence[str], strata: Texts, most: int, rng: np.random.Generator) -> Numbers:
    """Numbers of pictures, about `most`, in which each of `choices` holds equally often, in each stratum by itself.

    So nothing that a stratum tells, such as sex, tells the answer. Of more than two choices, those that hold nowhere in a
    stratum are left out; of two, the stratum is.
    """
    pools = []
    for stratum in sorted(set(strata)):
        here = [np.flatnonzero((strata == stratum) & (values == choice)) for choice in choices]
        held = [pool for pool in here if len(pool)]
        if len(held) == len(choices) or (len(choices) > 2 and len(held) > 1):
            least = min(map(len, held), default=0)
            pools += [rng.permutation(pool)[:least] for pool in held]
    room = sum(map(len, pools))
    share = min(1.0, most / room) if room else 0.0
    # Rounding up keeps pools of one size equal, and the rarest alive.
    return np.concatenate([np.empty(0, np.int64), *(pool[: int(np.ceil(len(pool) * share))] for pool in pools)])


def known(values: Texts, strata: Texts, most: int, rng: np.random.Generator) -> Numbers:
    """Numbers of pictures, about `most`, whose value is known, equally many of each stratum."""
    return balanced(np.where(values == UNKNOWN, UNKNOWN, strata), sorted({*strata} - {UNKNOWN}),
                    np.full(len(values), UNKNOWN, object), most, rng)  # fmt: skip
