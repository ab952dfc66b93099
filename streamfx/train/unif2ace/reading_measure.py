"""How well a UniF2ace answers questions with options, in the form in which `face_mllm/measure.py` sums answers up."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd
from torch import Tensor

from streamfx.models.prompt import Asked
from streamfx.models.unif2ace import UniF2aceModel
from streamfx.terminal import ProgressBar

Shown = Mapping[int, tuple[Tensor, Tensor]]
"""By the number of a picture, its codes [1, tokens] and what the encoders see in it [1, seen_tokens, width]."""


def answers(model: UniF2aceModel, questions: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """The questions that have options and are short enough to be read, with what was answered: columns `said`, `blind` (what is
    said without looking) and `raw` (without subtracting that), each one of the options. `questions` has a column `image`, the
    number of the picture in `shown`."""
    some = questions[questions["options"] != "[]"]
    asked: list[Asked] = [(text, json.loads(one)) for text, one in zip(some["question"], some["options"], strict=True)]
    fits = np.array([model.fits(question, options) for question, options in asked], bool)
    some, asked = some[fits].reset_index(drop=True), [one for one, kept in zip(asked, fits, strict=True) if kept]
    said = np.empty((len(some), 3), object)
    expected: dict[tuple[str, tuple[str, ...]], Tensor] = {}
    images = some["image"].to_numpy(np.int64)
    with ProgressBar(" pictures", len(np.unique(images)), 0, "asking") as bar:
        for image in np.unique(images):
            rows = np.flatnonzero(images == image)
            about = [asked[row] for row in rows]
            new = [one for one in about if (one[0], tuple(one[1])) not in expected]
            known = zip(new, model.without_looking(new), strict=True)
            expected |= {(question, tuple(options)): value for (question, options), value in known}
            found = model.likelihoods(*shown[int(image)], about)
            for row, (question, options), looking in zip(rows, about, found, strict=True):
                before = expected[question, tuple(options)]
                for column, by in enumerate((looking[0] - before, before, looking[0])):
                    said[row, column] = options[int(by.argmax())]
            bar.update()
    return some.assign(**{name: said[:, column] for column, name in enumerate(("said", "blind", "raw"))})
