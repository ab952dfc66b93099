"""Action units of one window: FMAE-IAT (`nets/fmae.py`) on each of its frames, behind the contract of a served model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from streamfx.models.base import ServedModel
from streamfx.models.card import ModelCard
from streamfx.models.contract import Answer, ModelInfo, ModelSpec, Tensors, TensorSpec
from streamfx.models.frames import sized_frames
from streamfx.nets.fmae import Fmae, FmaeConfig
from streamfx.nets.mma_dfer import FRAMES
from streamfx.records import Window

PRESENCE, INTENSITY, NOVELTY = "presence", "intensity", "novelty"
"""The outputs: one logit for each unit of the card's labels; intensities (0..5) of the units under `intensities`; and how
novel each face is to the net, above NOVEL for one that should not be read."""
NOVEL = 1.0
"""Novelty above which a frame is novel."""
ENOUGH = FRAMES // 2
"""Frames of a window that must be read; else its units are null."""
WEIGHTS = np.sin(np.pi * (np.arange(FRAMES) + 0.5) / FRAMES) ** 2
"""How much each frame counts. Where windows overlap by half, as by default, a moment's weights in the two windows that
see it add up to 1, so that the rows of a track are its course, smoothed and sampled evenly. A row depends on its own
window alone."""
INTENSITIES, THRESHOLDS = "intensities", "thresholds"
"""Facts of a card beside `novelty` (true or not there): the units whose intensity the net tells, in order, and for units of
its labels the probability from which one counts as present."""
_UNIT = re.compile(r"au_[0-9]{2}")


class ActionUnitsModel(ServedModel):
    """For every frame of a window the action units that it shows: presence, and what else the card's facts promise."""

    spec = ModelSpec(
        name="action_units",
        inputs=(TensorSpec("frames", "UINT8", (FRAMES, 3, -1, -1)),),
        outputs=(
            TensorSpec(PRESENCE, "FP32", (FRAMES, -1)),
            TensorSpec(INTENSITY, "FP32", (FRAMES, -1)),
            TensorSpec(NOVELTY, "FP32", (FRAMES,)),
        ),
        max_batch_size=32,
        queue_delay_us=5_000,
        default_weights="action-units",
    )
    architecture = "fmae"
    Sizes = FmaeConfig
    net: Fmae

    @classmethod
    def check(cls, card: ModelCard) -> None:
        """Units as `au_<nn>`, one for each output of the net; facts that fit the net; no sound."""
        _check_units("labels", card.labels, card.sizes.classes)
        _check_units(f"facts.{INTENSITIES}", card.facts.get(INTENSITIES, ()), card.sizes.intensities)
        if card.facts.get(NOVELTY, False) is not card.sizes.novelty:
            raise ValueError(f"facts.{NOVELTY}: expected true where sizes.novelty is, and only there, got {card.facts}")
        thresholds = card.facts.get(THRESHOLDS, {})
        if not isinstance(thresholds, dict) or not all(
            unit in card.labels and isinstance(value, float) and 0 < value < 1 for unit, value in thresholds.items()
        ):
            raise ValueError(
                f"facts.{THRESHOLDS}: expected probabilities between 0 and 1 by units of the labels, got {thresholds!r}"
            )
        if card.sound is not None:
            raise ValueError(f"sound: expected null, since the net hears nothing, got {card.sound}")

    @classmethod
    def build(cls, card: ModelCard) -> nn.Module:
        """The net of the card's sizes, without the identity head, which only training has."""
        return Fmae(card.sizes)

    @classmethod
    def initialise(cls, net: nn.Module, seed: int) -> None:
        """As before any training."""
        assert isinstance(net, Fmae)
        net.initialise(seed)

    @classmethod
    def spec_of(cls, info: ModelInfo) -> ModelSpec:
        """Frames of one size, as many outputs as units, and only the outputs that these weights have."""
        assert info.image_size is not None
        intensities = len(info.facts.get(INTENSITIES, ()))
        missing = {name for name, there in ((INTENSITY, intensities), (NOVELTY, info.facts.get(NOVELTY))) if not there}
        spec = replace(cls.spec, outputs=tuple(one for one in cls.spec.outputs if one.name not in missing))
        return spec.fixed(
            frames=(FRAMES, 3, info.image_size, info.image_size),
            presence=(FRAMES, len(info.labels)),
            intensity=(FRAMES, intensities),
        )

    @classmethod
    def inputs(cls, window: Window, info: ModelInfo) -> Tensors:
        """The frames in the model's size."""
        assert info.image_size is not None
        return {"frames": sized_frames(window, info.image_size)}

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`presence` float32 [B, 16, labels], `intensity` [B, 16, intensities] and `novelty` [B, 16] where promised."""
        frames = batch["frames"]
        said = self.net.answer(frames.flatten(0, 1))
        return {name: value.float().view(-1, FRAMES, *value.shape[1:]) for name, value in said.items()}


def frames_read(answer: Answer, present: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """bool [..., 16]: of the frames that are `present` those that are not novel; all where the model tells no novelty."""
    return present & (answer[NOVELTY].astype(np.float64) <= NOVEL) if NOVELTY in answer else present


def smoothed(values: npt.NDArray[Any], read: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """float64 [..., k]: what a window says, the mean of `values` [..., 16, k] over the frames that are `read` bool
    [..., 16], at least one in each window, weighted by WEIGHTS."""
    weights = WEIGHTS * read
    weights = weights / weights.sum(axis=-1, keepdims=True)
    means: npt.NDArray[np.float64] = np.einsum("...f,...fk->...k", weights, values.astype(np.float64))
    return means


def _check_units(where: str, units: object, count: int) -> None:
    if (
        not isinstance(units, list | tuple)
        or len(units) != count
        or len(set(units)) != count
        or not all(isinstance(unit, str) and _UNIT.fullmatch(unit) for unit in units)
    ):
        raise ValueError(f"{where}: expected {count} different action units such as 'au_04', got {units!r}")
