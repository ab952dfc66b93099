"""The configuration's section `dead_letter`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import model_validator

from streamfx.config.section import Section, TopicName


class DeadLetter(Section):
    """Where a note of each bad chunk goes, by default `_dead_letters` in the dataset."""

    path: Path | None = None
    """Folder for dead letters."""
    topic: TopicName | None = None
    """Kafka topic for dead letters, in place of a folder."""
    encryption_key: str | None = None
    """`env:NAME` or `file:PATH` of a base64 AES-256 key; only with it the body is kept, encrypted."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.path and self.topic:
            raise ValueError("give path or topic, not both")
        if self.encryption_key is not None and not re.fullmatch(r"(env|file):.+", self.encryption_key):
            raise ValueError("encryption_key must be `env:NAME` or `file:PATH`, never the key itself")
        return self
