"""Trains a Face-MLLM stage by stage; what it learned becomes a model directory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamfx.errors import ConfigError
from streamfx.models.card import write_weights
from streamfx.models.prompt import Prompt
from streamfx.nets.face_mllm import FaceMllm, FaceMllmSizes, Tower
from streamfx.train.face_mllm.evaluate import Pictures, ask, evaluate
from streamfx.train.face_mllm.measure import best_share
from streamfx.train.face_mllm.model import write_model
from streamfx.train.face_mllm.phases import Learned, QuestionBatches, StagePhase
from streamfx.train.face_mllm.recipe import FaceMllmRecipe
from streamfx.train.face_mllm.tower import fingerprint, open_tower, see
from streamfx.train.face_mllm.words import WordBatches, WordsPhase
from streamfx.train.face_qa.table import QUESTIONS_FILE, read_set
from streamfx.train.language import LanguageModel, load_language_model
from streamfx.train.loop import computing, derived, device_of, train
from streamfx.train.results import write_json

STAGES = {"words": 1, "captions": 1, "basic": 2, "special": 3}
"""Of which stage in `questions.parquet` each stage learns: the first two from captions."""
OTHERS = 8
"""Pictures of training by which it is known what is said without looking."""
LEARNED_FILE, MEASURES_FILE, MODEL = "learned.safetensors", "measures-{split}.json", "model"


def train_face_mllm(recipe: FaceMllmRecipe) -> Path:
    """Train by the recipe and return the model directory, in `recipe.run.out`. Resumes where an earlier call was killed.

    Writes the curves of each stage, what was learned by itself, and after the last stage `measures-SPLIT.json`: how questions
    about people whom it never saw are answered (`evaluate.py`).
    """
    data = recipe.data
    images, questions = read_set(data.questions)
    tower = open_tower(recipe.tower, recipe.tokens)
    seen = see(tower, images, data.sets, data.cache)
    language = load_language_model(recipe.llm)
    net = build(recipe, tower, language)
    prompt = Prompt(language, recipe.tokens)
    learned = Learned(net)
    made_of = hashlib.sha256((data.questions / QUESTIONS_FILE).read_bytes()).hexdigest()
    decided_by: list[Any] = [
        made_of, fingerprint(tower), recipe.llm, recipe.rank, recipe.adapted, recipe.stages, recipe.run.seed,
        recipe.run.precision,
    ]  # fmt: skip
    for stage in recipe.stages:
        section, learning = getattr(recipe, stage), questions[(questions["split"] == "train")]
        earlier = recipe.earlier if stage == "special" else 0.0
        asked_in = {STAGES[stage], *([STAGES["basic"]] if earlier else [])}
        learning = learning[learning["stage"].isin(asked_in)].reset_index(drop=True)
        if learning.empty:
            raise ConfigError(f"data.questions: no questions of the stage {stage} to train on; make the set again")
        if stage == "words":
            words = WordBatches(learning, seen, prompt, section, recipe.run.seed, stage)
            train(WordsPhase(stage, learned, words, section, decided_by), recipe.run)
        else:
            batches = QuestionBatches(learning, seen, prompt, section, recipe.run.seed, stage, earlier)
            by = [*decided_by, earlier] if earlier else decided_by
            train(StagePhase(stage, learned, batches, section, by), recipe.run)
    _save(recipe.run.out / LEARNED_FILE, net, recipe, tower)
    trained = questions.loc[questions["split"] == "train", "image"].drop_duplicates()
    some = trained.sample(OTHERS, random_state=recipe.run.seed, replace=True)
    others = torch.from_numpy(np.asarray(seen[np.sort(some.to_numpy())], np.float32))
    about = Pictures(questions, images, seen, others)
    measured, seed = recipe.measured, recipe.run.seed
    with computing(recipe.run, device_of(recipe.run)):
        asked = ask(net.eval(), language, about, "validation", measured.pictures, seed)
        share = best_share(asked)
        model = write_model(recipe.run.out / MODEL, net, recipe, language, others, share)
        if measured.split != "validation":
            asked = ask(net, language, about, measured.split, measured.pictures, seed)
        told = evaluate(net, language, about, measured, asked, share, seed)
    write_json(recipe.run.out / MEASURES_FILE.format(split=recipe.measured.split), told)
    return model


def build(recipe: FaceMllmRecipe, tower: Tower, language: LanguageModel) -> FaceMllm:
    """The whole net: the tower's and the language model's own weights; the projector and adapters drawn from the seed."""
    sizes = FaceMllmSizes(tower.sizes.encoders, recipe.tokens, language.sizes, recipe.rank, recipe.adapted)
    torch.manual_seed(derived(recipe.run.seed, "face-mllm"))
    net = FaceMllm(replace(sizes, rank=0))
    net.tower = tower
    net.llm.load_state_dict(language.state)
    net.llm.requires_grad_(False)
    if recipe.rank:
        try:
            net.llm.adapt(recipe.rank, 2.0 * recipe.rank, recipe.adapted)
        except ValueError as error:
            raise ConfigError(f"adapted: {error}") from error
    net.match_words()
    return net


def _save(path: Path, net: FaceMllm, recipe: FaceMllmRecipe, tower: Tower) -> None:
    about = {
        "name": recipe.name, "llm": recipe.llm, "tower": list(recipe.tower), "tower_digest": fingerprint(tower),
        "tokens": recipe.tokens, "rank": recipe.rank, "adapted": list(recipe.adapted),
        "stages": list(recipe.stages), "licence": recipe.origin.licence, "source": recipe.origin.source,
    }  # fmt: skip
    state = {name: value.half().contiguous() for name, value in net.learned().items()}
    write_weights(path, state, {"streamfx_face_mllm": json.dumps(about)})
