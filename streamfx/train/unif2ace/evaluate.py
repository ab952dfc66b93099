"""What a trained UniF2ace can do with people whom it never saw: what survives its tokenizer, how it draws, and how it reads.

Whatever is told of drawings is told of the pictures as well that were described, and of their copies by the tokenizer: no net
draws better than its tokenizer, and no judge finds more than is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from streamfx.models.unif2ace import UniF2aceModel, codes_by
from streamfx.terminal import ProgressBar
from streamfx.train.face_mllm.measure import summary
from streamfx.train.face_mllm.probe import probe
from streamfx.train.face_mllm.tower import Place, open_tower
from streamfx.train.loop import derived
from streamfx.train.metrics import Interval, over_people
from streamfx.train.unif2ace.descriptions import describe, facts_of
from streamfx.train.unif2ace.drawn_measure import ASKED, Read, features, found_as_faces, frechet, nearest
from streamfx.train.unif2ace.faces import in_parts, write_sheet
from streamfx.train.unif2ace.look import cut
from streamfx.train.unif2ace.reading_measure import answers
from streamfx.train.unif2ace.tokens import Eyes
from streamfx.train.unif2ace.tokens_measure import Judges, compared

SHOWN, COLUMNS = 64, 8
"""Drawings on the contact sheet, and how many stand in a row."""
_People = npt.NDArray[np.object_]
HALVINGS = 10
"""How often the people are divided in two for a Fréchet distance."""
PROBED = {"expression": "expression/expression/words", "sex": "sex/sex/words"}
"""Facts whose reading is compared with the linear probe, and their keys in `summary`."""


@dataclass(frozen=True)
class Known:
    """A set of questions and its pictures: `images` and `questions` as `read_set` has them, where each picture's face is, what
    the encoders see in each, float16 [images, tokens, width], and codes int64 [images, tokens]."""

    images: pd.DataFrame
    questions: pd.DataFrame
    places: Sequence[Place]
    seen: npt.NDArray[np.float16]
    codes: npt.NDArray[np.int64]
    facts: list[dict[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", facts_of(self.images))

    def some(self, split: str, count: int, seed: int) -> npt.NDArray[np.int64]:
        """Numbers of some pictures of a split, in a random order."""
        rows = np.flatnonzero(self.images["split"] == split)
        return np.random.default_rng(derived(seed, "measured", split)).permutation(rows)[:count]

    def faces(self, rows: npt.NDArray[np.int64], side: int) -> Tensor:
        """float32 [n, 3, side, side]: their faces as the tokenizer sees them."""
        return torch.cat([cut([self.places[row] for row in rows[part]], side) for part in in_parts(len(rows))])

    def people(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        """Who is shown."""
        return self.images["person"].to_numpy(object)[rows]


def survival(
    model: UniF2aceModel, known: Known, judges: Judges, split: str, count: int, seed: int, encoders: Sequence[str]
) -> dict[str, Any]:  # fmt: skip
    """What of the faces of a split the tokenizer keeps (`tokens_measure.Compared`), each with an interval over people; our own
    expression net is asked as well. `seen`: by encoder, how differently it sees the copies (`Eyes`)."""
    rows = known.some(split, count, seed)
    faces = known.faces(rows, model.card.sizes.image_size)
    copies = _copies(model, faces)
    found = compared(judges, faces, copies, ours=True)
    names = list(found.told())
    told = over_people(
        list(known.people(rows)), lambda some: np.array(list(found.told(torch.from_numpy(some)).values()))
    )
    each = [told.mean(np.array([name == other for other in names])) for name in names]
    return {
        "split": split, "pictures": len(rows), "people": len(np.unique(known.people(rows))),
        **{name: one.as_json() for name, one in zip(names, each, strict=True)},
        "seen": {name: _apart(name, faces, copies) for name in encoders},
    }  # fmt: skip


def drawing(
    model: UniF2aceModel, known: Known, judges: Judges, split: str, count: int, seed: int, encoders: Sequence[str], sheet: Path
) -> dict[str, Any]:  # fmt: skip
    """Draw by descriptions of `count` pictures of a split; the first 64 are put into the PNG `sheet`.

    Of `drawn`, of the `real` pictures described and of their `copies`: `found`, the share that CenterFace finds; `asked`, by
    attribute, the share that shows what was asked for; `unasked`, the share of those of whom it is not so, and was not said,
    that show it all the same; `nearest`, the mean and the most that each has in common with one learned from (by codes; real
    ones have those of their copies). `frechet`, by encoder: distances from the real pictures of half of the people to those of
    the other half, to their copies, and to drawings by their descriptions; means, least and most over HALVINGS.
    """
    rows = known.some(split, count, seed)
    rng = np.random.default_rng(derived(seed, "descriptions"))
    told = [describe(known.facts[row], rng) for row in rows]
    people, facts, asked = known.people(rows), [known.facts[row] for row in rows], [one for _, one in told]
    with ProgressBar(" faces", len(rows), title="drawing") as bar:
        codes = torch.cat(_drawn(model, [text for text, _ in told], seed, bar))
    real = known.faces(rows, model.card.sizes.image_size)
    own = torch.cat([model.tokenizer.encode(real[part]) for part in in_parts(len(real))])
    sides = {"real": real, "copies": _decoded(model, own), "drawn": _decoded(model, codes)}
    write_sheet(sheet, sides["drawn"][:SHOWN], COLUMNS)
    out: dict[str, Any] = {"drawings": len(rows), "people": len(np.unique(people)), "split": split}
    out |= {name: _shows(judges, faces, facts, asked, people) for name, faces in sides.items()}
    learned = known.codes[(known.images["split"] == "train").to_numpy()]
    for name, its in (("real", own), ("drawn", codes)):
        alike = nearest(its.numpy(), learned)
        out[name]["nearest"] = {"mean": _mean(alike, people).as_json(), "most": float(alike.max())}
    out["frechet"] = {name: _frechets(name, sides, people, seed) for name in encoders}
    return out


def reading(
    model: UniF2aceModel, known: Known, split: str, count: int, seed: int, few: bool = False, probed: bool = False
) -> dict[str, Any]:  # fmt: skip
    """What is answered to all questions about `count` pictures of a split, or with `few` to those about PROBED, by scoring
    options (`summary` of Face-MLLM's measures). With `probed` also `probe`, what a linear layer reads from the same encoders by
    fact, and `less_than_probe`, by how much less of PROBED is answered right."""
    rows = known.some(split, count, seed)
    asked = known.questions[known.questions["image"].isin(rows)]
    asked = asked[asked["name"].isin(PROBED)] if few else asked
    shown = dict[int, tuple[Tensor, Tensor]]()
    for part in in_parts(len(rows)):
        own = model.tokenizer.encode(known.faces(rows[part], model.card.sizes.image_size))
        seen = torch.from_numpy(np.asarray(known.seen[rows[part]], np.float32))
        shown |= {int(row): (own[n : n + 1], seen[n : n + 1]) for n, row in enumerate(rows[part])}
    options = summary(answers(model, asked, shown))
    out: dict[str, Any] = {"split": split, "pictures": len(rows), "people": len(np.unique(known.people(rows)))}
    out["options"] = options
    if probed:
        told = {name: value.as_json() for name, value in probe(known.images, known.seen, split, seed).items()}
        both = [name for name, key in PROBED.items() if name in told and key in options]
        out |= {"probe": told, "less_than_probe": {n: told[n][0] - options[PROBED[n]]["said"][0] for n in both}}
    return out


def _shows(
    judges: Judges,
    faces: Tensor,
    facts: Sequence[Mapping[str, str]],
    asked: Sequence[Mapping[str, str]],
    people: _People,
) -> dict[str, Any]:
    read = Read.of(judges, faces)
    found: dict[str, Any] = {"found": _share(found_as_faces(faces), people).as_json()}
    found["asked"] = {name: _told(kept, people[rows]) for name, (rows, kept) in read.agrees(asked).items() if len(rows)}
    found["unasked"] = {}
    for name in ASKED:
        without = [one.get(name) == "no" and name not in said for one, said in zip(facts, asked, strict=True)]
        rows = np.flatnonzero(without)
        if len(rows):
            found["unasked"][name] = _told(read.shows(name)[rows], people[rows])
    return found


def _told(right: npt.NDArray[np.bool_], people: _People) -> dict[str, Any]:
    return {"faces": len(right), "share": _share(right, people).as_json()}


@torch.no_grad()
def _apart(encoder: str, faces: Tensor, copies: Tensor) -> float:
    eyes, parts = Eyes((encoder,)), in_parts(len(faces))
    return float(
        np.average([float(eyes(copies[part], faces[part])) for part in parts], weights=[len(part) for part in parts])
    )


def _copies(model: UniF2aceModel, faces: Tensor) -> Tensor:
    parts = in_parts(len(faces))
    return _decoded(model, torch.cat([model.tokenizer.encode(faces[part]) for part in parts]))


def _decoded(model: UniF2aceModel, codes: Tensor) -> Tensor:
    return torch.cat([model.tokenizer.decode(codes[part]) for part in in_parts(len(codes))])


def _drawn(model: UniF2aceModel, texts: Sequence[str], seed: int, bar: ProgressBar) -> list[Tensor]:
    found = []
    for number, part in enumerate(in_parts(len(texts))):
        found.append(codes_by(model.net, model.words, [texts[n] for n in part], derived(seed, "drawn", number)))
        bar.update(len(part))
    return found


def _share(right: npt.NDArray[np.bool_], people: _People) -> Interval:
    return _mean(right.astype(np.float64), people)


def _mean(values: npt.NDArray[np.float64], people: _People) -> Interval:
    return over_people(list(people), lambda rows: values[rows].mean(keepdims=True)).mean()


def _frechets(encoder: str, sides: dict[str, Tensor], people: _People, seed: int) -> dict[str, dict[str, float]]:
    tower = open_tower((encoder,), 1)
    seen = {name: features(tower, faces) for name, faces in sides.items()}
    names = np.unique(people.astype(str))
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(HALVINGS):
        mixed = np.random.default_rng(derived(seed, "halves", number)).permutation(names)
        first = np.isin(people.astype(str), mixed[: len(names) // 2])
        if min(first.sum(), (~first).sum()) < 2:
            continue
        for name, its in seen.items():
            found[name].append(frechet(seen["real"][first], its[~first]))
    return {
        name: {"mean": float(np.mean(those)), "least": min(those), "most": max(those)}
        for name, those in found.items()
        if those
    }
