"""Secrets that the configuration names and never holds."""

from __future__ import annotations

import os
from pathlib import Path

from streamfx.errors import ConfigError


def read_secret(file: Path | None, env: str | None, what: str) -> bytes | None:
    """The bytes of a secret kept in a file or an environment variable; None where neither is named or there."""
    if env:
        value = os.environ.get(env)
        if not value:
            raise ConfigError(f"{what}: environment variable {env} is not set")
        return os.fsencode(value)
    try:
        return file.read_bytes().strip() if file else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{what.replace('_env', '_file')}: cannot read {file}: {error.strerror or error}") from error
