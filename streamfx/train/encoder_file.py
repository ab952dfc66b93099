"""Encoder files, a pre-trained ViT encoder with its description in one safetensors, and nets made from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.models.card import CARD_FILE, check_state, read_json, read_weights_file, write_weights
from streamfx.models.outside import fetch_face_api
from streamfx.models.shared import read_state
from streamfx.nets.expert import ExpertMmaDfer
from streamfx.nets.fmae import FmaeConfig
from streamfx.nets.mma_dfer import FBANK_BINS, FBANK_ROWS, MmaDfer, MmaDferConfig, PromptedEncoder
from streamfx.nets.vit import EncoderSizes, VitEncoder

METADATA_KEY = "streamfx_encoder"
FACE_ENCODER = "image_encoder"
"""What an expression model calls its face encoder."""
CHANNELS = {"face": 3, "audio": 1}
"""Input channels of an encoder: RGB frames, or the filter bank."""


@dataclass(frozen=True)
class EncoderInfo:
    """What an encoder file says about its weights.

    `grid` is rows and columns of patches that the position embedding was made for (32 x 8 for the 512 x 128 filter bank
    in patches of 16); the other sizes are those of `VitEncoder`. `licence` and `source` are text for people.
    """

    kind: Literal["face", "audio"]
    patch: int
    dim: int
    depth: int
    heads: int
    mlp_ratio: int
    grid: tuple[int, int]
    licence: str
    source: str

    def __post_init__(self) -> None:
        if self.kind not in CHANNELS:
            raise ValueError(f"kind: expected face or audio, got {self.kind!r}")
        sizes = (self.patch, self.dim, self.depth, self.heads, self.mlp_ratio, *self.grid)
        if len(self.grid) != 2 or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise ValueError(
                f"patch, dim, depth, heads, mlp_ratio and both sides of grid: expected at least 1, got {sizes}"
            )
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")

    def encoder(self) -> VitEncoder:
        """The encoder's parts without values, on torch's meta device."""
        patches = self.grid[0] * self.grid[1]
        with torch.device("meta"):
            return VitEncoder(
                CHANNELS[self.kind], patches, 0, self.patch, self.dim, self.depth, self.heads, self.mlp_ratio, 0
            )


def save_encoder(path: Path, state: Mapping[str, Tensor], info: EncoderInfo) -> None:
    """Write `path`, whole or not at all.

    `state` holds exactly the tensors of `info.encoder()`: `cls_token`, `pos_embed` [1, 1 + patches, dim],
    `patch_embed.*`, `blocks.*` and `norm.*`. Raises CheckpointMismatch, which names every tensor that differs, and
    ModelError where the file cannot be written.
    """
    check_state(info.encoder(), dict(state), str(path))
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    try:
        write_weights(path, tensors, {METADATA_KEY: json.dumps(asdict(info))})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write the encoder file {path}: {error}") from error


def load_encoder(path: Path) -> tuple[dict[str, Tensor], EncoderInfo]:
    """The tensors of an encoder file, on the CPU, and their description.

    Raises ModelError for a file that `save_encoder` did not write, and CheckpointMismatch where tensors and sizes
    disagree.
    """
    try:
        state, metadata = read_weights_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the encoder file {path}: {error}") from error
    info = _info(path, metadata)
    check_state(info.encoder(), state, str(path))
    return state, info


def load_face_encoder(path: Path) -> tuple[dict[str, Tensor], EncoderInfo]:
    """The face encoder of an encoder file, or of a directory of an expression model, and its description.

    Of a model's encoder the rows of the position embedding that belong to prompts are left out. Raises ModelError where
    there is no face encoder, else as `load_encoder`.
    """
    if not path.is_dir():
        state, info = load_encoder(path)
        if info.kind != "face":
            raise ModelError(f"{path}: expected an encoder of faces, got one of {info.kind}")
        return state, info
    raw = read_json(path)
    if raw.get("architecture") != "mma_dfer" or not raw.get("weights"):
        raise ModelError(f"{path / CARD_FILE}: expected weights of the architecture 'mma_dfer', got others")
    sizes = MmaDferConfig(**raw["sizes"])
    side = sizes.image_size // sizes.patch
    info = EncoderInfo(
        "face", sizes.patch, sizes.dim, sizes.depth, sizes.heads, sizes.mlp_ratio, (side, side),
        raw["licence"], raw["source"],
    )  # fmt: skip
    prefix = f"{FACE_ENCODER}."
    weights = {
        key.removeprefix(prefix): value.float() for key, value in read_state(path).items() if key.startswith(prefix)
    }
    state = {key: weights[key] for key in info.encoder().state_dict() if key in weights}
    state["pos_embed"] = state["pos_embed"][:, : 1 + side * side]
    check_state(info.encoder(), state, str(path))
    return state, info


def load_square_encoder(path: Path) -> tuple[dict[str, Tensor], EncoderSizes]:
    """As `load_face_encoder`, with its sizes as those of square pictures. ModelError for one whose faces are not square."""
    state, info = load_face_encoder(path)
    rows, columns = info.grid
    if rows != columns:
        raise ModelError(f"{path}: expected an encoder of square faces, got a grid of {info.grid}")
    return state, EncoderSizes(info.patch * rows, info.patch, info.dim, info.depth, info.heads, info.mlp_ratio)


def _info(path: Path, metadata: Mapping[str, str]) -> EncoderInfo:
    if METADATA_KEY not in metadata:
        raise ModelError(
            f"{path}: expected an encoder file, got a safetensors without {METADATA_KEY!r} in its metadata"
        )
    try:
        raw: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        return EncoderInfo(**{**raw, "grid": tuple(raw["grid"])})
    except (ValueError, TypeError, KeyError) as error:
        expected = ", ".join(field.name for field in fields(EncoderInfo))
        raise ModelError(f"{path}: metadata {METADATA_KEY!r}: expected JSON with {expected}: {error}") from error


def check_fits(
    path: Path, info: EncoderInfo, kind: Literal["face", "audio"], sizes: MmaDferConfig | FmaeConfig
) -> None:
    """Raise CheckpointMismatch, which names each difference, where the encoder in `path` is not of this kind and sizes."""
    expected = {"kind": kind} | {name: getattr(sizes, name) for name in ("patch", "dim", "depth", "heads", "mlp_ratio")}
    wrong = [
        f"{name} (expected {value}, got {getattr(info, name)})"
        for name, value in expected.items()
        if getattr(info, name) != value
    ]
    if wrong:
        raise CheckpointMismatch(f"{path}: the encoder does not have the net's size: {', '.join(wrong)}")


def resize_positions(pos_embed: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Position embedding [1, 1 + old rows * old columns, dim] -> [1, 1 + new rows * new columns, dim].

    As in MAE and MMA-DFER, the CLS row stays, and the others are resized bicubically as a picture of `old` (rows,
    columns), without aligned corners. Raises ModelError where the length does not match `old`.
    """
    dim = pos_embed.shape[-1]
    if tuple(pos_embed.shape) != (1, 1 + old[0] * old[1], dim):
        raise ModelError(
            f"pos_embed: expected [1, {1 + old[0] * old[1]}, dim] for a grid of {old[0]} x {old[1]} patches and a CLS "
            f"token, got {list(pos_embed.shape)}"
        )
    if old == new:
        return pos_embed
    picture = pos_embed[:, 1:].reshape(1, *old, dim).permute(0, 3, 1, 2)
    resized = F.interpolate(picture.float(), size=new, mode="bicubic", align_corners=False).to(pos_embed.dtype)
    return torch.cat((pos_embed[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)


def net_from_encoders(face: Path, audio: Path, config: MmaDferConfig, seed: int, expert: bool = False) -> MmaDfer:
    """MMA-DFER with its frozen parts from two encoder files, everything else initialised from `seed`.

    With `expert` it is an ExpertMmaDfer; the expert's weights are fetched where this machine lacks them.

    Position embeddings are resized to the net's grids; their rows for prompts are drawn from N(0, 1), as the authors
    do. A file whose modality `config` leaves out is not read. Raises CheckpointMismatch for an encoder of other sizes.
    """
    net = ExpertMmaDfer(config) if expert else MmaDfer(config)
    net.initialise(seed)
    if isinstance(net, ExpertMmaDfer):
        net.expert = fetch_face_api()
    generator = torch.Generator().manual_seed(seed + 1)
    side = config.image_size // config.patch
    if "face" in config.modalities:
        _fill(net.image_encoder, face, "face", (side, side), config, generator)
    if "sound" in config.modalities:
        grid = (FBANK_ROWS // config.patch, FBANK_BINS // config.patch)
        _fill(net.audio_model, audio, "audio", grid, config, generator)
    return net


@torch.no_grad()
def _fill(
    encoder: PromptedEncoder,
    path: Path,
    kind: Literal["face", "audio"],
    grid: tuple[int, int],
    config: MmaDferConfig,
    generator: torch.Generator,
) -> None:
    state, info = load_encoder(path)
    check_fits(path, info, kind, config)
    positions = resize_positions(state.pop("pos_embed"), info.grid, grid)
    encoder.pos_embed[:, : positions.shape[1]] = positions
    encoder.pos_embed[:, positions.shape[1] :].normal_(0.0, 1.0, generator=generator)
    encoder.load_state_dict(state, strict=False)
