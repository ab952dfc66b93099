"""A batch of both tasks: what is masked, what is asked, and that a small net learns to draw by words and to answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.expert import require_face_api

from streamfx.models.unif2ace_words import DRAW_WORD, Words
from streamfx.nets.face_tokens import FaceTokens, FaceTokensSizes
from streamfx.nets.unif2ace import DRAW, READ, UniF2ace, UniF2aceSizes
from streamfx.train.loop import train
from streamfx.train.recipe import Run
from streamfx.train.unif2ace.both import BothBatches, BothPhase, Drawing, Told
from streamfx.train.unif2ace.recipe import UniF2aceSteps
from streamfx.train.unif2ace.tokens_measure import Judges

COUNT, TOKENS, CODES = 32, 4, 8
SECTION = UniF2aceSteps(epochs=40, batch_size=16, blr=0.16, weight_decay=0.0, reading=0.25, without_caption=0.0)


def told() -> Told:
    """Pictures whose codes follow from a word of their descriptions, and whose answers from what encoders see."""
    kind = np.arange(COUNT) % 2
    rows = [
        {"image": n, "question": "what is it ?", "answer": ("dark", "light")[k]} for n, k in enumerate(kind.tolist())
    ]
    facts = [{"sex": ("female", "male")[k], "glasses": "yes"} for k in kind.tolist()]
    codes = np.where(kind[:, None] == 0, np.arange(TOKENS), np.arange(TOKENS)[::-1]).astype(np.int64)
    seen = np.repeat(kind.astype(np.float16)[:, None, None], 6, axis=2)
    return Told.of(pd.DataFrame(rows), facts, codes, seen)


def words_of(all_told: Told) -> Words:
    rng = np.random.default_rng(1)
    described = [all_told.described(n, rng)[0] for n in range(len(all_told))]
    return Words.of((*described, *all_told.questions["question"], *all_told.questions["answer"]))


def net_of(words: int) -> UniF2ace:
    sizes = UniF2aceSizes(
        words=words, tokens=TOKENS, codes=CODES, places=12, dim=32, depth=2, heads=2, shared=32, routed=2, routed_width=16,
        best=1, every=2, resampled=8, semantic=3, face=3,
    )  # fmt: skip
    net = UniF2ace(sizes)
    net.initialise(1)
    return net


def test_the_first_are_drawn_and_the_rest_are_read() -> None:
    known = told()
    words = words_of(known)
    batch = BothBatches(known, words, net_of(len(words)), SECTION, seed=1)[0]
    assert batch["task"].tolist() == [DRAW] * 12 + [READ] * 4
    assert batch["masked"][:12].any(dim=1).all() and not batch["masked"][12:].any()
    assert torch.equal(batch["codes"] == CODES, batch["masked"])
    assert torch.equal(batch["codes"][~batch["masked"]], batch["true"][~batch["masked"]])
    assert not batch["seen"][:12].any() and (batch["share"][12:] == 0).all()
    assert (batch["words"][:12, 0] == words.number(DRAW_WORD)).all()
    assert not batch["asked"][:12].any()
    learned = batch["words"].roll(-1, dims=1)[batch["asked"]]
    said = {words.known[n] for n in learned.tolist()}
    assert "?" not in said and said <= {"<end>", "dark", "light"}


def test_captions_are_left_out_as_often_as_the_recipe_says() -> None:
    known = told()
    words = words_of(known)
    section = SECTION.model_copy(update={"without_caption": 1.0})
    batch = BothBatches(known, words, net_of(len(words)), section, seed=1)[0]
    assert (batch["written"][:12].sum(dim=1) == 1).all()


@pytest.mark.parametrize(("head", "mask_weight", "alpha"), [("softmax", 1.0, 2.56), ("free", 0.0, 1.0)])
def test_a_net_learns_to_draw_by_a_word_and_to_answer_by_what_it_sees(
    tmp_path: Path, head: str, mask_weight: float, alpha: float
) -> None:
    require_face_api()
    known = told()
    words = words_of(known)
    net = net_of(len(words))
    net.initialise(1, head)  # type: ignore[arg-type]
    section = SECTION.model_copy(update={"mask_weight": mask_weight, "alpha_tokens": alpha})
    batches = BothBatches(known, words, net, section, seed=1)
    tokenizer = FaceTokens(FaceTokensSizes(image_size=8, grid=2, codes=CODES, code_dim=2, width=8)).eval()
    drawing = Drawing(
        tokenizer, words, ["a woman", "a man"], [{"sex": "female"}, {"sex": "male"}], Judges.load(), 1, tmp_path
    )
    kept = list[int]()
    phase = BothPhase(net, batches, batches, section, head, drawing, lambda: kept.append(1), "a test")  # type: ignore[arg-type]
    before = phase.measure()
    train(phase, Run(out=tmp_path, threads=1))
    after = phase.measure()
    assert after["held_out_mask"] < 0.5 * before["held_out_mask"]
    assert after["held_out_answer"] < 0.5 * before["held_out_answer"]
    assert (tmp_path / "contact-sheet.png").is_file() and len(kept) == section.epochs
