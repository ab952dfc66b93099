"""Whose rows a dataset holds, and what is known of one that is open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from streamfx.sink.fs import FileSystem
from streamfx.sink.schema import TableSchema


@dataclass(frozen=True, slots=True)
class Identity:
    """The run that a dataset belongs to. Two runs may share a dataset only if everything except `partitions` is equal.

    `topics` maps a topic to its id and is empty for files. `partitions` maps a topic to its partition count; a topic
    that is not in it has one partition. A changed count is not a mismatch: a `config` entry records it in each log.
    `run_range` describes the part of the input that the dataset is for, None if it is for all of it.
    `sensitive` is the one kind of sensitive column that its rows may have (`privacy/sensitive.py`), None for none: rows
    of another kind beside them would tell two of one track.
    `key_digest` is by which the key of the pseudonyms is known again (`Pseudonyms.key_digest`): with another key the same
    stream would go on under another name, and files would be read once more. None where there are no pseudonyms, and in
    datasets that were begun before it was kept, which take any key.
    """

    cluster: str
    topics: Mapping[str, str]
    partitions: Mapping[str, int]
    pipeline: tuple[str, ...]
    group: str
    run_range: str | None = None
    sensitive: str | None = None
    key_digest: str | None = None


@dataclass(frozen=True)
class Opened:
    """A dataset that was opened: its place, its identity, and how its files are written.

    `schema_version` is the number under which the tables' columns are registered; `footer` goes into every file, each
    key after `streamfx.`.
    """

    path: Path | str
    identity: Identity
    config_id: str
    schema_version: int
    tables: Mapping[str, TableSchema]
    footer: Mapping[str, str]
    compression: str
    fs: FileSystem
