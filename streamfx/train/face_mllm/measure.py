"""How well a Face-MLLM answers questions with options about people whom it never saw.

Each option is scored by the log-probability of its text, less a share of that which it has whoever is looked at (the mean over
some other pictures). With a share of 1 an option gains nothing from being a likely word; with 0 the language model's habits
count in full. The share is decided on people of the validation. A blind model says what is likely whoever it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from streamfx.models.prompt import Prompt
from streamfx.nets.face_mllm import FaceMllm
from streamfx.terminal import ProgressBar
from streamfx.train.face_qa.table import NEW_PERSON
from streamfx.train.metrics import Interval, over_people

YES, NO = "yes", "no"
LEAST = 20
"""Questions of one kind below which nothing is told."""
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Of what is said without looking, those that are tried."""
_TOGETHER = 8
"""Questions that are asked at once about a picture that says nothing of them."""


@torch.no_grad()
def measure(
    net: FaceMllm,
    prompt: Prompt,
    questions: pd.DataFrame,
    seen: npt.NDArray[np.float16],
    others: Tensor,
) -> pd.DataFrame:
    """The questions that have options, with the log-probabilities of these, double [options]: in the column `looking` with the
    picture, in `before` whoever is looked at.

    `questions` has a column `image`, the number of the picture in `seen`; `others` float32 [K, tokens, width] are pictures
    that none of the questions is about.
    """
    asked = questions[questions["options"] != "[]"].reset_index(drop=True)
    texts, numbers = asked["question"].to_numpy(object), asked["image"].to_numpy(np.int64)
    options: list[list[str]] = [json.loads(listed) for listed in asked["options"]]
    expected = _without_looking(net, prompt, others, texts, options)
    looking, before = np.empty(len(asked), object), np.empty(len(asked), object)
    images = np.unique(numbers)
    with ProgressBar(" pictures", len(images), 0, "asking") as bar:
        for image in images:
            rows = np.flatnonzero(numbers == image)
            picture = torch.from_numpy(np.asarray(seen[image], np.float32))[None]
            found = _scores(net, prompt, picture, [(texts[row], options[row]) for row in rows])
            for row, scores in zip(rows, found, strict=True):
                looking[row] = scores[0].numpy()
                before[row] = np.array([expected[texts[row], option] for option in options[row]])
            bar.update()
    return asked.assign(looking=looking, before=before)


def answered(measured: pd.DataFrame, share: float) -> pd.DataFrame:
    """What `measure` found, with the option that is `said` where `share` of what is said without looking is taken off, that of
    a `blind` model, and the `raw` one, with nothing taken off."""

    def chosen(looks: float, blind: float) -> list[str]:
        scores = zip(measured["options"], measured["looking"], measured["before"], strict=True)
        return [json.loads(options)[int((looks * one + blind * other).argmax())] for options, one, other in scores]

    return measured.assign(said=chosen(1, -share), blind=chosen(0, 1), raw=chosen(1, 0))


def best_share(measured: pd.DataFrame) -> float:
    """The one of SHARES with the best mean, over kinds of questions and forms of answers, of the balanced accuracy."""

    def right(share: float) -> float:
        found = summary(answered(measured, share))
        return float(np.mean([one["said"][0] for one in found.values()])) if found else 0.0

    return max(SHARES, key=right)


def _scores(
    net: FaceMllm, prompt: Prompt, pictures: Tensor, asked: Sequence[tuple[str, Sequence[str]]]
) -> list[Tensor]:
    """For each question, double [pictures, options]: the log-probability of each option."""
    tree, branches = prompt.asking(asked)
    found = net.likelihoods(pictures, tree.pack(), branches).double()
    return list(torch.split(found, [len(options) for _, options in asked], dim=1))


def _without_looking(
    net: FaceMllm, prompt: Prompt, others: Tensor, texts: npt.NDArray[np.object_], options: Sequence[Sequence[str]]
) -> dict[tuple[str, str], float]:
    """For each question and option, the logarithm of the mean probability that the option has for other pictures."""
    wanted: dict[str, set[str]] = {}
    for text, listed in zip(texts, options, strict=True):
        wanted.setdefault(text, set()).update(listed)
    asked = [(text, sorted(known)) for text, known in wanted.items()]
    expected: dict[tuple[str, str], float] = {}
    with ProgressBar(" questions", len(asked), 0, "without looking") as bar:
        for at in range(0, len(asked), _TOGETHER):
            some = asked[at : at + _TOGETHER]
            tree, branches = prompt.asking(some)
            means = net.without_looking(others, tree.pack(), branches).tolist()
            keys = [(text, option) for text, listed in some for option in listed]
            expected |= dict(zip(keys, means, strict=True))
            bar.update(len(some))
    return expected


def summary(answers: pd.DataFrame) -> dict[str, Any]:
    """By task, name and form of the answer (`yes_no`, `words`, `letters`), and by themselves where the wording or what is
    asked for was never seen either (`/template`, `/attribute`): questions, people, the recall of each true answer averaged
    over the answers (balanced accuracy), with an interval over people; the same for the blind model and without subtracting
    it; and where half of the answers are `yes`, the F1 of `yes` and how often it was said."""
    out: dict[str, Any] = {}
    forms = answers["options"].map(_form)
    for (task, name, form, held_out), part in answers.groupby(["task", "name", forms, "held_out"]):
        if len(part) < LEAST:
            continue
        key = "/".join(filter(None, (str(task), str(name), str(form), "" if held_out == NEW_PERSON else str(held_out))))
        out[key] = {
            "questions": len(part),
            "people": int(part["person"].nunique()),
            **{by: _balanced(part, by).as_json() for by in ("said", "raw")},
            "blind": _balanced(part, "blind").value,
        }
        decided = part[part["answer"].isin([YES, NO])]
        if len(decided) >= LEAST:
            said, true = decided["said"] == YES, decided["answer"] == YES
            out[key]["f1_of_yes"] = float(2 * (said & true).sum() / max(said.sum() + true.sum(), 1))
            out[key]["share_of_yes"] = float(said.mean())
            out[key]["share_of_yes_true"] = float(true.mean())
    return out


def _form(options: str) -> str:
    listed = json.loads(options)
    return "yes_no" if YES in listed else "letters" if all(len(one) == 1 for one in listed) else "words"


def _balanced(part: pd.DataFrame, by: str) -> Interval:
    """Letters and wordings stand for values, so recalls are taken by value."""
    values, truth = np.unique(part["value"], return_inverse=True)
    right = (part[by] == part["answer"]).to_numpy(np.float64)

    def recall(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        counts = np.bincount(truth[rows], minlength=len(values))
        hits = np.bincount(truth[rows], weights=right[rows], minlength=len(values))
        return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)

    return over_people(part["person"].to_numpy(), recall).mean()
