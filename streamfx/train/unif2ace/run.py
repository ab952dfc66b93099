"""Trains a UniF2ace on the codes of a tokenizer; what it learned becomes a model directory, which is measured."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamfx.errors import ConfigError
from streamfx.models.unif2ace import UniF2aceModel, save_unif2ace
from streamfx.models.unif2ace_words import Words
from streamfx.nets.face_mllm import Tower
from streamfx.nets.face_tokens import FaceTokens
from streamfx.nets.unif2ace import UniF2ace, UniF2aceSizes
from streamfx.train import kept_array
from streamfx.train.face_mllm.tower import fingerprint, open_tower, places_of, see
from streamfx.train.face_qa.table import QUESTIONS_FILE, read_set
from streamfx.train.loop import derived, train
from streamfx.train.results import write_json
from streamfx.train.unif2ace.both import SHOWN, BothBatches, BothPhase, Drawing, Told, held_out
from streamfx.train.unif2ace.descriptions import facts_of
from streamfx.train.unif2ace.evaluate import Known, drawing, reading
from streamfx.train.unif2ace.look import codes_of
from streamfx.train.unif2ace.recipe import UniF2aceRecipe
from streamfx.train.unif2ace.tokens import load_face_tokens
from streamfx.train.unif2ace.tokens_measure import Judges

MODEL, MEASURES_FILE, DRAWN_FILE = "model", "measures.json", "drawn.png"
OTHERS = 8
"""Pictures of training by which it is known what is answered whoever is looked at."""


def train_unif2ace(recipe: UniF2aceRecipe) -> Path:
    """Train by the recipe and return the model directory, in `recipe.run.out`. Resumes where an earlier call was killed.

    Writes the curves of the phase `both`; and each epoch the model as it is, and `contact-sheet.png`: faces by descriptions of
    people for validation. At the end `measures.json` has what `evaluate.py` says of the model as it was stored, and `loads`,
    what each expert got, by router; `drawn.png` shows some of the drawings that were measured.
    """
    data = recipe.data
    images, questions = read_set(data.questions)
    tokenizer = load_face_tokens(recipe.tokenizer)
    tower = open_tower((*recipe.face, *recipe.semantic), recipe.seen_tokens)
    codes = codes_of(tokenizer, images, data.sets, data.cache)
    seen = see(tower, images, data.sets, data.cache)
    facts = facts_of(images)
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
        json.loads(recipe.model_dump_json(exclude={"run", "name", "origin", "data", "tokenizer", "measured"})), told_by,
        kept_array.fingerprint(tokenizer, tokenizer.sizes), fingerprint(tower), recipe.run.seed, recipe.run.precision,
    ]  # fmt: skip
    batches, unseen = (
        BothBatches(told, words, net, recipe.both, recipe.run.seed, name)
        for told, name in ((learning, "both"), (others, "held-out"))
    )
    rng = np.random.default_rng(derived(recipe.run.seed, "sheet"))
    shown = [others.described(int(n), rng) for n in rng.permutation(len(others))[:SHOWN]]
    judges = Judges.load()
    sheet = Drawing(
        tokenizer,
        words,
        [text for text, _ in shown],
        [asked for _, asked in shown],
        judges,
        recipe.run.seed,
        recipe.run.out,
    )
    known = Known(images, questions, places_of(images, data.sets, data.cache), seen, codes)
    keep = partial(_save, net, tokenizer, words, known, recipe, fingerprint(tower))
    train(BothPhase(net, batches, unseen, recipe.both, recipe.head, sheet, keep, decided_by), recipe.run)
    path = keep()
    write_json(recipe.run.out / MEASURES_FILE, _measures(UniF2aceModel.load(path), known, judges, unseen, recipe))
    return path


def _measures(
    model: UniF2aceModel, known: Known, judges: Judges, unseen: BothBatches, recipe: UniF2aceRecipe
) -> dict[str, Any]:
    how, seed, sheet = recipe.measured, recipe.run.seed, recipe.run.out / DRAWN_FILE
    losses, loads = held_out(model.net, unseen)
    drawn = drawing(model, known, judges, how.split, how.drawings, seed, recipe.face[:1], sheet)
    read = reading(model, known, how.split, how.asked, seed, few=True)
    return {**losses, "loads": loads, "drawing": drawn, "reading": read}


def _save(
    net: UniF2ace, tokenizer: FaceTokens, words: Words, known: Known, recipe: UniF2aceRecipe, tower: str
) -> Path:  # fmt: skip
    learned = np.flatnonzero(known.images["split"] == "train")
    some = np.sort(np.random.default_rng(derived(recipe.run.seed, "others")).choice(learned, OTHERS))
    others = torch.from_numpy(known.codes[some]), torch.from_numpy(np.asarray(known.seen[some], np.float32))
    return save_unif2ace(
        recipe.run.out / MODEL, recipe.name, net, tokenizer, words, others, (recipe.face, recipe.semantic, tower),
        recipe.origin.licence, recipe.origin.source,
    )  # fmt: skip


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
