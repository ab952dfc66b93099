"""The secret key of the pseudonyms: where it is, how it is read and made."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from streamfx.config.secrets import read_secret
from streamfx.config.tree import Config
from streamfx.errors import ConfigError

KEY_BYTES_MIN = 16


def load_key(config: Config, make: bool = True) -> bytes:
    """The pseudonym key that the configuration names.

    A Kafka run refuses to start without one. A files run makes one (mode 0600), by default beside the dataset and
    never in it; not where `make` is False: to know rows that exist by a new key is impossible.
    """
    section, file = config.privacy, key_file(config)
    key = read_secret(file, section.stream_id_key_env, "privacy.stream_id_key_env")
    if key is not None:
        return key
    if config.source.kafka is not None:
        named = f"{file} does not exist" if file else "none is named"
        raise ConfigError(
            f"privacy.stream_id_key_file: a Kafka run needs a pseudonym key, and {named}. Make one with "
            "`head -c 32 /dev/urandom | base64 > FILE; chmod 600 FILE`; all workers need the same"
        )
    assert file is not None
    if not make:
        raise ConfigError(f"privacy.stream_id_key_file: {file} does not exist, and only the key of the rows knows them")
    return _make_key(file)


def key_file(config: Config) -> Path | None:
    """Where the pseudonym key is or will be made; None where no file is named and none is made. ConfigError for one
    that lies in the dataset."""
    section = config.privacy
    file = section.stream_id_key_file
    if file is None and section.stream_id_key_env is None and config.source.files is not None:
        file = config.sink.sibling(".stream_id.key")
    if file and config.sink.folder and _inside(file, config.sink.folder):
        raise ConfigError(
            f"privacy.stream_id_key_file: {file} lies in the dataset; whoever reads the rows could undo the "
            "pseudonyms. Name a "
            "file outside it"
        )
    return file


def _make_key(file: Path) -> bytes:
    key = secrets.token_hex(32).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(made, "wb") as out:
                out.write(key)
        except OSError:
            file.unlink(missing_ok=True)
            raise
    except FileExistsError:
        return file.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"privacy.stream_id_key_file: cannot make {file}: {error.strerror or error}") from error
    return key


def _inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())
