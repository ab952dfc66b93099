"""The configuration: one typed tree, read from YAML, unknown keys refused, errors that name the path.

The engine's sections are fixed (`Config`); each operator named in `pipeline` adds a section of its own, checked by the
operator's own type. `config_id` is a digest of what decides the rows, and part of every row's key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, PrivateAttr, model_validator

from streamfx.columns import ROWS_VERSION
from streamfx.config.aggregate import Aggregate
from streamfx.config.dead_letter import DeadLetter
from streamfx.config.episodes import Episodes
from streamfx.config.media import Media
from streamfx.config.privacy import PrivacySection
from streamfx.config.runtime import Runtime
from streamfx.config.section import Section
from streamfx.config.serving import Serving
from streamfx.config.sink import Sink
from streamfx.config.source import Source
from streamfx.config.tracing import Tracing


class Config(Section):
    """The whole tree. Operators' sections are in `operators`, by name."""

    source: Source
    """Where chunks come from."""
    media: Media = Media()
    """Decoding."""
    pipeline: Annotated[list[str], Field(min_length=1)] = ["faces", "windows", "expression", "redact"]  # noqa: RUF012
    """Names of the operators, in order; each may have a section of its own at the top level."""
    serving: Serving = Serving()
    """Where the nets run."""
    privacy: PrivacySection
    """Purpose, pseudonyms and masks."""
    sink: Sink
    """The Parquet dataset."""
    dead_letter: DeadLetter = DeadLetter()
    """Where a note of each bad chunk goes."""
    runtime: Runtime = Runtime()
    """Workers and their supervisor."""
    tracing: Tracing = Tracing()
    """OpenTelemetry traces."""
    aggregate: Aggregate = Aggregate()
    """What `streamfx aggregate` publishes of the table `windows`. A running line does not read it."""
    episodes: Episodes = Episodes()
    """By which rule `streamfx episodes` makes stretches of the windows' scores. A running line does not read it."""

    _operators: dict[str, BaseModel] = PrivateAttr(default_factory=dict)
    _written: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _only_a_group_can_be_scaled(self) -> Self:
        if self.runtime.scaling and self.source.kafka is None:
            raise ValueError("runtime.scaling needs source.kafka: files are dealt to a fixed number of workers")
        return self

    @model_validator(mode="after")
    def _a_consent_topic_has_brokers(self) -> Self:
        if self.privacy.consent_topic and self.source.kafka is None:
            raise ValueError(
                "privacy.consent_topic needs source.kafka, whose brokers it is on; with source.files give "
                "privacy.consent_file"
            )
        return self

    @model_validator(mode="after")
    def _what_lies_beside_rows_has_a_place(self) -> Self:
        if self.sink.folder is None:
            if not (self.dead_letter.path or self.dead_letter.topic):
                raise ValueError("with sink.path in an object store, give dead_letter.path or dead_letter.topic")
            if not (self.privacy.stream_id_key_file or self.privacy.stream_id_key_env):
                raise ValueError("with sink.path in an object store, give privacy.stream_id_key_file or _env")
        return self

    @property
    def operators(self) -> Mapping[str, BaseModel]:
        """Each operator's own section, checked by its own type."""
        return self._operators

    @property
    def written(self) -> Mapping[str, str]:
        """Path -> text as it was written, of each value that holds environment variables."""
        return self._written

    @property
    def config_id(self) -> str:
        """12 hex digits of what decides the rows: sampling, pipeline, the operators' sections, the salt period, and a
        video track that is chosen by its number, a precision of the nets below float32; and the version of the engine's
        own columns.

        The same from file and from Kafka, in process and through Triton, whatever the number of workers.
        """
        deciding = self.pipeline[:-1]  # redact, the last, only chooses pictures
        decides = {
            "sample_fps": self.media.sample_fps,
            "pipeline": self.pipeline,
            "operators": {
                name: section.model_dump(mode="json") for name, section in self._operators.items() if name in deciding
            },
            "salt_period_s": self.privacy.salt_period_s,
            "rows": ROWS_VERSION,
        }
        if self.media.video_track != "auto":
            decides["video_track"] = self.media.video_track
        if self.media.sound_track != "auto":
            decides["sound_track"] = self.media.sound_track
        if self.serving.precisions:
            decides["precision"] = self.serving.precisions
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def dead_letter_path(self) -> Path | None:
        """Folder of the dead letters, or None where they go to a topic."""
        return None if self.dead_letter.topic else self.dead_letter.path or self.sink.path / "_dead_letters"
