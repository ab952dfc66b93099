"""The dataset that a command's argument means: a folder, a prefix in an object store, or that of a configuration."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamfx.errors import ConfigError
from streamfx.shipped import named_config, shipped_configs

if TYPE_CHECKING:
    from streamfx.sink.fs import FileSystem

CONFIG = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="Configuration whose sink.s3 says how to reach it."
)


def is_dataset(target: str) -> bool:
    """Whether the argument is a dataset and no configuration."""
    return target.startswith("s3://") or Path(target).is_dir()


def open_target(target: str, config_file: Path | None) -> tuple[FileSystem, str]:
    """The file system of the dataset that is meant, and its place for messages. Where it is named by itself, `config_file`
    may say how to reach a store."""
    from streamfx.config.sink import location_of
    from streamfx.sink.place import open_place

    by_itself = is_dataset(target)
    file = config_of(target) if not by_itself else named_config(config_file) if config_file else None
    if file is None:
        return open_place(target), location_of(target)
    from streamfx.pipeline import load_config  # which imports all operators, and so torch

    sink = load_config(file).sink
    place = target if by_itself else sink.path
    return open_place(place, sink.s3), location_of(place)


def config_of(target: str) -> Path:
    """The configuration that the argument means where it is no dataset. ConfigError where it is neither."""
    file = named = Path(target)
    if os.path.lexists(file):
        return file
    with suppress(ConfigError):  # which speaks of configurations alone
        named = named_config(file)
    if named == file:
        raise ConfigError(
            f"{target}: there is no such folder or file; expected the folder of a dataset, s3://bucket/prefix, or a "
            f"configuration: a YAML file, or the name of one that ships: {shipped_configs()}"
        )
    return named


def check_outside(option: str, out: Path, place: str) -> None:
    """Raises ConfigError where `out`, which an `option` names, lies in the dataset at `place`: a reader of its folders would
    take the file for the dataset's own, and neither `erase` nor `retain` reaches it."""
    if "://" not in place and out.resolve().is_relative_to(Path(place).resolve()):
        raise ConfigError(
            f"{option} {out}: it lies in the dataset {place}, which holds its own files only; name another place"
        )
