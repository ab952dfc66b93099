"""Captions: a grammar that words facts in many ways, a parser that reads them back, and how true a caption is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from streamfx.train.face_qa.facts import HIDDEN, PRESENT, UNITS, UNKNOWN
from streamfx.train.face_qa.phrases import FEATURES, PHRASES, STATES, SUBJECTS, TOLD, Stated

OPENINGS = (
    "{s}",
    "This is {s}",
    "The picture shows {s}",
    "A portrait of {s}",
    "One can see {s}",
    "Here is {s}",
    "A close view of {s}",
    "Shown is {s}",
)
FEATURE_PLACES = ("opening", "sentence", "seen", "both")
STATE_PLACES = ("opening", "second", "last")
SKELETONS = tuple(product(OPENINGS, FEATURE_PLACES, STATE_PLACES))
"""How a caption may be composed: its opening, where the features stand, and where the states."""
EXTRAS = 2
"""How many facts beyond the visible ones a caption states at most: slight action units, and what is not there."""
SENTENCE = re.compile(r"[^.!?]+[.!?]")
CONTRADICTION = "contradiction"
"""What the parser reads where a caption states two values of a fact."""
_PRONOUNS = {"male": "He", "female": "She"}
_ABSENT = {
    "": ("smiling", "mouth_open", "eyes_closed", "covered"),
    "male": ("smiling", "mouth_open", "eyes_closed", "beard", "moustache", "stubble"),
    "female": ("smiling", "mouth_open", "eyes_closed", "lipstick", "eye_make_up"),
}
"""What is worth saying that it is not there, by sex."""
_FOUND = re.compile(
    rf"(?<![\w-])(?:{'|'.join(re.escape(phrase) for phrase in sorted(PHRASES, key=len, reverse=True))})(?![\w-])"
)


def render(facts: Mapping[str, str], rng: np.random.Generator) -> str:
    """A caption that states these facts, which are among TOLD, and no others."""
    opening, features_at, states_at = SKELETONS[rng.integers(len(SKELETONS))]
    subject = _pick(SUBJECTS, _together(facts, "sex", "age"), rng)
    turned = _together(facts, "pose", "side")
    joined = {name for name, _ in turned} if turned in STATES else set()
    stated = [turned] if joined else []
    stated += [((name, facts[name]),) for name in TOLD if name in facts and name not in ("sex", "age", *joined)]
    stated = [stated[number] for number in rng.permutation(len(stated))]
    features = [_pick(FEATURES, one, rng) for one in stated if one in FEATURES]
    states = [_pick(STATES, one, rng) for one in stated if one in STATES]
    who = _PRONOUNS.get(facts.get("sex", ""), "The person")
    first = opening.format(s=subject)
    cut = {"opening": len(features), "both": (len(features) + 1) // 2}.get(features_at, 0)
    if features[:cut]:
        first += f" with {_listed(features[:cut])}"
    sentences = []
    if features[cut:]:
        sentences.append(f"{'Visible:' if features_at == 'seen' else f'{who} has'} {_listed(features[cut:])}")
    if states and states_at == "opening":
        first += f", {_listed(states)}"
    elif states:
        sentences.insert(0 if states_at == "second" else len(sentences), f"{who} is {_listed(states)}")
    return " ".join(f"{one[0].upper()}{one[1:]}." for one in (first, *sentences))


def parse(caption: str) -> dict[str, str]:
    """The facts that a caption states, by the phrases of the grammar; CONTRADICTION where it states two values of one."""
    found: dict[str, str] = {}
    for match in _FOUND.finditer(caption.lower()):
        for name, value in PHRASES[match.group()]:
            found[name] = value if found.get(name, value) == value else CONTRADICTION
    return found


def visible(facts: Mapping[str, str]) -> dict[str, str]:
    """Of the facts about a picture those that every caption of it should state: what is there, and who and how it is."""
    return {
        name: facts[name]
        for name in TOLD
        if facts.get(name, UNKNOWN) not in (UNKNOWN, HIDDEN, PRESENT, "no", "none", "slight", "level")
    }


def worth_telling(facts: Mapping[str, str], rng: np.random.Generator) -> dict[str, str]:
    """The visible facts, and up to EXTRAS others that are worth a word."""
    told = visible(facts)
    others = [name for name in UNITS if facts.get(name) == "slight"]
    others += [name for name in _ABSENT[facts.get("sex", "")] if facts.get(name) == "no"]
    for number in rng.permutation(len(others))[: rng.integers(EXTRAS + 1)]:
        told[others[number]] = facts[others[number]]
    return told


@dataclass(frozen=True)
class CaptionScore:
    """Sums over captions. Of `stated` facts whose truth is known, `true` are so; of `visible` facts, `told` are stated
    rightly."""

    stated: int
    true: int
    visible: int
    told: int


def score(captions: Sequence[str], facts: Sequence[Mapping[str, str]]) -> CaptionScore:
    """How true and how complete captions are, beside the facts about their pictures."""
    stated = true = shown = told = 0
    for caption, known in zip(captions, facts, strict=True):
        said, seen = parse(caption), visible(known)
        checked = [name for name in said if known.get(name, UNKNOWN) != UNKNOWN]
        stated += len(checked)
        true += sum(said[name] == known[name] for name in checked)
        shown += len(seen)
        told += sum(said.get(name) == value for name, value in seen.items())
    return CaptionScore(stated, true, shown, told)


def _together(facts: Mapping[str, str], *names: str) -> Stated:
    return tuple((name, facts[name]) for name in names if name in facts)


def _pick(group: Mapping[Stated, tuple[str, ...]], stated: Stated, rng: np.random.Generator) -> str:
    return group[stated][rng.integers(len(group[stated]))]


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
