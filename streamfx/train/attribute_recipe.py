"""The recipe of the attributes' models, a typed YAML file (see `train/recipe.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from streamfx.config.section import Section
from streamfx.train.recipe import Origin, Positive, Run, Share, Size, Steps


class AttributeData(Section):
    """Sets written by `streamfx synth`, each of other people, all with pictures of one size."""

    train: Annotated[list[Path], Field(min_length=1)]
    """Folders to train on."""
    calibration: Annotated[list[Path], Field(min_length=1)]
    """Folders on which scores are scaled, and the LNets' thresholds are set."""
    empty: tuple[Path, ...] = ()
    """Folders of clips that show nobody, for the LNets' thresholds; added to those of `calibration`."""
    cache: Path
    """Folder for the frames, which are read once."""


class IdentitySteps(Steps):
    """ANet's pre-training: who somebody is, by softmax, with one person's vectors drawn together."""

    together: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the mean squared distance between the vectors of two pictures of one person, once people are named rightly;
    until then it counts as far as they are named better than by chance."""


class AttributeSteps(Steps):
    """Training on attributes."""

    spoiled: Share = 0.5
    """Share of the pictures that are degraded as other cameras and light would."""


class LNetSteps(AttributeSteps):
    """Training of an LNet."""

    focus: Annotated[float, Field(ge=0)] = 0.3
    """Weight of how evenly the responses lie over the picture: they are to stay where attributes are. It counts as far
    as the tags are learned."""


class AttributesRecipe(Section):
    """`streamfx train attributes`: LNet+ANet, or a head on a frozen face encoder."""

    method: Literal["lnet_anet", "shared_encoder"]
    """Which of the two is trained."""
    data: AttributeData
    """Pictures to learn from."""
    encoder: Path | None = None
    """With `shared_encoder`: an encoder file of `pretrain-face`, or a directory of an expression model, whose face
    encoder is taken."""
    lnet_o: LNetSteps = LNetSteps(epochs=6, batch_size=32, blr=8e-3, warmup_epochs=0.2)
    """Training of LNet_o."""
    lnet_s: LNetSteps = LNetSteps(epochs=6, batch_size=32, blr=8e-3, warmup_epochs=0.2)
    """Training of LNet_s on what LNet_o finds."""
    identity: IdentitySteps = IdentitySteps(epochs=4, batch_size=32, blr=8e-3, warmup_epochs=0.2)
    """Pre-training of ANet."""
    attributes: AttributeSteps = AttributeSteps(epochs=8, batch_size=32, blr=8e-3, warmup_epochs=0.2)
    """Training of ANet, or of the shared encoder's head, on attributes."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "attributes"
    """Name of the model in its card."""
    weights: Literal["float32", "float16"] = "float32"
    """Number format of the stored weights."""
    false_faces: Positive = 0.1
    """False faces a picture that shows nobody, at which the LNets' thresholds are set."""
    origin: Origin
    """Licence and source of the model."""
    run: Run
    """Where and on what."""

    @property
    def decides(self) -> list[object]:
        """What every phase's result depends on, beside its own section and the data."""
        return [self.run.seed, self.run.precision, self.run.compile]


SETS_APART: Size = 8
"""Of the people to train on, every eighth is kept for the SVMs, which must not learn from people ANet knows."""
