"""What a face is drawn by: some or all of its facts, in the words of `face_qa`'s captions, and with what those hold back.

The captions of `face_qa` never name glasses, hats, wavy hair and bangs, so that asking for them is zero-shot. A net that draws
must know the words, so they are added here; for a UniF2ace these four are therefore not held out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from streamfx.train.face_qa.captions import render, worth_telling
from streamfx.train.face_qa.facts import HELD_OUT
from streamfx.train.face_qa.table import FACT
from streamfx.train.face_qa.words import WORDINGS

FEW = 0.5
"""Share of the descriptions that tell only a few facts, as people do who ask for a face."""
MOST_OF_FEW = 4
"""How many they tell at most, beside the sex."""
_SEX = 0.8
"""Share of them that tell the sex."""


def describe(facts: Mapping[str, str], rng: np.random.Generator) -> tuple[str, dict[str, str]]:
    """A description of a face with these facts (see `face_qa/facts.py`), and the facts that it tells."""
    told = worth_telling(facts, rng)
    worn = [name for name in HELD_OUT if facts.get(name) == "yes"]
    if rng.random() < FEW:
        names = [name for name in (*told, *worn) if name not in ("sex", "side")]
        kept = {names[number] for number in rng.permutation(len(names))[: 1 + rng.integers(MOST_OF_FEW)]}
        if rng.random() < _SEX:
            kept.add("sex")
        if "pose" in kept:  # the grammar tells the side with it
            kept.add("side")
        told, worn = {name: told[name] for name in told if name in kept}, [name for name in worn if name in kept]
    text = render(told, rng)
    if worn:
        words = [WORDINGS[name].asked[int(rng.integers(2))] for name in worn]
        text = f"{text} With {' and '.join(words)}."
    return text, told | dict.fromkeys(worn, "yes")


def facts_of(images: pd.DataFrame) -> list[dict[str, str]]:
    """The facts that are known of each picture (rows of `images.parquet`)."""
    names = [name for name in images.columns if name.startswith(FACT)]
    return [
        {name.removeprefix(FACT): value for name, value in zip(names, row, strict=True) if value}
        for row in images[names].itertuples(index=False)
    ]
