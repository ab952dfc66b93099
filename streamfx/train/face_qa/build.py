"""Makes a set of questions and answers about faces, whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamfx.errors import ConfigError
from streamfx.train.face_qa.balance import chance
from streamfx.train.face_qa.captions import render
from streamfx.train.face_qa.facts import FACTS, HIDDEN, UNKNOWN
from streamfx.train.face_qa.pictures import Pictures, drawn_pictures, join
from streamfx.train.face_qa.questions import questions
from streamfx.train.face_qa.table import IMAGES_FILE, QUESTION_COLUMNS, QUESTIONS_FILE, write_rows


@dataclass(frozen=True)
class Sources:
    """Folders to make questions from. The people of `drawn` are dealt to the splits that have no folder of their own."""

    drawn: Sequence[Path] = ()
    validation: Sequence[Path] = ()
    test: Sequence[Path] = ()


def make_questions(sources: Sources, out: Path, seed: int) -> Pictures:
    """Write the set into `out`. Equal sources and seed give equal bytes."""
    pictures = _read(sources, seed)
    captions = drawn_captions(pictures, seed)
    write_rows(out / QUESTIONS_FILE, questions(pictures, captions, seed), QUESTION_COLUMNS)
    write_rows(out / IMAGES_FILE, *pictures.all_columns())
    return pictures


def _read(sources: Sources, seed: int) -> Pictures:
    given = [split for split in ("validation", "test") if getattr(sources, split)]
    parts = [drawn_pictures(root, None, seed, given) for root in sources.drawn]
    parts += [drawn_pictures(root, split, seed) for split in given for root in getattr(sources, split)]
    if not parts:
        raise ConfigError("expected at least one set to ask about, got none; name one")
    return join(parts)


def drawn_captions(pictures: Pictures, seed: int) -> list[str]:
    """A caption for each picture, by what is known of it."""
    rng = chance(seed, "captions")
    columns = [pictures.facts[name] for name in FACTS]
    found = []
    for values in zip(*columns, strict=True):
        facts = {name: v for name, v in zip(FACTS, values, strict=True) if v not in (UNKNOWN, HIDDEN)}
        found.append(render(facts, rng))
    return found
