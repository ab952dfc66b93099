"""What must never be forgotten: pseudonyms, the purpose gate, the column allow-list, solid fill. Only this makes a PublicRow.

No operator, whatever its name, can go round it: the sink takes nothing but `PublicRow`, pictures leave only as
`PublicPicture`, and both can be made only by a `Privacy` object.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import math
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from streamfx.config import Config, PrivacySection, read_secret
from streamfx.errors import BadChunk, ConfigError, PrivacyRefusal
from streamfx.operator import MAX_COLUMNS, Column
from streamfx.records import FATES, Chunk, Partition, Record, TrackedFrame, Window

KEY_BYTES_MIN = 16
_PSEUDONYM_HEX = 32
_PERIODS_MAX = 100_000
_SEAL = object()
_LATEST_MS = 7_258_118_400_000
"""2200-01-01 UTC. A topic that is not stamped on append holds whatever times its producers wrote; one that no reader of the
table can show, or that fits no column, must not stop the partition."""
_REASON = re.compile(r"[a-z0-9_]{1,64}")
_COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_IDENTIFYING = re.compile(r"embedding|landmark|face_id|person|identity|(^|_)names?($|_)")


class PublicRow:
    """A row that may leave. `table` is `windows` or `chunks`; `values` are plain, checked and unchangeable."""

    __slots__ = ("table", "values")

    def __init__(self, seal: object, table: Literal["windows", "chunks"], values: Mapping[str, Any]):
        if seal is not _SEAL:
            raise PrivacyRefusal("only streamfx.privacy.Privacy makes a PublicRow")
        self.table = table
        self.values = MappingProxyType(dict(values))


class PublicPicture:
    """A picture in which every face is filled solid. `pixels` uint8 RGB [H, W, 3]."""

    __slots__ = ("pixels",)

    def __init__(self, seal: object, pixels: npt.NDArray[np.uint8]):
        if seal is not _SEAL:
            raise PrivacyRefusal("only streamfx.privacy.Privacy makes a PublicPicture")
        self.pixels = pixels

    def png(self) -> bytes:
        """The picture as PNG, without metadata."""
        out = io.BytesIO()
        Image.fromarray(self.pixels).save(out, format="PNG")
        return out.getvalue()


class Privacy:
    """The rules of one run.

    `key` is the secret of the pseudonyms; `columns` are all columns that operators may fill. Raises PrivacyRefusal for
    a key that is too short and for columns that could carry an identity.
    """

    def __init__(self, section: PrivacySection, key: bytes, config_id: str, columns: Sequence[Column] = ()):
        if len(key) < KEY_BYTES_MIN:
            raise PrivacyRefusal(
                f"the pseudonym key has {len(key)} bytes; at least {KEY_BYTES_MIN} are needed. Make one with "
                "`head -c 32 /dev/urandom | base64 > FILE` and keep it outside the dataset"
            )
        self._section = section
        self._key = key
        self._config_id = config_id
        self._columns = {column.name: column for column in allowed_columns(columns)}

    @property
    def mask_hold_us(self) -> int:
        """Microseconds for which a mask is held before and after a detection."""
        return round(self._section.mask_hold_s * 1e6)

    def footer(self) -> dict[str, str]:
        """What is written into every file: purpose, deployment context and exemption."""
        exemption = self._section.exemption
        return {
            "purpose": self._section.purpose,
            "deployment_context": self._section.deployment_context,
            "exemption": f"{exemption.kind}: {exemption.reference}" if exemption else "",
        }

    def salt_period(self, time_us: int) -> int:
        """Number of the salt period that an event time (UTC microseconds) lies in; 0 throughout without rotation."""
        period_s = self._section.salt_period_s
        return time_us // (period_s * 1_000_000) if period_s else 0

    def stream_pseudonym(self, stream_id: str, salt_period: int) -> str:
        """HMAC-SHA256(key, raw id, salt period), 32 hex digits: unlinkable between salt periods without the key."""
        return self._hmac("stream", stream_id, salt_period)

    def salt_periods(self, start_us: int, end_us: int) -> range:
        """The salt periods of the event times in `[start_us, end_us]`, UTC microseconds.

        ConfigError for more than 100,000 of them: nobody asks for that many on purpose.
        """
        periods = range(self.salt_period(start_us), self.salt_period(end_us) + 1)
        if len(periods) > _PERIODS_MAX:
            raise ConfigError(
                f"the range of event time has {len(periods):,} salt periods (privacy.salt_period_s), more than "
                f"{_PERIODS_MAX:,}; give a shorter one"
            )
        return periods

    def stream_pseudonyms(self, stream_id: str, start_us: int, end_us: int) -> set[str]:
        """All names that a stream has at event times in `[start_us, end_us]`, UTC microseconds."""
        return {self.stream_pseudonym(stream_id, period) for period in self.salt_periods(start_us, end_us)}

    def audit_digest(self, stream_id: str) -> str:
        """What the audit log calls a stream: always the same 32 hex digits, in no row, and no way to the id without the key."""
        return self._hmac("audit", stream_id)

    def track_pseudonym(self, stream_id: str, birth_us: int, birth_index: int, salt_period: int) -> str:
        """HMAC-SHA256 of stream, birth time, index among those born in that frame, and salt period; 32 hex digits."""
        return self._hmac("track", stream_id, birth_us, birth_index, salt_period)

    def check_consent(self, chunk: Chunk) -> None:
        """Raise BadChunk with fate `refused` for a chunk that must not be processed."""
        if chunk.consent == "refused":
            raise BadChunk("consent_refused", "the chunk's streamfx-consent header says refused", fate="refused")
        if chunk.consent is None and self._section.consent_required:
            raise BadChunk(
                "consent_missing", "the chunk has no streamfx-consent header and consent is required", fate="refused"
            )

    def publish_window(
        self, window: Window, scores: Mapping[str, Any], provenance: Mapping[str, str], partition: Partition
    ) -> PublicRow:
        """The row of one window; it belongs to the offset that closed the window. Times are UTC microseconds.

        `scores` may fill only declared columns, with values of the declared kind.
        """
        period = self.salt_period(window.start_us)
        values: dict[str, Any] = {
            "stream_id": self.stream_pseudonym(window.stream_id, period),
            "track_id": self.track_pseudonym(window.stream_id, window.birth_us, window.birth_index, period),
            "window_start": window.start_us,
            "window_end": window.end_us,
            "frames": int(window.present.sum()),
            "face_score": float(window.face_score),
            "face_height_px": float(window.face_height_px),
            "audio_present": bool(window.audio_present),
            **{name: None for name in self._columns},
            **{name: self._allowed(name, value) for name, value in scores.items()},
            "model": provenance.get("model"),
            "model_version": provenance.get("model_version"),
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
        period = self.salt_period(chunk.start_us) if chunk else 0
        values = {
            **self._provenance_of(record.partition, record.offset),
            "stream_id": self.stream_pseudonym(chunk.stream_id, period) if chunk else None,
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

    def mask(self, frame: TrackedFrame, around: Sequence[TrackedFrame]) -> PublicPicture:
        """`frame` with every place filled that may show a face in it or in the frames `around` it (the hold).

        Boxes are dilated and filled solid. Where the detector failed in any of these frames, or did not look at `frame`
        itself, all of it is filled.
        """
        pixels = frame.frame.pixels
        shown = np.array(pixels if isinstance(pixels, np.ndarray) else pixels.cpu().numpy(), dtype=np.uint8)
        height, width = shown.shape[:2]
        for other in [frame, *around]:
            same_size = (other.frame.height, other.frame.width) == (height, width)
            if other.regions is None or not same_size or not frame.detected:
                shown[:] = 0
                break
            for region in other.regions:
                x0, y0, x1, y1 = _dilate(region, self._section.mask_dilation)
                shown[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = 0
        return PublicPicture(_SEAL, shown)

    def _hmac(self, *parts: object) -> str:
        message = b"\0".join(str(part).encode() for part in parts)
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:_PSEUDONYM_HEX]

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


def allowed_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns, if each may be in a public table: plain kinds, closed vocabularies, telling names, no clashes."""
    seen: set[str] = set()
    if len(columns) > 4 * MAX_COLUMNS:
        raise PrivacyRefusal(f"the pipeline declares {len(columns)} columns; at most {4 * MAX_COLUMNS} are allowed")
    for column in columns:
        if not _COLUMN_NAME.fullmatch(column.name):
            raise PrivacyRefusal(
                f"column {column.name!r}: a name has lower-case letters, digits and underscores, at most 63"
            )
        if _IDENTIFYING.search(column.name):
            raise PrivacyRefusal(f"column {column.name!r}: embeddings, landmarks, names and identities may not leave")
        if column.name in seen or column.name in CORE_COLUMNS:
            raise PrivacyRefusal(f"column {column.name!r} is declared twice, or is one of the core columns")
        if (column.kind == "category") != bool(column.values):
            raise PrivacyRefusal(f"column {column.name!r}: `values` belong to kind category, and a category needs them")
        seen.add(column.name)
    return tuple(columns)


CORE_COLUMNS = frozenset(
    [
        "stream_id",
        "track_id",
        "window_start",
        "window_end",
        "frames",
        "face_score",
        "face_height_px",
        "audio_present",
        "model",
        "model_version",
        "config_id",
        "purpose",
        "topic",
        "partition",
        "offset",
        "first_offset",
        "last_offset",
    ]
)
"""Columns of the `windows` table that belong to the engine."""


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
    """Where the pseudonym key is or will be made; None where no file is named and none is made. ConfigError for one that lies
    in the dataset."""
    section = config.privacy
    file = section.stream_id_key_file
    if file is None and section.stream_id_key_env is None and config.source.files is not None:
        file = config.sink.path.with_name(config.sink.path.name + ".stream_id.key")
    if file and config.sink.folder and _inside(file, config.sink.folder):
        raise ConfigError(
            f"privacy.stream_id_key_file: {file} lies in the dataset; whoever reads the rows could undo the pseudonyms. Name a "
            "file outside it"
        )
    return file


def _make_key(file: Path) -> bytes:
    key = secrets.token_hex(32).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(key)
    except FileExistsError:
        return file.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"privacy.stream_id_key_file: cannot make {file}: {error.strerror or error}") from error
    return key


def _inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _dilate(region: tuple[float, float, float, float], factor: float) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = region
    grow_x, grow_y = (x1 - x0) * (factor - 1) / 2, (y1 - y0) * (factor - 1) / 2
    return math.floor(x0 - grow_x), math.floor(y0 - grow_y), math.ceil(x1 + grow_x), math.ceil(y1 + grow_y)
