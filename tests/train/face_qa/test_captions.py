"""Captions state the facts that they are made of, in many ways, and can be read back."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.train.face_qa.captions import (
    CONTRADICTION,
    SKELETONS,
    CaptionScore,
    parse,
    render,
    score,
    visible,
    worth_telling,
)
from streamfx.train.face_qa.facts import ATTRIBUTES, FACTS, HELD_OUT
from streamfx.train.face_qa.leak import names_held_out
from streamfx.train.face_qa.phrases import PHRASES, TOLD

any_facts = st.fixed_dictionaries({}, optional={name: st.sampled_from(FACTS[name]) for name in TOLD})


@settings(max_examples=300)
@given(any_facts, st.integers(0, 2**32 - 1))
def test_whatever_facts_a_caption_states_are_read_back_from_it(facts: dict[str, str], seed: int) -> None:
    caption = render(facts, np.random.default_rng(seed))
    assert parse(caption) == facts, caption
    assert not names_held_out(caption)


def test_a_phrase_states_the_same_alone() -> None:
    assert [one for one, stated in PHRASES.items() if parse(f"Well, {one}.") != dict(stated)] == []


def test_every_fact_that_is_not_held_out_can_be_told_in_each_of_its_values() -> None:
    told = {pair for stated in PHRASES.values() for pair in stated}
    assert told == {(name, value) for name in TOLD for value in FACTS[name]}
    assert {*ATTRIBUTES} - {*TOLD} == {*HELD_OUT}


def test_captions_have_at_least_forty_skeletons_and_hardly_repeat() -> None:
    assert len(SKELETONS) >= 40
    facts = {"sex": "female", "age": "old", "expression": "fear", "au_04": "strong", "pose": "frontal", "light": "dim"}
    rng = np.random.default_rng(0)
    assert len({render(facts, rng) for _ in range(300)}) > 280


def test_the_same_chance_gives_the_same_caption() -> None:
    facts = {"sex": "male", "expression": "anger", "beard": "yes"}
    assert render(facts, np.random.default_rng(3)) == render(facts, np.random.default_rng(3))


def test_what_contradicts_itself_is_no_fact() -> None:
    assert parse("A man with a beard. He has no beard.")["beard"] == CONTRADICTION
    assert parse("A man with a beard, and a grown beard.")["beard"] == "yes"


def test_other_text_states_nothing() -> None:
    assert parse("") == parse("Womanly, a smiley and non-black hairs") == {}


def test_captions_tell_what_is_there_and_little_of_what_is_not() -> None:
    facts = {"sex": "male", "beard": "no", "smiling": "yes", "au_01": "slight", "au_12": "strong", "light": "hidden"}
    assert visible(facts) == {"sex": "male", "smiling": "yes", "au_12": "strong"}
    told = [worth_telling(facts, np.random.default_rng(seed)) for seed in range(40)]
    assert all(one.items() >= visible(facts).items() and len(one) <= 5 for one in told)
    assert {name for one in told for name in one} == {"sex", "smiling", "au_12", "au_01", "beard"}


def test_a_caption_is_scored_by_what_of_it_is_true_and_by_what_it_leaves_out() -> None:
    truth = {"sex": "male", "age": "old", "smiling": "no", "beard": "yes", "hat": "no"}
    said = "An old man with a smile and lipstick."
    assert score([said], [truth]) == CaptionScore(stated=3, true=2, visible=3, told=2)
