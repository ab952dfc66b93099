"""Recipes of FMAE: what all have, and that of `streamfx train action-units`; the defaults are its authors' settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamfx.config.section import Section
from streamfx.train.recipe import Origin, Run, Share, Steps, Synthetic


class Coded(Section):
    """BP4D, BP4D+ or DISFA as their users have them; see `streamfx.train.au_sets.coded_frames` for the layout."""

    root: Path
    """Folder of the pictures, each already cut to the face."""
    labels: Path
    """List of frames, a line of JSON each, relative to `root`."""
    fold: Annotated[int, Field(ge=1)]
    """Fold whose people are held out."""


class AuData(Section):
    """The training data: exactly one of `synthetic`, `bp4d`, `bp4d_plus` and `disfa`."""

    image_size: Annotated[int, Field(ge=16, le=1024)] = 224
    """Side of the square face pictures, pixels."""
    synthetic: Synthetic | None = None
    """Synthetic talking faces; all three kinds of folders are needed, each of other people."""
    bp4d: Coded | None = None
    """BP4D: 12 units, 41 people, 3 folds."""
    bp4d_plus: Coded | None = None
    """BP4D+: 12 units, 140 people, 4 folds."""
    disfa: Coded | None = None
    """DISFA: 8 units, 27 people, 3 folds."""

    @property
    def coded(self) -> tuple[str, Coded] | None:
        """The key and the section of the data set of real faces; None for drawings."""
        kinds = {"bp4d": self.bp4d, "bp4d_plus": self.bp4d_plus, "disfa": self.disfa}
        return next(((name, given) for name, given in kinds.items() if given is not None), None)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(kind is not None for kind in (self.synthetic, self.bp4d, self.bp4d_plus, self.disfa)) != 1:
            raise ValueError("exactly one of `synthetic`, `bp4d`, `bp4d_plus` and `disfa` must be given")
        if self.synthetic and not (self.synthetic.held_out and self.synthetic.calibration):
            raise ValueError("synthetic: action units need `held_out` to measure on and `calibration` for thresholds")
        return self


class AuAugment(Section):
    """Augmentation of single frames; the defaults are timm's, which the authors use."""

    scale_min: Annotated[float, Field(gt=0, le=1)] = 0.08
    """Smallest share of the picture's area that a random crop keeps."""
    rotate_deg: Annotated[float, Field(ge=0, le=45)] = 0.0
    """Largest turn either way, degrees."""
    flip: Share = 0.5
    """Probability of a mirror image."""
    rand_augment: bool = True
    """RandAugment with timm's settings rand-m9-mstd0.5-inc1."""
    erase: Share = 0.25
    """Probability that a rectangle is replaced by noise (random erasing)."""
    spoil: Share = 0.0
    """Share of the frames that are spoiled as poor cameras and other heads would (`augment.spoil`)."""


class FmaeSteps(Steps):
    """What all recipes of FMAE have."""

    size: Literal["tiny", "small", "base", "large"] = "large"
    """Size of the encoder, `streamfx.nets.fmae.SIZES`."""
    encoder: Path | None = None
    """Encoder file of `pretrain-face` or of an import, or a directory of an expression model, whose face encoder is taken;
    of this size. Without it the encoder begins at random."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.65
    """Learning rate of each block as a share of the next one's."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Stochastic depth of the last block; the first has 0."""
    least_rate: Annotated[float, Field(ge=0)] = 1e-6
    """Learning rate at which the schedule ends."""
    augment: AuAugment = AuAugment()
    """Augmentation of training frames."""
    origin: Origin
    """Licence and source of the result."""
    run: Run
    """Where and on what."""

    @model_validator(mode="after")
    def _muon_knows_no_layers(self) -> Self:
        if self.optimiser == "muon" and self.layer_decay != 1:
            raise ValueError("layer_decay: muon steps all blocks alike; set it to 1, or optimiser to adamw")
        return self


class ActionUnitsRecipe(FmaeSteps):
    """`streamfx train action-units`: FMAE on action units, with `reversal` above 0 FMAE-IAT."""

    data: AuData
    """Frames to learn from."""
    reversal: Annotated[float, Field(ge=0)] = 0.0
    """Lambda: the identity loss's gradient reaches the encoder multiplied by minus this. The loss is a mean over all
    people, so that what counts is lambda divided by their number."""
    identity_prior: bool = False
    """Whether the identity head begins at the odds of one person among all, instead of at even odds as the authors' does.
    Hundreds of people need it: see `streamfx.nets.fmae.Adversary`."""
    intensity: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the intensities' squared error, as shares of the full intensity, summed over the units; 0: the net has no
    such head. Only drawings have intensities."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "action-units"
    """Name of the model in its card."""
    weights: Literal["float32", "float16"] = "float32"
    """Number format of the stored weights."""

    @model_validator(mode="after")
    def _intensities_are_drawn(self) -> Self:
        if self.intensity and not self.data.synthetic:
            raise ValueError("intensity needs coded intensities, which only data.synthetic has; leave it at 0")
        return self
