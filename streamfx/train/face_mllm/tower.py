"""The tower of a Face-MLLM, made of encoders that are there already, and what it sees in drawn sets, computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from streamfx.errors import ConfigError, ModelError
from streamfx.models.backbones import DINOV2
from streamfx.models.card import CARD_FILE, Shared, read_json
from streamfx.models.shared import read_state, shipped_model
from streamfx.nets.face_mllm import FaceMllmSizes, Tower
from streamfx.nets.fmae import FmaeConfig
from streamfx.nets.llama import LlamaSizes
from streamfx.nets.vit import EncoderSizes
from streamfx.synth.output import read_set
from streamfx.train import kept_array
from streamfx.train.attribute_pictures import Floats, Pictures, cut_squares, open_pictures
from streamfx.train.encoder_file import FACE_ENCODER, load_square_encoder
from streamfx.train.language import DINOV2_SIZES, dinov2_state
from streamfx.train.recipe import digest

SIDE = DINOV2_SIZES.image_size
"""Side of the faces that the tower sees, pixels."""


def open_tower(names: Sequence[str], tokens: int) -> Tower:
    """A tower of these encoders (see `FaceMllmRecipe.tower`) that gives `tokens` for a picture.

    Raises ModelError for a name that is no encoder, MissingComponent where weights of others are not here.
    """
    parts = [encoder_of(name) for name in names]
    tower = Tower(FaceMllmSizes(tuple(sizes for sizes, _ in parts), tokens, LlamaSizes(), 0))
    for encoder, (_, state) in zip(tower.encoders, parts, strict=True):
        encoder.load_state_dict(state)
    return tower.eval()


def encoder_of(name: str) -> tuple[EncoderSizes, dict[str, Tensor]]:
    """Sizes and weights of an encoder that a recipe names; errors as of `open_tower`."""
    if name == DINOV2.name:
        return DINOV2_SIZES, dinov2_state(DINOV2_SIZES.grid)
    path = Path(name)
    if (path / CARD_FILE).is_file() and read_json(path).get("architecture") == "fmae":
        return _fmae(path)
    if not path.exists():
        raise ModelError(f"tower: expected an encoder file, a directory of a model, or {DINOV2.name}, got {name!r}")
    state, sizes = load_square_encoder(path)
    return sizes, state


def shared_encoder(name: str) -> Shared | None:
    """Where the encoder that a recipe names is, if it comes with streamfx: its tensors are as they are there."""
    path = Path(name)
    if not (path / CARD_FILE).is_file():
        return None
    return shipped_model(path, "" if read_json(path).get("architecture") == "fmae" else FACE_ENCODER)


def _fmae(path: Path) -> tuple[EncoderSizes, dict[str, Tensor]]:
    """Its tokens as they leave the last block: `fc_norm` is for their mean alone."""
    raw = read_json(path)
    sizes = FmaeConfig(**raw["sizes"])
    weights = {name: value.float() for name, value in read_state(path).items()}
    kept = {n: v for n, v in weights.items() if n.startswith(("cls_token", "pos_embed", "patch_embed.", "blocks."))}
    kept |= {"norm.weight": torch.ones(sizes.dim), "norm.bias": torch.zeros(sizes.dim)}
    return EncoderSizes(sizes.image_size, sizes.patch, sizes.dim, sizes.depth, sizes.heads, sizes.mlp_ratio), kept


def fingerprint(tower: Tower) -> str:
    """A digest of the tower's sizes and weights."""
    return kept_array.fingerprint(tower, (tower.sizes.encoders, tower.sizes.tokens))


def listed(images: pd.DataFrame) -> str:
    """A digest of which images these are, in their order."""
    return hashlib.sha256("\n".join(images["source"] + "/" + images["image_id"]).encode()).hexdigest()


def see(tower: Tower, images: pd.DataFrame, sets: Sequence[Path], cache: Path) -> npt.NDArray[np.float16]:
    """What the tower sees in each of the images (rows of `images.parquet`): float16 [images, tokens, width], mapped from the
    disk. Made once in `cache`; a killed call can be repeated.

    ConfigError for an image of a set that is not among `sets`.
    """
    _named(images, sets)
    path = cache / f"seen-{digest([fingerprint(tower), listed(images), SIDE])}" / "tokens.npy"

    def start() -> Callable[[range], npt.NDArray[np.float16]]:
        at = places_of(images, sets, cache)
        return lambda rows: tower(_faces([at[row] for row in rows])).half().numpy()

    shape = (len(images), tower.sizes.tokens, tower.sizes.width)
    return kept_array.kept_rows(path, np.float16, shape, "looking at faces", start)


@dataclass(frozen=True)
class Place:
    """Where an image is: its number among the pictures of its set, and the square that the line would cut."""

    pictures: Pictures
    number: int
    square: Floats


def _named(images: pd.DataFrame, sets: Sequence[Path]) -> dict[str, Path]:
    """The folders of the images' sets by name."""
    sources = {folder.resolve().name: folder for folder in sets}
    other = sorted(set(images["source"]) - set(sources))
    if other:
        raise ConfigError(f"data.sets: the questions are about drawn sets that are not named: {', '.join(other)}")
    return sources


def places_of(images: pd.DataFrame, sets: Sequence[Path], cache: Path) -> list[Place]:
    """The place of each image (rows of `images.parquet`). ConfigError for an image that is in none of `sets`."""
    sources, found = _named(images, sets), dict[tuple[str, str, int], Place]()
    for source in sorted(set(images["source"])):
        info, clips, _ = read_set(sources[source])
        count = round(info.fps * info.seconds)
        pictures = open_pictures([sources[source]], cache)
        names, squares = list(clips["clip"]), pictures.faces()
        for number, row in enumerate(pictures.rows):
            found[source, names[int(row) // count], int(row) % count] = Place(pictures, number, squares[number])
    keys = zip(images["source"], images["clip"], images["frame_index"], strict=True)
    try:
        return [found[source, clip, int(frame)] for source, clip, frame in keys]
    except KeyError as error:
        raise ConfigError(
            f"data.sets: no face in the frame {error}; if the set was made again, so must be the questions"
        ) from None


def _faces(at: Sequence[Place]) -> Tensor:
    """float32 [len(at), 3, SIDE, SIDE]: the faces, cut as the line cuts them."""
    squares = torch.from_numpy(np.stack([place.square for place in at]))
    pixels = torch.cat([place.pictures.pixels([place.number]) for place in at])
    return cut_squares(pixels, squares, torch.eye(2, 3)[None], SIDE)
