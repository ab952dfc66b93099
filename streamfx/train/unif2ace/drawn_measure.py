"""Whether a drawn face shows what was asked for, by nets that read faces, and whether it is a copy of one learned from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from streamfx.nets.mma_dfer import LABELS_7
from streamfx.train.face_qa.facts import ATTRIBUTES
from streamfx.train.unif2ace.tokens_measure import Judges

ASKED = ("glasses", "beard", "smiling", "mouth_open", "hat")
"""Attributes whose agreement is told one by one."""


def agreement(judges: Judges, faces: Tensor, asked: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Of faces float [N, 3, S, S] in 0..1 and the facts that each was asked to show: the share that does, NaN where none was
    asked. `drawn_expression_outside` is by face-api (chance is 1/7), the rest by the attributes' net."""
    outside, logits = judges.look(faces)
    named = [LABELS_7[number] for number in outside.tolist()]
    said: dict[str, list[bool]] = {name: [] for name in (*ASKED, "sex", "expression_outside")}
    for number, facts in enumerate(asked):
        if "expression" in facts:
            said["expression_outside"].append(named[number] == facts["expression"])
        if "sex" in facts:
            said["sex"].append(bool(logits["Male"][number] > 0) == (facts["sex"] == "male"))
        for name in set(ASKED) & set(facts):
            attribute = ATTRIBUTES[name].celeba
            there = bool(logits[attribute.removeprefix("-")][number] > 0) is not attribute.startswith("-")
            said[name].append(there == (facts[name] == "yes"))
    return {f"drawn_{name}": float(np.mean(one)) if one else math.nan for name, one in said.items()}


def nearest(codes: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """float64 [n]: of faces with `codes` [n, tokens] the largest share of codes that each has in common with one of `known`
    [m, tokens], at the same places. 1 is a copy."""
    return np.array([(known == one).mean(axis=1).max() for one in codes], np.float64)
