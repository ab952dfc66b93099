"""The training of a UniF2ace: in every step some pictures are drawn by their captions, and some are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.models.unif2ace import codes_by
from streamfx.models.unif2ace_words import ANSWER, Words, filled
from streamfx.nets.d3diff import Head, d3diff, mask, mask_loss, shares
from streamfx.nets.face_tokens import FaceTokens
from streamfx.nets.unif2ace import DRAW, READ, Sequences, UniF2ace
from streamfx.train.batches import Shuffled
from streamfx.train.loop import Batch, Phase, Schedule, derived
from streamfx.train.unif2ace.descriptions import describe
from streamfx.train.unif2ace.drawn_measure import agreement, nearest
from streamfx.train.unif2ace.faces import write_sheet
from streamfx.train.unif2ace.recipe import UniF2aceSteps
from streamfx.train.unif2ace.tokens_measure import Judges

SHEET_FILE, SHOWN, COLUMNS = "contact-sheet.png", 64, 8
MEASURED = 256
"""Held-out pictures of which the losses are told."""


@dataclass(frozen=True)
class Told:
    """Pictures of one split: `images` int64 [n], their numbers in `codes` int64 [N, tokens] and in what encoders see, `seen`
    float16 [N, M, width]; the facts of each; and the rows of `questions` about each."""

    images: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]
    seen: npt.NDArray[np.float16]
    facts: list[Mapping[str, str]]
    questions: pd.DataFrame
    rows: list[npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(
        cls, questions: pd.DataFrame, facts: Sequence[Mapping[str, str]], codes: npt.NDArray[np.int64],
        seen: npt.NDArray[np.float16],
    ) -> Told:  # fmt: skip
        """Of questions with a column `image`, the number of the picture in `facts`, `codes` and `seen`."""
        about = questions["image"].to_numpy(np.int64)
        order = np.argsort(about, kind="stable")
        images, starts = np.unique(about[order], return_index=True)
        groups = np.split(order, starts[1:]) if len(images) else []
        return cls(images, codes, seen, [facts[n] for n in images], questions, groups)

    def described(self, number: int, rng: np.random.Generator) -> tuple[str, dict[str, str]]:
        """A description of a picture, and the facts that it tells."""
        return describe(self.facts[number], rng)


class BothBatches(Shuffled):
    """Of a batch's pictures the first are drawn, and the rest are read."""

    def __init__(self, told: Told, words: Words, net: UniF2ace, section: UniF2aceSteps, seed: int, phase: str = "both"):
        self.told, self._words, self._sizes, self._section = told, words, net.sizes, section
        super().__init__(len(told), section.batch_size, seed, phase, section.pictures)

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """The fields of `Sequences`; `true` int64 and `masked` bool [N, tokens]; `density` [N] as by `shares`; `asked` bool [N,
        length], the words whose next one is learned."""
        numbers = np.array(items, np.int64)
        told, words, tokens = self.told, self._words, self._sizes.tokens
        drawn = len(numbers) - round(self._section.reading * len(numbers))
        plain = torch.rand(drawn, generator=generator) < self._section.without_caption
        rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
        rows = [
            words.drawing("" if bare else told.described(n, rng)[0])
            for n, bare in zip(numbers, plain.tolist(), strict=False)
        ]
        for number in numbers[drawn:]:
            about = told.rows[number]
            row = told.questions.iloc[about[int(torch.randint(len(about), (), generator=generator))]]
            rows.append(words.reading(row["question"], row["answer"]))
        ids, written = filled(rows, self._sizes.places)
        true = torch.from_numpy(told.codes[told.images[numbers]])
        # Shares lie evenly in a batch, from a random first one on: less noise in the loss.
        uniform = (torch.arange(len(numbers)) + torch.rand((), generator=generator)) / max(drawn, 1) % 1
        share, density = shares(uniform, tokens)
        masked = mask(share, tokens, generator)
        task = torch.full((len(numbers),), DRAW)
        task[drawn:] = READ
        masked[drawn:], share[drawn:] = False, 0.0
        seen = torch.zeros(len(numbers), *told.seen.shape[1:])
        seen[drawn:] = torch.from_numpy(np.asarray(told.seen[told.images[numbers[drawn:]]], np.float32))
        begun = (ids == words.number(ANSWER)).cumsum(dim=1) > 0
        asked = begun & F.pad(written[:, 1:], (0, 1)) & (task == READ)[:, None]
        codes = true.masked_fill(masked, self._sizes.codes)
        return {
            "codes": codes, "words": ids, "written": written, "task": task, "share": share, "seen": seen, "true": true,
            "masked": masked, "density": density, "asked": asked,
        }  # fmt: skip


def sequences(batch: Mapping[str, Tensor]) -> Sequences:
    """What the net reads of a batch."""
    return Sequences(*(batch[name] for name in ("codes", "words", "written", "task", "share", "seen")))


class BothPhase(Phase):
    """The only phase."""

    name = "both"
    betas = (0.9, 0.95)

    def __init__(
        self, net: UniF2ace, batches: BothBatches, held_out: BothBatches, section: UniF2aceSteps, head: Head,
        drawing: Drawing, keep: Callable[[], object], decided_by: Any,
    ):  # fmt: skip
        """`keep` is called after each epoch."""
        self.net, self.batches, self._held_out, self._section, self._head = net, batches, held_out, section, head
        self._drawing, self._keep = drawing, keep
        self.schedule = Schedule.of(section, batches.steps)
        self.optimiser, self.weight_decay, self.decided_by = section.optimiser, section.weight_decay, decided_by

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`, and its parts: `mask` and `score` of what is drawn, `answer` (nats a word) of what is read, `balance`."""
        net = self.net
        assert isinstance(net, UniF2ace)
        said, next_words, balance = net(sequences(batch))
        draws, section = batch["task"] == DRAW, self._section
        zero = said.new_zeros((), dtype=torch.float32)
        drawn, by_mask, by_score = zero, zero, zero
        if draws.any():
            parts = (
                said[draws],
                batch["true"][draws],
                batch["masked"][draws],
                batch["share"][draws],
                batch["density"][draws],
            )
            drawn, by_mask, by_score = d3diff(
                *parts, self._head, section.mask_weight, section.alpha_tokens / net.sizes.tokens
            )
        answer = zero
        if batch["asked"].any():
            wanted = batch["words"].roll(-1, dims=1)[batch["asked"]]
            answer = F.cross_entropy(next_words[batch["asked"]].float(), wanted)
        even = balance.loss / max(balance.count, 1)
        loss = drawn + section.reading_weight * answer + section.balance * balance.loss
        return {"loss": loss, "mask": by_mask, "score": by_score, "answer": answer, "balance": even}

    def epoch_row(self, sums: Mapping[str, Tensor], steps: int) -> dict[str, float]:
        """The means over the epoch, `measure`, and what `Drawing.sheet` says; draws the sheet, and keeps the net."""
        net = self.net
        self._keep()
        assert isinstance(net, UniF2ace) and isinstance(self.batches, BothBatches)
        told = {name: float(value) / steps for name, value in sums.items()} | self.measure()
        return told | self._drawing.sheet(net, self.batches.told.codes[self.batches.told.images])

    def measure(self) -> dict[str, float]:
        """Of held-out pictures what `held_out` says, and `least_load` and `most_load`, the extremes of what experts get, in
        even shares."""
        net = self.net
        assert isinstance(net, UniF2ace)
        told, loads = held_out(net, self._held_out)
        even = [share * len(one) for one in loads.values() for share in one]
        return told | {"least_load": min(even, default=1.0), "most_load": max(even, default=1.0)}


@torch.no_grad()
def held_out(net: UniF2ace, batches: BothBatches) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Of the first MEASURED pictures `held_out_mask`, the mean cross-entropy of a masked code, and `held_out_answer`, that of
    an answer's word, in nats; and by router the share of assignments that each expert gets."""
    device = next(net.parameters()).device
    generator = torch.Generator().manual_seed(derived("held-out"))
    sums: dict[str, list[float]] = {"mask": [], "answer": []}
    loads: dict[str, list[Tensor]] = {}
    for numbers in np.array_split(np.arange(min(MEASURED, len(batches.told))), max(MEASURED // 32, 1)):
        if not len(numbers):
            continue
        batch = {name: value.to(device) for name, value in batches.of(numbers.tolist(), 0, generator).items()}
        said, next_words, balance = net(sequences(batch))
        draws, asked = batch["task"] == DRAW, batch["asked"]
        if draws.any():
            sums["mask"].append(float(mask_loss(said[draws], batch["true"][draws], batch["masked"][draws]).mean()))
        if asked.any():
            wanted = batch["words"].roll(-1, dims=1)[asked]
            sums["answer"].append(float(F.cross_entropy(next_words[asked].float(), wanted)))
        for name, load in balance.loads.items():
            loads.setdefault(name, []).append(load.float().cpu())
    told = {f"held_out_{name}": float(np.mean(values)) if values else 0.0 for name, values in sums.items()}
    return told, {name: torch.stack(those).mean(dim=0).tolist() for name, those in loads.items()}


@dataclass(frozen=True)
class Drawing:
    """The same descriptions of held-out people, drawn from the same seed, again and again; `asked` are the facts they tell."""

    tokenizer: FaceTokens
    words: Words
    texts: list[str]
    asked: list[dict[str, str]]
    judges: Judges
    seed: int
    out: Path

    def sheet(self, net: UniF2ace, known: npt.NDArray[np.int64]) -> dict[str, float]:
        """Draw `contact-sheet.png`. Returns `agreement`, and the mean and the most of what each face has in common with the
        nearest of the codes `known` [n, tokens], `drawn_nearest` and `drawn_nearest_most`."""
        codes = codes_by(net, self.words, self.texts, self.seed)
        faces = self.tokenizer.decode(codes)
        write_sheet(self.out / SHEET_FILE, faces, COLUMNS)
        alike = nearest(codes.numpy(), known)
        told = {"drawn_nearest": float(alike.mean()), "drawn_nearest_most": float(alike.max())}
        return agreement(self.judges, faces, self.asked) | told
