"""How much light is on a face: the net, and the served model around it. Triton's Python backend imports this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from streamfx.models.base import ServedModel
from streamfx.models.card import ModelCard
from streamfx.models.contract import ModelInfo, ModelSpec, Tensors, TensorSpec
from streamfx.models.frames import sized_frames
from streamfx.records import Window


@dataclass(frozen=True)
class LightSizes:
    """What `sizes` of a `model.json` may say."""

    image_size: int = 16

    def __post_init__(self) -> None:
        if type(self.image_size) is not int or self.image_size < 1:
            raise ValueError(f"image_size: expected a whole number of at least 1, got {self.image_size!r}")


class LightNet(nn.Module):
    """A weighted mean of red, green and blue, 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = nn.Parameter(torch.zeros(3))

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 [B, 16, 3, S, S] -> float32 [B, 1]."""
        colours = frames.float().mean(dim=(1, 3, 4)) / 255
        return (colours * self.channels).sum(dim=1, keepdim=True)


class LightModel(ServedModel):
    """One number a window; no labels, and nothing heard."""

    spec = ModelSpec(
        name="light",
        inputs=(TensorSpec("frames", "UINT8", (16, 3, -1, -1)),),
        outputs=(TensorSpec("light", "FP32", (1,)),),
        max_batch_size=8,
        queue_delay_us=1_000,
        default_weights="light-1",
    )
    architecture = "light"
    Sizes = LightSizes
    shelf = Path(__file__).parent / "weights"

    @classmethod
    def build(cls, card: ModelCard) -> nn.Module:
        return LightNet()

    @classmethod
    def initialise(cls, net: nn.Module, seed: int) -> None:
        assert isinstance(net, LightNet)
        net.channels.data = torch.tensor([0.299, 0.587, 0.114])

    @classmethod
    def spec_of(cls, info: ModelInfo) -> ModelSpec:
        assert info.image_size is not None
        return cls.spec.fixed(frames=(16, 3, info.image_size, info.image_size))

    @classmethod
    def inputs(cls, window: Window, info: ModelInfo) -> Tensors:
        assert info.image_size is not None
        return {"frames": sized_frames(window, info.image_size)}

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"light": self.net(batch["frames"])}
