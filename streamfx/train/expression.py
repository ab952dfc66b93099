"""The MMA-DFER recipe: two frozen encoders, and the rest of the net trained on windows with one expression each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.errors import ConfigError
from streamfx.media.audio import missing_sound
from streamfx.models.card import WEIGHTS_FILE, ModelCard, find_directory, save_model, version_of
from streamfx.models.expression import EXPERT, NOVELTY, ExpressionModel
from streamfx.models.shared import shipped_model, without_shared
from streamfx.nets.expert import ExpertMmaDfer
from streamfx.nets.mma_dfer import FRAMES, MmaDfer, MmaDferConfig
from streamfx.train.augment import BOX_JITTER, View, between, brighten, cover, show, spoil
from streamfx.train.batches import Shuffled, plain_windows, sounds
from streamfx.train.datasets import open_calibration, open_examples
from streamfx.train.encoder_file import load_encoder, net_from_encoders
from streamfx.train.examples import Examples, all_frames
from streamfx.train.loop import Batch, Phase, Schedule, computing, derived, device_of, train
from streamfx.train.metrics import confusion_matrix, uar, war
from streamfx.train.recipe import Augment, ExpressionRecipe
from streamfx.train.settle import settle
from streamfx.train.tune import ask, open_teacher

MODEL_FOLDER = "model"


def train_expression(recipe: ExpressionRecipe) -> Path:
    """Train a model and return its directory in `recipe.run.out`. Resumes where an earlier call was killed.

    As in the authors' report, the model is that of the last epoch. `expression-epochs.csv` has loss, WAR and UAR of
    each epoch, on the training batches during the epoch and on the held-out windows.
    """
    examples, held_out = open_examples(recipe.data)
    # Before the training, so that sets that do not go together cost no time.
    others = open_calibration(recipe.data) if recipe.expert else None
    config = net_config(recipe, len(examples.labels))
    net = net_from_encoders(recipe.face, recipe.audio, config, recipe.run.seed, recipe.expert)
    train(Adaptation(net, examples, held_out, recipe), recipe.run)
    if isinstance(net, ExpertMmaDfer) and others is not None:
        settle(net.eval(), examples, others, recipe.run.out)
    return _save(net, examples.labels, recipe)


def net_config(recipe: ExpressionRecipe, classes: int) -> MmaDferConfig:
    """Sizes of the net from the encoder files, the data and `recipe.net`. ConfigError names what is wrong."""
    _, info = load_encoder(recipe.face)
    given = {
        "classes": classes,
        "image_size": recipe.data.image_size,
        "image_head": 0,
        "audio_head": 0,
        **{name: getattr(info, name) for name in ("patch", "dim", "depth", "heads", "mlp_ratio")},
    }
    twice = sorted(set(given) & set(recipe.net))
    if twice:
        raise ConfigError(f"net: the encoders and the data decide {', '.join(twice)}; remove it here")
    try:
        config = MmaDferConfig(**given, **recipe.net)  # type: ignore[arg-type]
        if recipe.expert:
            ExpertMmaDfer.check(config)
        return config
    except (TypeError, ValueError) as error:
        raise ConfigError(f"net: expected sizes and switches of MMA-DFER: {error}") from error


class Adaptation(Phase):
    """Cross-entropy over the parameters that the authors train, with AdamW and a rate that falls from epoch to epoch.

    Where `recipe.teacher` is above 0, the target of a still is that share of the teacher's scores, and the rest its
    label.
    """

    name = "expression"
    betas = (0.9, 0.999)

    def __init__(self, net: MmaDfer, examples: Examples, held_out: Examples | None, recipe: ExpressionRecipe):
        self.net: MmaDfer = net
        self._recipe, self._held_out, self._classes = recipe, held_out, len(examples.labels)
        self._teacher = open_teacher(recipe.run) if recipe.teacher else None
        trainable = net.trainable_parameters()
        for name, value in net.named_parameters():
            value.requires_grad_(name in trainable)
        self.batches = WindowBatches(
            examples, recipe.augment, recipe.data.image_size, recipe.batch_size, recipe.run.seed
        )
        self.schedule = Schedule(recipe.epochs, self.batches.steps, recipe.lr, by_epoch=True)
        self.weight_decay = recipe.weight_decay
        files = {"face": recipe.face, "sound": recipe.audio}
        encoders = [hashlib.sha256(files[name].read_bytes()).hexdigest() for name in net.config.modalities]
        tree = recipe.model_dump(mode="json", exclude={"origin", "run", "name", "weights", "face", "audio", "instead"})
        run = recipe.run
        self.decided_by = [tree, encoders, run.seed, run.precision, run.compile, len(examples)]

    def decays(self, name: str, value: Tensor) -> bool:
        """All parameters, as for the authors."""
        return True

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See `Phase`; `confusion` counts the predictions for the batch."""
        logits = _own_logits(self.net, batch["frames"], batch["sound"])
        loss = F.cross_entropy(logits, self.shares(batch))
        return {"loss": loss, "confusion": _confusion(logits, batch["target"], self._classes)}

    def shares(self, batch: Batch) -> Tensor:
        """float32 [N, classes]: the target share of each class for each window."""
        shares = F.one_hot(batch["target"], self._classes).float()
        still = batch["still"].nonzero()[:, 0]
        if self._teacher is None or not len(still):
            return shares
        _, scores = ask(self._teacher, batch["frames"][still, 0])
        return shares.index_copy(0, still, torch.lerp(shares[still], F.softmax(scores, dim=1), self._recipe.teacher))

    def epoch_row(self, sums: Mapping[str, Tensor], steps: int) -> dict[str, float]:
        """Loss, WAR and UAR, in training and held out."""
        confusion = sums["confusion"].numpy().astype(np.int64)
        row = {"loss": float(sums["loss"]) / steps, "war": war(confusion), "uar": uar(confusion)}
        if self._held_out is None:
            return row
        loss, confusion = measure(self.net, self._held_out, self._recipe)
        return row | {"held_out_loss": loss, "held_out_war": war(confusion), "held_out_uar": uar(confusion)}


class WindowBatches(Shuffled):
    """Windows, each augmented once: float32 `frames` [N, 16, 3, S, S], `sound` [N, 1, 512, 128], `target`.

    `still` bool [N] marks the windows that have become stills.
    """

    def __init__(self, examples: Examples, augment: Augment, image_size: int, batch_size: int, seed: int):
        super().__init__(len(examples), batch_size, seed, "expression")
        self._examples, self._augment, self._size = examples, augment, image_size
        jitter = BOX_JITTER if examples.margin > 1 else 0.0
        self._view = View(augment.scale_min, rotate_deg=0.0, flip=augment.flip, jitter=jitter)

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """See `Shuffled`."""
        rngs = [np.random.default_rng(derived(self.seed, "frames", epoch, item)) for item in items]
        stored = torch.cat([all_frames(self._examples, item, rng) for item, rng in zip(items, rngs, strict=True)])
        views = self._view.draw(len(items), generator).repeat_interleave(FRAMES, dim=0)
        shown = _by_window(show(stored, self._examples.margin, views, self._size))
        sound = sounds(self._examples, items)
        stilled = torch.rand(len(items), generator=generator) < self._augment.still
        for place in stilled.nonzero()[:, 0].tolist():
            shares = self._examples.truth(items[place], range(FRAMES)).expression
            strongest = int(shares[:, self._examples.targets[items[place]]].argmax())
            shown[place] = spoil(shown[place, strongest : strongest + 1], generator)
        if self._augment.cover:
            covered = torch.rand(len(items), generator=generator) < self._augment.cover
            for place in (covered & ~stilled).nonzero()[:, 0].tolist():
                shown[place : place + 1] = cover(shown[place : place + 1], generator)
        dropped = stilled | (torch.rand(len(items), generator=generator) < self._augment.sound_dropout)
        sound[dropped] = torch.from_numpy(missing_sound())
        return {
            "frames": brighten(shown, between(*self._augment.brightness, len(items), generator)),
            "sound": sound,
            "still": stilled,
            "target": torch.from_numpy(self._examples.targets[items]),
        }


@torch.no_grad()
def measure(net: MmaDfer, examples: Examples, recipe: ExpressionRecipe) -> tuple[float, Any]:
    """Mean cross-entropy and int64 confusion matrix of windows without augmentation."""
    device, size = device_of(recipe.run), recipe.data.image_size
    loss, confusion = 0.0, np.zeros((len(examples.labels), len(examples.labels)), np.int64)
    for frames, sound, target in plain_windows(examples, size):
        with computing(recipe.run, device):
            logits = _own_logits(net, frames.to(device), sound.to(device)).cpu()
        loss += float(F.cross_entropy(logits, target, reduction="sum"))
        confusion += confusion_matrix(target.numpy(), logits.argmax(dim=1).numpy(), len(examples.labels))
    return loss / len(examples), confusion


def _own_logits(net: MmaDfer, frames: Tensor, sound: Tensor) -> Tensor:
    """float32 [N, classes]: what is trained. The expert's own answer, which joins afterwards, is not."""
    own = net.branches(frames, sound)[0] if isinstance(net, ExpertMmaDfer) else net(frames, sound)
    return own.float()


def _by_window(pictures: Tensor) -> Tensor:
    """[N * 16, ...] -> [N, 16, ...]."""
    return pictures.view(-1, FRAMES, *pictures.shape[1:])


def _confusion(logits: Tensor, target: Tensor, classes: int) -> Tensor:
    """float [classes, classes] counts, rows are true classes; on the device of the tensors."""
    numbers = target * classes + logits.argmax(dim=1)
    return torch.bincount(numbers, minlength=classes**2).view(classes, classes).float()


def _save(net: MmaDfer, labels: tuple[str, ...], recipe: ExpressionRecipe) -> Path:
    directory = recipe.run.out / MODEL_FOLDER
    dtype = torch.float16 if recipe.weights == "float16" else torch.float32
    outside = EXPERT if isinstance(net, ExpertMmaDfer) else {}
    state = {
        name: value.detach().to(dtype).contiguous()
        for name, value in net.state_dict().items()
        if name.partition(".")[0] not in outside
    }
    other = shipped_model(find_directory(recipe.instead)) if recipe.instead else None
    rest, shared = without_shared(state, {"": other} if other else {})
    card = ModelCard(
        name=recipe.name,
        version=version_of(state),
        architecture=ExpressionModel.architecture,
        sizes=net.config,
        labels=labels,
        trained=True,
        licence=recipe.origin.licence,
        source=recipe.origin.source,
        weights=WEIGHTS_FILE,
        sound=recipe.data.sound,
        facts={NOVELTY: True} if outside else {},
        outside=outside,
        instead=recipe.instead,
        shared=shared,
    )
    save_model(directory, rest, card)
    return directory
