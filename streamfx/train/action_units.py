"""Trains FMAE or FMAE-IAT by a recipe, calibrates it, measures it on people it never saw, and saves a model directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.errors import ConfigError
from streamfx.models.action_units import INTENSITIES, NOVELTY, THRESHOLDS, ActionUnitsModel
from streamfx.models.card import WEIGHTS_FILE, ModelCard, save_model, version_of
from streamfx.nets.fmae import FULL_INTENSITY, SIZES, Adversary, Fmae, FmaeConfig
from streamfx.synth.actions import AUS
from streamfx.train.au_measure import answers, report_on, windows_of
from streamfx.train.au_metrics import HALF, best_thresholds, f1
from streamfx.train.au_novelty import clear, describe
from streamfx.train.au_recipe import ActionUnitsRecipe, AuData
from streamfx.train.au_sets import AU_SETS, AuExamples, coded_frames, drawn_frames
from streamfx.train.augment import BOX_JITTER, View, show, spoil
from streamfx.train.batches import Shuffled
from streamfx.train.fmae_encoder import decays, encoder_digest, fill_encoder, layer_share
from streamfx.train.leak import identity_leak
from streamfx.train.loop import Batch, Phase, Schedule, derived, device_of, train
from streamfx.train.metrics import mean
from streamfx.train.rand_augment import erase, rand_augment
from streamfx.train.results import write_json

MODEL_FOLDER, REPORT = "model", "action-units-report.json"
MEASURED_FRAMES = 1024
"""Held-out frames that are measured after each epoch; all of them are at the end."""


@dataclass(frozen=True)
class Frames:
    """Frames to train on, to measure on, and to calibrate on (None where the data set has no such people), and who the
    identity head tells apart."""

    train: AuExamples
    held_out: AuExamples
    calibration: AuExamples | None
    people: tuple[str, ...]


def train_action_units(recipe: ActionUnitsRecipe, frames: Frames | None = None) -> Path:
    """Train a model and return its directory in `recipe.run.out`. Resumes where an earlier call was killed.

    The model is that of the last epoch; nothing is chosen on the held-out people. `action-units-report.json` has the
    measures on them, and the leak of identity. `frames` are those of the recipe's data, where they are read already.
    """
    frames = frames or open_frames(recipe.data)
    net = net_of(recipe, len(frames.train.units))
    phase = AuPhase(net, frames, recipe)
    train(phase, recipe.run)
    device = device_of(recipe.run)
    net = phase.net.net.to(device).eval()
    if recipe.weights == "float16":
        net = net.half().float()  # what is stored is what is calibrated and measured
    report: dict[str, Any] = {"reversal": recipe.reversal, "people": len(frames.people)}
    facts: dict[str, Any] = {INTENSITIES: list(AUS)} if recipe.intensity else {}
    learned = answers(net, frames.train, device)
    if frames.calibration is not None:
        others = answers(net, frames.calibration, device)
        describe(net, learned["middle"], clear(frames.train), others["middle"][clear(frames.calibration)])
        # What the net said of novelty before it was described means nothing.
        others[NOVELTY] = net.novelty(torch.from_numpy(others["middle"]).to(device)).cpu().numpy()
        windows = windows_of(frames.calibration, others)
        found = best_thresholds(windows.present, windows.presence)
        thresholds = {unit: at for unit, at in zip(frames.train.units, found, strict=True) if at is not None}
        facts |= {NOVELTY: True, THRESHOLDS: thresholds}
        report["calibration"] = windows.nulls(frames.calibration)
    report |= report_on(frames.held_out, answers(net, frames.held_out, device), facts)
    # Without people to calibrate on, the authors' fixed threshold, as an import has it: else the line had no column.
    facts.setdefault(THRESHOLDS, dict.fromkeys(frames.train.units, HALF))
    leak = identity_leak(learned["features"], frames.train.people, frames.train.clips)
    report["leak"] = leak.as_json() if leak else None
    directory = _save(net.to("cpu"), frames.train.units, facts, recipe)
    write_json(recipe.run.out / REPORT, report)
    return directory


def open_frames(data: AuData) -> Frames:
    """The frames that a recipe names. ConfigError where people are in two sets of drawings, and for drawings without a
    clear face to learn from or to calibrate on."""
    if data.synthetic is None:
        assert data.coded is not None
        kind, coded = data.coded
        parts = [
            coded_frames(kind, coded.root, coded.labels, coded.fold, held, data.image_size) for held in (False, True)
        ]
        return Frames(parts[0], parts[1], None, AU_SETS[kind].people)
    sets = data.synthetic
    folders = {"train": sets.train, "held_out": sets.held_out, "calibration": sets.calibration}
    found = {
        role: drawn_frames(list(some), sets.cache, data.image_size, sets.processes) for role, some in folders.items()
    }
    for one, other in (("train", "held_out"), ("train", "calibration"), ("held_out", "calibration")):
        shared = set(found[one].people) & set(found[other].people)
        if shared:
            raise ConfigError(
                f"data.synthetic.{other}: expected people who are in no other set, got {len(shared)} who are in {one} "
                f"too, such as {min(shared)}; make the set with another seed"
            )
    for role in ("train", "calibration"):
        if not clear(found[role]).any():
            raise ConfigError(
                f"data.synthetic.{role}: expected clear faces among the clips, found none; add a set of them"
            )
    people = tuple(sorted(set(found["train"].people.tolist())))
    return Frames(found["train"], found["held_out"], found["calibration"], people)


def net_of(recipe: ActionUnitsRecipe, units: int) -> Fmae:
    """The net of the recipe's size, its encoder from the recipe's file where there is one, its heads from the seed.

    Raises CheckpointMismatch for an encoder of another size.
    """
    synthetic = recipe.data.synthetic is not None
    config = FmaeConfig(
        classes=units,
        image_size=recipe.data.image_size,
        intensities=len(AUS) if recipe.intensity else 0,
        novelty=synthetic,
        **SIZES[recipe.size],
    )
    net = Fmae(config)
    net.initialise(derived(recipe.run.seed, "fmae"))
    if recipe.encoder is not None:
        fill_encoder(net, recipe.encoder)
    return net


class AuPhase(Phase):
    """BCE of the units, plus BCE of identity one-hot over all people behind the reversal, plus, where the recipe weighs
    it, the squared error of intensities. AdamW with a learning rate that decays from block to block."""

    name = "action-units"
    betas = (0.9, 0.999)

    def __init__(self, net: Fmae, frames: Frames, recipe: ActionUnitsRecipe):
        net.drop_path = recipe.drop_path
        seed = derived(recipe.run.seed, "identity")
        self.net: Adversary = Adversary(net, len(frames.people), recipe.reversal, seed, recipe.identity_prior)
        count = min(MEASURED_FRAMES, len(frames.held_out))
        self._recipe = recipe
        self._held_out = frames.held_out.only(np.linspace(0, len(frames.held_out) - 1, count).round().astype(np.int64))
        self.batches = AuBatches(frames.train, frames.people, recipe)
        self.schedule = Schedule.of(recipe, self.batches.steps, recipe.least_rate)
        self.weight_decay, self.optimiser = recipe.weight_decay, recipe.optimiser
        tree = recipe.model_dump(mode="json", exclude={"origin", "run", "name", "weights", "encoder"})
        run = recipe.run
        shown = hashlib.sha256(
            "".join(frames.train.clips.tolist()).encode() + frames.train.present.tobytes()
        ).hexdigest()
        self.decided_by = [
            tree,
            encoder_digest(recipe.encoder),
            run.seed,
            run.precision,
            run.compile,
            len(frames.train),
            shown,
        ]

    def rate_share(self, name: str) -> float:
        """See `layer_share`."""
        return layer_share(name.removeprefix("net."), self.net.net.config.depth, self._recipe.layer_decay)

    def decays(self, name: str, value: Tensor) -> bool:
        """See `fmae_encoder.decays`."""
        return decays(name.removeprefix("net."), value)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See `Phase`."""
        said = self.net(batch["pictures"])
        parts = {
            "units": F.binary_cross_entropy_with_logits(said["presence"].float(), batch["present"]),
            "identity": F.binary_cross_entropy_with_logits(said["identity"].float(), batch["identity"]),
        }
        loss = parts["units"] + parts["identity"]
        if "intensity" in said:
            parts["intensity"] = F.mse_loss(said["intensity"].float(), batch["intensity"]) * len(AUS)
            loss = loss + self._recipe.intensity * parts["intensity"]
        return {"loss": loss, **parts}

    def epoch_row(self, sums: Mapping[str, Tensor], steps: int) -> dict[str, float]:
        """The mean of each part; on frames spread evenly over the held-out people's, the mean F1 at a half."""
        row = {name: float(value) / steps for name, value in sums.items()}
        device = device_of(self._recipe.run)
        said = answers(self.net.net, self._held_out, device)["presence"]
        return row | {"held_out_f1": mean(f1(self._held_out.present, said >= HALF))}


class AuBatches(Shuffled):
    """Frames, augmented: `pictures` float32 [N, 3, S, S], `present` [N, units], `identity` one-hot [N, people], and
    `intensity` [N, 19] as shares of the full intensity where it is known."""

    def __init__(self, examples: AuExamples, people: tuple[str, ...], recipe: ActionUnitsRecipe):
        super().__init__(len(examples), recipe.batch_size, recipe.run.seed, "action-units")
        self._examples, self._size, self._augment = examples, recipe.data.image_size, recipe.augment
        number = {person: at for at, person in enumerate(people)}
        self._people = np.array([number[person] for person in examples.people])
        self._count = len(people)
        augment = recipe.augment
        jitter = BOX_JITTER if examples.margin > 1 else 0.0
        self._view = View(augment.scale_min, augment.rotate_deg, augment.flip, jitter)

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """See `Shuffled`."""
        stored = torch.from_numpy(self._examples.stored(items))
        views = self._view.draw(len(items), generator)
        pictures = show(stored, self._examples.margin, views, self._size)
        hit = (torch.rand(len(items), generator=generator) < self._augment.spoil).nonzero()[:, 0]
        if len(hit):
            pictures[hit] = spoil(pictures[hit], generator)
        if self._augment.rand_augment:
            pictures = rand_augment(pictures, generator)
        pictures = erase(pictures, self._augment.erase, generator)
        batch = {
            "pictures": pictures,
            "present": torch.from_numpy(self._examples.present[items]).float(),
            "identity": F.one_hot(torch.from_numpy(self._people[items]), self._count).float(),
        }
        if self._examples.intensity is not None:
            batch["intensity"] = torch.from_numpy(self._examples.intensity[items]) / FULL_INTENSITY
        return batch


def _save(net: Fmae, units: tuple[str, ...], facts: dict[str, Any], recipe: ActionUnitsRecipe) -> Path:
    directory = recipe.run.out / MODEL_FOLDER
    dtype = torch.float16 if recipe.weights == "float16" else torch.float32
    # What tells novelty is a matrix whose rounding would move the border.
    exact = ("known_mean", "known_map", "border", "hidden_weight", "hidden_bias")
    state = {
        name: value.detach().to(torch.float32 if name in exact else dtype).contiguous()
        for name, value in net.state_dict().items()
    }
    card = ModelCard(
        name=recipe.name,
        version=version_of(state, json.dumps(facts, sort_keys=True)),
        architecture=ActionUnitsModel.architecture,
        sizes=net.config,
        labels=units,
        trained=True,
        licence=recipe.origin.licence,
        source=recipe.origin.source,
        weights=WEIGHTS_FILE,
        sound=None,
        facts=facts,
    )
    save_model(directory, state, card)
    return directory
