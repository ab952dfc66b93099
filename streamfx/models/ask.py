"""Questions about one face: Face-MLLM (`nets/face_mllm.py`) behind the contract of a served model.

The net knows no text. Questions and answers come as numbers of tokens (`prompt.py`), made by who asks, since the server's
environment has no tokenizer. A request is one picture with all its questions, so that the picture is read once for all.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamfx.errors import ModelError
from streamfx.models.backbones import BACKBONES
from streamfx.models.base import ServedModel
from streamfx.models.card import ModelCard, find_directory
from streamfx.models.contract import ModelInfo, ModelSpec, Tensors, TensorSpec
from streamfx.models.frames import sized_frames
from streamfx.models.prompt import PICTURE
from streamfx.nets.face_mllm import FaceMllm, FaceMllmSizes, Pack, pack_from
from streamfx.records import Window

FACE, ASKED, SCORES = "face", "asked", "scores"
TOKENS, TOKENIZER, VOCABULARY = "tokens", "tokenizer", "vocabulary"
"""Facts of a card, for who asks: places of a picture; the backbone whose tokenizer it is, or null for the one in the model's
directory; and a digest of its vocabulary (`serving/words.py`), without which answers would be to other questions."""
BLIND_SHARE = "blind_share"
"""A fact: the share, 0 to 1, of what is said whoever is looked at that is taken off an answer's log-probability."""
WORDS_FILE = "tokenizer.json"
MOST_TOKENS = 4_096
"""Tokens of a request; the memory grows with their square."""
_KEPT = 64
_PART = re.compile(r"llm|tower\.encoders\.\d+")


@dataclass(frozen=True)
class _Known:
    """What is worked out once for a set of questions."""

    pack: Pack
    answers: range
    expected: Tensor
    """double [answers]: the log-probability of each answer, whoever is looked at."""


class AskModel(ServedModel):
    """How likely each answer is for this face, as a logarithm, less the card's share of how likely it is for other faces: with
    a share of 1, how much likelier it is for this one.

    Of answers in a batch that has sets of several sizes, those of smaller sets are filled up with zeros.
    """

    spec = ModelSpec(
        name="ask",
        inputs=(TensorSpec(FACE, "UINT8", (3, -1, -1)), TensorSpec(ASKED, "INT32", (3, -1))),
        outputs=(TensorSpec(SCORES, "FP32", (-1,)),),
        max_batch_size=8,
        queue_delay_us=5_000,
        default_weights="ask",
    )
    architecture = "face_mllm"
    Sizes = FaceMllmSizes
    net: FaceMllm

    def __init__(self, card: ModelCard, net: nn.Module, device: str, info: ModelInfo | None = None):
        super().__init__(card, net, device, info)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    @classmethod
    def check(cls, card: ModelCard) -> None:
        """Other pictures to compare with; facts that fit; weights of others for whole parts; nothing heard, no labels."""
        if card.labels:
            raise ValueError(f"labels: expected none, since the questions name the answers, got {list(card.labels)}")
        if card.sizes.others < 1:
            raise ValueError("sizes.others: expected at least 1 picture, by which answers are compared")
        facts, named = card.facts, card.facts.get(TOKENIZER)
        if set(facts) != {TOKENS, TOKENIZER, VOCABULARY, BLIND_SHARE} or facts[TOKENS] != card.sizes.tokens:
            raise ValueError(
                f"facts: expected {TOKENS} as in sizes ({card.sizes.tokens}), {TOKENIZER}, {VOCABULARY} and {BLIND_SHARE}, "
                f"got {facts}"
            )
        if not isinstance(facts[BLIND_SHARE], float) or not 0 <= facts[BLIND_SHARE] <= 1:
            raise ValueError(f"facts.{BLIND_SHARE}: expected 0.0 to 1.0, got {facts[BLIND_SHARE]!r}")
        if named is not None and named not in tuple(BACKBONES):
            raise ValueError(f"facts.{TOKENIZER}: expected null or one of {', '.join(BACKBONES)}, got {named!r}")
        strange = [part for part in card.outside if not _PART.fullmatch(part)]
        if strange:
            raise ValueError(f"outside: expected llm and tower.encoders.N, got {', '.join(strange)}")
        if card.sound is not None:
            raise ValueError("sound: expected null, since questions are about what is seen")

    @classmethod
    def build(cls, card: ModelCard) -> nn.Module:
        """The net of the card's sizes."""
        return FaceMllm(card.sizes)

    @classmethod
    def spec_of(cls, info: ModelInfo) -> ModelSpec:
        """Faces of one size; questions differ from request to request."""
        assert info.image_size is not None
        return cls.spec.fixed(face=(3, info.image_size, info.image_size))

    @classmethod
    def inputs(cls, window: Window, info: ModelInfo) -> Tensors:
        """The face alone, in the frame that `frame_asked` names; who asks adds the questions, `asked`, which are not in a
        window."""
        assert info.image_size is not None
        return {FACE: sized_frames(window, info.image_size)[frame_asked(window.present)].copy()}

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`scores` float32 [B, answers]. ValueError for questions that are no tree below the picture."""
        seen = self.net.tower(batch[FACE].float() / 255)
        rows = [np.ascontiguousarray(row) for row in batch[ASKED].cpu().numpy()]
        known = [self._questions(row) for row in rows]
        scores = torch.zeros(len(rows), max(len(one.answers) for one in known))
        alike: dict[int, list[int]] = {}
        for number, one in enumerate(known):
            alike.setdefault(id(one), []).append(number)
        for numbers in alike.values():
            one = known[numbers[0]]
            looking = self.net.likelihoods(seen[numbers], one.pack, one.answers).double()
            found = looking - self.card.facts[BLIND_SHARE] * one.expected
            scores[numbers, : len(one.answers)] = found.float().cpu()
        return {SCORES: scores}

    def _questions(self, row: npt.NDArray[np.int32]) -> _Known:
        key = row.tobytes()
        one = self._known.pop(key, None)
        if one is None:
            pack, answers = questions_in(row, self.card.sizes)
            pack = pack.to(self.device)
            one = _Known(pack, answers, self.net.without_looking(self.net.get_buffer("others"), pack, answers))
        self._known[key] = one
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return one


def questions_in(row: npt.NDArray[np.int32], sizes: FaceMllmSizes) -> tuple[Pack, range]:
    """The tree that a request describes (`Prompt.request`), and its branches that are answers; ValueError for one that the
    net could not read."""
    ids, before, answer = (one.tolist() for one in row)
    total, shown = len(ids), [at for at, token in enumerate(ids) if token == PICTURE]
    picture = slice(shown[0], shown[0] + len(shown)) if shown else slice(0, 0)
    answers = range(max(answer) + 1)
    if total > MOST_TOKENS:
        raise ValueError(f"{ASKED}: expected at most {MOST_TOKENS} tokens, got {total}; ask fewer questions at once")
    if len(shown) != sizes.tokens or shown != list(range(total))[picture]:
        raise ValueError(
            f"{ASKED}: expected {sizes.tokens} places for the picture, one after another, got {len(shown)}"
        )
    if not all(0 <= token < sizes.llm.vocabulary or token == PICTURE for token in ids):
        raise ValueError(f"{ASKED}: expected tokens of a vocabulary of {sizes.llm.vocabulary}, got others")
    if before[0] != -1 or not all(0 <= last < at for at, last in enumerate(before[1:], 1)):
        raise ValueError(f"{ASKED}: expected an earlier token before each but the first")
    if min(answer) < -1 or {*answers} - {*answer} or not answers or any(answer[at] != -1 for at in shown):
        raise ValueError(f"{ASKED}: expected answers that are counted from 0, each with tokens, none of the picture")
    return pack_from([max(token, 0) for token in ids], before, answer, picture), answers


def frame_asked(present: npt.NDArray[np.bool_]) -> int:
    """Which of a window's frames is looked at: of those in which the face was seen, the one nearest to the middle."""
    seen = np.flatnonzero(present)
    return int(seen[np.abs(seen - len(present) / 2).argmin()]) if len(seen) else len(present) // 2


def words_file(info: ModelInfo, weights: str | Path) -> Path:
    """The tokenizer of the model that `info` tells of, called `weights`. MissingComponent where this machine lacks it,
    ModelError where the model's directory is needed and not here."""
    named = info.facts.get(TOKENIZER)
    if named is not None:
        return BACKBONES[named].made(WORDS_FILE)
    file = find_directory(weights, AskModel.shelf) / WORDS_FILE
    if not file.is_file():
        raise ModelError(f"no {file}: expected the tokenizer beside the model")
    return file


def facts_of(tokens: int, tokenizer: str | None, vocabulary: str, blind_share: float) -> dict[str, Any]:
    """The facts of a card."""
    return {TOKENS: tokens, TOKENIZER: tokenizer, VOCABULARY: vocabulary, BLIND_SHARE: blind_share}
