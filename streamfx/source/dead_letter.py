"""Dead letters: a note on each bad chunk, in a folder or a Kafka topic, without headers or an unencrypted body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from streamfx.config.secrets import read_secret
from streamfx.config.tree import Config
from streamfx.errors import BadChunk, ConfigError, SinkError, SourceError
from streamfx.records import Record
from streamfx.whole_files import write_whole

log = logging.getLogger(__name__)

NONCE_BYTES = 12
KEY_BYTES = 32


class DeadLetters:
    """Writes the note on a bad chunk at least once. Writing it again replaces or repeats it under the same key.

    In a folder, the file is `<topic>@<topic id>/<partition>/<offset>.json`. In a topic, the message key is `<topic
    id>/<partition>/<offset>`. A note contains the reason, the detail, the SHA-256 and size of the message's body, and
    times. It contains no header and no stream id. The body is included only if `dead_letter.encryption_key` is set,
    and then encrypted (AES-256-GCM).
    """

    def __init__(self, config: Config):
        """Raises ConfigError for a wrong key or a topic without Kafka, and SourceError for an unusable topic."""
        self._key = encryption_key(config.dead_letter.encryption_key)
        self._folder = config.dead_letter_path
        self._topic: _Topic | None = None
        if config.dead_letter.topic:
            self._topic = _Topic(config, config.dead_letter.topic)

    def write(self, record: Record, bad: BadChunk) -> None:
        """Write the note on a bad chunk durably; nothing is written for a refused chunk. Raises SinkError."""
        if bad.fate == "refused":
            return
        note = self._note(record, bad)
        if self._topic:
            self._topic.send(note)
        elif self._folder:
            path = self._folder / record.partition.log_name / f"{record.offset}.json"
            try:
                write_whole(path, json.dumps(note, indent=1), durable=True)
            except OSError as error:
                raise SinkError(f"cannot write the dead letter {path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the connection to the broker, if there is one."""
        if self._topic:
            self._topic.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _note(self, record: Record, bad: BadChunk) -> dict[str, Any]:
        note: dict[str, Any] = {
            "topic": record.partition.topic,
            "topic_id": record.partition.topic_id,
            "partition": record.partition.number,
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
            "fate": bad.fate,
            "reason": bad.reason,
            "detail": bad.detail,
            "bytes": len(record.value),
            "sha256": hashlib.sha256(record.value).hexdigest(),
            "written_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        if self._key:
            nonce = os.urandom(NONCE_BYTES)
            sealed = AESGCM(self._key).encrypt(nonce, record.value, _place(note).encode())
            note["body"] = base64.b64encode(nonce + sealed).decode()
        return note


def open_body(note: Mapping[str, Any], key: bytes) -> bytes:
    """The body of a dead letter, decrypted with the 32-byte key. Raises ConfigError if that is not possible."""
    from cryptography.exceptions import InvalidTag

    if "body" not in note:
        raise ConfigError(
            "this dead letter holds no body: dead_letter.encryption_key was not set, or the body was too large"
        )
    sealed = base64.b64decode(note["body"])
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _place(note).encode())
    except (InvalidTag, ValueError) as error:
        raise ConfigError("this key does not open the dead letter's body") from error


def _place(note: Mapping[str, Any]) -> str:
    """A record's permanent name. It is authenticated with the ciphertext, so that bodies cannot be exchanged."""
    return f"{note['topic_id']}/{note['partition']}/{note['offset']}"


def encryption_key(where: str | None) -> bytes | None:
    """The key at `env:NAME` or `file:PATH`. Raises ConfigError if it is missing or not a valid key."""
    if where is None:
        return None
    kind, _, name = where.partition(":")
    env, file = (name, None) if kind == "env" else (None, Path(name))
    text = read_secret(file, env, "dead_letter.encryption_key")
    if text is None:
        raise ConfigError(f"dead_letter.encryption_key: expected a key in {name}, but there is no such file")
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"dead_letter.encryption_key: {where} must contain {KEY_BYTES} bytes in base64")
    return key


class _Topic:
    """A Kafka topic of dead letters, on the broker that the chunks come from."""

    def __init__(self, config: Config, topic: str):
        from streamfx.source.kafka_client import Sender

        kafka = config.source.kafka
        if kafka is None:
            raise ConfigError("dead_letter.topic needs source.kafka; with source.files use dead_letter.path")
        self._sender = Sender(kafka, topic)
        self._name = topic

    def send(self, note: dict[str, Any]) -> None:
        key = _place(note).encode()
        message = json.dumps(note).encode()
        if "body" in note and not self._sender.fits(key, (), message):
            log.warning("dead letter %s: the body is over the topic's max.message.bytes and is left out", _place(note))
            message = json.dumps({name: value for name, value in note.items() if name != "body"}).encode()
        try:
            self._sender.send(key, (), message)
            self._sender.flush()
        except SourceError as error:
            raise SinkError(f"cannot write a dead letter to the topic {self._name}: {error}") from error

    def close(self) -> None:
        self._sender.close()
