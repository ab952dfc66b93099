"""Import of the FMAE authors' checkpoints: pre-trained ones as encoder files, fine-tuned and IAT ones as models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.models.action_units import INTENSITIES, THRESHOLDS, ActionUnitsModel
from streamfx.models.card import WEIGHTS_FILE, ModelCard, check_state, save_model
from streamfx.nets.fmae import SIZES, Fmae, FmaeConfig
from streamfx.train.au_sets import BP4D_UNITS, DISFA_UNITS
from streamfx.train.encoder_file import EncoderInfo, save_encoder
from streamfx.train.rand_augment import DEVIATION, MEAN

LICENCE = "CC BY-NC 4.0 (as MAE's code); BP4D, BP4D+ and DISFA for research only."
THRESHOLD = 0.5
"""Probability from which an imported model's units count as present: the authors' fixed threshold."""
PATCH, MLP_RATIO = 16, 4
_UNITS = {len(units): units for units in (BP4D_UNITS, DISFA_UNITS)}
_IDENTITY = ("ID_head.weight", "ID_head.bias")


def is_fmae(state: Any) -> bool:
    """Whether this looks like a fine-tuned checkpoint: of all that can be imported, FMAE alone has these two."""
    return "fc_norm.weight" in state and "head.weight" in state


def check_units(origin: str, state: Mapping[str, Any]) -> None:
    """Raise ModelError for a net that may name expressions: DISFA's units and AffectNet's expressions are both eight, and
    only nets of action units have an identity head."""
    head = state["head.weight"]
    eight = isinstance(head, Tensor) and head.ndim == 2 and len(head) == len(DISFA_UNITS)
    if eight and not set(_IDENTITY) & set(state):
        raise ModelError(
            f"{origin}: head.weight has {len(head)} outputs and there is no ID_head, so they may be DISFA's action units or "
            "AffectNet's expressions; give --kind fmae if they are action units. Expressions cannot be imported"
        )


def import_model(origin: str, digest: str, state: dict[str, Tensor], out: Path) -> str:
    """Write a model directory `out` from a fine-tuned net's tensors, and return a sentence about it.

    The identity head of FMAE-IAT belongs to its training: its shape is checked and it is left out. Heads without a bias
    get one of 0. Raises CheckpointMismatch with every key that is missing, unexpected or of the wrong shape, and for
    numbers of units or sizes that the authors' nets do not have.
    """
    config = _sizes(origin, state)
    subjects = _take_identity(origin, state, config.dim)
    state.setdefault("head.bias", torch.zeros(config.classes))
    with torch.device("meta"):
        net = Fmae(config)
    check_state(net, state, origin)
    units = _UNITS.get(config.classes)
    if units is None:
        known = " or ".join(map(str, _UNITS))
        raise CheckpointMismatch(f"{origin}: head: expected {known} action units, got {config.classes}")
    _take_plain_pixels(state)
    kind = f"FMAE-IAT, {subjects} subjects" if subjects else "FMAE"
    card = ModelCard(
        name="fmae-iat" if subjects else "fmae",
        version=f"sha256-{digest[:12]}",
        architecture=ActionUnitsModel.architecture,
        sizes=config,
        labels=units,
        trained=True,
        licence=LICENCE,
        source=f"{kind} checkpoint (arXiv 2407.11243), imported; threshold {THRESHOLD} as its authors'.",
        weights=WEIGHTS_FILE,
        sound=None,
        facts={INTENSITIES: [], THRESHOLDS: dict.fromkeys(units, THRESHOLD)},
    )
    save_model(out, state, card)
    return f"{kind}: {len(state)} tensors, {len(units)} action units, {config.image_size} px, version {card.version}"


def import_encoder(origin: str, digest: str, state: dict[str, Tensor], out: Path) -> str:
    """Write an encoder file `out` from a pre-trained net's tensors (its decoder left out); errors as `import_model`."""
    config = _sizes(origin, state)
    info = EncoderInfo(
        kind="face",
        patch=PATCH,
        dim=config.dim,
        depth=config.depth,
        heads=config.heads,
        mlp_ratio=MLP_RATIO,
        grid=config.grid,
        licence="CC BY-NC 4.0 (as MAE's code).",
        source=f"FMAE checkpoint (arXiv 2407.11243), imported. sha256-{digest[:12]}",
    )
    check_state(info.encoder(), state, origin)
    _take_plain_pixels(state)
    save_encoder(out, state, info)
    return f"{len(state)} tensors, encoder for face, {info.grid[0]} x {info.grid[1]} patches, {config.dim} wide"


def _sizes(origin: str, state: Mapping[str, Tensor]) -> FmaeConfig:
    """The authors' size with the width of these tensors; classes and image size from the shapes."""
    embed, head = state.get("patch_embed.proj.weight"), state.get("head.weight")
    width = int(embed.shape[0]) if embed is not None and embed.ndim == 4 else 0
    size = next((size for name, size in SIZES.items() if name != "tiny" and size["dim"] == width), None)
    if size is None:
        known = ", ".join(str(size["dim"]) for name, size in SIZES.items() if name != "tiny")
        raise CheckpointMismatch(
            f"{origin}: patch_embed.proj.weight: expected [width, 3, {PATCH}, {PATCH}] with a width of {known}, got "
            f"{'none' if embed is None else list(embed.shape)}"
        )
    positions = state.get("pos_embed")
    patches = positions.shape[1] - 1 if positions is not None and positions.ndim == 3 else 196
    side = round(max(patches, 1) ** 0.5)
    classes = int(head.shape[0]) if head is not None and head.ndim == 2 and head.shape[0] else 12
    sizes: dict[str, Any] = {**size, "patch": PATCH, "mlp_ratio": MLP_RATIO}
    return FmaeConfig(classes=classes, image_size=max(side, 1) * PATCH, **sizes)


def _take_identity(origin: str, state: dict[str, Tensor], dim: int) -> int:
    """Remove the identity head, whose shape is checked; the number of its subjects, 0 without one."""
    head, bias = (state.pop(name, None) for name in _IDENTITY)
    if head is None and bias is None:
        return 0
    if head is None or head.ndim != 2 or head.shape[1] != dim or (bias is not None and bias.shape != head.shape[:1]):
        got = {
            name: None if one is None else list(one.shape) for name, one in zip(_IDENTITY, (head, bias), strict=True)
        }
        raise CheckpointMismatch(
            f"{origin}: ID_head: expected a weight [subjects, {dim}] and perhaps its bias, got {got}"
        )
    return int(head.shape[0])


def _take_plain_pixels(state: dict[str, Tensor]) -> None:
    """Fold ImageNet's normalisation, (pixel - mean) / deviation, into the patch embedding, which is linear."""
    mean, deviation = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    weight = state["patch_embed.proj.weight"].double() / deviation
    bias = state["patch_embed.proj.bias"].double() - (weight * mean).sum(dim=(1, 2, 3))
    state["patch_embed.proj.weight"], state["patch_embed.proj.bias"] = weight.float(), bias.float()
