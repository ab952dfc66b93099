"""Questions about what cannot be seen of a person are refused, in any wording; questions about what can be seen are not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfx.columns import Column
from streamfx.config.privacy import PrivacySection
from streamfx.errors import PrivacyRefusal
from streamfx.models.celeba import CELEBA, SENSITIVE
from streamfx.privacy.questions import check_question, sensitive_kind
from streamfx.privacy.seen_words import is_known
from streamfx.privacy.sensitive import check_sensitive

DATA = Path(__file__).parent / "data"
SIGNS = " .,-_*'\u200b\u00ad\u0301"
"""What a disguise may put between letters: signs, a zero-width space, a soft hyphen, an accent."""
LOOK_ALIKES = {
    "a": "\u0430@4",
    "e": "\u04353",
    "i": "\u04561!",
    "o": "\u043e0",
    "c": "\u0441",
    "s": "$5\u0455",
    "p": "\u0440",
}

PREDICATES = ("Attractive", "Bald", "Blurry", "Chubby", "Male", "Smiling", "Young")


def read(file: str) -> Iterator[tuple[str, str, list[str]]]:
    """Rule or kind, question and answers of each line."""
    for line in (DATA / file).read_text().splitlines():
        if line and not line.startswith("#"):
            first, question, *rest = line.split(" | ")
            question = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), question)
            yield first, question, [one.strip() for one in rest[0].split(",")] if rest else []


REFUSED, ALLOWED = list(read("refused_questions.txt")), list(read("allowed_questions.txt"))
NAMED = [
    (rule, question) for rule, question, answers in REFUSED if rule not in ("words", "nothing_seen") and not answers
]


def test_there_are_enough_wordings_to_mean_something() -> None:
    assert len({question for _, question, _ in REFUSED}) >= 300 and len({question for _, question, _ in ALLOWED}) >= 240
    # The same question, with other answers, may be refused.
    assert not {(q, *a) for _, q, a in REFUSED} & {(q, *a) for _, q, a in ALLOWED}


@pytest.mark.parametrize(("rule", "question", "answers"), REFUSED)
def test_what_may_not_be_asked_is_refused_by_its_rule(rule: str, question: str, answers: list[str]) -> None:
    with pytest.raises(PrivacyRefusal, match=rf"^rule {rule}: .*expected"):
        check_question(question, answers)


@pytest.mark.parametrize(("kind", "question", "answers"), ALLOWED)
def test_what_can_be_seen_may_be_asked_and_its_kind_is_known(kind: str, question: str, answers: list[str]) -> None:
    check_question(question, answers)
    assert (sensitive_kind(question, answers) or "-") == kind


@pytest.mark.parametrize("attribute", CELEBA)
def test_a_question_for_an_attribute_is_as_sensitive_as_its_column(attribute: str) -> None:
    said = attribute.replace("_o_Clock", " o'clock").replace("_", " ").lower()
    verb = "Is" if said.startswith("wearing") or attribute in PREDICATES else "Does"
    question = f"{verb} the person in this picture {'' if verb == 'Is' else 'have '}{said}?"
    if attribute == "Pale_Skin":  # asking for the colour of a skin is refused
        with pytest.raises(PrivacyRefusal, match=r"^rule origin:"):
            check_question(question)
        return
    check_question(question)
    assert sensitive_kind(question) == SENSITIVE.get(attribute)


@given(st.data(), st.sampled_from(NAMED))
def test_no_disguise_of_a_refused_question_passes(data: st.DataObject, wording: tuple[str, str]) -> None:
    """Signs between letters, look-alikes, capitals and spaces; a question that they break is refused for its words."""
    told = ""
    for letter in wording[1]:
        told += data.draw(st.sampled_from([letter, letter, letter.upper(), *LOOK_ALIKES.get(letter, "")]))
        told += data.draw(st.sampled_from(["", "", "", *SIGNS])) if letter.isalpha() else ""
    with pytest.raises(PrivacyRefusal):
        check_question(told)


@pytest.mark.parametrize(
    ("rule", "question"),
    [
        ("religion", "Is she a M U S L I M?"),
        ("religion", "is she mus-lim"),
        ("origin", "What r@c3 is it?"),
        ("origin", "WHAT  RACE\u200b IS IT"),
        ("origin", "Wh\u0430t r\u0430c\u0435 is it?"),
        ("identity", "\uff37\uff48\uff4f is it?"),
        ("trust", "Is he l.y.i.n.g"),
    ],
)
def test_the_rule_is_named_behind_common_disguises(rule: str, question: str) -> None:
    with pytest.raises(PrivacyRefusal, match=f"^rule {rule}:"):
        check_question(question)


@given(st.text(max_size=60), st.lists(st.text(max_size=20), max_size=3))
def test_only_known_words_pass(question: str, answers: list[str]) -> None:
    try:
        check_question(question, answers)
    except PrivacyRefusal:
        return
    words = re.findall(r"[a-z]+", " ".join((question, *answers)).lower())
    assert all(is_known(word) for word in words)


@pytest.mark.parametrize("place", ["question", "answer 2"])
def test_a_name_is_refused_and_never_repeated(place: str) -> None:
    name = "Ottilie Brandstetter"
    question, answers = (
        (f"Is the smiling person {name}?", []) if place == "question" else ("Is it a hat?", ["no", name])
    )
    with pytest.raises(PrivacyRefusal, match=rf"^rule words: word \d of the {place} is not among") as refusal:
        check_question(question, answers)
    assert not any(part.lower() in str(refusal.value).lower() for part in name.split())


def test_answers_carry_what_a_question_hides() -> None:
    check_question("Which describes the person?", ["smiling", "frowning"])
    with pytest.raises(PrivacyRefusal, match=r"^rule religion:"):
        check_question("Which describes the person?", ["smiling", "Christian"])
    with pytest.raises(PrivacyRefusal, match=r"^rule origin:"):
        check_question("Which describes the smiling man?", ["black", "white"])
    with pytest.raises(PrivacyRefusal, match=r"^rule origin:"):
        check_question("How is the skin of the smiling person?", ["dark", "light"])


@pytest.mark.parametrize("question", ["", "   ", "?", "Is it?", "Is the person?", "a" * 301])
def test_a_question_of_nothing_is_refused(question: str) -> None:
    with pytest.raises(PrivacyRefusal, match=r"^rule (words|nothing_seen):"):
        check_question(question)


def test_a_question_of_two_sensitive_kinds_is_refused_and_one_keeps_the_rule_for_sensitive_columns() -> None:
    for question in ("Is the beard grey?", "Is this a boy?", "Is this a young woman?"):
        with pytest.raises(PrivacyRefusal, match=r"^rule sensitive: .* got one about .* and "):
            sensitive_kind(question)
    column = Column("ask_young", "bool", "told", sensitive=sensitive_kind("Is the person young?"))
    with pytest.raises(PrivacyRefusal, match=r"privacy\.sensitive"):
        check_sensitive([column], PrivacySection(purpose="test", deployment_context="retail"))
