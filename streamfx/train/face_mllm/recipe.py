"""The recipe of a Face-MLLM, a typed YAML file (see `train/recipe.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from streamfx.config.section import Section
from streamfx.models.backbones import DINOV2, SMOLLM2
from streamfx.train.recipe import Origin, Run, Size, Steps

Part = Literal["projector", "adapters"]


class QuestionData(Section):
    """Questions by `streamfx train face-qa`, and the drawn sets that they are about."""

    questions: Path
    """Folder of the questions."""
    sets: Annotated[list[Path], Field(min_length=1)]
    """Folders of the drawn sets."""
    cache: Path
    """Folder for the sets' frames, and for what the tower sees in them, which is computed once."""


class StageSteps(Steps):
    """One stage of training."""

    learns: Annotated[tuple[Part, ...], Field(min_length=1)] = ("projector", "adapters")
    """What is trained in it; all else stays as it was."""
    pictures: Annotated[int, Field(ge=0)] = 0
    """How many of the pictures are learned from; 0: all."""
    questions: Size = 5
    """Questions of a picture in a step, at most; they are asked at once."""
    adapter_share: Annotated[float, Field(gt=0)] = 1.0
    """The learning rate of the adapters as a share of the projector's."""


class Measured(Section):
    """What is measured when the training has ended; it can be measured again in another way without training again."""

    split: Literal["validation", "test"] = "validation"
    """The questions of which people."""
    pictures: Size = 300
    """How many of their pictures are asked about."""
    written: Annotated[int, Field(ge=0)] = 40
    """How many of those are put into words as well."""


class FaceMllmRecipe(Section):
    """`streamfx train face-mllm`: a projector and adapters between frozen encoders and a frozen language model."""

    data: QuestionData
    """What to learn from."""
    llm: str = SMOLLM2.name
    """The language model: this name, a GGUF file, or a folder as Hugging Face keeps one."""
    tower: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "weights/expression-small",
        "weights/action-units",
        DINOV2.name,
    )
    """Encoders that look at the face: encoder files, directories of expression or action-unit models, dinov2-small."""
    tokens: Literal[1, 4, 9, 16, 25, 36, 49, 64] = 16
    """Tokens that stand for a picture."""
    rank: Annotated[int, Field(ge=0, le=64)] = 8
    """Rank of the adapters in the language model; 0: none."""
    adapted: tuple[str, ...] = ("q_proj", "v_proj")
    """Its layers that have one."""
    words: Steps
    """Before the language model reads: the projector learns to point at the words of captions (`words.py`)."""
    captions: StageSteps
    """Stage 1: pictures are put into words."""
    basic: StageSteps
    """Stage 2: basic visual questions."""
    special: StageSteps
    """Stage 3: specialised face tasks."""
    earlier: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the questions of `special` that are those of `basic`, since what is no longer asked is forgotten."""
    stages: tuple[Literal["words", "captions", "basic", "special"], ...] = ("words", "captions", "basic", "special")
    """The stages that are run, in this order."""
    measured: Measured = Measured()
    """What is measured at the end."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "ask"
    """Name of the model in its card."""
    origin: Origin
    """Licence and source of the model."""
    run: Run
    """Where and on what."""
