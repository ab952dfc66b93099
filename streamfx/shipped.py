"""Where that is which comes with streamfx: pipelines, the Triton model repository, model weights, a clip."""

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


def shipped_clip(path: Path) -> Path:
    """Where the clip that comes with streamfx is, named as in the source tree; any other path as it is."""
    own = PACKAGE.parent / path
    return own if path.parts[:2] == ("streamfx", "assets") and not path.exists() and own.exists() else path


def named_config(file: Path) -> Path:
    """The file itself, or the configuration that ships under this name (`quickstart`, `kafka-triton`)."""
    by_name = shipped("config") / f"{file.name.removesuffix('.yaml')}.yaml"
    return by_name if not file.exists() and len(file.parts) == 1 and by_name.exists() else file
