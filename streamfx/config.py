"""The configuration: one typed tree, read from YAML, unknown keys refused, errors that name the path.

The engine's sections are fixed (`Config`); each operator named in `pipeline` adds a section of its own, checked by the
operator's own type. `config_id` is a digest of what decides the rows, and part of every row's key.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    create_model,
    model_validator,
)

from streamfx.config_messages import section_of, sentences
from streamfx.config_runtime import Runtime, Scaling
from streamfx.config_sink import S3, Sink, location_of
from streamfx.config_tracing import Tracing
from streamfx.config_variables import Variables
from streamfx.config_yaml import apply_override, read_yaml
from streamfx.errors import ConfigError
from streamfx.section import LIVE, Address, Addresses, Count, Seconds, Section, TopicName, VariableName, Word

__all__ = [
    "S3",
    "Config",
    "Runtime",
    "Scaling",
    "Section",
    "Sink",
    "json_schema",
    "load_config",
    "location_of",
    "read_secret",
    "section_of",
    "sentences",
]


def _as_text(value: object) -> object:
    """YAML reads an unquoted time as a time."""
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


class KafkaSource(Section):
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


class FilesSource(Section):
    """Videos, folders of videos, or folders of chunks, in place of Kafka."""

    paths: Annotated[list[Path], Field(min_length=1)]
    """Video files, folders of video files, or folders of chunks as `streamfx publish --to` writes them. What cannot be read in
    a folder is left out and named; a file named here that is no video is an error."""
    chunk_s: Annotated[float, Field(ge=0.2, le=60)] = 2.0
    """Length of the chunks a video file is cut into, seconds."""
    start: Annotated[str | None, BeforeValidator(_as_text)] = None
    """UTC event time (ISO 8601) of a video's first frame; default: the container's creation time, else the file's; neither is
    believed before 2000 or more than a day ahead."""


class ClaimCheck(Section):
    """Chunks whose media lie outside Kafka."""

    allowed_prefixes: list[Word] = []  # noqa: RUF012 (pydantic copies it)
    """URI prefixes that a claim check may be read from; none by default."""
    max_bytes: Count = 512 * 1024 * 1024
    """Largest body that is fetched, bytes."""
    retry_s: Annotated[float, Field(ge=0)] = 300.0
    """Seconds for which a fetch is repeated whose storage fails in a way that may pass (throttling, 5xx, no connection), before
    the run stops with an error (nothing is lost)."""


class Source(Section):
    """Where chunks come from: exactly one of `kafka` and `files`."""

    kafka: KafkaSource | None = None
    """Read a Kafka topic."""
    files: FilesSource | None = None
    """Read files."""
    claim_check: ClaimCheck = ClaimCheck()
    """Reading media that lie outside the messages."""
    queue_chunks: Annotated[int, Field(ge=1, le=1000), LIVE] = 8
    """Chunks a partition may have waiting in a worker before it is paused."""
    poison_after: Annotated[int, Field(ge=1, le=100)] = 8
    """A chunk that was being processed at this many deaths of its worker gets the fate `undecodable`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.kafka is None) == (self.files is None):
            raise ValueError("exactly one of `kafka` and `files` must be given")
        return self


class Media(Section):
    """Decoding."""

    backend: Literal["auto", "pyav", "decord", "gpu"] = "auto"
    """`auto` takes the GPU where there is one with a decoder, else PyAV."""
    sample_fps: Annotated[float, Field(ge=0.1, le=60)] = 8.0
    """Frames per second of event time that are converted and looked at."""
    threads: Annotated[int, Field(ge=0, le=64)] = 1
    """Decoder threads a chunk; 0 leaves it to the decoder."""
    max_pixels: Count = 4096 * 2160
    """Largest frame, in pixels, lying or upright; a chunk with a larger one is undecodable."""
    max_chunk_s: Seconds = 120.0
    """Longest chunk, seconds of media; a longer one is undecodable."""
    video_track: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """`auto` takes the video track that is marked default, else the one with the largest picture; a number takes that one,
    from 0, where a file or chunk has several."""
    sound_track: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """Where a file or chunk has several sound tracks, which is heard: its number, counted from 0 among the sound tracks, or
    `auto`: those marked default first, commentary last, and the first of them that is not silent."""

    @property
    def sample_period_us(self) -> int:
        """Microseconds between points of the sampling grid."""
        return round(1_000_000 / self.sample_fps)


class Triton(Section):
    """A Triton inference server."""

    url: Address = "127.0.0.1:8001"
    """gRPC address, `host:port`."""
    shared_memory: Literal["auto", "off"] = "auto"
    """`auto` passes tensors through system shared memory where server and worker share a machine and it is allowed."""
    ca_file: Path | None = None
    """PEM file of the certificate authority; TLS is used where it is given."""


class Serving(Section):
    """Where the nets run, and how much is asked of them at once."""

    backend: Literal["in_process", "triton"] = "in_process"
    """The nets in the worker itself, or behind a Triton server."""
    triton: Triton = Triton()
    """The server, with `backend: triton`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the in-process nets."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads of the in-process nets; 0 leaves it to torch."""
    batch_size: Annotated[int, Field(ge=1, le=256), LIVE] = 4
    """Windows the in-process nets take at once; Triton's is in its model configuration."""
    in_flight: Annotated[int, Field(ge=1, le=1024), LIVE] = 16
    """Windows under way at once before the worker waits."""
    deadline_s: Annotated[Seconds, LIVE] = 30.0
    """Seconds one request may take."""
    retries: Annotated[int, Field(ge=0, le=100), LIVE] = 6
    """Times a failed request is repeated, with backoff, before the run stops with an error (nothing is lost)."""


class Exemption(Section):
    """Why emotion inference is lawful where it is otherwise refused."""

    kind: Literal["medical", "safety"]
    """The two exemptions of Article 5(1)(f) of the EU AI Act."""
    reference: Annotated[Word, Field(min_length=3)]
    """The document that grounds it; written into every file."""


class PrivacySection(Section):
    """Purpose, pseudonyms and masks. There is no switch that turns redaction off."""

    purpose: Word
    """Why this processing happens; written into every file and row."""
    deployment_context: Literal[
        "retail",
        "public_space",
        "customer_service",
        "research",
        "health",
        "media",
        "road",
        "home",
        "workplace",
        "education",
    ]
    """Where the cameras are. `workplace` and `education` are refused without an exemption."""
    exemption: Exemption | None = None
    """Medical or safety exemption for `workplace` and `education`."""
    stream_id_key_file: Path | None = None
    """File with the secret key of the pseudonyms (at least 16 bytes). A files run makes one if it is absent."""
    stream_id_key_env: VariableName | None = None
    """Environment variable with the secret key, in place of the file."""
    audit_file: Path | None = None
    """File to which `streamfx pseudonym` appends who asked for a stream's pseudonyms, and why; never in the dataset.
    Default: beside the dataset's folder, `<folder>.audit.jsonl`; a dataset in an object store needs one named."""
    salt_period_s: Annotated[int, Field(ge=0)] = 86_400
    """Seconds of event time after which a stream's and a track's pseudonym changes; 0: never."""
    consent_required: bool = False
    """Refuse chunks whose `streamfx-consent` header is missing (`refused` is always refused)."""
    mask_dilation: Annotated[float, Field(ge=1.0, le=3.0)] = 1.4
    """Factor by which a face's box grows before it is filled."""
    mask_hold_s: Annotated[float, Field(ge=0, le=10)] = 0.5
    """Seconds a mask is held before and after a detection."""

    @model_validator(mode="after")
    def _lawful_and_keyed(self) -> Self:
        if self.deployment_context in ("workplace", "education") and self.exemption is None:
            raise ValueError(
                f"deployment_context {self.deployment_context!r}: inferring emotions there is prohibited in the EU (AI Act, "
                "Article 5(1)(f)) except for medical or safety reasons; give exemption.kind and exemption.reference"
            )
        if self.stream_id_key_file and self.stream_id_key_env:
            raise ValueError("give stream_id_key_file or stream_id_key_env, not both")
        return self


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

    _operators: dict[str, BaseModel] = PrivateAttr(default_factory=dict)
    _written: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _only_a_group_can_be_scaled(self) -> Self:
        if self.runtime.scaling and self.source.kafka is None:
            raise ValueError("runtime.scaling needs source.kafka: files are dealt to a fixed number of workers")
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
        video track that is chosen by its number.

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
        }
        if self.media.video_track != "auto":
            decides["video_track"] = self.media.video_track
        if self.media.sound_track != "auto":
            decides["sound_track"] = self.media.sound_track
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def dead_letter_path(self) -> Path | None:
        """Folder of the dead letters, or None where they go to a topic."""
        return None if self.dead_letter.topic else self.dead_letter.path or self.sink.path / "_dead_letters"


def load_config(source: Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file (or take a mapping), apply `a.b=value` overrides (values are YAML), put in environment variables
    (`${NAME}`), check everything.

    Relative paths in the file are relative to the working directory, as on the command line. Raises ConfigError with
    one sentence for each wrong path. What only the machine can say, such as whether a file is there, is
    `streamfx.config_check`'s to ask.
    """
    tree = read_yaml(source) if isinstance(source, Path) else json.loads(json.dumps(source, default=str))
    for override in overrides:
        apply_override(tree, override)
    variables = Variables()
    tree = variables.put_into(tree)
    if variables.problems:
        raise ConfigError(_list(variables.problems), variables.problems)
    return _check(tree, variables.written)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the tree with a section for every installed operator."""
    from streamfx.operator import find_operator, installed_operators

    sections: dict[str, Any] = {
        name: (find_operator(name).Config | None, Field(default=None, description=f"Section of the operator `{name}`."))
        for name in sorted(installed_operators())
    }
    return create_model("StreamfxConfig", __base__=Config, **sections).model_json_schema()


def read_secret(file: Path | None, env: str | None, what: str) -> bytes | None:
    """The bytes of a secret kept in a file or an environment variable; None where neither is named or there."""
    if env:
        value = os.environ.get(env)
        if not value:
            raise ConfigError(f"{what}: environment variable {env} is not set")
        return os.fsencode(value)
    try:
        return file.read_bytes().strip() if file else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{what.replace('_env', '_file')}: cannot read {file}: {error.strerror or error}") from error


def _list(problems: Sequence[str]) -> str:
    return "the configuration is wrong:\n" + "\n".join(f"  {problem}" for problem in problems)


def _check(tree: dict[str, Any], written: Mapping[str, str]) -> Config:
    from streamfx.operator import check_pipeline, find_operator, installed_operators

    pipeline = tree.get("pipeline", Config.model_fields["pipeline"].default)
    problems: list[str] = []
    classes = {}
    if isinstance(pipeline, list) and all(isinstance(name, str) for name in pipeline):
        # Sections are checked for what is installed, also where the pipeline's order is wrong.
        classes = {name: find_operator(name) for name in pipeline if name in installed_operators()}
        try:
            check_pipeline(pipeline)
        except ConfigError as error:
            problems.append(str(error))
    engine = {key: value for key, value in tree.items() if key not in classes}
    idle = sorted(set(engine) & set(installed_operators()))
    for name in idle:
        problems.append(
            f"{name}: a section for the operator {name!r}, which is not in `pipeline`; add it there or remove it"
        )
        del engine[name]
    sections: dict[str, BaseModel] = {}
    for name, operator in classes.items():
        try:
            given = tree.get(name)
            sections[name] = operator.Config.model_validate({} if given is None else given)
        except ValidationError as error:
            problems += sentences(error, operator.Config, name, written)
    try:
        config = Config.model_validate(engine)
    except ValidationError as error:
        problems = sentences(error, Config, written=written, also=sorted(installed_operators())) + problems
    if problems:
        raise ConfigError(_list(problems), problems)
    config._operators, config._written = sections, dict(written)
    return config
