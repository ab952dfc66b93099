"""Writes the model directory that is served (`models/ask.py`) from a trained net."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from streamfx.errors import ModelError
from streamfx.models.ask import WORDS_FILE, AskModel, facts_of
from streamfx.models.backbones import BACKBONES
from streamfx.models.card import WEIGHTS_FILE, ModelCard, save_model, version_of
from streamfx.models.shared import without_shared
from streamfx.nets.face_mllm import FaceMllm
from streamfx.serving.words import vocabulary_digest
from streamfx.train.face_mllm.recipe import FaceMllmRecipe
from streamfx.train.face_mllm.tower import shared_encoder
from streamfx.train.language import LanguageModel


def write_model(
    directory: Path, net: FaceMllm, recipe: FaceMllmRecipe, language: LanguageModel, others: Tensor, share: float
) -> Path:
    """Write the model directory of `net`, in 16 bits; returns it. `share` of what is said without looking is taken off.

    The card names the backbones of others by name (`outside`), and encoders that come with streamfx (`shared`). The file
    holds the rest: the projector, the adapters, and what the tower sees in `others`, float [K, tokens, width], pictures by
    which it is known what is said whoever is looked at. A language model or an encoder of the user's is in the file too.
    """
    named = {"llm": recipe.llm, **{f"tower.encoders.{at}": name for at, name in enumerate(recipe.tower)}}
    outside = {part: name for part, name in named.items() if name in BACKBONES}
    state = {
        name: value.half().contiguous()
        for name, value in (net.state_dict() | {"others": others}).items()
        if ".lora_" in name or not name.startswith(tuple(f"{part}." for part in outside))
    }
    words = outside.get("llm")
    ours = {
        f"tower.encoders.{at}": shared_encoder(name) for at, name in enumerate(recipe.tower) if name not in BACKBONES
    }
    rest, shared = without_shared(state, {part: named for part, named in ours.items() if named is not None})
    card = ModelCard(
        name=recipe.name,
        version=version_of(state, json.dumps(outside, sort_keys=True)),
        architecture=AskModel.architecture,
        sizes=replace(net.sizes, rank=recipe.rank, adapted=recipe.adapted, others=len(others)),
        labels=(),
        trained=True,
        licence=recipe.origin.licence,
        source=recipe.origin.source,
        weights=WEIGHTS_FILE,
        sound=None,
        facts=facts_of(recipe.tokens, words, vocabulary_digest(language.tokenizer), share),
        outside=outside,
        shared=shared,
    )
    save_model(directory, rest, card)
    if words is None:
        try:
            language.tokenizer.save(str(directory / WORDS_FILE))
        except Exception as error:  # the package raises nothing more special
            raise ModelError(f"cannot write {directory / WORDS_FILE}: {error}") from error
    return directory
