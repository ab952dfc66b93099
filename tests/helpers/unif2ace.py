"""A small UniF2ace of random weights, as a model directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from streamfx.models.unif2ace import save_unif2ace
from streamfx.models.unif2ace_words import SPECIAL, Words
from streamfx.nets.face_tokens import FaceTokens, FaceTokensSizes
from streamfx.nets.unif2ace import UniF2ace, UniF2aceSizes

QUESTION = "what is it ?"
CODES, WIDTH, TOKENS, PLACES = 8, 3, 2, 12
SEEN = torch.randn(2, TOKENS, 2 * WIDTH, generator=torch.Generator().manual_seed(1))
WORDS = Words((*SPECIAL, "dark", "light", "what", "is", "it", "?"))


def unif2ace_model(
    directory: Path,
    seed: int = 1,
    words: Words = WORDS,
    encoders: tuple[Sequence[str], Sequence[str], str] = ((), (), ""),
    shown: tuple[int, int, int] = (TOKENS, WIDTH, WIDTH),
    places: int = PLACES,
) -> Path:
    """A model of faces of 8 pixels in `directory`; `shown` says how many tokens it sees, and how wide face and semantic are."""
    tokens, face, semantic = shown
    sizes = UniF2aceSizes(
        words=len(words), tokens=4, codes=CODES, places=places, dim=32, depth=2, heads=2, shared=32, routed=2, routed_width=16,
        best=1, every=1, resampled=8, semantic=semantic, face=face,
    )  # fmt: skip
    net = UniF2ace(sizes)
    net.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    for value in net.parameters():
        if not value.any():
            value.data.normal_(0, 0.3, generator=generator)
    torch.manual_seed(seed)
    tokenizer = FaceTokens(FaceTokensSizes(image_size=8, grid=2, codes=CODES, code_dim=2, width=8))
    others = (
        torch.randint(CODES, (3, 4), generator=generator),
        torch.randn(3, tokens, face + semantic, generator=generator),
    )
    return save_unif2ace(
        directory, "unif2ace-for-tests", net, tokenizer, words, others, encoders, "none", "a test"
    )  # fmt: skip
