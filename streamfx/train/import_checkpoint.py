"""Checkpoint import: turns the authors' files into a model directory or an encoder file, and names every wrong key."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.models.card import WEIGHTS_FILE, ModelCard, check_state, save_model
from streamfx.models.contract import FAITHFUL
from streamfx.models.expression import ExpressionModel
from streamfx.nets.mma_dfer import FBANK_BINS, FBANK_ROWS, LABELS_7, LABELS_11, MmaDfer, MmaDferConfig
from streamfx.train import import_fmae
from streamfx.train.encoder_file import EncoderInfo, resize_positions, save_encoder
from streamfx.train.unpickle import load_checkpoint

Kind = Literal["mma-dfer", "mae-face", "audiomae", "fmae", "fmae-pretrained"]
KINDS: tuple[Kind, ...] = ("mma-dfer", "mae-face", "audiomae", "fmae", "fmae-pretrained")
LICENCES: Mapping[Kind, str] = {
    "mma-dfer": (
        "The authors of MMA-DFER state no licence for their weights, and its data sets (DFEW, MAFW) are for research "
        "only: clear your use with them before you deploy this model."
    ),
    "mae-face": "MAE-Face is under the MIT licence: keep its authors' copyright notice with what you make of it.",
    "audiomae": (
        "AudioMAE's README says CC-BY 4.0 and its LICENSE file CC BY-NC 4.0: plan for the second, no commercial use, "
        "and name its authors."
    ),
    **dict.fromkeys(
        ("fmae", "fmae-pretrained"),
        "FMAE's weights are under CC BY-NC 4.0, no commercial use, and its data sets (BP4D, BP4D+, DISFA) are for "
        "research only: name its authors, and clear your use with them before you deploy this model.",
    ),
}
"""Notes on licences that an import prints."""
PREFIX = "module."
LABELS = {len(labels): labels for labels in (LABELS_7, LABELS_11)}
FACE = EncoderInfo("face", 16, 768, 12, 12, 4, (14, 14), "MIT", "MAE-Face checkpoint, imported.")
"""MAE-Face has one size, ViT-B/16; the file decides the grid."""
AUDIO = EncoderInfo(
    "audio",
    16,
    768,
    12,
    12,
    4,
    (64, 8),
    "CC-BY 4.0 in the README, CC BY-NC 4.0 in the LICENSE file.",
    "AudioMAE checkpoint (arXiv 2207.06405), imported.",
)
"""AudioMAE as released: ViT-B/16 on 1024 rows of the filter bank."""
DECODER = ("decoder_", "mask_token")
"""Prefixes of the tensors of a masked autoencoder's decoder, which are dropped."""


@dataclass(frozen=True)
class ImportReport:
    """What was imported: the kind of checkpoint, the new directory or file, and a sentence about its content."""

    kind: Kind
    path: Path
    summary: str

    @property
    def note(self) -> str:
        """What a user of these weights must know about the licence."""
        return LICENCES[self.kind]


def import_checkpoint(file: Path, out: Path, kind: Kind | None = None) -> ImportReport:
    """Turn a checkpoint of MMA-DFER or FMAE(-IAT) into a model directory `out`, or one of MAE-Face, AudioMAE or FMAE's
    pre-training into an encoder file.

    Without `kind` the names and shapes in the file decide it, or it is refused: a ViT-B with a decoder may be FMAE's or
    MAE-Face's. Only tensors are unpickled: every other object in the file becomes an inert one. Numbers become float32.
    Raises ModelError for a file that is not such a checkpoint or an `out` that is there already. For weights of another
    architecture it raises CheckpointMismatch, which names every key that is missing, unexpected or of the wrong shape.
    """
    _check_free(out, kind)
    content = load_checkpoint(file)
    found = kind or _tell(file, content)
    _check_free(out, found)
    try:
        if found == "mma-dfer":
            return _import_mma_dfer(file, _tensors(file, content, "state_dict"), out)
        if found in ("fmae", "fmae-pretrained"):
            make = import_fmae.import_model if found == "fmae" else import_fmae.import_encoder
            state = _tensors(file, content, "model", DECODER)
            _make_plain(file, state)
            return ImportReport(found, out, make(str(file), _digest(file), state, out))
        return _import_encoder(found, file, _tensors(file, content, "model", DECODER), out)
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{file}: the checkpoint's tensors cannot be read: {error}") from error


def _check_free(out: Path, kind: Kind | None) -> None:
    if (out / "model.json").exists():
        raise ModelError(f"{out} already holds a model; give --out another directory, or remove it first")
    if kind in ("mae-face", "audiomae", "fmae-pretrained") and out.exists():
        raise ModelError(f"{out} is there already; an encoder becomes one file: give --out a new name")


def _tell(file: Path, content: Any) -> Kind:
    """Which kind of checkpoint this is."""
    if isinstance(content, Mapping):
        if "state_dict" in content:
            return "mma-dfer"
        model = content.get("model")
        model = model if isinstance(model, Mapping) else {}
        embed = model.get("patch_embed.proj.weight")
        if isinstance(embed, torch.Tensor) and embed.ndim == 4 and embed.shape[1] in (1, 3):
            if import_fmae.is_fmae(model):
                import_fmae.check_units(str(file), model)
                return "fmae"
            if embed.shape[1] == 3 and embed.shape[0] != FACE.dim:
                return "fmae-pretrained"  # MAE-Face has one size
            if embed.shape[1] == 1:
                return "audiomae"
            if any(isinstance(key, str) and key.startswith(DECODER) for key in model):
                # FMAE's pre-trained files have their decoder. MAE-Face's has none, but for the one to look at pictures with.
                raise ModelError(
                    f"{file}: a ViT-B with a decoder may be FMAE's or MAE-Face's, which expect other pixels and have other "
                    f"licences; give --kind fmae-pretrained or --kind mae-face (all kinds: {', '.join(KINDS)})"
                )
            return "mae-face"
    raise ModelError(
        f"{file}: expected a dict with a `state_dict` (MMA-DFER), or with a `model` that has the patch embedding of "
        "pictures (MAE-Face, FMAE) or of sound (AudioMAE), found none; give --kind to see what is missing for one of them: "
        f"{', '.join(KINDS)}"
    )


def _tensors(file: Path, content: Any, name: str, dropped: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """The tensors under `name`, without DataParallel's prefix and without those whose names start as in `dropped`."""
    state = content.get(name) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise ModelError(f"{file}: expected a dict with a `{name}` in it, as the authors' trainer saves, found none")
    wanted = {key: value for key, value in state.items() if not (isinstance(key, str) and key.startswith(dropped))}
    wrong = [
        str(key)
        for key, value in wanted.items()
        if not (isinstance(key, str) and isinstance(value, torch.Tensor) and value.is_floating_point())
    ]
    if wrong:
        raise ModelError(
            f"{file}: {name}: expected floating-point tensors by name, got something else at {', '.join(wrong)}"
        )
    return {key.removeprefix(PREFIX): value for key, value in wanted.items()}


def _import_mma_dfer(file: Path, state: dict[str, torch.Tensor], out: Path) -> ImportReport:
    config = _sizes(state)
    with torch.device("meta"):
        net = MmaDfer(config)
    check_state(net, state, str(file))
    labels = LABELS.get(config.classes)
    if labels is None:
        raise CheckpointMismatch(f"{file}: our_classifier: expected 7 or 11 classes, got {config.classes}")
    _make_plain(file, state)
    card = ModelCard(
        name="mma-dfer",
        version=f"sha256-{_digest(file)[:12]}",
        architecture=ExpressionModel.architecture,
        sizes=config,
        labels=labels,
        trained=True,
        licence="None stated by the authors; data sets for research only.",
        source="MMA-DFER checkpoint (arXiv 2404.09010), imported.",
        weights=WEIGHTS_FILE,
        sound=FAITHFUL,
    )
    save_model(out, state, card)
    summary = f"{len(state)} tensors, {config.classes} expressions, {config.image_size} px, version {card.version}"
    return ImportReport("mma-dfer", out, summary)


def _sizes(state: Mapping[str, torch.Tensor]) -> MmaDferConfig:
    """The authors' sizes, with classes and image size from the shapes of the weights where these allow it."""
    config = MmaDferConfig()
    classifier = state.get("our_classifier.weight")
    if classifier is not None and classifier.ndim == 2 and classifier.shape[0] > 0:
        config = replace(config, classes=classifier.shape[0])
    side = _side(state.get("image_encoder.pos_embed"), config.prompts)
    return replace(config, image_size=side * config.patch) if side else config


def _import_encoder(kind: Kind, file: Path, state: dict[str, torch.Tensor], out: Path) -> ImportReport:
    info = AUDIO
    if kind == "mae-face":
        side = _side(state.get("pos_embed"), 0)
        info = replace(FACE, grid=(side, side)) if side else FACE
    check_state(info.encoder(), state, str(file))
    _make_plain(file, state)
    if kind == "audiomae":
        grid = (FBANK_ROWS // info.patch, FBANK_BINS // info.patch)
        state["pos_embed"] = resize_positions(state["pos_embed"], info.grid, grid)
        info = replace(info, grid=grid)
    info = replace(info, source=f"{info.source} sha256-{_digest(file)[:12]}")
    save_encoder(out, state, info)
    return ImportReport(
        kind, out, f"{len(state)} tensors, encoder for {info.kind}, {info.grid[0]} x {info.grid[1]} patches"
    )


def _side(pos_embed: torch.Tensor | None, extra_tokens: int) -> int:
    """Patches on a side of the square picture that a position embedding fits; 0 where its shape fits no square."""
    if pos_embed is None or pos_embed.ndim != 3:
        return 0
    patches = max(pos_embed.shape[1] - 1 - extra_tokens, 0)
    side = math.isqrt(patches)
    return side if side * side == patches else 0


def _make_plain(file: Path, state: dict[str, torch.Tensor]) -> None:
    """Make each tensor contiguous float32 with memory of its own, in place; ModelError for NaN or infinity."""
    # Tensors are converted one at a time and only where needed: memory peaks at one copy beside the mapped file.
    for key, value in state.items():
        is_view = value.untyped_storage().nbytes() != value.nbytes
        state[key] = value.detach().to(torch.float32, memory_format=torch.contiguous_format, copy=is_view)
        if not bool(torch.isfinite(state[key]).all()):
            raise ModelError(f"{file}: {key}: expected finite weights, found NaN or infinity")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
