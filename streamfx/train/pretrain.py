"""Recipes for the two encoders: masked autoencoding, then, where a recipe asks for it, tuning on labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from streamfx.errors import ConfigError
from streamfx.nets.mae import Mae, MaeConfig
from streamfx.nets.mma_dfer import FBANK_BINS, FBANK_ROWS
from streamfx.train.batches import MaeFaceBatches, MaeSoundBatches
from streamfx.train.datasets import open_examples
from streamfx.train.encoder_file import EncoderInfo, save_encoder
from streamfx.train.examples import Examples
from streamfx.train.loop import Batch, Batches, Phase, Schedule, derived, train
from streamfx.train.recipe import AudioRecipe, FaceRecipe, MaeSection
from streamfx.train.tune import AudioTuning, FaceTuning

ENCODER_FILE = "encoder.safetensors"
_WHITENED = 1024
"""Number of pictures from which whitening is computed."""


def pretrain_face(recipe: FaceRecipe) -> Path:
    """Train a face encoder and return its file in `recipe.run.out`. Resumes where an earlier call was killed."""
    examples, held_out = open_examples(recipe.data)
    run, size = recipe.run, recipe.data.image_size
    mae = _mae(recipe, 3, size, size)
    batches = MaeFaceBatches(
        examples, recipe.frames_per_clip, size, mae.config.patches, recipe.mae.batch_size, run.seed
    )
    train(MaePhase("face-mae", mae, batches, recipe.mae, _deciding(recipe, examples, tuned=False)), run)
    if recipe.tune:
        deciding = _deciding(recipe, examples, tuned=True)
        train(FaceTuning(mae, examples, held_out, recipe.frames_per_clip, recipe.tune, run, deciding), run)
    return _save(mae, "face", recipe)


def pretrain_audio(recipe: AudioRecipe) -> Path:
    """Train an audio encoder and return its file in `recipe.run.out`. Resumes where an earlier call was killed."""
    examples, held_out = open_examples(recipe.data)
    run = recipe.run
    mae = _mae(recipe, 1, FBANK_ROWS, FBANK_BINS)
    batches = MaeSoundBatches(examples, mae.config.patches, recipe.mae.batch_size, run.seed)
    train(MaePhase("audio-mae", mae, batches, recipe.mae, _deciding(recipe, examples, tuned=False)), run)
    if recipe.tune:
        deciding = _deciding(recipe, examples, tuned=True)
        train(AudioTuning(mae, examples, held_out, recipe.tune, run, deciding), run)
    return _save(mae, "audio", recipe)


class MaePhase(Phase):
    """Masked autoencoding. Batches hold `pictures` and the random `order` of their patches."""

    betas = (0.9, 0.95)

    def __init__(self, name: str, mae: Mae, batches: Batches, section: MaeSection, decided_by: Any):
        self.name, self.net, self.batches, self.decided_by = name, mae, batches, decided_by
        self.schedule, self.weight_decay = Schedule.of(section, batches.steps), section.weight_decay
        self.optimiser = section.optimiser
        if section.whiten:
            steps = min(batches.steps, -(-_WHITENED // section.batch_size))
            mae.whiten(torch.cat([batches[step]["pictures"] for step in range(steps)]))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See `Phase`."""
        return {"loss": self.net(batch["pictures"], batch["order"])}


def _mae(recipe: FaceRecipe | AudioRecipe, channels: int, height: int, width: int) -> Mae:
    encoder, decoder = recipe.encoder, recipe.decoder
    try:
        config = MaeConfig(
            channels=channels,
            height=height,
            width=width,
            **encoder.model_dump(),
            decoder_dim=decoder.dim,
            decoder_depth=decoder.depth,
            decoder_heads=decoder.heads,
            mask_ratio=recipe.mae.mask_ratio,
        )
    except ValueError as error:
        raise ConfigError(
            f"encoder, decoder, mae.mask_ratio and the sizes of the pictures do not fit together: {error}"
        ) from error
    mae = Mae(config)
    mae.initialise(derived(recipe.run.seed, "mae"))
    return mae


def _deciding(recipe: FaceRecipe | AudioRecipe, examples: Examples, tuned: bool) -> Any:
    """Everything that a phase's result depends on; a recipe that differs only elsewhere may resume its checkpoint."""
    tree = recipe.model_dump(mode="json", exclude={"origin", "run", *(() if tuned else ("tune",))})
    return [tree, recipe.run.seed, recipe.run.precision, recipe.run.compile, len(examples)]


def _save(mae: Mae, kind: Literal["face", "audio"], recipe: FaceRecipe | AudioRecipe) -> Path:
    path = recipe.run.out / ENCODER_FILE
    sizes = recipe.encoder.model_dump()
    origin = recipe.origin.model_dump()
    state = {name: value.detach().clone() for name, value in mae.encoder.state_dict().items()}
    save_encoder(path, state, EncoderInfo(kind=kind, grid=mae.config.grid, **sizes, **origin))
    return path
