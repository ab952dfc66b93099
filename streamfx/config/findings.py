"""What a check of a configuration finds: what is wrong, what is missing on this machine, and what the user should
know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `wrong`: no machine could run this. `missing`: not on this machine, or not reachable from it.
    `warning`: it runs, but should be changed. `path` is the key's path, `text` a sentence that says what to do."""

    kind: Literal["wrong", "missing", "warning"]
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def wrong(path: str, text: object) -> Finding:
    """A finding that no machine could run."""
    return Finding("wrong", path, str(text).removeprefix(f"{path}: "))


def missing(path: str, text: object) -> Finding:
    """A finding about this machine alone."""
    return Finding("missing", path, str(text).removeprefix(f"{path}: "))


def look_at_file(path: str, file: Path | None, what: str) -> Iterator[Finding]:
    """Check that a file that will be read exists, is a file, and may be read."""
    if file is None:
        return
    if os.path.isdir(file):
        yield wrong(path, f"expected a file with {what}, {file} is a folder")
    elif not os.path.exists(file):
        yield missing(path, f"there is no file {file}; expected {what}")
    elif not os.access(file, os.R_OK):
        yield missing(path, f"{file} may not be read by this user; expected {what}")


def look_at_folder(path: str, folder: Path | None) -> Iterator[Finding]:
    """Check that a folder can be written to, or created if it does not exist."""
    if folder is None:
        return
    if os.path.exists(folder) and not os.path.isdir(folder):
        yield wrong(path, f"expected a folder, {folder} is a file; name another place")
        return
    above = Path(os.path.abspath(folder))
    while not os.path.lexists(above) and above != above.parent:
        above = above.parent
    if not os.path.isdir(above):
        yield wrong(path, f"the folder {folder} cannot be made: {above} is a file; name another place")
    elif not os.access(above, os.W_OK | os.X_OK):
        made = "written to" if above == Path(os.path.abspath(folder)) else f"made: {above} may not be written to"
        yield missing(path, f"the folder {folder} may not be {made} by this user")
