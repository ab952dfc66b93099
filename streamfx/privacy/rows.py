"""Rows that may leave: purpose, consent, the list of allowed columns. The sink takes nothing but what is made here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from streamfx.columns import AGGREGATES_COLUMNS, EPISODES_COLUMNS, Column, allowed_columns, allowed_versions
from streamfx.config.privacy import PrivacySection
from streamfx.errors import BadChunk, PrivacyRefusal
from streamfx.privacy.audited import check_audited
from streamfx.privacy.consent import ConsentTable
from streamfx.privacy.films import PublicFilm
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.privacy.sensitive import check_sensitive
from streamfx.records import FATES, Chunk, Partition, Record, Window

_SEAL = object()
_LATEST_MS = 7_258_118_400_000
"""2200-01-01 UTC. A topic that is not stamped on append holds whatever times its producers wrote; one that no reader of
the table can show, or that fits no column, must not stop the partition."""
_REASON = re.compile(r"[a-z0-9_]{1,64}")
_CELL_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CELL_NAMES = frozenset(column.name for column in AGGREGATES_COLUMNS)
_EPISODE_NAMES = frozenset(column.name for column in EPISODES_COLUMNS)


class PublicRow:
    """A row that may leave. `table` is one of the five tables; `values` are plain, checked and unchangeable."""

    __slots__ = ("table", "values")

    def __init__(
        self,
        seal: object,
        table: Literal["windows", "chunks", "films", "aggregates", "episodes"],
        values: Mapping[str, Any],
    ):
        if seal is not _SEAL:
            raise PrivacyRefusal("only streamfx.privacy.rows makes a PublicRow")
        self.table = table
        self.values = MappingProxyType(dict(values))


class Rows:
    """Makes the rows of one run.

    `columns` are all columns that operators may fill, `versions` says which version of its model each operator that has
    one is answered by. PrivacyRefusal for those that could carry an identity, for sensitive ones that may not leave
    (`privacy/sensitive.py`), and for those that an audit found to tell streams or tracks (`privacy/audited.py`).
    `consents` is the consent table that the section names; PrivacyRefusal where it names one and none is given.
    """

    def __init__(
        self,
        section: PrivacySection,
        pseudonyms: Pseudonyms,
        config_id: str,
        columns: Sequence[Column] = (),
        versions: Mapping[str, str] = MappingProxyType({}),
        consents: ConsentTable | None = None,
    ):
        self._section = section
        self._pseudonyms = pseudonyms
        self._config_id = config_id
        check_sensitive(columns, section)
        if consents is None and (section.consent_file or section.consent_topic):
            raise PrivacyRefusal("privacy: a consent table is named, and no rows are made without it being read")
        self._consents = consents
        check_audited(columns, versions, section)
        self._columns = {column.name: column for column in allowed_columns(columns)}
        self._versions = allowed_versions(versions)

    def footer(self) -> dict[str, str]:
        """What is written into every file: purpose, deployment context, exemption, and why sensitive columns leave."""
        exemption, sensitive = self._section.exemption, self._section.sensitive
        return {
            "purpose": self._section.purpose,
            "deployment_context": self._section.deployment_context,
            "exemption": f"{exemption.kind}: {exemption.reference}" if exemption else "",
            **({"sensitive": f"{sensitive.kind}: {sensitive.purpose}"} if sensitive else {}),
        }

    def check_consent(self, chunk: Chunk) -> None:
        """Raise BadChunk with fate `refused` for a chunk that must not be processed; PrivacyRefusal where the consent table
        cannot be read, BrokerUnavailable where waiting for it may help."""
        table = self._consents.of(chunk.stream_id, chunk.start_us) if self._consents else None
        if chunk.consent == "refused":
            raise BadChunk("consent_refused", "the chunk's streamfx-consent header says refused", fate="refused")
        if table == "refused":
            raise BadChunk("consent_refused", "the consent table says refused for this stream and time", fate="refused")
        if chunk.consent is None and table is None and self._section.consent_required:
            raise BadChunk(
                "consent_missing",
                "neither a streamfx-consent header nor the consent table grants it, and consent is required",
                fate="refused",
            )

    def publish_window(self, window: Window, scores: Mapping[str, Any], partition: Partition) -> PublicRow:
        """The row of one window; it belongs to the offset that closed the window. Times are UTC microseconds.

        `scores` may fill only declared columns, with values of the declared kind. The versions of the models are put in
        here, so that no operator can leave its own out or say another's.
        """
        period = self._pseudonyms.salt_period(window.start_us)
        values: dict[str, Any] = {
            "stream_id": self._pseudonyms.stream_pseudonym(window.stream_id, period),
            "track_id": self._pseudonyms.track_pseudonym(window.stream_id, window.birth_us, window.birth_index, period),
            "window_start": window.start_us,
            "window_end": window.end_us,
            "frames": int(window.present.sum()),
            "face_score": float(window.face_score),
            "face_height_px": float(window.face_height_px),
            "audio_present": bool(window.audio_present),
            **{name: None for name in self._columns},
            **{name: self._allowed(name, value) for name, value in scores.items()},
            **self._versions,
            **self._provenance_of(partition, window.closed_by),
            "first_offset": window.offsets[0],
            "last_offset": window.offsets[1],
        }
        return PublicRow(_SEAL, "windows", values)

    def publish_chunk(
        self,
        record: Record,
        chunk: Chunk | None,
        fate: str,
        reason: str | None,
        end_us: int | None = None,
        frames: int = 0,
        faces: int = 0,
        windows: int = 0,
    ) -> PublicRow:
        """The row that says what became of one input offset. `chunk` is None where its headers could not be read."""
        if fate not in FATES:
            raise PrivacyRefusal(f"fate {fate!r} is not one of {', '.join(FATES)}")
        if reason is not None and not _REASON.fullmatch(reason):
            raise PrivacyRefusal("a chunk's reason must be a short token of lower-case letters, digits and underscores")
        period = self._pseudonyms.salt_period(chunk.start_us) if chunk else 0
        values = {
            **self._provenance_of(record.partition, record.offset),
            "stream_id": self._pseudonyms.stream_pseudonym(chunk.stream_id, period) if chunk else None,
            "seq": chunk.seq if chunk else None,
            "chunk_start": chunk.start_us if chunk else None,
            "chunk_end": end_us,
            "append_time": min(max(record.timestamp_ms, 0), _LATEST_MS) * 1000,
            "fate": fate,
            "reason": reason,
            "frames": frames,
            "faces": faces,
            "windows": windows,
            "bytes": len(record.value),
        }
        return PublicRow(_SEAL, "chunks", values)

    def publish_film(
        self,
        partition: Partition,
        offset: int,
        stream_id: str,
        film: PublicFilm,
        span_us: tuple[int, int],
        frames: int,
        frames_filled: int,
        faces: int,
    ) -> PublicRow:
        """The row of the film of the chunk at `offset`, from its first frame to the end of its last (UTC microseconds).
        Where the film lies, the sink adds."""
        values = {
            "stream_id": self._pseudonyms.stream_pseudonym(stream_id, self._pseudonyms.salt_period(span_us[0])),
            "film_start": span_us[0],
            "film_end": span_us[1],
            "frames": frames,
            "frames_filled": frames_filled,
            "faces": faces,
            "filled": float(film.filled),
            "bytes": len(film.body),
            **self._provenance_of(partition, offset),
        }
        return PublicRow(_SEAL, "films", values)

    def _provenance_of(self, partition: Partition, offset: int) -> dict[str, Any]:
        return {
            "config_id": self._config_id,
            "purpose": self._section.purpose,
            "topic": partition.topic,
            "partition": partition.number,
            "offset": offset,
        }

    def _allowed(self, name: str, value: Any) -> Any:
        column = self._columns.get(name)
        if column is None:
            raise PrivacyRefusal(f"column {name!r} was filled but not declared by any operator of the pipeline")
        if value is None:
            return None
        if column.kind == "category":
            if value in column.values:
                return value
            raise PrivacyRefusal(f"column {name!r}: expected one of {', '.join(column.values)}; got another word")
        if column.kind == "bool" and isinstance(value, (bool, np.bool_)):
            return bool(value)
        if column.kind == "int" and isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return int(value)
        if column.kind == "float" and isinstance(value, (float, int, np.floating)) and not isinstance(value, bool):
            if math.isfinite(value):
                return float(value)
            raise PrivacyRefusal(f"column {name!r}: expected a finite number, got {value}")
        raise PrivacyRefusal(f"column {name!r}: expected {column.kind}, got {type(value).__name__}")


def publish_cell(values: Mapping[str, Any]) -> PublicRow:
    """The row of one cell of `aggregates`. PrivacyRefusal where it counts fewer tracks than its own `k`, or says more than
    such a row may."""
    strange = sorted(values.keys() ^ _CELL_NAMES)
    if strange:
        raise PrivacyRefusal(f"a row of aggregates has the columns of that table; differing: {', '.join(strange)}")
    if values["tracks"] < values["k"]:
        raise PrivacyRefusal(
            f"a row of aggregates counts at least {values['k']} distinct tracks (aggregate.k), got {values['tracks']}"
        )
    _check_words(values, "stream_group", "measure", "value")
    return PublicRow(_SEAL, "aggregates", values)


def publish_episode(values: Mapping[str, Any]) -> PublicRow:
    """The row of one stretch of the table `episodes`, made of rows of `windows`, whose pseudonyms it has. PrivacyRefusal
    where it says more than such a row may."""
    strange = sorted(values.keys() ^ _EPISODE_NAMES)
    if strange:
        raise PrivacyRefusal(f"a row of episodes has the columns of that table; differing: {', '.join(strange)}")
    _check_words(values, "stream_id", "track_id", "measure", "value", "rule", "config_id")
    if values["model_version"] is not None:
        allowed_versions({values["measure"]: values["model_version"]})
    return PublicRow(_SEAL, "episodes", values)


def _check_words(values: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if not _CELL_WORD.fullmatch(values[name]):
            raise PrivacyRefusal(
                f"column {name!r}: expected at most 64 letters, digits, '.', '_' and '-', the first a letter or a digit; "
                "got another word"
            )
