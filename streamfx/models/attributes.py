"""Facial attributes of one window: LNet+ANet (`nets/lnet_anet.py`), or a head on the face encoder
(`nets/shared_encoder.py`), behind the contract of a served model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamfx.models.base import ServedModel
from streamfx.models.card import ModelCard
from streamfx.models.celeba import CELEBA
from streamfx.models.contract import ModelInfo, ModelSpec, Tensors, TensorSpec
from streamfx.models.frames import sized_frames
from streamfx.nets.lnet import LNetSizes, Square
from streamfx.nets.lnet_anet import ANetSizes, LNetANet, initialise
from streamfx.nets.mma_dfer import FRAMES
from streamfx.nets.shared_encoder import SharedEncoder, SharedSizes
from streamfx.records import Window

Method = Literal["lnet_anet", "shared_encoder"]
METHODS: Mapping[Method, str] = {"lnet_anet": "attributes-lnet", "shared_encoder": "attributes-shared"}
DEFAULT_METHOD: Method = "shared_encoder"
"""Each method, and the weights of it that come with streamfx."""
LOOKS = tuple(range(1, FRAMES, 4))
"""The frames of a window that are looked at, of its 16: attributes change slowly."""


@dataclass(frozen=True)
class AttributesSizes:
    """The method, the side of the faces that it takes, and the sizes of its net: `lnet` and `anet`, or `encoder`."""

    method: Method
    image_size: int = 112
    lnet: LNetSizes | None = None
    anet: ANetSizes | None = None
    encoder: SharedSizes | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: expected {' or '.join(METHODS)}, got {self.method!r}")
        for name, kind in (("lnet", LNetSizes), ("anet", ANetSizes), ("encoder", SharedSizes)):
            given = getattr(self, name)
            if isinstance(given, dict):  # as `model.json` has it
                object.__setattr__(self, name, kind(**given))
        wanted = {"lnet", "anet"} if self.method == "lnet_anet" else {"encoder"}
        given = {name for name in ("lnet", "anet", "encoder") if getattr(self, name) is not None}
        if given != wanted:
            raise ValueError(f"sizes of {self.method}: expected {', '.join(sorted(wanted))}, got {', '.join(given)}")
        if type(self.image_size) is not int or self.image_size < (self.anet.patch if self.anet else 1):
            raise ValueError(f"image_size: expected at least a patch, got {self.image_size!r}")
        if self.encoder and self.encoder.image_size != self.image_size:
            raise ValueError(f"image_size: expected the encoder's, {self.encoder.image_size}, got {self.image_size}")


class AttributesModel(ServedModel):
    """One logit for each attribute that the card's labels name: the mean over four frames of a window.

    Above 0 the attribute is there. Labels are names of `CELEBA`, in its order; what the weights do not know is no label.
    """

    spec = ModelSpec(
        name="attributes",
        inputs=(TensorSpec("frames", "UINT8", (FRAMES, 3, -1, -1)),),
        outputs=(TensorSpec("logits", "FP32", (-1,)),),
        max_batch_size=32,
        queue_delay_us=5_000,
        default_weights=METHODS[DEFAULT_METHOD],
    )
    architecture = "attributes"
    Sizes = AttributesSizes

    @classmethod
    def check(cls, card: ModelCard) -> None:
        """Labels that are known, in order; the method in `facts`, where clients see it; and nothing heard."""
        wanted = tuple(name for name in CELEBA if name in card.labels)
        if not wanted or card.labels != wanted:
            raise ValueError(f"labels: expected names of CelebA's attributes in its order, got {list(card.labels)}")
        if card.facts.get("method") != card.sizes.method:
            raise ValueError(f"facts: expected the method {card.sizes.method!r}, got {dict(card.facts)}")
        if card.sound is not None:
            raise ValueError("sound: expected null, since attributes are not heard")

    @classmethod
    def build(cls, card: ModelCard) -> nn.Module:
        """The net of the card's method."""
        sizes = card.sizes
        if sizes.method == "shared_encoder":
            return SharedEncoder(sizes.encoder, len(card.labels))
        return LNetANet(sizes.lnet, sizes.anet, len(card.labels))

    @classmethod
    def initialise(cls, net: nn.Module, seed: int) -> None:
        """Random weights."""
        initialise(net, seed)

    @classmethod
    def spec_of(cls, info: ModelInfo) -> ModelSpec:
        """Frames of one size, one logit for each label."""
        assert info.image_size is not None
        return cls.spec.fixed(frames=(FRAMES, 3, info.image_size, info.image_size), logits=(len(info.labels),))

    @classmethod
    def inputs(cls, window: Window, info: ModelInfo) -> Tensors:
        """The frames in the model's size, which all models of this size share."""
        assert info.image_size is not None
        return {"frames": sized_frames(window, info.image_size)}

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`logits` float32 [B, labels]."""
        seen = batch["frames"][:, list(LOOKS)]
        logits = self.net(seen.flatten(0, 1).float() / 255).float()
        return {"logits": logits.view(-1, len(LOOKS), logits.shape[-1]).mean(dim=1)}

    def find_face(self, picture: npt.NDArray[np.uint8]) -> tuple[Square, float] | None:
        """The face that the LNets see in an RGB picture, uint8 [H, W, 3], and how sure they are (0..1); see `LNets.find`.

        ValueError for weights of the other method, which have no LNets.
        """
        if not isinstance(self.net, LNetANet):
            raise ValueError(f"{self.card.name} has no LNets: expected weights of the method lnet_anet")
        return self.net.lnets.find(torch.from_numpy(np.array(picture)).to(self.device))


def card_of(
    name: str, version: str, sizes: AttributesSizes, labels: tuple[str, ...], licence: str, source: str, **rest: object
) -> ModelCard:
    """A card of attributes' weights; `rest` are other fields of ModelCard, `trained` above all."""
    facts = {"method": sizes.method}
    made = {"name": name, "version": version, "architecture": AttributesModel.architecture, "sizes": sizes}
    made |= {"labels": labels, "licence": licence, "source": source, "sound": None, "facts": facts}
    return ModelCard(**(made | rest))  # type: ignore[arg-type]
