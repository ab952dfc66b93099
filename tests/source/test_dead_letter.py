"""Dead letters: they keep what was wrong with a chunk, and nothing that identifies its stream."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers.kafka import Broker
from kafka import KafkaConsumer

from streamfx.config.dead_letter import DeadLetter
from streamfx.config.privacy import PrivacySection
from streamfx.config.sink import Sink
from streamfx.config.source import ClaimCheck, FilesSection, Source
from streamfx.config.tree import Config
from streamfx.errors import BadChunk, ConfigError, SinkError
from streamfx.records import Partition, Record
from streamfx.source.chunk import headers_for
from streamfx.source.dead_letter import DeadLetters, open_body

KEY = bytes(range(32))
BAD = BadChunk("no_keyframe", "the chunk starts without a keyframe")
RECORD = Record(
    Partition("cams", "topic-id", 3),
    42,
    1_700_000_002_000,
    b"front door",
    headers_for("front door", 7, 1_700_000_000_000_000, "video/mp4"),
    b"a body that shows a face",
)


def config(folder: Path, source: Source | None = None, **dead_letter: Any) -> Config:
    return Config(
        source=source or Source(files=FilesSection(paths=[folder]), claim_check=ClaimCheck()),
        privacy=PrivacySection(purpose="test", deployment_context="research"),
        sink=Sink(path=folder / "out"),
        dead_letter=DeadLetter(**dead_letter),
    )


def test_a_dead_letter_gives_the_reason_and_no_identity(tmp_path: Path) -> None:
    with DeadLetters(config(tmp_path)) as letters:
        letters.write(RECORD, BAD)
        letters.write(RECORD, BAD)
    (path,) = (file for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert path == tmp_path / "out" / "_dead_letters" / "cams@topic-id" / "3" / "42.json"
    text = path.read_text()
    letter = json.loads(text)
    written = letter.pop("written_at")
    assert letter == {
        "topic": "cams",
        "topic_id": "topic-id",
        "partition": 3,
        "offset": 42,
        "timestamp_ms": 1_700_000_002_000,
        "fate": "undecodable",
        "reason": "no_keyframe",
        "detail": "the chunk starts without a keyframe",
        "bytes": 24,
        "sha256": hashlib.sha256(RECORD.value).hexdigest(),
    }
    assert written.endswith("+00:00")
    assert "front door" not in text and "streamfx-" not in text


def test_refused_chunks_leave_no_dead_letter(tmp_path: Path) -> None:
    with DeadLetters(config(tmp_path)) as letters:
        letters.write(RECORD, BadChunk("consent_refused", "consent was refused", fate="refused"))
    assert not (tmp_path / "out").exists()


def test_with_a_key_the_body_is_kept_and_only_that_key_decrypts_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(base64.b64encode(KEY).decode() + "\n")
    with DeadLetters(config(tmp_path, path=tmp_path / "dead", encryption_key=f"file:{tmp_path / 'key'}")) as letters:
        letters.write(RECORD, BAD)
    text = (tmp_path / "dead" / "cams@topic-id" / "3" / "42.json").read_text()
    letter = json.loads(text)
    assert open_body(letter, KEY) == RECORD.value
    assert RECORD.value not in base64.b64decode(letter["body"])
    for wrong in (letter | {"offset": 43}, letter | {"body": base64.b64encode(bytes(60)).decode()}):
        with pytest.raises(ConfigError, match="does not open"):
            open_body(wrong, KEY)
    with pytest.raises(ConfigError, match="does not open"):
        open_body(letter, os.urandom(32))
    del letter["body"]
    with pytest.raises(ConfigError, match="holds no body"):
        open_body(letter, KEY)


def test_a_wrong_key_is_a_configuration_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", base64.b64encode(b"short").decode())
    for where, reason in (
        ("env:SHORT", "32 bytes"),
        ("env:NONE_SUCH", "not set"),
        (f"file:{tmp_path}/none", "no such file"),
    ):
        with pytest.raises(ConfigError, match=reason):
            DeadLetters(config(tmp_path, encryption_key=where))
    with pytest.raises(ConfigError, match=r"needs source\.kafka"):
        DeadLetters(config(tmp_path, topic="dead"))


def test_a_folder_that_cannot_be_written_to_raises_sink_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        DeadLetters(config(tmp_path, path=tmp_path / "file")) as letters,
        pytest.raises(SinkError, match="dead letter"),
    ):
        letters.write(RECORD, BAD)


@pytest.mark.kafka
def test_dead_letters_go_to_a_topic_with_their_position_as_key(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = broker.create_topic(**{"max.message.bytes": "2000"})
    monkeypatch.setenv("DEAD_KEY", base64.b64encode(KEY).decode())
    large = Record(RECORD.partition, 43, 0, None, (), bytes(5000))
    source = Source(kafka=broker.settings("cams"))
    with DeadLetters(config(tmp_path, source, topic=topic, encryption_key="env:DEAD_KEY")) as letters:
        letters.write(RECORD, BAD)
        letters.write(large, BAD)
    consumer = KafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=2000
    )
    try:
        messages = [next(consumer), next(consumer)]
    finally:
        consumer.close()
    assert [message.key for message in messages] == [b"topic-id/3/42", b"topic-id/3/43"]
    assert messages[0].headers == []
    first, second = (json.loads(message.value) for message in messages)
    assert open_body(first, KEY) == RECORD.value
    assert "body" not in second and second["bytes"] == 5000
