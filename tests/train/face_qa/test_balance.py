"""Pictures are chosen so that an answer, or a person's sex, is no strategy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from streamfx.train.face_qa.balance import balanced, chance, known

Words = npt.NDArray[np.object_]


def texts(words: str) -> st.SearchStrategy[Words]:
    return st.lists(st.sampled_from(["", *words]), max_size=60).map(lambda found: np.array([*found, ""], object))


@given(texts("yn"), st.randoms(), st.integers(0, 40), st.integers(0, 99))
def test_two_choices_hold_equally_often_in_each_stratum(values: Words, odds: object, most: int, seed: int) -> None:
    strata = np.array([odds.choice(["m", "f"]) for _ in values], object)  # type: ignore[attr-defined]
    chosen = balanced(values, ("y", "n"), strata, most, np.random.default_rng(seed))
    counts = Counter(zip(strata[chosen], values[chosen], strict=True))
    assert len({*chosen.tolist()}) == len(chosen) <= most + 4
    assert all(counts[stratum, "y"] == counts[stratum, "n"] for stratum in "mf")
    assert {value for _, value in counts} <= {"y", "n"}


@given(texts("abc"), st.integers(0, 99))
def test_of_more_choices_those_that_hold_at_all_hold_equally_often(values: Words, seed: int) -> None:
    chosen = balanced(values, ("a", "b", "c"), np.full(len(values), "", object), 1000, np.random.default_rng(seed))
    held = Counter(value for value in values if value)
    least = min(held.values(), default=0) if len(held) > 1 else 0
    assert Counter(values[chosen]) == ({value: least for value in held} if least else {})


@given(texts("0123456789"), st.integers(0, 99))
def test_of_many_values_each_stratum_that_is_there_gives_equally_many(values: Words, seed: int) -> None:
    strata = np.array(["" if not value else "low" if value < "5" else "high" for value in values], object)
    chosen = known(values, strata, 1000, np.random.default_rng(seed))
    counts = Counter(strata[chosen])
    assert len({*counts.values()}) <= 1 and {*counts} == {*strata} - {""}


def test_each_purpose_has_chance_of_its_own() -> None:
    assert chance(1, "a").random() == chance(1, "a").random()
    assert len({chance(1, "a").random(), chance(1, "b").random(), chance(2, "a").random()}) == 3
