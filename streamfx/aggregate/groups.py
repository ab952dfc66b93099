"""Which group each stream is in: a CSV file of raw stream ids, or of their pseudonyms."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from streamfx.aggregate.cells import ALL
from streamfx.errors import ConfigError
from streamfx.privacy.pseudonyms import Pseudonyms

OTHER = "other"
"""The group of streams that the file does not name."""
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WHERE = "aggregate.groups_file"


@dataclass(frozen=True, slots=True)
class Groups:
    """`names` are all groups, none where there is no file. Of raw ids the pseudonyms are made for each period of time."""

    names: tuple[str, ...] = ()
    by_pseudonym: Mapping[str, str] = field(default_factory=dict)
    by_raw_id: Mapping[str, str] = field(default_factory=dict)
    pseudonyms: Pseudonyms | None = None

    def of(self, stream_ids: pd.Series[str], start_us: int, end_us: int) -> pd.Series[str]:
        """The group of each row, given its stream's pseudonym and the range `[start_us, end_us)` that all rows start in."""
        if not self.names:
            return pd.Series(ALL, index=stream_ids.index, dtype=object)
        known = dict(self.by_pseudonym)
        for stream, group in self.by_raw_id.items() if self.pseudonyms else ():
            names = self.pseudonyms.stream_pseudonyms(stream, start_us, end_us - 1) if self.pseudonyms else ()
            known.update(dict.fromkeys(names, group))
        return stream_ids.map(known).fillna(OTHER).astype(object)


def read_groups(file: Path | None, pseudonyms: Pseudonyms | None) -> Groups:
    """The groups of a file. ConfigError names the line that is wrong; raw ids need the key, and so `pseudonyms`."""
    if file is None:
        return Groups()
    column, pairs = _read(file)
    if column == "stream" and pseudonyms is None:
        raise ConfigError(
            f"{_WHERE}: {file} names raw stream ids, and only the key knows their pseudonyms; give the configuration of the "
            "run in place of the dataset, or a file with the columns stream_id,group (`streamfx pseudonym` prints stream_id)"
        )
    names = tuple(sorted({*pairs.values(), OTHER}))
    return Groups(names, by_raw_id=pairs, pseudonyms=pseudonyms) if column == "stream" else Groups(names, pairs)


def _read(file: Path) -> tuple[str, dict[str, str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{_WHERE}: cannot read {file}: {said}; expected a CSV file") from error
    reader = csv.DictReader(text.splitlines())
    names = reader.fieldnames or []
    column = next((name for name in ("stream", "stream_id") if name in names), None)
    if column is None or "group" not in names:
        raise ConfigError(
            f"{_WHERE}: {file}: expected a first line `stream,group` (raw ids) or `stream_id,group` (pseudonyms), got "
            f"{','.join(names)!r}"
        )
    pairs: dict[str, str] = {}
    for row in reader:
        stream, group, line = row[column] or "", row["group"] or "", reader.line_num
        if not stream or not _GROUP.fullmatch(group) or group in (ALL, OTHER):
            raise ConfigError(
                f"{_WHERE}: {file}, line {line}: expected a stream and a group of at most 64 letters, digits, '.', '_' and '-' "
                f"that is not `{ALL}` or `{OTHER}`, got the group {group!r}"
            )
        if pairs.setdefault(stream, group) != group:
            raise ConfigError(
                f"{_WHERE}: {file}, line {line}: a stream is in one group, and this one is in {pairs[stream]!r} and {group!r}"
            )
    return column, pairs
