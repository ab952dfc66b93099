"""The wordings of questions: many, different, held out in part, and about nothing that is never asked."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from streamfx.errors import PrivacyRefusal
from streamfx.privacy.questions import check_question
from streamfx.train.face_qa.facts import ATTRIBUTES, HELD_OUT, UNITS
from streamfx.train.face_qa.forms import FORMS, HELD_OUT_FORMS, is_held_out, question, template_ids
from streamfx.train.face_qa.leak import names_held_out
from streamfx.train.face_qa.words import UNIT_WORDS, VALUES, WORDINGS

NEVER = re.compile(
    r"^who\b|who (this|he|she|it) is|name of|whose|identi|ethnic|race|racial|nation|religio|faith|health|ill\b|sick|"
    r"disease|orientation|gay|\blie\b|lying|liar|honest|truthful|attractive|beautiful|pretty|handsome",
    re.IGNORECASE,
)


@pytest.mark.parametrize("kind", sorted(FORMS))
def test_each_kind_has_wordings_enough_of_which_three_are_held_out(kind: str) -> None:
    seen, held = template_ids(kind, held_out=False), template_ids(kind, held_out=True)
    assert len(seen) >= (12 if kind in ("have", "be", "wear", "caption") else 9) and len(held) == HELD_OUT_FORMS == 3
    assert not any(map(is_held_out, seen)) and all(map(is_held_out, held))
    texts = [question(one, "x") for one in seen + held]
    assert len(set(texts)) == len(texts) == len(FORMS[kind])


@pytest.mark.parametrize("kind", ["have", "be", "wear", "unit", "strength"])
def test_wordings_about_something_say_what(kind: str) -> None:
    assert all("stubble" in question(one, "stubble").lower() for one in template_ids(kind, held_out=False))


def test_every_attribute_and_unit_has_words_of_its_own() -> None:
    assert {*WORDINGS} == {*ATTRIBUTES} and {*UNIT_WORDS} == {*UNITS}
    words = [word for one in WORDINGS.values() for word in one.asked] + [
        word for one in UNIT_WORDS.values() for word in one
    ]
    assert len(set(words)) == len(words) == 3 * (len(ATTRIBUTES) + len(UNITS))


def test_only_held_out_attributes_have_words_that_training_must_not_have() -> None:
    for name, about in WORDINGS.items():
        assert (
            all(names_held_out(word) == (name in HELD_OUT) for word in (*about.asked, about.short)) or name == "bangs"
        )
    assert not any(names_held_out(text) for texts in FORMS.values() for text in texts)


def test_nothing_is_asked_that_must_never_be() -> None:
    texts = [text for forms in FORMS.values() for text in forms]
    texts += [word for one in WORDINGS.values() for word in (*one.asked, one.short)]
    texts += [word for group in VALUES.values() for words in group.values() for word in words]
    assert not [text for text in texts if NEVER.search(text)]


def test_nearly_every_wording_may_be_asked_of_a_face_in_the_line(questions: pd.DataFrame) -> None:
    """The rules of privacy were not written for them, so this is how often they refuse what they should not."""
    asked = questions[questions["task"] != "caption"].drop_duplicates(["template", "name"])
    refused = []
    for text, options in zip(asked["question"], asked["options"], strict=True):
        try:
            check_question(text, json.loads(options))
        except PrivacyRefusal:
            refused.append(text)
    assert len(asked) > 300 and len(refused) <= 0.04 * len(asked), refused
