"""How well a Face-MLLM answers questions with options about people whom it never saw.

Each option is scored by the log-probability of its text, less that which it has for a blind model, to which the mean of many
pictures is shown: so an option gains nothing from being a likely word.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from streamfx.nets.face_mllm import FaceMllm
from streamfx.terminal import ProgressBar
from streamfx.train.face_mllm.phases import Prompt
from streamfx.train.metrics import Interval, over_people

YES, NO = "yes", "no"
LEAST = 20
"""Questions of one kind below which nothing is told."""


@torch.no_grad()
def measure(
    net: FaceMllm,
    prompt: Prompt,
    questions: pd.DataFrame,
    seen: npt.NDArray[np.float16],
    blind: Tensor,
    pictures: int,
    seed: int,
) -> pd.DataFrame:
    """The questions with options of some of the pictures, drawn by `seed`, with what was answered: columns `said`, `blind` (the
    same by the blind model) and `raw` (without subtracting it), each one of the options.

    `questions` has a column `image`, the number of the picture in `seen`.
    """
    asked = questions[questions["options"] != "[]"]
    chosen = np.random.default_rng(seed).permutation(np.unique(asked["image"]))[:pictures]
    asked = asked[asked["image"].isin(chosen)].reset_index(drop=True)
    said: dict[int, tuple[str, str, str]] = {}
    with ProgressBar(" pictures", len(chosen), 0, "asking") as bar:
        numbers = asked["image"].to_numpy(np.int64)
        for image in sorted(chosen):
            rows = np.flatnonzero(numbers == image)
            tree, branches, options = prompt.tree(), list[int](), list[list[str]]()
            for row in rows:
                below = tree.add(0, prompt.question(asked["question"].iloc[row]))
                options.append(json.loads(asked["options"].iloc[row]))
                branches += [tree.add(below, prompt.answer(option)) for option in options[-1]]
            both = torch.stack((torch.from_numpy(np.asarray(seen[image], np.float32)), blind))
            scores = torch.split(
                net.likelihoods(both, tree.pack(), branches).double(), [len(one) for one in options], dim=1
            )
            for row, names, score in zip(rows, options, scores, strict=True):
                best = (int(one.argmax()) for one in (score[0] - score[1], score[1], score[0]))
                said[int(row)] = tuple(names[number] for number in best)  # type: ignore[assignment]
            bar.update()
    answers = [said[row] for row in range(len(asked))]
    return asked.assign(**{name: [one[i] for one in answers] for i, name in enumerate(("said", "blind", "raw"))})


def summary(answers: pd.DataFrame) -> dict[str, Any]:
    """By task and name: questions, people, the recall of each true answer averaged over the answers (balanced accuracy), with
    an interval over people; the same for the blind model and without subtracting it; and how often `yes` was said where
    half of the answers are."""
    out: dict[str, Any] = {}
    for (task, name, held_out), part in answers.groupby(["task", "name", "held_out"]):
        if len(part) < LEAST:
            continue
        key = "/".join(filter(None, (str(task), str(name), "" if held_out == "person" else str(held_out))))
        out[key] = {
            "questions": len(part),
            "people": int(part["person"].nunique()),
            **{by: _balanced(part, by).as_json() for by in ("said", "raw")},
            "blind": _balanced(part, "blind").value,
        }
        decided = part[part["answer"].isin([YES, NO])]
        if len(decided) >= LEAST:
            out[key]["share_of_yes"] = float((decided["said"] == YES).mean())
            out[key]["share_of_yes_true"] = float((decided["answer"] == YES).mean())
    return out


def _balanced(part: pd.DataFrame, by: str) -> Interval:
    """Letters and wordings stand for values, so recalls are taken by value."""
    values, truth = np.unique(part["value"], return_inverse=True)
    right = (part[by] == part["answer"]).to_numpy(np.float64)

    def recall(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        counts = np.bincount(truth[rows], minlength=len(values))
        hits = np.bincount(truth[rows], weights=right[rows], minlength=len(values))
        return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)

    return over_people(part["person"].to_numpy(), recall).mean()
