"""What a UniF2ace is shown of pictures: the codes of their faces, and what its encoders see in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.errors import ModelError
from streamfx.models.backbones import DINOV2
from streamfx.models.card import find_directory
from streamfx.models.unif2ace import FACE, SEMANTIC, TOWER, UniF2aceModel
from streamfx.nets.face_mllm import Tower
from streamfx.nets.face_tokens import FaceTokens
from streamfx.train import kept_array
from streamfx.train.face_mllm.tower import Place, fingerprint, listed, open_tower, places_of
from streamfx.train.recipe import digest
from streamfx.train.unif2ace.faces import at_side, faces_of, quiet

_DRAWN_PX = 112
"""About how large the faces of drawn sets are in their frames, pixels."""


def tower_of(model: UniF2aceModel) -> Tower:
    """The encoders that a model learned with, found by their names on this machine. ModelError where they are others by now,
    MissingComponent where weights of others are not here."""
    names = [*encoders_of(model, FACE), *encoders_of(model, SEMANTIC)]
    tower = open_tower(names, model.card.sizes.seen_tokens)
    if fingerprint(tower) != model.card.facts[TOWER]:
        raise ModelError(
            f"{model.card.name}: expected the encoders with which it learned to read, {', '.join(names)}, got others by these "
            "names; take those of the version that trained it, or train it again"
        )
    return tower


def encoders_of(model: UniF2aceModel, fact: str) -> list[str]:
    """Encoders that a model learned with, those of FACE or of SEMANTIC, by where they are on this machine; ModelError for one
    that is not here."""
    return [_found(name) for name in model.card.facts[fact]]


def _found(name: str) -> str:
    """A recipe names a model that ships by its folder in the source tree, which is elsewhere on other machines."""
    return name if name == DINOV2.name or Path(name).exists() else str(find_directory(Path(name).name))


def looked_at(model: UniF2aceModel, tower: Tower, frames: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Codes int64 [n, tokens] and `seen` float [n, seen_tokens, width] of faces as the line cuts them, uint8 [n, 3, S, S] with
    the side of the tower's pictures."""
    faces = torch.from_numpy(frames).float() / 255
    side = model.card.sizes.image_size
    # As sharp as the faces that the tokenizer learned from, which were sampled from the frames of drawn sets.
    small = F.interpolate(at_side(faces, _DRAWN_PX), (side, side), mode="bilinear", align_corners=False)
    return model.tokenizer.encode(quiet(small)), tower(faces)


def cut(places: Sequence[Place], side: int) -> Tensor:
    """float32 [n, 3, side, side] in 0..1: the faces at these places, as the tokenizer sees them."""
    return torch.cat([faces_of(one.pictures, np.array([one.number]), one.square[None], side) for one in places])


def codes_of(tokenizer: FaceTokens, images: pd.DataFrame, sets: Sequence[Path], cache: Path) -> npt.NDArray[np.int64]:
    """The codes of the face in each of the images (rows of `images.parquet`), int64 [images, tokens]; made once in `cache`."""

    def start() -> Callable[[range], npt.NDArray[np.int32]]:
        at = places_of(images, sets, cache)
        side = tokenizer.sizes.image_size
        return lambda rows: tokenizer.encode(cut([at[row] for row in rows], side)).numpy().astype(np.int32)

    path = cache / f"codes-{digest([kept_array.fingerprint(tokenizer, tokenizer.sizes), listed(images)])}" / "codes.npy"
    shape = (len(images), tokenizer.sizes.tokens)
    return kept_array.kept_rows(path, np.int32, shape, "making codes of faces", start).astype(np.int64)
