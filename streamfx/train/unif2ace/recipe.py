"""The recipes of a UniF2ace and of its tokenizer, typed YAML files (see `train/recipe.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from streamfx.config.section import Section
from streamfx.models.backbones import DINOV2
from streamfx.train.recipe import Origin, Run, Share, Size, Steps

Weight = Annotated[float, Field(ge=0)]


class FaceData(Section):
    """Sets written by `streamfx synth`, each of other people."""

    train: Annotated[list[Path], Field(min_length=1)]
    """Folders to train on."""
    held_out: Annotated[list[Path], Field(min_length=1)]
    """Folders of other people, to measure on."""
    cache: Path
    """Folder for the frames, which are read once."""


class TokensSteps(Steps):
    """Training of the tokenizer."""

    pictures: Annotated[int, Field(ge=0)] = 0
    """Pictures of an epoch; 0: all."""
    detail: Weight = 0.5
    """Weight of what a blurred copy of the picture lacks, beside the picture itself."""
    seen: Weight = 0.2
    """Weight of the distance in what the encoders of `features` see."""


class FaceTokensRecipe(Section):
    """`streamfx train face-tokens`: an autoencoder that makes a grid of codes of a face."""

    data: FaceData
    """Faces to learn from."""
    image_size: Size = 64
    """Side of the faces in pixels."""
    grid: Size = 8
    """Codes along each side."""
    codes: Size = 512
    """Codes that there are."""
    width: Size = 32
    """Channels of the outermost layers."""
    quantiser: Literal["vq", "lfq"] = "vq"
    """`vq`: a learned codebook; `lfq`: the signs of numbers, without one."""
    features: tuple[str, ...] = ("weights/expression-small", "weights/action-units")
    """Frozen encoders of faces in whose eyes the drawn picture is to be like the original, as for `tower` of a Face-MLLM."""
    tokens: TokensSteps = TokensSteps(epochs=60, batch_size=32, blr=8e-3, warmup_epochs=0.2, weight_decay=0.01)
    """Training."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "face-tokens"
    """Name of the model."""
    origin: Origin
    """Licence and source of the model."""
    run: Run
    """Where and on what."""


class CaptionData(Section):
    """Questions and captions by `streamfx train face-qa`, and the drawn sets that they are about."""

    questions: Path
    """Folder of the questions."""
    sets: Annotated[list[Path], Field(min_length=1)]
    """Folders of the drawn sets."""
    cache: Path
    """Folder for the sets' frames, for the codes of their faces, and for what encoders see in them; made once."""


class UniF2aceSteps(Steps):
    """Training on both tasks at once."""

    pictures: Annotated[int, Field(ge=0)] = 0
    """Pictures of an epoch; 0: all."""
    reading: Share = 0.25
    """Share of a batch that is read; the rest is drawn."""
    without_caption: Share = 0.1
    """Share of the drawn pictures whose caption is left out, so that guidance has something to move away from."""
    mask_weight: Weight = 1.0
    """Weight of the masked cross-entropy."""
    alpha_tokens: Weight = 2.56
    """α of D3Diff times the number of codes; the paper's is 0.01 x 256."""
    reading_weight: Weight = 1.0
    """Weight of the next word's cross-entropy."""
    balance: Weight = 0.01
    """Weight of each router's balance loss."""


class UniF2aceMeasured(Section):
    """What is measured when the training has ended; see `evaluate.py`."""

    split: Literal["validation", "test"] = "validation"
    """Of which people. The tokenizer never saw those of `validation` either, if it was trained by its recipe."""
    drawings: Annotated[int, Field(ge=4)] = 256
    """How many faces are drawn."""
    asked: Size = 300
    """About how many pictures it is asked for expression and sex; `benchmarks/unif2ace.py` asks everything."""


class UniF2aceRecipe(Section):
    """`streamfx train unif2ace`: one transformer that reads and draws faces, on the codes of a tokenizer that is there."""

    data: CaptionData
    """What to learn from."""
    tokenizer: Path
    """File of `streamfx train face-tokens`."""
    face: Annotated[tuple[str, ...], Field(min_length=1)] = ("weights/expression-small", "weights/action-units")
    """Encoders of the face expert."""
    semantic: Annotated[tuple[str, ...], Field(min_length=1)] = (DINOV2.name,)
    """Encoders of the semantic expert."""
    seen_tokens: Literal[1, 4, 9, 16, 25, 36, 49, 64] = 16
    """Tokens of a picture by the encoders."""
    net: dict[str, int | bool] = Field(default_factory=dict)
    """Sizes of the net, named as in UniF2aceSizes, that the data and the tokenizer do not decide."""
    head: Literal["softmax", "free"] = "softmax"
    """Whether what is said of codes is normalised; see `nets/d3diff.py`."""
    both: UniF2aceSteps = UniF2aceSteps(epochs=40, batch_size=32, blr=8e-3, warmup_epochs=0.1, optimiser="muon")
    """Training."""
    measured: UniF2aceMeasured = UniF2aceMeasured()
    """What is measured at the end; it can be measured in another way without training again."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "unif2ace"
    """Name of the model."""
    origin: Origin
    """Licence and source of the model."""
    run: Run
    """Where and on what."""
