"""Whether drawn faces show what was asked for, are like those of others, are found as faces, and are copies of ones learned
from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamfx.detection.centerface import shared_detector
from streamfx.detection.look import look
from streamfx.nets.face_mllm import Tower
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.train.face_qa.facts import ATTRIBUTES
from streamfx.train.unif2ace.faces import GREY, at_side, in_parts
from streamfx.train.unif2ace.tokens_measure import Judges

ASKED = ("glasses", "beard", "smiling", "mouth_open", "hat")
"""Attributes whose agreement is told one by one."""
_FACE_PX, _AROUND_PX, _SURE = 112, 224, 0.5
"""Sides of a face and of the grey picture in which the detector looks for it, and how sure the line wants it to be."""


@dataclass(frozen=True)
class Read:
    """What nets read from faces: `expressions` names by face-api, and by our net logits [N] of each attribute."""

    expressions: list[str]
    logits: Mapping[str, Tensor]

    @classmethod
    def of(cls, judges: Judges, faces: Tensor) -> Read:
        """Of faces float [N, 3, S, S] in 0..1."""
        parts = [judges.look(faces[part]) for part in in_parts(len(faces))]
        named = [LABELS_7[number] for outside, _ in parts for number in outside.tolist()]
        return cls(named, {name: torch.cat([logits[name] for _, logits in parts]) for name in parts[0][1]})

    def shows(self, attribute: str) -> npt.NDArray[np.bool_]:
        """bool [N]: whether each face has an attribute, a key of ATTRIBUTES that CelebA has as well."""
        named = ATTRIBUTES[attribute].celeba
        shown: npt.NDArray[np.bool_] = (self.logits[named.removeprefix("-")] > 0).numpy()
        return ~shown if named.startswith("-") else shown

    def agrees(
        self, asked: Sequence[Mapping[str, str]]
    ) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
        """By what is asked for, the numbers of the faces that were asked to show it, and whether they do, by the facts that
        each was asked to show. `expression_outside` is by face-api (chance is 1/7), the rest by the attributes' net."""
        right = {name: self.shows(name) for name in ASKED}
        male = (self.logits["Male"] > 0).numpy()
        wanted = {name: [facts.get(name) for facts in asked] for name in (*ASKED, "sex", "expression")}
        found = {}
        for name, values in wanted.items():
            rows = np.array([n for n, value in enumerate(values) if value is not None], np.int64)
            if name == "expression":
                kept = np.array([self.expressions[n] == values[n] for n in rows], bool)
            else:
                there = male if name == "sex" else right[name]
                kept = np.array([there[n] == (values[n] in ("yes", "male")) for n in rows], bool)
            found["expression_outside" if name == "expression" else name] = (rows, kept)
        return found


def agreement(judges: Judges, faces: Tensor, asked: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Of faces float [N, 3, S, S] in 0..1 the shares that show what they were asked to, `drawn_<name>` as in `Read.agrees`; NaN
    where none was asked."""
    found = Read.of(judges, faces).agrees(asked)
    return {f"drawn_{name}": float(kept.mean()) if len(kept) else math.nan for name, (_, kept) in found.items()}


def found_as_faces(faces: Tensor) -> npt.NDArray[np.bool_]:
    """bool [N]: in which of the faces float [N, 3, S, S] in 0..1, each amid a grey picture, CenterFace finds a face."""
    detector, edge = shared_detector(1), (_AROUND_PX - _FACE_PX) // 2
    told = np.zeros(len(faces), bool)
    for number, face in enumerate(faces):
        picture = torch.full((3, _AROUND_PX, _AROUND_PX), GREY)
        picture[:, edge : edge + _FACE_PX, edge : edge + _FACE_PX] = at_side(face[None], _FACE_PX)[0]
        pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        told[number] = bool(look(detector, pixels, _AROUND_PX, _SURE))
    return told


def features(tower: Tower, faces: Tensor) -> npt.NDArray[np.float64]:
    """float64 [N, width]: the mean of what an encoder says of faces float [N, 3, S, S] in 0..1; `tower` gives one token."""
    side = tower.sizes.image_size
    parts = [tower(at_side(faces[part], side))[:, 0] for part in in_parts(len(faces))]
    return torch.cat(parts).double().numpy()


def frechet(some: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> float:
    """The squared Fréchet distance of two normal distributions with the means and covariances of features [N, width] and [M,
    width], as in FID (Heusel et al., arXiv 1706.08500): |m - n|² + tr(S + T - 2 (S T)^½). It is larger for fewer pictures, so
    only distances of equally many are compared."""
    if min(len(some), len(others)) < 2:
        raise ValueError(f"expected at least two pictures on either side, got {len(some)} and {len(others)}")
    apart = some.mean(axis=0) - others.mean(axis=0)
    one, other = (np.atleast_2d(np.cov(side, rowvar=False)) for side in (some, others))
    values, axes = np.linalg.eigh(one)
    root = (axes * np.sqrt(values.clip(min=0))) @ axes.T
    both = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(min=0)).sum()
    return float(apart @ apart + np.trace(one) + np.trace(other) - 2 * both)


def nearest(codes: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """float64 [n]: of faces with `codes` [n, tokens] the largest share of codes that each has in common with one of `known`
    [m, tokens], at the same places. 1 is a copy."""
    return np.array([(known == one).mean(axis=1).max() for one in codes], np.float64)
