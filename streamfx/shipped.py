"""Finds the files that come with streamfx: configurations, the Triton model repository, model weights, a clip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from streamfx.errors import ConfigError, MissingComponent

PACKAGE = Path(__file__).resolve().parent


def shipped(folder: Literal["config", "triton_models", "weights"]) -> Path:
    """The folder inside an installed wheel, or beside the package in a source tree; else MissingComponent."""
    for candidate in (PACKAGE / "_shipped" / folder, PACKAGE.parent / folder):
        if candidate.is_dir():
            return candidate
    raise MissingComponent(
        f"the folder {folder!r} that comes with streamfx is missing; reinstall: pip install --force-reinstall streamfx"
    )


def shipped_clip(path: Path) -> Path:
    """Where the clip that comes with streamfx lies on this machine, if `path` names it as in the source tree; any other
    path unchanged."""
    own = PACKAGE.parent / path
    return own if path.parts[:2] == ("streamfx", "assets") and not path.exists() and own.exists() else path


def shipped_configs() -> str:
    """The names of the configurations that ship, for a message."""
    return ", ".join(sorted(path.stem for path in shipped("config").glob("*.yaml")))


def named_config(file: Path) -> Path:
    """The file itself, or the configuration that ships under this name (`quickstart`, `kafka-triton`).

    ConfigError for a bare name that is neither.
    """
    by_name = shipped("config") / f"{file.name.removesuffix('.yaml')}.yaml"
    # os.path: a name that cannot even be looked up is left to whoever opens it.
    named = len(file.parts) == 1 and not os.path.exists(file) and os.path.exists(by_name)
    if not named and len(file.parts) == 1 and not file.suffix and len(file.name) < 100 and not os.path.lexists(file):
        raise ConfigError(
            f"{file}: there is no such file; expected a YAML file, or the name of one that ships: {shipped_configs()}"
        )
    return by_name if named else file
