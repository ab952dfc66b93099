"""Descriptions to draw by tell facts of the picture alone, sometimes a few and sometimes all, accessories included."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.train.face_qa.captions import parse
from streamfx.train.face_qa.facts import ATTRIBUTES, FACTS, HELD_OUT
from streamfx.train.face_qa.words import WORDINGS
from streamfx.train.unif2ace.descriptions import MOST_OF_FEW, describe


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {name: st.sampled_from((*values, "hidden") if name in ATTRIBUTES else values) for name, values in FACTS.items()}
    ),
    st.integers(0, 99),
)
def test_a_description_tells_nothing_that_is_not_so(facts: dict[str, str], seed: int) -> None:
    text, told = describe(facts, np.random.default_rng(seed))
    assert all(facts[name] == value for name, value in told.items())
    assert all(facts[name] == value for name, value in parse(text).items() if name not in HELD_OUT)
    worn = {name for name in HELD_OUT if any(words in text for words in WORDINGS[name].asked[:2])}
    assert worn == set(HELD_OUT) & set(told)


def test_some_descriptions_are_short() -> None:
    facts = {"sex": "female", "age": "young", "glasses": "yes", "smiling": "yes", "mouth_open": "yes", "lipstick": "yes",
             "black_hair": "yes", "expression": "happiness", "light": "dim", "pose": "frontal"}  # fmt: skip
    rng = np.random.default_rng(1)
    counts = [len(describe(facts, rng)[1]) for _ in range(200)]
    assert min(counts) <= 2 and max(counts) == len(facts)
    assert 60 <= sum(count <= MOST_OF_FEW + 1 for count in counts) <= 140
