"""The audit log of `streamfx pseudonym`: who asked for a stream's pseudonyms, when and why."""

from __future__ import annotations

import json
import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamfx.config.tree import Config
from streamfx.errors import ConfigError, PrivacyRefusal


def audit_file(config: Config) -> Path:
    """Where the configuration wants the audit log: `privacy.audit_file`, or beside the dataset's folder.

    ConfigError where it would lie in the dataset, which others are given to read, or where no place is named.
    """
    named, folder = config.privacy.audit_file, config.sink.folder
    if named is None and folder is None:
        raise ConfigError(
            "privacy.audit_file: a dataset in an object store has no folder beside it; name a file for the audit log"
        )
    file = named if named is not None else config.sink.sibling(".audit.jsonl")
    if folder is not None and file.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            f"privacy.audit_file: {file} lies in the dataset; whoever is given the rows would see who asked for whom"
        )
    return file


def operating_user() -> str:
    """The user that the operating system runs this process as, whatever the environment says of it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def append_line(file: Path, line: Mapping[str, Any]) -> None:
    """Append one line of JSON and have it on the disk on return. PrivacyRefusal where that cannot be made sure.

    The file is made (mode 0600) where it is absent. A line that was cut short earlier is ended first.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError("it is not an ordinary file")
            cut = found.st_size > 0 and os.pread(descriptor, 1, found.st_size - 1) != b"\n"
            data = b"\n" * cut + json.dumps(line).encode() + b"\n"
            if os.write(descriptor, data) != len(data):
                raise OSError("the line was not taken whole")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _sync_name(file)
    except OSError as error:
        raise PrivacyRefusal(
            f"{file}: cannot record who asks ({error.strerror or error}), so there is no answer; make it writable, or "
            "name another file as privacy.audit_file"
        ) from error


def _sync_name(file: Path) -> None:
    descriptor = os.open(file.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
