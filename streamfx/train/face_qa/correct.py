"""Captions of a model, corrected by what is known of the picture: by its labels, and by a net where these are silent."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import numpy as np
import torch

from streamfx.models.attributes import AttributesModel
from streamfx.models.card import resolve_model
from streamfx.train.face_qa.captions import SENTENCE, parse, render
from streamfx.train.face_qa.facts import ATTRIBUTES, HIDDEN, PRESENT, UNKNOWN
from streamfx.train.face_qa.phrases import TOLD
from streamfx.train.stills import StillCutter, read_picture

SURE = 0.9
"""Probability from which on what the net sees counts as known."""
_UNWORDED = (UNKNOWN, HIDDEN, PRESENT)


def corrected(caption: str, known: Mapping[str, str], rng: np.random.Generator) -> str:
    """The caption without the sentences that state what is known to be otherwise. What is known of the facts in such a
    sentence follows at the end, in the words of the grammar; "" where nothing is left to say.

    Facts that the caption leaves out are not added, and what the grammar has no phrase for is not checked.
    """
    kept, lost = list[str](), dict[str, str]()
    for sentence in SENTENCE.findall(caption):
        said = parse(sentence)
        if any(_denied(value, known.get(name, UNKNOWN)) for name, value in said.items()):
            lost |= {name: known.get(name, UNKNOWN) for name in said}
        else:
            kept.append(sentence.strip())
    still_said = parse(" ".join(kept))
    told = {name: lost[name] for name in TOLD if lost.get(name, UNKNOWN) not in _UNWORDED and name not in still_said}
    return " ".join([*kept, *([render(told, rng)] if told else [])])


def _denied(said: str, known: str) -> bool:
    if known == PRESENT:
        return said == "none"
    return known != UNKNOWN and said != known


class SeenFacts:
    """What a net for attributes is sure to see in pictures."""

    def __init__(self, model: str):
        directory = resolve_model(model, AttributesModel.shelf, AttributesModel.architecture)
        self._model = AttributesModel.load(directory)
        self._cutter = StillCutter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cutter.__exit__(kind, error, at)

    def of(self, picture: bytes) -> dict[str, str]:
        """The facts that are sure of a picture, a file; none where no face is found. EvaluationError if it is no picture."""
        cut = self._cutter.cut(read_picture(io.BytesIO(picture)))
        if not cut.face_found:
            return {}
        inputs = AttributesModel.inputs(cut.window, self._model.card.info)
        logits = self._model.run({name: torch.from_numpy(np.array(one))[None] for name, one in inputs.items()})[
            "logits"
        ]
        yes = dict(zip(self._model.card.labels, torch.sigmoid(logits[0]).tolist(), strict=True))
        facts = {name: _sure(yes, about.celeba, ("yes", "no")) for name, about in ATTRIBUTES.items() if about.celeba}
        facts["sex"] = _sure(yes, "Male", ("male", "female"))
        return {name: value for name, value in facts.items() if value != UNKNOWN}


def _sure(yes: Mapping[str, float], label: str, values: tuple[str, str]) -> str:
    """The first value where the label, which may be that of the opposite (`-No_Beard`), is surely there, the second where it
    is surely not."""
    share = yes.get(label.lstrip("-"), 0.5)
    share = 1 - share if label.startswith("-") else share
    return values[0] if share >= SURE else values[1] if share <= 1 - SURE else UNKNOWN
