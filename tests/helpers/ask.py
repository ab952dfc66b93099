"""A small Face-MLLM of random weights, as a model directory that needs nothing of others."""

from __future__ import annotations

from pathlib import Path

import torch
from helpers.language_models import write_language_model

from streamfx.models.ask import WORDS_FILE, AskModel, facts_of
from streamfx.models.card import WEIGHTS_FILE, ModelCard, save_model, version_of
from streamfx.nets.face_mllm import FaceMllm, FaceMllmSizes
from streamfx.nets.vit import EncoderSizes
from streamfx.serving.words import vocabulary_digest
from streamfx.train.language import load_language_model

TOKENS, OTHERS = 4, 3


def ask_model(directory: Path, seed: int = 1, blind_share: float = 1.0) -> Path:
    """A model of faces of 32 pixels in `directory`."""
    language = load_language_model(write_language_model(directory.with_name(f"{directory.name}-llm")))
    encoders = (EncoderSizes(32, 8, 16, 1, 2), EncoderSizes(16, 8, 8, 1, 2))
    sizes = FaceMllmSizes(encoders, TOKENS, language.sizes, 2, others=OTHERS)
    torch.manual_seed(seed)
    net = FaceMllm(sizes)
    for value in net.parameters():
        if not value.any():
            value.data.normal_(0, 0.2)
    net.llm.load_state_dict(language.state, strict=False)
    net.match_words()
    net.get_buffer("others").normal_()
    state = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    card = ModelCard(
        "ask-for-tests", version_of(state), AskModel.architecture, sizes, (), True, "MIT", "a test", WEIGHTS_FILE,
        sound=None, facts=facts_of(TOKENS, None, vocabulary_digest(language.tokenizer), blind_share),
    )  # fmt: skip
    save_model(directory, state, card)
    language.tokenizer.save(str(directory / WORDS_FILE))
    return directory
