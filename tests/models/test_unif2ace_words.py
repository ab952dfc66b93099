"""The vocabulary of a UniF2ace: what is a word, what is kept, and how sequences are laid out."""

from __future__ import annotations

import pytest

from streamfx.errors import ModelError
from streamfx.models.unif2ace_words import ANSWER, DRAW_WORD, END, READ_WORD, SPECIAL, Words, filled, split

TEXTS = ("A smiling woman with make-up.", "Is a smiling woman seen? A.", "once")


def test_signs_are_words_and_hyphens_join() -> None:
    assert split("A smiling woman, with make-up.") == ["a", "smiling", "woman", ",", "with", "make-up", "."]


def test_words_that_occur_once_are_not_known_and_the_most_frequent_come_first() -> None:
    words = Words.of(TEXTS)
    assert words.known == (*SPECIAL, "a", ".", "smiling", "woman")
    assert words.unknown("A smiling man") == ["man"]
    assert Words.loads(words.dumps()) == words


def test_a_drawing_is_asked_for_by_known_words_alone() -> None:
    words = Words.of(TEXTS)
    assert [words.known[n] for n in words.drawing("a smiling man")] == [DRAW_WORD, "a", "smiling"]
    assert [words.known[n] for n in words.drawing("")] == [DRAW_WORD]


def test_a_question_ends_where_its_answer_begins() -> None:
    words = Words.of(TEXTS)
    assert [words.known[n] for n in words.reading("a woman", "smiling")] == [
        READ_WORD, "a", "woman", ANSWER, "smiling", END,
    ]  # fmt: skip
    assert [words.known[n] for n in words.reading("a woman", None)][-1] == ANSWER


def test_rows_are_filled_up_and_cut() -> None:
    ids, written = filled([[2, 3], [4, 5, 6, 7]], places=3)
    assert ids.tolist() == [[2, 3, 0], [4, 5, 6]]
    assert written.tolist() == [[True, True, False], [True, True, True]]


@pytest.mark.parametrize("text", ["", "{}", '["a", "b"]', "[1, 2, 3, 4, 5, 6]"])
def test_what_is_no_vocabulary_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="expected a vocabulary"):
        Words.loads(text)
