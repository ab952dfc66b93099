"""Where the folders that come with streamfx are: pipelines, the Triton model repository, model weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from streamfx.errors import MissingComponent

PACKAGE = Path(__file__).resolve().parent


def shipped(folder: Literal["config", "triton_models", "weights"]) -> Path:
    """The folder inside an installed wheel, or beside the package in a source tree; else MissingComponent."""
    for candidate in (PACKAGE / "_shipped" / folder, PACKAGE.parent / folder):
        if candidate.is_dir():
            return candidate
    raise MissingComponent(
        f"the folder {folder!r} that comes with streamfx is gone; reinstall: pip install --force-reinstall streamfx"
    )
