"""Trains a UniF2ace on the codes of a tokenizer, and keeps both in one file, from which faces are drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import SafetensorError
from torch import Tensor

from streamfx.errors import ConfigError, ModelError
from streamfx.models.card import check_state, read_weights_file, write_weights
from streamfx.nets.face_mllm import Tower
from streamfx.nets.face_tokens import FaceTokens, FaceTokensSizes
from streamfx.nets.unif2ace import UniF2ace, UniF2aceSizes
from streamfx.train import kept_array
from streamfx.train.face_mllm.tower import fingerprint, listed, open_tower, places_of, see
from streamfx.train.face_qa.table import FACT, QUESTIONS_FILE, read_set
from streamfx.train.loop import derived, train
from streamfx.train.recipe import digest
from streamfx.train.unif2ace.both import SHOWN, BothBatches, BothPhase, Drawing, Told, codes_by
from streamfx.train.unif2ace.faces import faces_of
from streamfx.train.unif2ace.recipe import UniF2aceRecipe
from streamfx.train.unif2ace.tokens import load_face_tokens
from streamfx.train.unif2ace.tokens_measure import Judges
from streamfx.train.unif2ace.words import Words

MODEL_FILE = "unif2ace.safetensors"
METADATA_KEY = "streamfx_unif2ace"


def train_unif2ace(recipe: UniF2aceRecipe) -> Path:
    """Train by the recipe and return the model's file, in `recipe.run.out`. Resumes where an earlier call was killed.

    Writes the curves of the phase `both`, and `contact-sheet.png` each epoch: faces by descriptions of people for validation.
    """
    data = recipe.data
    images, questions = read_set(data.questions)
    tokenizer = load_face_tokens(recipe.tokenizer)
    tower = open_tower((*recipe.face, *recipe.semantic), recipe.seen_tokens)
    codes = _codes(tokenizer, images, recipe)
    seen = see(tower, images, data.sets, data.cache)
    names = [name for name in images.columns if name.startswith(FACT)]
    facts = [
        {name.removeprefix(FACT): value for name, value in zip(names, row, strict=True) if value}
        for row in images[names].itertuples(index=False)
    ]
    learning, others = (
        Told.of(questions[questions["split"] == split], facts, codes, seen) for split in ("train", "validation")
    )
    for name, told in (("train", learning), ("validation", others)):
        if not len(told):
            raise ConfigError(f"data.questions: no pictures in the split {name}; make the set again")
    rng = np.random.default_rng(derived(recipe.run.seed, "words"))
    described = [learning.described(n, rng)[0] for n in range(len(learning))]
    words = Words.of((*described, *learning.questions["question"], *learning.questions["answer"]))
    net = _net(recipe, tokenizer, tower, len(words))
    told_by = hashlib.sha256((data.questions / QUESTIONS_FILE).read_bytes()).hexdigest()
    decided_by: list[Any] = [
        json.loads(recipe.model_dump_json(exclude={"run", "name", "origin", "data", "tokenizer"})), told_by,
        kept_array.fingerprint(tokenizer, tokenizer.sizes), fingerprint(tower), recipe.run.seed, recipe.run.precision,
    ]  # fmt: skip
    batches, held_out = (
        BothBatches(told, words, net, recipe.both, recipe.run.seed, name)
        for told, name in ((learning, "both"), (others, "held-out"))
    )
    rng = np.random.default_rng(derived(recipe.run.seed, "sheet"))
    shown = [others.described(int(n), rng) for n in rng.permutation(len(others))[:SHOWN]]
    drawing = Drawing(
        tokenizer, words, [text for text, _ in shown], [asked for _, asked in shown], Judges.load(), recipe.run.seed,
        recipe.run.out,
    )  # fmt: skip
    train(BothPhase(net, batches, held_out, recipe.both, recipe.head, drawing, decided_by), recipe.run)
    path = recipe.run.out / MODEL_FILE
    _save(path, Drawer(net, tokenizer, words), recipe)
    return path


def _net(recipe: UniF2aceRecipe, tokenizer: FaceTokens, tower: Tower, words: int) -> UniF2ace:
    wide = [one.dim for one in tower.sizes.encoders]
    face = sum(wide[: len(recipe.face)])
    decided: dict[str, Any] = {
        "words": words, "tokens": tokenizer.sizes.tokens, "codes": tokenizer.sizes.codes, "face": face,
        "semantic": sum(wide) - face,
    }  # fmt: skip
    odd = sorted(set(recipe.net) & set(decided))
    if odd:
        raise ConfigError(f"net: {', '.join(odd)} follow from the data and the tokenizer; leave them out")
    try:
        net = UniF2ace(UniF2aceSizes(**{**decided, **recipe.net}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"net: {error}") from error
    net.initialise(derived(recipe.run.seed, "unif2ace"), recipe.head)
    return net


def _codes(tokenizer: FaceTokens, images: pd.DataFrame, recipe: UniF2aceRecipe) -> npt.NDArray[np.int64]:
    """The codes of each image's face, int64 [images, tokens]; made once."""
    data, side = recipe.data, tokenizer.sizes.image_size

    def start() -> Callable[[range], npt.NDArray[np.int32]]:
        at = places_of(images, data.sets, data.cache)

        def make(rows: range) -> npt.NDArray[np.int32]:
            found = [at[row] for row in rows]
            faces = [faces_of(one.pictures, np.array([one.number]), one.square[None], side) for one in found]
            return tokenizer.encode(torch.cat(faces)).numpy().astype(np.int32)

        return make

    path = (
        data.cache
        / f"codes-{digest([kept_array.fingerprint(tokenizer, tokenizer.sizes), listed(images)])}"
        / "codes.npy"
    )
    shape = (len(images), tokenizer.sizes.tokens)
    return kept_array.kept_rows(path, np.int32, shape, "making codes of faces", start).astype(np.int64)


@dataclass(frozen=True)
class Drawer:
    """A trained UniF2ace with its tokenizer and its words."""

    net: UniF2ace
    tokenizer: FaceTokens
    words: Words

    def draw(self, descriptions: list[str], seed: int) -> Tensor:
        """float32 [n, 3, S, S] in 0..1: a face for each description; equal seeds draw equal faces."""
        return self.tokenizer.decode(codes_by(self.net, self.words, descriptions, seed))


_NET, _TOKENIZER = "net.", "tokenizer."


def _save(path: Path, made: Drawer, recipe: UniF2aceRecipe) -> None:
    about = {
        "name": recipe.name, "sizes": asdict(made.net.sizes), "tokenizer": asdict(made.tokenizer.sizes),
        "words": made.words.dumps(), "head": recipe.head, "face": list(recipe.face), "semantic": list(recipe.semantic),
        **recipe.origin.model_dump(),
    }  # fmt: skip
    state = {
        prefix + name: value.detach().cpu().float().contiguous()
        for prefix, part in ((_NET, made.net), (_TOKENIZER, made.tokenizer))
        for name, value in part.state_dict().items()
    }
    try:
        write_weights(path, state, {METADATA_KEY: json.dumps(about)})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write {path}: {error}; make room and run the command again") from error


def load_unif2ace(path: Path) -> Drawer:
    """What `train_unif2ace` wrote, a file or the folder with it. ModelError for anything else."""
    file = path / MODEL_FILE if path.is_dir() else path
    try:
        state, metadata = read_weights_file(file)
        about = json.loads(metadata[METADATA_KEY])
        net, tokenizer = UniF2ace(UniF2aceSizes(**about["sizes"])), FaceTokens(FaceTokensSizes(**about["tokenizer"]))
        words = Words.loads(about["words"])
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{file}: expected a model by `streamfx train unif2ace`, could not read it: {error}"
        ) from error
    for prefix, part in ((_NET, net), (_TOKENIZER, tokenizer)):
        its = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        check_state(part, its, str(file))
        part.load_state_dict(its)
        part.eval().requires_grad_(False)
    return Drawer(net, tokenizer, words)
