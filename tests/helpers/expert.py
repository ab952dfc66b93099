"""A small untrained model with the expert on real faces, as a directory, and machines that lack the expert's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.lacking import lacks

from streamfx.errors import MissingComponent
from streamfx.models.card import WEIGHTS_FILE, ModelCard, save_model
from streamfx.models.expression import EXPERT, NOVELTY
from streamfx.models.outside import FACE_API
from streamfx.models.outside_files import FOLDER_ENV
from streamfx.nets.expert import ExpertMmaDfer
from streamfx.nets.mma_dfer import LABELS_7, MmaDferConfig

SMALL = {
    "dim": 32, "depth": 2, "heads": 2, "latent": 8, "image_head": 0, "audio_head": 0, "temporal_dim": 24,
    "temporal_heads": 2, "temporal_head_dim": 8, "temporal_mlp": 32,
}  # fmt: skip


def require_face_api() -> None:
    """Skip the test where the expert's weights are not on this machine and cannot be fetched."""
    try:
        FACE_API.fetch()
    except MissingComponent as error:
        lacks("the npm registry, which has the face-api net", str(error))


def take_face_api_away(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    """From now on this machine lacks the expert's weights, since they are looked for in `empty`."""
    monkeypatch.setenv(FOLDER_ENV, str(empty))


def expert_net(image_size: int = 32, seed: int = 1, **parts: Any) -> ExpertMmaDfer:
    """A net whose parts and expert are random, with a border amid the distances of random windows."""
    net = ExpertMmaDfer(MmaDferConfig(image_size=image_size, **(SMALL | parts))).eval()
    net.initialise(seed)
    known = torch.randn(7, net.config.dim, generator=torch.Generator().manual_seed(seed))
    net.get_buffer("known_means").copy_(known)
    with torch.inference_mode():
        typical = net.branches(*windows(4, image_size))[1].mean()
    net.get_buffer("border").copy_(torch.stack([typical, typical / 10]))
    return net


def windows(batch: int, image_size: int = 32, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random frames uint8 [batch, 16, 3, S, S], and filter banks."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (batch, 16, 3, image_size, image_size), generator=generator, dtype=torch.uint8)
    return frames, torch.randn(batch, 1, 512, 128, generator=generator)


def expert_model(directory: Path, instead: str | None = "expression-small", image_size: int = 112) -> Path:
    """The directory of a model with the expert, whose own weights are not in it."""
    net = expert_net(image_size)
    card = ModelCard(
        "with-expert", "1", "mma_dfer", net.config, LABELS_7, True, "MIT", "a test", WEIGHTS_FILE,
        facts={NOVELTY: True}, outside=EXPERT, instead=instead,
    )  # fmt: skip
    save_model(directory, without_expert(net), card)
    return directory


def without_expert(net: ExpertMmaDfer) -> dict[str, torch.Tensor]:
    """The state of `net` but for the expert's weights."""
    return {name: value for name, value in net.state_dict().items() if not name.startswith("expert.")}
