"""Trains a tokenizer of faces, and measures on people it never saw what of a face survives it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from streamfx.errors import ConfigError, ModelError
from streamfx.models.card import check_state, read_weights_file, write_weights
from streamfx.nets.face_tokens import FaceTokens, FaceTokensSizes, Quantised
from streamfx.nets.vit import EncoderSizes, VitEncoder, tokens_of
from streamfx.train.attribute_pictures import Pictures, open_pictures
from streamfx.train.augment import blurred
from streamfx.train.batches import Shuffled
from streamfx.train.face_mllm.tower import encoder_of
from streamfx.train.loop import Batch, Phase, Schedule, derived, train
from streamfx.train.results import write_json
from streamfx.train.unif2ace.faces import at_side, faces_of, in_parts, views, write_sheet
from streamfx.train.unif2ace.recipe import FaceTokensRecipe, TokensSteps
from streamfx.train.unif2ace.tokens_measure import Judges, survived

TOKENS_FILE, MEASURES_FILE, SHEET_FILE = "face-tokens.safetensors", "measures.json", "contact-sheet.png"
METADATA_KEY = "streamfx_face_tokens"
FAINT = 0.8
"""Pixels of the Gaussian blur that a copy is compared with; a person hardly notices it."""
EACH_EPOCH, AT_THE_END, SHOWN, COLUMNS = 256, 2000, 32, 8
"""Held-out pictures measured after each epoch and at the end, those of them on the sheet, and how many stand in a row."""


def train_face_tokens(recipe: FaceTokensRecipe, at_the_end: int = AT_THE_END) -> Path:
    """Train by the recipe and return the tokenizer's file, in `recipe.run.out`. Resumes where an earlier call was killed.

    Writes the curves of the phase `tokens`; `contact-sheet.png` each epoch, faces of held-out people over their copies; and
    `measures.json` at the end, of `at_the_end` held-out faces and, to compare, of the same faces slightly blurred.
    """
    try:
        sizes = FaceTokensSizes(
            recipe.image_size, recipe.grid, recipe.codes, width=recipe.width, quantiser=recipe.quantiser
        )
    except ValueError as error:
        raise ConfigError(f"the recipe is wrong: {error}") from error
    learned, others = (
        shown.some(~shown.empty)
        for shown in (
            open_pictures(folders, recipe.data.cache) for folders in (recipe.data.train, recipe.data.held_out)
        )
    )
    if not len(learned) or not len(others):
        raise ConfigError("data: expected sets that show faces, got one that shows none; make another set")
    torch.manual_seed(derived(recipe.run.seed, "face-tokens"))
    net, judges = FaceTokens(sizes), Judges.load()
    deciding = [json.loads(recipe.model_dump_json(exclude={"run", "name", "origin"})), recipe.run.seed]
    batches = FaceBatches(learned, sizes.image_size, recipe.tokens, recipe.run.seed)
    held_out = _some(others, at_the_end, recipe.run.seed, sizes.image_size)
    phase = TokensPhase(
        net, batches, recipe.tokens, Eyes(recipe.features), judges, held_out[:EACH_EPOCH], recipe.run.out,
        [*deciding, recipe.run.precision, learned.truth()],
    )  # fmt: skip
    train(phase, recipe.run)
    path = recipe.run.out / TOKENS_FILE
    _save(path, net, recipe)
    measures = phase.measure(held_out, ours=True) | {"pictures": len(held_out)}
    faint = survived(judges, held_out, blurred(held_out, torch.full((len(held_out),), FAINT)), ours=True)
    measures |= {f"blurred_{name}": value for name, value in faint.items()}
    write_json(recipe.run.out / MEASURES_FILE, measures)
    return path


def _some(pictures: Pictures, count: int, seed: int, side: int) -> Tensor:
    """The faces of some of the pictures, in a random order."""
    numbers = np.random.default_rng(derived(seed, "held-out")).permutation(len(pictures))[:count]
    squares = pictures.faces()
    return torch.cat(
        [faces_of(pictures, part, squares[part], side) for part in np.array_split(numbers, -(-len(numbers) // 64))]
    )


class Eyes(nn.Module):
    """Frozen encoders, and how differently they see two pictures."""

    def __init__(self, names: tuple[str, ...]):
        super().__init__()
        self._sizes: list[EncoderSizes] = []
        encoders: list[VitEncoder] = []
        for name in names:
            sizes, state = encoder_of(name)
            encoder = sizes.build()
            encoder.load_state_dict(state)
            self._sizes.append(sizes)
            encoders.append(encoder.eval())
        self.encoders = nn.ModuleList(encoders)

    def forward(self, drawn: Tensor, faces: Tensor) -> Tensor:
        """The mean squared distance of normed tokens, a scalar; gradients reach `drawn` alone."""
        total = drawn.new_zeros(())
        for sizes, encoder in zip(self._sizes, self.encoders, strict=True):
            assert isinstance(encoder, VitEncoder)
            one, other = (_normed(tokens_of(encoder, at_side(x, sizes.image_size))) for x in (drawn, faces.detach()))
            total = total + (one - other).square().mean()
        return total / max(len(self._sizes), 1)


def _normed(tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens.float(), tokens.shape[-1:])


class FaceBatches(Shuffled):
    """Faces, slightly moved."""

    def __init__(self, pictures: Pictures, side: int, section: TokensSteps, seed: int):
        self._pictures, self._side = pictures, side
        self._squares = pictures.faces()
        super().__init__(len(pictures), section.batch_size, seed, "tokens", section.pictures)

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """`faces` float32 [B, 3, S, S]."""
        numbers = np.array(items, np.int64)
        shown = views(len(numbers), generator)
        return {"faces": faces_of(self._pictures, numbers, self._squares[numbers], self._side, shown)}


class TokensPhase(Phase):
    """The only phase."""

    name = "tokens"
    betas = (0.9, 0.95)

    def __init__(
        self, net: FaceTokens, batches: FaceBatches, section: TokensSteps, eyes: Eyes, judges: Judges, held_out: Tensor,
        out: Path, decided_by: object,
    ):  # fmt: skip
        self.net, self.batches, self._section, self._eyes, self._judges = net, batches, section, eyes, judges
        self._held_out, self._out = held_out, out
        self.schedule = Schedule.of(section, batches.steps)
        self.weight_decay, self.decided_by = section.weight_decay, decided_by

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`, and its parts: `pixels`, `detail`, `seen`, `near` (vectors to codes)."""
        faces, net = batch["faces"], self.net
        assert isinstance(net, FaceTokens)
        vectors = net.read(faces)
        found: Quantised = net.quantiser(vectors)
        if net.training:
            net.quantiser.learn(vectors, found.codes)
        drawn = net.draw(found.vectors)
        pixels = (drawn.float() - faces).abs().mean()
        detail = (_detail(drawn.float()) - _detail(faces)).abs().mean()
        seen = self._eyes.to(faces.device)(drawn, faces) if self._section.seen else pixels.new_zeros(())
        loss = pixels + self._section.detail * detail + self._section.seen * seen + 0.25 * found.loss
        return {"loss": loss, "pixels": pixels, "detail": detail, "seen": seen, "near": found.loss}

    def epoch_row(self, sums: Mapping[str, Tensor], steps: int) -> dict[str, float]:
        """The means over the epoch, and what `measure` says of some held-out faces; draws the sheet."""
        faces = self._held_out[:SHOWN]
        copies, rows = self.copies(faces)[0], range(0, len(faces), COLUMNS)
        sheet = torch.cat([shown[row : row + COLUMNS] for row in rows for shown in (faces, copies)])
        write_sheet(self._out / SHEET_FILE, sheet, COLUMNS)
        return {name: float(value) / steps for name, value in sums.items()} | self.measure(self._held_out)

    def copies(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Faces drawn again, on the CPU, and their codes [N, tokens]."""
        net = self.net
        assert isinstance(net, FaceTokens)
        device = next(net.parameters()).device
        with torch.no_grad():
            codes = [net.encode(faces[part].to(device)) for part in in_parts(len(faces))]
            return torch.cat([net.decode(one).cpu() for one in codes]), torch.cat(codes).cpu()

    def measure(self, faces: Tensor, ours: bool = False) -> dict[str, float]:
        """`survived` of the copies, and `codes`, how many are in use, `perplexity`, as how many evenly used ones they tell as
        much, and `seen`, how differently the encoders see copies."""
        copies, codes = self.copies(faces)
        used = torch.bincount(codes.flatten(), minlength=1).double()
        share = used[used > 0] / used.sum()
        with torch.no_grad():
            seen = [float(self._eyes.cpu()(copies[part], faces[part])) for part in in_parts(len(faces))]
        return {
            **{f"held_out_{name}": value for name, value in survived(self._judges, faces, copies, ours).items()},
            "held_out_codes": float((used > 0).sum()),
            "held_out_perplexity": math.exp(-float((share * share.log()).sum())),
            "held_out_seen": float(np.mean(seen)),
        }


def _detail(x: Tensor) -> Tensor:
    """What a blurred copy lacks."""
    return x - F.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)


def _save(path: Path, net: FaceTokens, recipe: FaceTokensRecipe) -> None:
    about: dict[str, Any] = {"name": recipe.name, "sizes": asdict(net.sizes), **recipe.origin.model_dump()}
    state = {name: value.detach().cpu().float().contiguous() for name, value in net.state_dict().items()}
    try:
        write_weights(path, state, {METADATA_KEY: json.dumps(about)})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write {path}: {error}; make room and run the command again") from error


def load_face_tokens(path: Path) -> FaceTokens:
    """The tokenizer in a file, frozen. ModelError for a file that `streamfx train face-tokens` did not write."""
    try:
        state, metadata = read_weights_file(path)
        net = FaceTokens(FaceTokensSizes(**json.loads(metadata[METADATA_KEY])["sizes"]))
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path}: expected a tokenizer by `streamfx train face-tokens`, could not read it: {error}"
        ) from error
    check_state(net, state, str(path))
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)
