"""Questions about pictures by their facts: balanced answers, shuffled options, held-out wordings and attributes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

from streamfx.train.face_qa.balance import Numbers, balanced, chance, known
from streamfx.train.face_qa.facts import ATTRIBUTES, FACTS, HELD_OUT, HIDDEN, PRESENT, UNITS, UNKNOWN, Facts, Texts
from streamfx.train.face_qa.forms import question, template_ids
from streamfx.train.face_qa.pictures import Pictures
from streamfx.train.face_qa.table import (
    BASIC,
    CAPTIONS,
    NEW_ATTRIBUTE,
    NEW_PERSON,
    NEW_TEMPLATE,
    QUESTION_COLUMNS,
    SEEN,
    SPECIAL,
    SPLITS,
)
from streamfx.train.face_qa.words import CANNOT, UNIT_WORDS, VALUES, WORDINGS

PER_IMAGE = 5
"""Questions about a picture in each of the stages BASIC and SPECIAL, on average, where enough answers can be balanced."""
HIDDEN_SHARE = 8
"""There is at most one question whose answer is CANNOT for so many others of its name."""
LETTERS = "ABCDEFG"
_OPTIONS = 4
"""Options of a question that asks which of some attributes can be seen."""
_BOTH = ("yes", "no")


@dataclass(frozen=True)
class _Topic:
    """Something to ask for: `kind` is a key of FORMS, `values` say what holds in each picture, `choices` are answered
    equally often, and `weight` says how often to ask, relative to others of the stage."""

    stage: int
    task: str
    name: str
    kind: str
    values: Texts
    choices: tuple[str, ...]
    weight: float
    ask: Callable[[_Asked], list[_Question]]
    hideable: bool = False
    """Whether `cannot be seen` is among the answers."""


@dataclass(frozen=True)
class _Asked:
    """Questions of one topic to be worded: pictures, wordings, and whole numbers that decide all else. `places` decide
    where the right answer stands, equally often at each."""

    topic: _Topic
    facts: Facts
    pictures: Numbers
    templates: Sequence[str]
    numbers: Numbers
    places: Numbers


_Question = tuple[str, str, str, str]
"""Question, options, answer, value."""


def questions(pictures: Pictures, captions: Sequence[str], seed: int) -> dict[str, npt.NDArray[np.generic]]:
    """The columns QUESTION_COLUMNS, sorted by split, picture and stage; equal input gives equal rows.

    `captions` has one for each picture, "" for none.
    """
    rows, texts = _Rows(), np.array([*captions, ""], object)[:-1]
    for split in SPLITS:
        inside = np.flatnonzero(pictures.columns["split"] == split)
        part = pictures.only(inside)
        topics = _topics(part, split)
        for topic in topics:
            whole = sum(other.weight for other in topics if other.stage == topic.stage and other.name not in HELD_OUT)
            most = round(len(part) * PER_IMAGE * topic.weight / whole)
            _ask(rows, topic, split, inside, part, most, seed)
        told = inside[texts[inside] != ""]
        rng = chance(seed, split, "captions")
        for held_out, ids in _wordings(split, "caption"):
            templates = [ids[number] for number in rng.integers(len(ids), size=len(told))]
            asked = [(question(one), "[]", text, "") for one, text in zip(templates, texts[told], strict=True)]
            rows.add(told, (CAPTIONS, "caption", ""), templates, held_out, asked)
    return rows.columns(pictures)


def _wordings(split: str, kind: str) -> list[tuple[str, list[str]]]:
    """What the questions of a split count as held out, and the wordings of each. Held-out ones are in the test alone, so
    that nothing is chosen by them; each is asked of what a seen one is asked of too."""
    seen = template_ids(kind, held_out=False)
    if split == "train":
        return [(SEEN, seen)]
    return [(NEW_PERSON, seen)] + ([(NEW_TEMPLATE, template_ids(kind, held_out=True))] if split == "test" else [])


def _ask(rows: _Rows, topic: _Topic, split: str, inside: Numbers, part: Pictures, most: int, seed: int) -> None:
    """Add about `most` questions of a topic at most."""
    rng = chance(seed, split, topic.stage, topic.kind, topic.name)
    strata = part.columns["source"].astype(object)
    if topic.choices == _BOTH:
        # Otherwise the sex that a beard or lipstick belongs to would tell the answer, as a set's own look would.
        strata = strata + "/" + part.facts["sex"]
    if topic.choices:
        chosen = balanced(topic.values, topic.choices, strata, most, rng)
    else:
        chosen = known(topic.values, part.facts["age"], most, rng)
    if topic.hideable:
        hidden = rng.permutation(np.flatnonzero(topic.values == HIDDEN))
        chosen = np.concatenate([chosen, hidden[: len(chosen) // HIDDEN_SHARE]])
    numbers, places = rng.integers(2**31, size=len(chosen)), rng.permutation(len(chosen))
    wordings = _wordings(split, topic.kind)
    for held_out, ids in [(NEW_ATTRIBUTE, wordings[0][1])] if topic.name in HELD_OUT else wordings:
        templates = [ids[number] for number in rng.integers(len(ids), size=len(chosen))]
        asked = topic.ask(_Asked(topic, part.facts, chosen, templates, numbers, places))
        rows.add(inside[chosen], (topic.stage, topic.task, topic.name), templates, held_out, asked)


def _topics(part: Pictures, split: str) -> list[_Topic]:
    """All that is asked for in a split."""
    facts = part.facts
    found = []
    for name in asked_attributes(split):
        about = ATTRIBUTES[name]
        found.append(
            _Topic(
                BASIC, about.task, name, WORDINGS[name].kind, facts[name], _BOTH, 1, _yes_no, about.hidden != "False"
            )
        )
        only = np.where(facts[name] == "yes", "yes", UNKNOWN).astype(object)
        found.append(_Topic(SPECIAL, about.task, name, "which", only, ("yes",), 0.5, _which))
    for name in UNITS:
        strength = facts[name]
        acts = np.where(np.isin(strength, ("slight", "clear", "strong", PRESENT)), "yes", strength)
        acts = np.where(acts == "none", "no", acts).astype(object)
        found.append(_Topic(SPECIAL, "action_units", name, "unit", acts, _BOTH, 1, _yes_no, True))
        found.append(_Topic(SPECIAL, "action_units", name, "strength", strength, FACTS[name], 0.5, _choice, True))
    for task, name, weight in (("pose", "pose", 2), ("pose", "side", 1), ("pose", "pitch", 1), ("light", "light", 2)):
        found.append(_Topic(BASIC, task, name, name, facts[name], FACTS[name], weight, _choice))
    found.append(_Topic(BASIC, "attributes", "hair_colour", "hair", _hair(facts), tuple(VALUES["hair"]), 2, _choice))
    shown = facts["expression"]
    years = np.array([str(one) if one >= 0 else UNKNOWN for one in part.columns["age_years"]], object)
    for kind, ask in (("expression", _choice), ("expression-letters", _lettered)):
        found.append(_Topic(SPECIAL, "expression", "expression", kind, shown, FACTS["expression"], 6, ask))
    found.append(_Topic(SPECIAL, "age", "age_band", "age", facts["age"], FACTS["age"], 4, _choice))
    found.append(_Topic(SPECIAL, "age", "age_years", "years", years, (), 4, _open))
    found.append(_Topic(SPECIAL, "sex", "sex", "sex", facts["sex"], FACTS["sex"], 4, _choice))
    return found


def asked_attributes(split: str) -> list[str]:
    """The attributes that are asked for in a split: those that are held out in the test alone."""
    return [name for name in ATTRIBUTES if split == "test" or name not in HELD_OUT]


def _hair(facts: Facts) -> Texts:
    """The colour of hair where exactly one of four is known to be there."""
    colours = tuple(VALUES["hair"])
    there = np.array([facts[f"{colour}_hair"] == "yes" for colour in colours])
    found = np.array(colours, object)[there.argmax(0)] if there.size else np.empty(0, object)
    return np.where(there.sum(0) == 1, found, UNKNOWN).astype(object)


def _yes_no(asked: _Asked) -> list[_Question]:
    topic = asked.topic
    named = UNIT_WORDS[topic.name] if topic.kind == "unit" else WORDINGS[topic.name].asked
    options = _json((*_BOTH, CANNOT) if topic.hideable else _BOTH)
    return [
        (question(template, named[number % len(named)]), options, CANNOT if value == HIDDEN else value, value)
        for template, number, value in zip(
            asked.templates, asked.numbers.tolist(), topic.values[asked.pictures], strict=True
        )
    ]


def _choice(asked: _Asked) -> list[_Question]:
    """Options in words, in any order; CANNOT, where it may be the answer, comes last."""
    topic = asked.topic
    words = VALUES[topic.kind]
    kinds = len(words[topic.choices[0]])
    last = (CANNOT,) if topic.hideable else ()
    found = []
    for template, number, place, value in _each(asked):
        sort, rest = number % kinds, number // kinds
        named = question(template, UNIT_WORDS[topic.name][rest % 3] if topic.kind == "strength" else "")
        order = _ordered(topic.choices, value, place, rest) if value != HIDDEN else topic.choices
        options = tuple(words[one][sort] for one in order) + last
        found.append((named, _json(options), CANNOT if value == HIDDEN else words[value][sort], value))
    return found


def _lettered(asked: _Asked) -> list[_Question]:
    """Options with letters, of which one is the answer."""
    topic = asked.topic
    words = VALUES[topic.kind.removesuffix("-letters")]
    found = []
    for template, number, place, value in _each(asked):
        order = _ordered(topic.choices, value, place, number // 2)
        found.append(_letters(template, [words[one][number % 2] for one in order], order.index(value), value))
    return found


def _which(asked: _Asked) -> list[_Question]:
    """Which of four attributes can be seen: the topic's, and three that are known not to be there."""
    name = asked.topic.name
    others = [one for one in ATTRIBUTES if one != name and one not in HELD_OUT]
    absent = np.array([asked.facts[one][asked.pictures] == "no" for one in others])
    found = []
    for column, (template, number, place, _) in enumerate(_each(asked)):
        pool = np.flatnonzero(absent[:, column]).tolist()
        if len(pool) < _OPTIONS - 1:
            found.append(("", "", "", ""))
            continue
        wrong = [others[pool.pop((number >> 8 * step) % len(pool))] for step in range(_OPTIONS - 1)]
        at = place % _OPTIONS
        order = [*wrong[:at], name, *wrong[at:]]
        found.append(_letters(template, [WORDINGS[one].short for one in order], at, name))
    return found


def _open(asked: _Asked) -> list[_Question]:
    return [(question(template), "[]", value, value) for template, _, _, value in _each(asked)]


def _letters(template: str, options: list[str], right: int, value: str) -> _Question:
    listed = " ".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return f"{question(template)} {listed}", _json(tuple(LETTERS[: len(options)])), LETTERS[right], value


def _each(asked: _Asked) -> list[tuple[str, int, int, str]]:
    """Wording, number, place and value of each question."""
    values = asked.topic.values[asked.pictures]
    return list(zip(asked.templates, asked.numbers.tolist(), asked.places.tolist(), values, strict=True))


def _ordered(choices: tuple[str, ...], right: str, place: int, number: int) -> tuple[str, ...]:
    """The choices in an order that `number` decides, with the right one at `place`."""
    others = _orders(tuple(one for one in choices if one != right))
    order, at = others[number % len(others)], place % len(choices)
    return (*order[:at], right, *order[at:])


@lru_cache
def _orders(choices: tuple[str, ...]) -> list[tuple[str, ...]]:
    return list(permutations(choices))


@lru_cache(None)
def _json(options: tuple[str, ...]) -> str:
    return json.dumps(options)


@dataclass
class _Rows:
    """Collects questions column by column."""

    parts: list[tuple[Numbers, Mapping[str, npt.NDArray[np.generic]]]] = field(default_factory=list)

    def add(
        self,
        pictures: Numbers,
        about: tuple[int, str, str],
        templates: Sequence[str],
        held_out: str,
        asked: Sequence[_Question],
    ) -> None:
        """Add questions about the pictures of these numbers; those without a text are none."""
        kept = [number for number, one in enumerate(asked) if one[0]]
        texts = np.array([asked[number] for number in kept], object).reshape(len(kept), 4)
        stage, task, name = about
        told = dict(zip(("question", "options", "answer", "value"), texts.T, strict=True))
        same = {"task": task, "name": name, "held_out": held_out}
        self.parts.append(
            (
                pictures[kept],
                {
                    "stage": np.full(len(kept), stage, np.int32),
                    "template": np.array([templates[number] for number in kept], object),
                    **{column: np.full(len(kept), text, object) for column, text in same.items()},
                    **told,
                },
            )
        )

    def columns(self, pictures: Pictures) -> dict[str, npt.NDArray[np.generic]]:
        """All rows, sorted by split, picture and stage."""
        of = np.concatenate([numbers for numbers, _ in self.parts])
        found = {name: np.concatenate([part[name] for _, part in self.parts]) for name in self.parts[0][1]}
        for name in ("image_id", "person", "split"):
            found[name] = pictures.columns[name][of]
        split = np.array([SPLITS.index(one) for one in found["split"]], np.int8)
        order = np.lexsort((found["stage"], of, split))
        return {name: found[name][order] for name in QUESTION_COLUMNS}
