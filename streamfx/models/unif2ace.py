"""UniF2ace with its tokenizer and its words, as a model directory: it draws faces by descriptions, and answers questions.

No operator asks it and no server has it, so it is no `ServedModel`. Matrices are stored in 8 bits and the rest in 16, since the
weights that ship are to stay few; so what is measured must be what was stored.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from streamfx.errors import ModelError
from streamfx.models.card import (
    CARD_FILE,
    WEIGHTS_FILE,
    ModelCard,
    check_state,
    parse_card,
    read_json,
    read_weights,
    save_model,
    version_of,
)
from streamfx.models.prompt import Asked
from streamfx.models.unif2ace_words import DRAW_WORD, Words, filled
from streamfx.nets.face_tokens import FaceTokens, FaceTokensSizes
from streamfx.nets.unif2ace import READ, Sequences, UniF2ace, UniF2aceSizes, draw
from streamfx.whole_files import write_whole

WORDS_FILE = "words.json"
VOCABULARY, FACE, SEMANTIC, TOWER = "vocabulary", "face", "semantic", "tower"
"""Facts of a card: a digest of the words; names of the encoders that look at a face, in order; a digest of their weights."""
STEPS, GUIDANCE, TEMPERATURE = 12, 1.0, 3.0
"""How faces are drawn: steps, how far the caption pulls, and the noise in which places stay."""
_MATRIX = 4_096
"""Numbers from which on a matrix is stored in 8 bits."""
_SCALE = ".scale"
_BATCH = 32


@dataclass(frozen=True)
class WholeSizes:
    """Sizes of both nets; of `seen_tokens` that encoders say of a picture; and of the `others`, pictures that are kept in order
    to know what is answered whoever is looked at."""

    net: UniF2aceSizes
    tokenizer: FaceTokensSizes
    seen_tokens: int = 16
    others: int = 8

    def __post_init__(self) -> None:
        net = UniF2aceSizes(**self.net) if isinstance(self.net, dict) else self.net
        tokenizer = FaceTokensSizes(**self.tokenizer) if isinstance(self.tokenizer, dict) else self.tokenizer
        for name, value in (("net", net), ("tokenizer", tokenizer)):
            object.__setattr__(self, name, value)
        for name in ("seen_tokens", "others"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a whole number, at least 1, got {getattr(self, name)!r}")
        if (net.tokens, net.codes) != (tokenizer.tokens, tokenizer.codes):
            raise ValueError(
                f"net: expected the tokenizer's {tokenizer.tokens} tokens of {tokenizer.codes} codes, got {net.tokens} of "
                f"{net.codes}"
            )

    @property
    def image_size(self) -> int:
        """Side of the faces that are drawn and read, pixels."""
        return self.tokenizer.image_size


class Whole(nn.Module):
    """Both nets, and the pictures to compare with: `others_codes` int64 [K, tokens], `others_seen` [K, seen_tokens, width]."""

    def __init__(self, sizes: WholeSizes):
        super().__init__()
        self.net, self.tokenizer = UniF2ace(sizes.net), FaceTokens(sizes.tokenizer)
        wide = sizes.net.face + sizes.net.semantic
        self.register_buffer("others_codes", torch.zeros(sizes.others, sizes.net.tokens, dtype=torch.long))
        self.register_buffer("others_seen", torch.zeros(sizes.others, sizes.seen_tokens, wide))
        self.others_codes: Tensor
        self.others_seen: Tensor


class UniF2aceModel:
    """What `streamfx train unif2ace` made, loaded."""

    architecture = "unif2ace"

    def __init__(self, card: ModelCard, whole: Whole, words: Words):
        self.card, self.words = card, words
        self.net, self.tokenizer = whole.net, whole.tokenizer
        self.others = whole.others_codes, whole.others_seen

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The model in `directory`, on the CPU. ModelError for files that are no such model, CheckpointMismatch where weights
        and sizes disagree."""
        card = cls.read_card(directory)
        assert card.weights is not None
        state = unpacked(read_weights(directory / card.weights))
        whole = cls.build(card)
        check_state(whole, state, str(directory / card.weights))
        whole.load_state_dict(state)
        whole.eval().requires_grad_(False)
        try:
            words = Words.loads((directory / WORDS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{directory / WORDS_FILE}: expected the words of the model: {error}") from error
        if _digest(words) != card.facts[VOCABULARY] or len(words) != card.sizes.net.words:
            raise ModelError(f"{directory / WORDS_FILE}: expected the words that the model learned, got others")
        return cls(card, whole, words)

    @classmethod
    def read_card(cls, directory: Path) -> ModelCard:
        """The card in `directory`; ModelError names what is wrong."""
        path, said = directory / CARD_FILE, read_json(directory).get("architecture")
        if said != cls.architecture:
            raise ModelError(f"{path}: architecture: expected {cls.architecture!r}, got {said!r}")
        card = parse_card(directory, WholeSizes)
        if card.weights is None or set(card.facts) != {VOCABULARY, FACE, SEMANTIC, TOWER}:
            raise ModelError(
                f"{path}: expected weights, and the facts {VOCABULARY}, {FACE}, {SEMANTIC} and {TOWER}, got {card.weights} and "
                f"{', '.join(card.facts) or 'none'}"
            )
        return card

    @classmethod
    def build(cls, card: ModelCard) -> Whole:
        """The nets, without values that mean anything."""
        return Whole(card.sizes)

    def draw(self, descriptions: Sequence[str], seed: int) -> Tensor:
        """float32 [n, 3, S, S] in 0..1: a face for each description; equal seeds draw equal faces."""
        return self.tokenizer.decode(codes_by(self.net, self.words, descriptions, seed))

    def fits(self, question: str, answers: Sequence[str]) -> bool:
        """Whether a question with its longest answer is short enough to be read."""
        longest = max(len(self.words.reading(question, answer)) for answer in answers)
        return longest <= int(self.card.sizes.net.places)

    def likelihoods(self, codes: Tensor, seen: Tensor, asked: Sequence[Asked]) -> list[Tensor]:
        """For each question, double [pictures, answers]: the log-probability of each answer about each picture, of `codes`
        int64 [N, tokens] and what the encoders say, `seen` float [N, seen_tokens, width].

        ModelError for a question that is longer than what the model can read.
        """
        rows = [self.words.reading(question, answer) for question, answers in asked for answer in answers]
        begins = [len(self.words.reading(question, None)) for question, answers in asked for _ in answers]
        if not all(self.fits(*one) for one in asked):
            most = self.card.sizes.net.places - 3
            raise ModelError(f"expected a question and an answer of at most {most} words and signs together, got more")
        if not rows:
            return []
        pairs = [(picture, row) for row in range(len(rows)) for picture in range(len(codes))]
        found = torch.zeros(len(rows) * len(codes), dtype=torch.double)
        for start in range(0, len(pairs), _BATCH):
            pictures, texts = (list(one) for one in zip(*pairs[start : start + _BATCH], strict=True))
            told = self._told(codes[pictures], seen[pictures], [rows[n] for n in texts], [begins[n] for n in texts])
            found[start : start + len(pictures)] = told
        each = found.view(len(rows), len(codes)).T
        return list(torch.split(each, [len(answers) for _, answers in asked], dim=1))

    @torch.no_grad()
    def _told(self, codes: Tensor, seen: Tensor, rows: list[list[int]], begins: list[int]) -> Tensor:
        words, written = filled(rows, self.card.sizes.net.places)
        task, share = torch.full((len(rows),), READ), torch.zeros(len(rows))
        _, said, _ = self.net(Sequences(codes, words, written, task, share, seen.float()))
        each = said.double().log_softmax(dim=2)[:, :-1].gather(2, words[:, 1:, None])[:, :, 0]
        place = torch.arange(1, words.shape[1])
        told: Tensor = (each * (written[:, 1:] & (place >= torch.tensor(begins)[:, None]))).sum(dim=1)
        return told

    def without_looking(self, asked: Sequence[Asked]) -> list[Tensor]:
        """For each question, double [answers]: the logarithm of the mean probability that each answer has for other faces."""
        others = self.likelihoods(*self.others, asked)
        return [one.logsumexp(dim=0) - math.log(len(one)) for one in others]

    def scores(self, codes: Tensor, seen: Tensor, asked: Sequence[Asked]) -> list[Tensor]:
        """For each question, double [pictures, answers]: how much likelier each answer is for these faces than for others, the
        difference of the logarithms; arguments and errors as of `likelihoods`."""
        looking, before = self.likelihoods(codes, seen, asked), self.without_looking(asked)
        return [one - expected for one, expected in zip(looking, before, strict=True)]


@torch.no_grad()
def codes_by(net: UniF2ace, words: Words, texts: Sequence[str], seed: int) -> Tensor:
    """int64 [n, tokens] on the CPU: the codes of a face for each description; equal seeds give equal codes."""
    device = next(net.parameters()).device
    ids, written = filled([words.drawing(text) for text in texts], net.sizes.places)
    generator = torch.Generator().manual_seed(seed % 2**63)
    codes = draw(net.cpu(), ids, written, words.number(DRAW_WORD), STEPS, GUIDANCE, TEMPERATURE, generator)
    net.to(device)
    return codes


def save_unif2ace(
    directory: Path, name: str, net: UniF2ace, tokenizer: FaceTokens, words: Words, others: tuple[Tensor, Tensor],
    encoders: tuple[Sequence[str], Sequence[str], str], licence: str, source: str,
) -> Path:  # fmt: skip
    """Write the model directory; returns it. `others` as in `Whole`; `encoders` are the facts FACE, SEMANTIC and TOWER."""
    codes, seen = others
    sizes = WholeSizes(net.sizes, tokenizer.sizes, seen.shape[1], len(codes))
    with torch.device("meta"):
        whole = Whole(sizes)
    whole.net, whole.tokenizer, whole.others_codes, whole.others_seen = net, tokenizer, codes, seen
    state = packed(whole)
    facts: dict[str, Any] = {VOCABULARY: _digest(words)}
    facts |= {FACE: list(encoders[0]), SEMANTIC: list(encoders[1]), TOWER: encoders[2]}
    version = version_of(state, json.dumps(facts, sort_keys=True))
    card = ModelCard(
        name,
        version,
        UniF2aceModel.architecture,
        sizes,
        (),
        True,
        licence,
        source,
        WEIGHTS_FILE,
        sound=None,
        facts=facts,
    )
    try:
        write_whole(directory / WORDS_FILE, words.dumps())
    except OSError as error:
        raise ModelError(
            f"cannot write {directory / WORDS_FILE}: {error}; make room and run the command again"
        ) from error
    save_model(directory, state, card)
    return directory


def packed(net: nn.Module) -> dict[str, Tensor]:
    """The state of a net as it is stored: its matrices in 8 bits with a scale for each row, `<name>.scale`, other numbers in
    16 bits, and whole numbers as they are."""
    matrices = {name for name, value in net.named_parameters() if value.ndim > 1 and value.numel() >= _MATRIX}
    state = dict[str, Tensor]()
    for name, value in net.state_dict().items():
        value = value.detach().cpu()
        if name in matrices:
            rows = value.float().flatten(1)
            scale = rows.abs().amax(dim=1).clamp_min(1e-12) / 127
            state[name] = (rows / scale[:, None]).round().to(torch.int8).view(value.shape)
            state[name + _SCALE] = scale
        else:
            state[name] = (value.half() if value.is_floating_point() else value).contiguous()
    return state


def unpacked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state that `packed` stored, in float32."""
    out = dict[str, Tensor]()
    for name, value in state.items():
        if name + _SCALE in state:
            scale = state[name + _SCALE].float()
            out[name] = value.float() * scale.view(-1, *[1] * (value.ndim - 1))
        elif not name.endswith(_SCALE) or name.removesuffix(_SCALE) not in state:
            out[name] = value.float() if value.is_floating_point() else value
    return out


def _digest(words: Words) -> str:
    return hashlib.sha256(words.dumps().encode()).hexdigest()[:16]
