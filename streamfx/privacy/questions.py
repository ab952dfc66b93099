"""Which questions may be asked of a face, and which of them ask for what is sensitive.

A question passes only if it breaks none of `RULES`, if each of its words and of its answers' words is known to be of what
can be seen (`seen_words.py`), and if one of them names something that can be seen. So whatever nobody thought of is
refused: names, other languages, disguised letters. The rules are needed beside the words because words that are harmless
alone are not in every sentence ("Is the person black?", "Is he lying?"), and because they tell which rule was broken.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from streamfx.columns import Sensitive
from streamfx.errors import PrivacyRefusal
from streamfx.privacy.question_rules import RULES, SENSITIVE_WORDS
from streamfx.privacy.seen_words import is_known, tells_of_a_thing

MAY_BE_ASKED = (
    "expression, gaze, mouth, teeth, beard, hair, glasses, hats, make-up, what covers the face, pose, light, clothes, "
    "background, sharpness, age band"
)
_LONGEST = 300
"""Characters of a question or an answer: nobody needs more, and patterns would take long."""
_MOST_ANSWERS = 30
_PLAIN = re.compile(r"[A-Za-z0-9 .,:;?!'\"()/%+&-]*")
_COUNT = re.compile(r"how many (?:people|persons) (?:are|can)\b")
_LOOK_ALIKE = str.maketrans(
    "аеорсухіјѕԁһ" "αεοριυνκτ" "ıøłđ@$0134578!|",
    "aeopcyxijsdh" "aeopiuvkt" "iold" "asoieastbil",
)  # fmt: skip
"""Letters of other scripts, and signs, that are read as a Latin letter; after case folding."""


def check_question(question: str, answers: Sequence[str] = ()) -> None:
    """Raise PrivacyRefusal unless a question, with the answers to choose from if there are any, may be asked of a face.

    Questions are in English. The message names the rule and repeats nothing of the question, which may hold a name. What a
    model answers in words of its own is not judged by this, unless it is given as an answer.
    """
    if any(len(text) > _LONGEST for text in (question, *answers)) or len(answers) > _MOST_ANSWERS:
        raise PrivacyRefusal(
            f"rule words: expected a question and at most {_MOST_ANSWERS} answers, each of at most {_LONGEST} characters, "
            "got more"
        )
    clauses = [clause for clause in re.split(r"[.,:;?!]", question) if clause.strip()]
    together = [*(f"{question} {answer}" for answer in answers), " ".join((question, *answers))]
    for text in (question, *answers, *together, *clauses):
        for name, (about, pattern) in RULES.items():
            if any(pattern.search(reading) for reading in _readings(text)):
                raise PrivacyRefusal(
                    f"rule {name}: a question about {about} is never asked of a face; expected one about what can be "
                    f"seen, as {MAY_BE_ASKED}"
                )
    for place, text in (("question", question), *((f"answer {at}", one) for at, one in enumerate(answers, 1))):
        _check_words(place, text)
    words = [word for text in (question, *answers) for word in _words(text)]
    if not (any(map(tells_of_a_thing, words)) or _kinds(question, answers) or _COUNT.match(" ".join(words))):
        raise PrivacyRefusal(
            f"rule nothing_seen: expected a question that names something that can be seen, as {MAY_BE_ASKED}; got one "
            "that names nothing of the kind"
        )


def sensitive_kind(question: str, answers: Sequence[str] = ()) -> Sensitive | None:
    """What a question asks for of sex, age, skin, origin (by hair, say) and beauty, or None; for `Column.sensitive`.

    These are the kinds of the attributes in streamfx/models/celeba.py, found by words, and too many rather than too few.
    Raises PrivacyRefusal for a question of two kinds: they never leave beside each other.
    """
    kinds = _kinds(question, answers)
    if len(kinds) > 1:
        raise PrivacyRefusal(
            f"rule sensitive: expected a question about one of sex, age, skin, origin and beauty at most, since together "
            f"they single people out; got one about {' and '.join(kinds)}. Ask for one of them"
        )
    return kinds[0] if kinds else None


def _check_words(place: str, text: str) -> None:
    if not _PLAIN.fullmatch(text):
        raise PrivacyRefusal(
            f"rule words: expected letters without accents, digits and . , : ; ? ! ' \" ( ) / % + & - in the {place}, so "
            "that it can be checked; got another character. Questions are in English"
        )
    words = _words(text)
    if not words:
        raise PrivacyRefusal(f"rule words: expected words in the {place}, got none")
    for at, word in enumerate(words, 1):
        if not (is_known(word) or re.fullmatch(r"\d{1,3}s?", word)):
            raise PrivacyRefusal(
                f"rule words: word {at} of the {place} is not among those that are known to be of what can be seen "
                f"(streamfx/privacy/seen_words.py); expected an English question about {MAY_BE_ASKED}, in plain words"
            )


def _words(text: str) -> list[str]:
    """The words of a plain text in small letters, hyphens parting them and apostrophes left out."""
    return re.findall(r"[a-z0-9]+", text.lower().replace("'", ""))


def _kinds(question: str, answers: Sequence[str]) -> list[Sensitive]:
    text = " ".join(_words(" ".join((question, *answers))))
    return [kind for kind, pattern in SENSITIVE_WORDS.items() if pattern.search(text)]


def _readings(text: str) -> set[str]:
    """A text as words with single spaces, as a reader might understand it in spite of disguises."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    seen = "".join(char for char in folded if unicodedata.category(char) not in ("Mn", "Cf"))
    found = set()
    for letters in (seen, seen.translate(_LOOK_ALIKE)):
        for gap in (" ", ""):
            # Apostrophes part no words; other signs do in one reading and not in the other (eth-ni-city, black-haired).
            plain = re.sub(r"[^a-z0-9\s]", gap, re.sub(r"['’`´]", "", letters))
            words = " ".join(plain.split())
            # s p e l t, also behind the article
            found |= {
                words,
                re.sub(r"\b(a )?((?:\w ){2,}\w)\b", lambda at: (at[1] or "") + at[2].replace(" ", ""), words),
            }
    return found
