"""Expression of one window: MMA-DFER (`nets/mma_dfer.py`), alone or with an expert (`nets/expert.py`), behind the
contract of a served model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamfx.errors import ModelError
from streamfx.models.base import ServedModel
from streamfx.models.card import ModelCard, resolve_model
from streamfx.models.contract import ModelInfo, ModelSpec, Tensors, TensorSpec
from streamfx.models.frames import sized_frames
from streamfx.nets.expert import ExpertMmaDfer
from streamfx.nets.mma_dfer import FBANK_BINS, FBANK_ROWS, FRAMES, MmaDfer, MmaDferConfig
from streamfx.records import Window

EXPERT = {"expert": "face-api"}
"""What the card of a model with the expert says under `outside`."""
NOVELTY = "novelty"
"""The output, and the fact in the card, of models that tell how far a face is from what they know."""


class ExpressionModel(ServedModel):
    """One logit for each expression that the card's labels name, from a window's frames and the sound with them.

    A model whose card says so also answers how far the face is from what it knows, in 0..1.
    """

    spec = ModelSpec(
        name="expression",
        inputs=(
            TensorSpec("frames", "UINT8", (FRAMES, 3, -1, -1)),
            TensorSpec("fbank", "FP32", (1, FBANK_ROWS, FBANK_BINS)),
        ),
        outputs=(TensorSpec("logits", "FP32", (-1,)), TensorSpec(NOVELTY, "FP32", (1,))),
        max_batch_size=32,
        queue_delay_us=5_000,
        default_weights="expression-faces",
    )
    architecture = "mma_dfer"
    Sizes = MmaDferConfig
    net: MmaDfer

    @classmethod
    def check(cls, card: ModelCard) -> None:
        """One name for each class of the net; an expert only where it can join, and `facts` that say so."""
        if len(card.labels) != card.sizes.classes or len(set(card.labels)) != len(card.labels):
            raise ValueError(f"labels: expected {card.sizes.classes} different names, got {list(card.labels)}")
        if card.outside not in ({}, EXPERT):
            raise ValueError(f"outside: expected {EXPERT} or nothing, got {card.outside}")
        if bool(card.outside) != bool(card.facts.get(NOVELTY)):
            raise ValueError(f"facts: expected {NOVELTY!r} true with an expert, and only then, got {card.facts}")
        if card.outside:
            ExpertMmaDfer.check(card.sizes)

    @classmethod
    def build(cls, card: ModelCard) -> nn.Module:
        """MMA-DFER of the card's sizes, with the expert where the card names its weights."""
        return ExpertMmaDfer(card.sizes) if card.outside else MmaDfer(card.sizes)

    @classmethod
    def initialise(cls, net: nn.Module, seed: int) -> None:
        """As the authors initialise what they train."""
        assert isinstance(net, MmaDfer)
        net.initialise(seed)

    @classmethod
    def spec_of(cls, info: ModelInfo) -> ModelSpec:
        """Frames of one size, one logit for each label, and the novelty of models that tell it."""
        assert info.image_size is not None
        spec = cls.spec
        if not info.facts.get(NOVELTY):
            spec = replace(spec, outputs=tuple(one for one in spec.outputs if one.name != NOVELTY))
        return spec.fixed(frames=(FRAMES, 3, info.image_size, info.image_size), logits=(len(info.labels),))

    @classmethod
    def inputs(cls, window: Window, info: ModelInfo) -> Tensors:
        """The frames in the model's size, and the filter bank."""
        assert info.image_size is not None
        return {"frames": sized_frames(window, info.image_size), "fbank": window.fbank[None]}

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`logits` float32 [B, labels], and `novelty` float32 [B, 1] where the model tells it."""
        if isinstance(self.net, ExpertMmaDfer):
            logits, novelty = self.net.answer(batch["frames"], batch["fbank"])
            return {"logits": logits.float(), NOVELTY: novelty.float()[:, None]}
        return {"logits": self.net(batch["frames"], batch["fbank"]).float()}


def logits(directory: Path, frames: npt.NDArray[np.generic], fbank: npt.NDArray[np.generic]) -> list[float]:
    """The model's logits for one window: `frames` uint8 [1, 16, 3, S, S], `fbank` float32 [1, 1, 512, 128]."""
    batch = {"frames": frames, "fbank": fbank}
    for name, value in batch.items():
        if value.ndim < 1 or len(value) != 1:
            raise ModelError(
                f"input {name!r}: expected one window, a first dimension of 1, got {value.dtype} {list(value.shape)}"
            )
    directory = resolve_model(directory)
    model = ExpressionModel.load(directory)
    model.spec_of(model.info).check_inputs({name: value[0] for name, value in batch.items()})
    answer = model.run({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in batch.items()})
    return [float(value) for value in answer["logits"][0]]
