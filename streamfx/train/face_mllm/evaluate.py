"""What a trained Face-MLLM can do, on people whom it never saw: by scoring options, by its own words, and beside a probe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from streamfx.models.prompt import Prompt
from streamfx.nets.face_mllm import FaceMllm
from streamfx.terminal import ProgressBar
from streamfx.train.face_mllm.measure import answered, measure, summary
from streamfx.train.face_mllm.probe import probe
from streamfx.train.face_mllm.recipe import Measured
from streamfx.train.face_qa.captions import score
from streamfx.train.face_qa.table import FACT, NEW_PERSON, NEW_TEMPLATE
from streamfx.train.language import LanguageModel
from streamfx.train.loop import derived
from streamfx.train.metrics import Interval, over_people

CAPTION_TOKENS, ANSWER_TOKENS = 120, 12
"""The longest caption and the longest answer that are written, in tokens."""


@dataclass(frozen=True)
class Pictures:
    """What is asked about: `questions` with a column `image`, the number of the picture in `images` and in `seen`, float16
    [images, tokens, width]; `others` float [K, tokens, width]: pictures by which it is known what is said without looking."""

    questions: pd.DataFrame
    images: pd.DataFrame
    seen: npt.NDArray[np.float16]
    others: Tensor

    def some(self, split: str, count: int, seed: int) -> pd.DataFrame:
        """The questions about `count` of the pictures of `split`, drawn by `seed`, in the order in which they were drawn."""
        asked = self.questions[self.questions["split"] == split]
        chosen = np.random.default_rng(seed).permutation(np.unique(asked["image"]))[:count]
        order = pd.Series(np.arange(len(chosen)), index=chosen)
        return asked[asked["image"].isin(chosen)].assign(drawn=lambda rows: order.loc[rows["image"]].to_numpy())


def ask(net: FaceMllm, language: LanguageModel, about: Pictures, split: str, count: int, seed: int) -> pd.DataFrame:
    """What `measure` says of the questions about `count` pictures of a split."""
    return measure(net, Prompt(language, net.sizes.tokens), about.some(split, count, seed), about.seen, about.others)


def evaluate(
    net: FaceMllm,
    language: LanguageModel,
    about: Pictures,
    measured: Measured,
    asked: pd.DataFrame,
    share: float,
    seed: int,
) -> dict[str, Any]:
    """All measures of what was `asked` about the pictures of a split (`ask`), and of what it writes about the first
    `written` of them, as JSON values.

    `options`: by task and name, as `summary` has it, where `share` of what is said without looking is taken off; `wording`:
    how much less is right in wordings that training never had, in questions asked both ways; `free_text`: how often what it
    writes is the right answer, word for word; `captions`: what share of what they state is true, and what share of what can be
    seen they state; `probe`: by fact, what a linear layer reads from the same tower.
    """
    answers = answered(asked, share)
    some = about.some(measured.split, measured.pictures, seed)
    few = some[some["drawn"] < measured.written]
    return {
        "split": measured.split,
        "pictures": int(asked["image"].nunique()),
        "people": int(asked["person"].nunique()),
        "blind_share": share,
        "options": summary(answers),
        "wording": _wording(answers),
        "free_text": _free_text(net, language, few, about.seen, seed),
        "captions": _captions(net, language, few, about.images, about.seen),
        "probe": {
            name: value.as_json() for name, value in probe(about.images, about.seen, measured.split, seed).items()
        },
    }


def _wording(answers: pd.DataFrame) -> dict[str, Any]:
    """The share of right answers in seen wordings less that in unseen ones, over questions that are asked in both."""
    right = answers.assign(right=(answers["said"] == answers["answer"]).astype(float))
    pairs = right.pivot_table(index=["person", "image", "task", "name"], columns="held_out", values="right")
    if not {NEW_PERSON, NEW_TEMPLATE} <= set(pairs):
        return {}
    pairs = pairs.dropna(subset=[NEW_PERSON, NEW_TEMPLATE])
    less = (pairs[NEW_PERSON] - pairs[NEW_TEMPLATE]).to_numpy()
    return {"pairs": len(pairs), "less": _mean(less, list(pairs.index.get_level_values("person"))).as_json()}


@torch.no_grad()
def _free_text(
    net: FaceMllm, language: LanguageModel, asked: pd.DataFrame, seen: npt.NDArray[np.float16], seed: int
) -> dict[str, Any]:
    """By task: of one question of each picture, drawn by the seed, how often what is written is the answer."""
    closed = asked[asked["options"] != "[]"]
    some = closed.groupby(["image", "task"], sort=True).sample(1, random_state=derived(seed, "free text") % 2**32)
    right = np.zeros(len(some))
    allowed = np.zeros(len(some))
    with ProgressBar(" answers", len(some), title="writing") as bar:
        for at, (_, row) in enumerate(some.iterrows()):
            said = _write(net, language, seen[int(row["image"])], row["question"], ANSWER_TOKENS)
            right[at] = said == row["answer"]
            allowed[at] = said in json.loads(row["options"])
            bar.update()
    out = {}
    for task, rows in some.reset_index(drop=True).groupby("task").groups.items():
        people = list(some["person"].to_numpy()[rows])
        out[str(task)] = {
            "answers": len(rows),
            "right": _mean(right[rows], people).as_json(),
            "an_option": float(allowed[rows].mean()),
        }
    return out


@torch.no_grad()
def _captions(
    net: FaceMllm, language: LanguageModel, asked: pd.DataFrame, images: pd.DataFrame, seen: npt.NDArray[np.float16]
) -> dict[str, Any]:
    wanted = asked[asked["task"] == "caption"]
    facts = images[[name for name in images.columns if name.startswith(FACT)]].rename(
        columns=lambda name: str(name).removeprefix(FACT)
    )
    texts, known = [], []
    with ProgressBar(" captions", len(wanted), title="writing") as bar:
        for _, row in wanted.iterrows():
            texts.append(_write(net, language, seen[int(row["image"])], row["question"], CAPTION_TOKENS))
            known.append({str(name): str(value) for name, value in facts.iloc[int(row["image"])].items()})
            bar.update()
    told = score(texts, known)
    return {
        "captions": len(texts),
        "stated": told.stated,
        "true": told.true / max(told.stated, 1),
        "visible": told.visible,
        "told": told.told / max(told.visible, 1),
    }


def _write(net: FaceMllm, language: LanguageModel, seen: npt.NDArray[np.float16], question: str, longest: int) -> str:
    """What is written to a question about one picture, without blanks around it."""
    prompt = Prompt(language, net.sizes.tokens)
    tree = prompt.tree()
    tree.add(0, prompt.question(question))
    picture = torch.from_numpy(np.asarray(seen, np.float32))[None]
    ids = net.write(picture, tree.pack(), language.encode("<|im_end|>")[-1], longest)
    return str(language.tokenizer.decode(ids)).strip()


def _mean(values: npt.NDArray[np.float64], people: list[str]) -> Interval:
    return over_people(people, lambda rows: values[rows].mean(keepdims=True)).mean()
