"""Training recipes: typed YAML files, read and checked like the main configuration.

A relative path in a recipe is relative to the working directory, as on the command line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from streamfx.config.messages import sentences
from streamfx.config.section import Section
from streamfx.config.variables import Variables
from streamfx.config.yaml import apply_override, read_yaml
from streamfx.errors import ConfigError
from streamfx.models.contract import FAITHFUL, SoundInput

Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Run(Section):
    """Where a training run writes, and on which hardware it runs."""

    out: Path
    """Folder of the results, the checkpoint and the CSV logs."""
    seed: int = 1
    """Seed of everything random."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses CUDA where available."""
    precision: Literal["float32", "bf16"] = "float32"
    """`bf16` computes in bfloat16 where that is safe (autocast); it pays on CUDA and on CPUs with AVX512-bf16."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads of torch; with 0, torch decides. Another number may round differently."""
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes that load and augment data; with 0, the training process does. The number does not change results."""
    compile: bool = False
    """Compile the net (torch.compile): about twice as fast for small nets on a CPU; needs a C++ compiler."""
    checkpoint_s: Positive = 60.0
    """Seconds between checkpoints; another one is written after each epoch."""


class Synthetic(Section):
    """Sets written by `streamfx synth`."""

    train: Annotated[list[Path], Field(min_length=1)]
    """Folders to train on."""
    held_out: tuple[Path, ...] = ()
    """Folders to measure on after each epoch, made with other seeds and thus of other people."""
    calibration: tuple[Path, ...] = ()
    """Folders, again of other people, on which a model with an expert is calibrated after its last epoch."""
    cache: Path
    """Folder for the cut faces and filter banks, which are made once."""
    processes: Size = 2
    """Processes that fill the cache."""


class Folders(Section):
    """DFEW or MAFW as their users have them; see `streamfx.train.folders` for the layouts."""

    root: Path
    """Folder of the data set."""
    train: Path
    """Fold list to train on, relative to `root`."""
    held_out: Path | None = None
    """Fold list to measure on after each epoch, relative to `root`."""
    cache: Path | None = None
    """Folder for the positions of faces in MAFW, which are determined once; default: `face_boxes` in `root`."""


SYNTHETIC_SOUND = SoundInput(16_000, "mix")
"""Synthetic clips are mono at 16 kHz, so a net that learns from them gets all other sound in this form too."""


class Data(Section):
    """The training data: exactly one of `synthetic`, `dfew` and `mafw`."""

    image_size: Annotated[int, Field(ge=16, le=1024)] = 224
    """Side of the square face pictures, pixels."""
    synthetic: Synthetic | None = None
    """Synthetic talking faces."""
    dfew: Folders | None = None
    """DFEW: 7 expressions."""
    mafw: Folders | None = None
    """MAFW: 11 expressions."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(kind is not None for kind in (self.synthetic, self.dfew, self.mafw)) != 1:
            raise ValueError("exactly one of `synthetic`, `dfew` and `mafw` must be given")
        return self

    @property
    def sound(self) -> SoundInput:
        """The form of sound that the model gets: that of synthetic speech, or that of the files, as the authors do."""
        return SYNTHETIC_SOUND if self.synthetic else FAITHFUL


class Encoder(Section):
    """Sizes of a ViT encoder; the defaults are ViT-B/16. Face and audio encoders of one model need the same."""

    patch: Size = 16
    """Side of a patch."""
    dim: Size = 768
    """Width."""
    depth: Size = 12
    """Blocks."""
    heads: Size = 12
    """Attention heads."""
    mlp_ratio: Size = 4
    """Hidden width of the MLPs, as a multiple of the width."""


class Decoder(Section):
    """Sizes of the MAE decoder; the defaults are the paper's."""

    dim: Size = 512
    """Width."""
    depth: Size = 8
    """Blocks."""
    heads: Size = 16
    """Attention heads."""


class Steps(Section):
    """Epochs, batch size and learning rate, which rises in a warm-up, then falls to 0 by half a cosine."""

    epochs: Size
    """Epochs."""
    batch_size: Size
    """Pictures or filter banks per step."""
    blr: Positive
    """Base learning rate; the rate is blr x batch_size / 256."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Weight decay."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs in which the rate rises from 0."""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """`muon` steps along orthogonalised gradients in the matrices of the blocks: nets trained from scratch on few data
    learn in a third of the steps (Jordan et al., Muon, 2024). The papers use `adamw`."""


class MaeSection(Steps):
    """Masked autoencoding."""

    mask_ratio: Annotated[float, Field(gt=0, lt=1)]
    """Share of the patches hidden from the encoder."""
    whiten: bool = False
    """Start the patch embedding at whitened principal components of the pictures instead of at random."""


class FaceTune(Steps):
    """Tuning the face encoder, unmasked, on labels of synthetic frames and on a teacher's answers."""

    teacher: bool = True
    """Distil the face-api net: its features and its scores."""
    action_units: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the action units' squared error."""
    expression: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the expression's cross-entropy."""
    features: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the squared error to the teacher's features."""
    scores: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the divergence from the teacher's scores."""
    mixup: Share = 0.5
    """Share of the pictures that are mixed with another picture."""


class AudioTune(Steps):
    """Tuning the audio encoder, unmasked, on the expression that a clip is spoken with."""

    mixup: Share = 0.5
    """Share of the filter banks that are mixed with another filter bank."""


class Origin(Section):
    """Licence and source that are written into the result."""

    licence: Annotated[str, Field(min_length=1)]
    """Terms under which the weights may be used."""
    source: Annotated[str, Field(min_length=1)]
    """Data and recipe in a sentence."""


class FaceRecipe(Section):
    """`streamfx train pretrain-face`: a face encoder."""

    data: Data
    """Frames to learn from."""
    frames_per_clip: Annotated[int, Field(ge=1, le=16)] = 16
    """Frames of each clip per epoch, drawn anew in each, since neighbouring frames teach little new."""
    encoder: Encoder = Encoder()
    """Sizes of the encoder."""
    decoder: Decoder = Decoder()
    """Sizes of the decoder, which is thrown away."""
    mae: MaeSection = MaeSection(epochs=50, batch_size=512, blr=1.5e-4, warmup_epochs=2, mask_ratio=0.75)
    """Masked autoencoding."""
    tune: FaceTune | None = None
    """A second phase on labels and a teacher; without it the encoder is that of a pure masked autoencoder."""
    origin: Origin
    """Licence and source of the encoder."""
    run: Run
    """Where and on what."""

    @model_validator(mode="after")
    def _tuning_needs_truth(self) -> Self:
        if self.tune and not self.data.synthetic:
            raise ValueError("tune needs labels of each frame, which only data.synthetic has")
        return self


class AudioRecipe(Section):
    """`streamfx train pretrain-audio`: an audio encoder."""

    data: Data
    """Sound to learn from."""
    encoder: Encoder = Encoder()
    """Sizes of the encoder."""
    decoder: Decoder = Decoder()
    """Sizes of the decoder, which is thrown away."""
    mae: MaeSection = MaeSection(epochs=32, batch_size=512, blr=2e-4, warmup_epochs=3, mask_ratio=0.8)
    """Masked autoencoding."""
    tune: AudioTune | None = None
    """A second phase on the expression labels."""
    origin: Origin
    """Licence and source of the encoder."""
    run: Run
    """Where and on what."""


class Augment(Section):
    """Augmentation, drawn once per clip; the defaults are the authors'."""

    brightness: tuple[Positive, Positive] = (0.5, 1.5)
    """Range of the factor by which all pixels are multiplied."""
    scale_min: Annotated[float, Field(gt=0, le=1)] = 0.08
    """Smallest share of the picture's area that a random crop keeps."""
    flip: Share = 0.5
    """Probability of a mirror image."""
    sound_dropout: Share = 0.0
    """Probability that a clip's sound is removed, so that the net also learns to work without sound."""
    still: Share = 0.0
    """Probability that a clip becomes a still: its strongest frame, degraded, repeated 16 times and without sound."""
    cover: Share = 0.0
    """Probability that a rectangle covers a part of the face in all frames of a clip, as a hand or a microphone does."""


class ExpressionRecipe(Section):
    """`streamfx train expression`: MMA-DFER on two frozen encoders. The defaults are the authors' settings."""

    data: Data
    """Windows to learn from."""
    face: Path
    """Encoder file of `pretrain-face`."""
    audio: Path
    """Encoder file of `pretrain-audio`."""
    net: Mapping[str, bool | int | list[str]] = Field(default_factory=dict)
    """Sizes and switches of MMA-DFER, named as in MmaDferConfig, that the encoders and the data do not decide."""
    augment: Augment = Augment()
    """Augmentation of training clips."""
    teacher: Share = 0.0
    """Share of a still's target that is the face-api net's scores for the same picture; the rest is its label."""
    expert: bool = False
    """Join the face-api net to MMA-DFER as an expert on real faces (`streamfx/nets/expert.py`)."""
    instead: str | None = None
    """Name of the model that is taken where the expert's weights are missing."""
    epochs: Size = 25
    """Epochs."""
    batch_size: Size = 8
    """Clips per step."""
    lr: Positive = 1e-4
    """Learning rate of the first epoch; it falls by half a cosine, epoch by epoch."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Weight decay."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "expression"
    """Name of the model in its card."""
    weights: Literal["float32", "float16"] = "float32"
    """Number format of the stored weights."""
    origin: Origin
    """Licence and source of the model."""
    run: Run
    """Where and on what."""

    @model_validator(mode="after")
    def _stills_need_truth(self) -> Self:
        if self.augment.still and not self.data.synthetic:
            raise ValueError("augment.still needs labels of each frame, which only data.synthetic has")
        if self.teacher and not self.augment.still:
            raise ValueError("the teacher scores only stills: set augment.still above 0")
        return self

    @model_validator(mode="after")
    def _expert_is_calibrated(self) -> Self:
        calibrated = self.data.synthetic is not None and bool(self.data.synthetic.calibration)
        if self.expert != calibrated:
            raise ValueError("a model with an expert, and no other, needs data.synthetic.calibration")
        return self


AnyRecipe = TypeVar("AnyRecipe", bound=Section)


def load_recipe(kind: type[AnyRecipe], file: Path, overrides: Sequence[str] = ()) -> AnyRecipe:
    """Read and check a recipe of one kind, with `a.b=value` overrides (values are YAML) and environment variables.

    Raises ConfigError with one sentence for each wrong path.
    """
    tree = read_yaml(file)
    for override in overrides:
        apply_override(tree, override)
    variables = Variables()
    tree = variables.put_into(tree)
    problems = variables.problems
    try:
        if not problems:
            return kind.model_validate(tree)
    except ValidationError as error:
        problems = sentences(error, kind, written=variables.written)
    raise ConfigError(f"the recipe {file} is wrong:\n" + "\n".join(f"  {p}" for p in problems), problems)


def digest(deciding: Any) -> str:
    """Digest of a JSON value in 12 hex digits; checkpoints are compared by it."""
    return hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode()).hexdigest()[:12]
