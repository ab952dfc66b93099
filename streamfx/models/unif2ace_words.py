"""Words as a UniF2ace knows them: those of the grammar that wrote its captions and questions, and signs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamfx.errors import ModelError

FILL, UNKNOWN, DRAW_WORD, READ_WORD, ANSWER, END = "<fill>", "<unknown>", "<draw>", "<read>", "<answer>", "<end>"
SPECIAL = (FILL, UNKNOWN, DRAW_WORD, READ_WORD, ANSWER, END)
LEAST = 2
"""How often a word must occur to be known."""
_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*|[^\sa-z0-9]")


@dataclass(frozen=True)
class Words:
    """A vocabulary: `known` are all words by number, SPECIAL first."""

    known: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {word: number for number, word in enumerate(self.known)})

    def __len__(self) -> int:
        return len(self.known)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Words:
        """The words that occur at least LEAST times, the most frequent first."""
        counts = Counter(word for text in texts for word in split(text))
        kept = [word for word, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count >= LEAST]
        return cls((*SPECIAL, *kept))

    @classmethod
    def loads(cls, text: str) -> Words:
        """From `dumps`. ModelError for something else."""
        try:
            known = json.loads(text)
            if known[: len(SPECIAL)] == list(SPECIAL) and all(isinstance(word, str) for word in known):
                return cls(tuple(known))
        except (ValueError, TypeError):
            pass
        raise ModelError(f"expected a vocabulary as a JSON list that begins with {', '.join(SPECIAL)}")

    def dumps(self) -> str:
        """All words as a JSON list."""
        return json.dumps(list(self.known))

    def number(self, word: str) -> int:
        """The number of a word, that of UNKNOWN for one that is not known."""
        numbers: dict[str, int] = self.__dict__["_numbers"]
        return numbers.get(word, numbers[UNKNOWN])

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are not known, in order."""
        return [word for word in split(text) if self.number(word) == self.number(UNKNOWN)]

    def drawing(self, caption: str) -> list[int]:
        """What asks for a picture; with "" of anything. Words that are not known are left out."""
        asked = (self.number(word) for word in (DRAW_WORD, *split(caption)))
        return [number for number in asked if number != self.number(UNKNOWN)]

    def reading(self, question: str, answer: str | None) -> list[int]:
        """A question, and its answer where there is one."""
        asked = [READ_WORD, *split(question), ANSWER]
        return [self.number(word) for word in (asked if answer is None else [*asked, *split(answer), END])]


def split(text: str) -> list[str]:
    """The words and signs of a text, in lower case."""
    return _WORD.findall(text.lower())


def filled(rows: Sequence[Sequence[int]], places: int) -> tuple[Tensor, Tensor]:
    """Rows of numbers as words int64 and written bool [rows, length]; longer rows are cut to `places`."""
    length = min(max(map(len, rows)), places)
    words = torch.zeros(len(rows), length, dtype=torch.long)
    written = torch.zeros(len(rows), length, dtype=torch.bool)
    for number, row in enumerate(rows):
        cut = torch.tensor(row[:length])
        words[number, : len(cut)], written[number, : len(cut)] = cut, True
    return words, written
