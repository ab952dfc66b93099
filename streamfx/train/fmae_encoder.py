"""What all trainings of FMAE share: its encoder from a file, and how MAE's fine-tuning steps its parameters."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from streamfx.models.card import read_json
from streamfx.nets.fmae import Fmae
from streamfx.train.encoder_file import check_fits, load_face_encoder, resize_positions

HEADS_SHRUNK = 1e-3
"""Factor from the deviation of heads in `Fmae.initialise`, 0.02, to that with which MAE's fine-tuning begins, 2e-5."""


def fill_encoder(net: Fmae, path: Path) -> None:
    """Give `net` the encoder of a file of `pretrain-face` or of an import, or of an expression model's directory.

    Its positions are resized to the net's grid.

    `fc_norm` begins anew, as the authors' does: the encoder's own norm saw single tokens, not their mean. The heads of
    `net` begin near 0, as in MAE's fine-tuning, so that the encoder is not disturbed by what they do not know yet.
    Raises CheckpointMismatch for an encoder of another size.
    """
    state, info = load_face_encoder(path)
    check_fits(path, info, "face", net.config)
    state["pos_embed"] = resize_positions(state["pos_embed"], info.grid, net.config.grid)
    for name in ("norm.weight", "norm.bias"):
        del state[name]
    net.load_state_dict(state, strict=False)
    with torch.no_grad():
        for head in (net.head, net.intensity_head):
            if head is not None:
                head.weight.mul_(HEADS_SHRUNK)


def encoder_digest(path: Path | None) -> str | None:
    """SHA-256 of an encoder file, or of a model directory's weights, which a checkpoint is compared by; None without one."""
    if path is None:
        return None
    file = path / read_json(path)["weights"] if path.is_dir() else path
    return hashlib.sha256(file.read_bytes()).hexdigest()


def layer_share(name: str, depth: int, decay: float) -> float:
    """Learning rate of a parameter as a share of the heads': `decay` to the power of its distance from them in layers.

    As in MAE's fine-tuning the embedding is layer 0, block k is k + 1, and heads and norm are the last, `depth` + 1.
    """
    if name.startswith("blocks."):
        layer = int(name.split(".")[1]) + 1
    else:
        layer = 0 if name.startswith(("cls_token", "pos_embed", "patch_embed")) else depth + 1
    return float(decay ** (depth + 1 - layer))


def decays(name: str, value: Tensor) -> bool:
    """Whether weight decay applies to a parameter: as in MAE's fine-tuning, not to vectors, CLS token and positions."""
    return value.ndim >= 2 and name not in ("cls_token", "pos_embed")
