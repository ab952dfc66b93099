"""Tunes pre-trained encoders, unmasked, on labels of synthetic data, and the face encoder also on a teacher's answers.

Linear heads, discarded afterwards, read the CLS token after the final norm, and the patches. MMA-DFER only reads the
CLS token, but the patches learn many times faster, and the token then finds the needed information in them. The teacher
sees exactly the student's picture, spoiled and mixed, so the student imitates it as a function (Beyer et al., Knowledge
distillation: A good teacher is patient and consistent, arXiv 2106.05237), and no cache is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.models.outside import fetch_face_api
from streamfx.nets.face_api import SIZE as TEACHER_SIZE
from streamfx.nets.mae import Mae
from streamfx.nets.mma_dfer import FRAMES
from streamfx.train.augment import PLAIN, show
from streamfx.train.batches import TuneFaceBatches, TuneSoundBatches, sounds
from streamfx.train.examples import AUS, Examples
from streamfx.train.loop import Batch, Phase, Schedule, derived, device_of
from streamfx.train.recipe import AudioTune, FaceTune, Run

BETAS = (0.9, 0.999)
TEMPERATURE = 2.0
"""Temperature that softens the teacher's and the student's scores."""
_MEASURED_FRAMES = 1024
_CHUNK = 64

Teacher = Callable[[Tensor], tuple[Tensor, Tensor]]


class Tuned(nn.Module):
    """The encoder of `mae` with `heads` that read its CLS token, and others that read its patches.

    Patches are read by position or, with `over_rows`, as the mean of each column: the rows of a filter bank are moments
    in time, whose position matters little.
    """

    def __init__(self, mae: Mae, heads: Mapping[str, int], seed: int, over_rows: bool = False):
        super().__init__()
        self.mae = mae
        self.heads = dict(heads)
        self._over_rows = over_rows
        dim, outputs = mae.config.dim, sum(heads.values())
        widths = {"cls": dim, "patches": dim * (mae.config.grid[1] if over_rows else mae.config.patches)}
        self.readers = nn.ModuleDict({name: nn.Linear(width, outputs) for name, width in widths.items()})
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, value in self.readers.named_parameters():
                value.zero_() if name.endswith("bias") else value.normal_(0.0, 0.01, generator=generator)
        # Parameters that only masked autoencoding needs are not trained.
        trained = {id(value) for value in (*mae.encoder.parameters(), *self.readers.parameters())}
        for value in self.parameters():
            value.requires_grad_(id(value) in trained)
        mae.encoder.pos_embed.requires_grad_(False)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """float32 [2, N, outputs] by head: read from the CLS token, and from the patches."""
        tokens = self.mae.encode(pictures)
        patches = tokens[:, 1:]
        if self._over_rows:
            patches = patches.view(-1, *self.mae.config.grid, self.mae.config.dim).mean(dim=1)
        read = {"cls": tokens[:, 0], "patches": patches.flatten(1)}
        answers = torch.stack([self.readers[name](values).float() for name, values in read.items()])
        return dict(zip(self.heads, torch.split(answers, list(self.heads.values()), dim=2), strict=True))


class FaceTuning(Phase):
    """Tunes the face encoder on action units, expression and teacher; measures on held-out frames after each epoch."""

    name = "face-tune"
    betas = BETAS

    def __init__(
        self,
        mae: Mae,
        examples: Examples,
        held_out: Examples | None,
        per_clip: int,
        tune: FaceTune,
        run: Run,
        decided_by: Any,
    ):
        self._tune, self._run, self._held_out, self.decided_by = tune, run, held_out, decided_by
        self._teacher = open_teacher(run) if tune.teacher else None
        heads = {"action_units": len(AUS), "expression": len(examples.labels)}
        self._size = mae.config.height
        self.batches = TuneFaceBatches(examples, per_clip, self._size, tune.mixup, tune.batch_size, run.seed)
        if self._teacher:
            self._mean, self._spread = self._feature_statistics()
            heads |= {"features": len(self._mean), "scores": len(examples.labels)}
        self.net = Tuned(mae, heads, derived(run.seed, "face-heads"))
        self.schedule, self.weight_decay = Schedule.of(tune, self.batches.steps), tune.weight_decay
        self.optimiser = tune.optimiser

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See `Phase`; the loss is the weighted sum of its parts, each summed over both readings."""
        answers = self.net(batch["pictures"])
        parts = {
            "action_units": _squared(answers["action_units"], batch["action_units"]) * len(AUS),
            "expression": _crossed(answers["expression"], batch["expression"]),
        }
        if self._teacher:
            features, scores = self._ask(batch["pictures"])
            parts["features"] = _squared(answers["features"], features)
            parts["scores"] = _crossed(answers["scores"] / TEMPERATURE, F.softmax(scores / TEMPERATURE, dim=1))
        total = sum((getattr(self._tune, name) * value for name, value in parts.items()), torch.zeros(()))
        return {"loss": total, **parts}

    def epoch_row(self, sums: Mapping[str, Tensor], steps: int) -> dict[str, float]:
        """The mean of each part; on held-out frames the CLS token's accuracy and mean error of action units (0..5)."""
        row = {name: float(value) / steps for name, value in sums.items()}
        return row | (self._measured(self._held_out) if self._held_out else {})

    def _measured(self, examples: Examples) -> dict[str, float]:
        """Measures over frames spread evenly over all clips."""
        device = device_of(self._run)
        count = min(_MEASURED_FRAMES, len(examples) * FRAMES)
        places = [divmod(int(place), FRAMES) for place in np.linspace(0, len(examples) * FRAMES - 1, count)]
        right, error = 0.0, 0.0
        for start in range(0, count, _CHUNK):
            chosen = places[start : start + _CHUNK]
            stored = np.concatenate([examples.frames(clip, [at], None) for clip, at in chosen])
            truths = [examples.truth(clip, [at]) for clip, at in chosen]
            shown = show(torch.from_numpy(stored), examples.margin, PLAIN, self._size)
            answers = self.net(shown.to(device))
            wanted = np.concatenate([truth.expression for truth in truths]).argmax(axis=1)
            right += float((answers["expression"][0].argmax(dim=1).cpu().numpy() == wanted).sum())
            units = np.concatenate([truth.action_units for truth in truths])
            error += float(np.abs(5 * answers["action_units"][0].cpu().numpy() - units).mean(axis=1).sum())
        return {"held_out_expression": right / count, "held_out_au_error": error / count}

    def _ask(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's features, standardised, and its scores."""
        assert self._teacher is not None
        features, scores = ask(self._teacher, pictures)
        return (features - self._mean.to(features)) / self._spread.to(features), scores

    def _feature_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the teacher's features over the first steps' pictures, the same after every restart."""
        assert self._teacher is not None
        device = device_of(self._run)
        steps = min(self.batches.steps, -(-512 // self._tune.batch_size))
        found = [ask(self._teacher, self.batches[step]["pictures"].to(device))[0] for step in range(steps)]
        features = torch.cat(found).cpu()
        return features.mean(dim=0), features.std(dim=0) + 1e-3


class AudioTuning(Phase):
    """Tunes the audio encoder on the expression of each clip; measures on held-out clips after each epoch."""

    name = "audio-tune"
    betas = BETAS

    def __init__(
        self, mae: Mae, examples: Examples, held_out: Examples | None, tune: AudioTune, run: Run, decided_by: Any
    ):
        self._run, self._held_out, self.decided_by = run, held_out, decided_by
        self.batches = TuneSoundBatches(examples, tune.mixup, tune.batch_size, run.seed)
        self.net = Tuned(mae, {"expression": len(examples.labels)}, derived(run.seed, "audio-heads"), over_rows=True)
        self.schedule, self.weight_decay = Schedule.of(tune, self.batches.steps), tune.weight_decay
        self.optimiser = tune.optimiser

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See `Phase`."""
        return {"loss": _crossed(self.net(batch["pictures"])["expression"], batch["expression"])}

    def epoch_row(self, sums: Mapping[str, Tensor], steps: int) -> dict[str, float]:
        """The mean loss; on held-out clips, the accuracy."""
        row = super().epoch_row(sums, steps)
        if self._held_out:
            device, right = device_of(self._run), 0
            for start in range(0, len(self._held_out), _CHUNK):
                items = list(range(start, min(start + _CHUNK, len(self._held_out))))
                answers = (
                    self.net(sounds(self._held_out, items).to(device))["expression"][0].argmax(dim=1).cpu().numpy()
                )
                right += int((answers == self._held_out.targets[items]).sum())
            row["held_out_expression"] = right / len(self._held_out)
        return row


def _squared(answers: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of [N, outputs], summed over the readings [readings, N, outputs]."""
    return F.mse_loss(answers, wanted.expand_as(answers)) * len(answers)


def _crossed(answers: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy with the target shares [N, classes], summed over the logits [readings, N, classes]."""
    return -(F.log_softmax(answers, dim=2) * wanted).sum(dim=2).mean(dim=1).sum()


def open_teacher(run: Run) -> Teacher:
    """The face-api net on the run's device. Raises MissingComponent where its weights cannot be fetched."""
    return fetch_face_api().to(device_of(run))


@torch.no_grad()
def ask(teacher: Teacher, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Features float32 [N, 256] and scores float32 [N, 7], before the softmax, for pictures [N, 3, S, S] in 0..1."""
    if pictures.shape[-1] != TEACHER_SIZE:
        pictures = F.interpolate(pictures, (TEACHER_SIZE, TEACHER_SIZE), mode="bilinear", antialias=True)
    features, scores = teacher(pictures.permute(0, 2, 3, 1) * 255)
    return features.float(), scores.float()
