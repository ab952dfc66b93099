"""The configuration's section `source`: a Kafka topic or files, and claim checks."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from streamfx.config.section import RELOADABLE, Addresses, Count, Seconds, Section, TopicName, VariableName, Word


def _as_text(value: object) -> object:
    """The text of a time that YAML has read as one, because it was not quoted."""
    return value.isoformat() if isinstance(value, datetime) else value


class KafkaSecurity(Section):
    """How to log in to the broker."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Transport and login."""
    ca_file: Path | None = None
    """PEM file with the certificate authority that signed the broker's certificate."""
    cert_file: Path | None = None
    """PEM client certificate, for mutual TLS."""
    key_file: Path | None = None
    """PEM private key of the client certificate."""
    check_hostname: bool = True
    """Refuse a broker whose certificate names another host."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """SASL mechanism."""
    username: Word | None = None
    """SASL user."""
    password_file: Path | None = None
    """File that holds the SASL password."""
    password_env: VariableName | None = None
    """Environment variable that holds the SASL password."""

    @model_validator(mode="after")
    def _login_is_complete(self) -> Self:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file is the key of a client certificate: give cert_file too")
        if self.protocol.startswith("SASL") and not (self.username and (self.password_file or self.password_env)):
            raise ValueError(f"protocol {self.protocol} needs username, and password_file or password_env")
        return self


class KafkaSection(Section):
    """A topic of media chunks."""

    bootstrap: Addresses
    """Broker addresses, `host:port`, separated by commas."""
    topic: TopicName
    """Topic of media chunks, keyed by stream id."""
    group: Word = "streamfx"
    """Consumer group."""
    security: KafkaSecurity = KafkaSecurity()
    """Transport and login."""
    session_timeout_s: Annotated[float, Field(ge=1, le=300)] = 10.0
    """Seconds without a heartbeat after which the broker gives a worker's partitions to others."""
    max_poll_interval_s: Annotated[float, Field(ge=5, le=3600)] = 300.0
    """Seconds between polls after which the broker takes a worker for dead; the worker polls far more often."""
    max_chunk_bytes: Annotated[int, Field(ge=1024, le=2**31 - 1)] = 64 * 1024 * 1024
    """Largest message that is fetched, bytes."""
    connect_timeout_s: Seconds = 20.0
    """Seconds to wait for a broker at the start before giving up with an error."""


class FilesSection(Section):
    """Videos, folders of videos, or folders of chunks, in place of Kafka."""

    paths: Annotated[list[Path], Field(min_length=1)]
    """Video files, folders of video files, or folders of chunks as `streamfx publish --to` writes them. What cannot be
    read in a folder is left out and named; a file named here that is no video is an error."""
    chunk_s: Annotated[float, Field(ge=0.2, le=60)] = 2.0
    """Length of the chunks a video file is cut into, seconds. A chunk lasts until the next keyframe, up to 12 s, where the
    film would have to be encoded anew otherwise."""
    start: Annotated[str | None, BeforeValidator(_as_text)] = None
    """UTC event time (ISO 8601) of a video's first frame; default: the container's creation time, else the file's.
    Neither is used if it lies before 2000 or more than a day ahead."""


class ClaimCheck(Section):
    """Chunks whose media lie outside Kafka."""

    allowed_prefixes: list[Word] = []  # noqa: RUF012 (pydantic copies it)
    """URI prefixes that a claim check may be read from; none by default."""
    max_bytes: Count = 512 * 1024 * 1024
    """Largest body that is fetched, bytes."""
    retry_s: Annotated[float, Field(ge=0)] = 300.0
    """Seconds for which a failed fetch is repeated, where the failure may pass (throttling, 5xx, no connection), before
    the run stops with an error. Nothing is lost."""


class Source(Section):
    """Where chunks come from: exactly one of `kafka` and `files`."""

    kafka: KafkaSection | None = None
    """Read a Kafka topic."""
    files: FilesSection | None = None
    """Read files."""
    claim_check: ClaimCheck = ClaimCheck()
    """Reading media that lie outside the messages."""
    queue_chunks: Annotated[int, Field(ge=1, le=1000), RELOADABLE] = 8
    """Chunks a partition may have waiting in a worker before it is paused."""
    poison_after: Annotated[int, Field(ge=1, le=100)] = 8
    """A chunk that was being processed at this many deaths of its worker gets the fate `undecodable`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.kafka is None) == (self.files is None):
            raise ValueError("exactly one of `kafka` and `files` must be given")
        return self
