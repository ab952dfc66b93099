"""A real Kafka broker for tests, topics with unique names, and messages for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.lacking import lacks
from helpers.runs import PATIENCE_S
from kafka import KafkaAdminClient, KafkaProducer
from kafka.structs import TopicPartition

from streamfx.config.source import KafkaSection, KafkaSecurity
from streamfx.source.chunk import headers_for

CLUSTER = Path(__file__).resolve().parents[2].parent / "shared" / "kafka" / "cluster.py"
USER, PASSWORD = "app", "secret"
FIRST_START_US = 1_700_000_000_000_000


class BytesName(str):
    """The name of a header with its exact bytes, UTF-8 or not, which kafka-python's builder sends unchanged."""

    def __new__(cls, raw: bytes) -> BytesName:
        name = super().__new__(cls, raw.decode("latin-1"))
        name.raw = raw
        return name

    raw: bytes

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The bytes themselves."""
        return self.raw


@dataclass(frozen=True)
class Broker:
    """Addresses of the broker; only a broker that the tests started has the secure listener."""

    bootstrap: str
    secure_bootstrap: str | None = None
    ca: Path | None = None

    def settings(self, topic: str, **changes: Any) -> KafkaSection:
        """A source section for a topic, with short timeouts and a unique consumer group."""
        known: dict[str, Any] = {
            "bootstrap": self.bootstrap,
            "topic": topic,
            "group": f"group-{topic}",
            "session_timeout_s": 6.0,
            "connect_timeout_s": 10.0,
        }
        return KafkaSection(**(known | changes))

    def secure_settings(self, topic: str, folder: Path, password: str = PASSWORD, **changes: Any) -> KafkaSection:
        """A source section for a topic over SASL_SSL."""
        secret = folder / "password"
        secret.write_text(password)
        security = KafkaSecurity(protocol="SASL_SSL", ca_file=self.ca, username=USER, password_file=secret)
        return self.settings(topic, bootstrap=self.secure_bootstrap, security=security, **changes)

    def admin(self) -> KafkaAdminClient:
        """An admin client; the caller closes it."""
        return KafkaAdminClient(bootstrap_servers=self.bootstrap)

    def create_topic(self, partitions: int = 1, append_time: bool = True, **configs: str) -> str:
        """Create a topic with a unique name."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        stamped = {"message.timestamp.type": "LogAppendTime"} if append_time else {}
        admin = self.admin()
        try:
            admin.create_topics(
                {name: {"num_partitions": partitions, "configs": stamped | configs}}, wait_for_metadata=True
            )
        finally:
            admin.close()
        return name

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Remove all records below an offset, as retention does."""
        admin = self.admin()
        try:
            admin.delete_records({TopicPartition(topic, partition): before})
        finally:
            admin.close()

    def producer(self, **changes: Any) -> KafkaProducer:
        """A plain producer; the caller closes it."""
        return KafkaProducer(bootstrap_servers=self.bootstrap, max_request_size=64 * 1024 * 1024, **changes)

    def put(
        self, topic: str, bodies: Sequence[bytes], stream_id: str = "cam", partition: int = 0, first: int = 0
    ) -> None:
        """Append valid chunks of one stream, 2 s apart, to a partition."""
        producer = self.producer()
        try:
            for seq, body in enumerate(bodies, first):
                headers = headers_for(stream_id, seq, FIRST_START_US + seq * 2_000_000, "video/mp4")
                producer.send(topic, body, key=stream_id.encode(), headers=list(headers), partition=partition)
            producer.flush(timeout=30)
        finally:
            producer.close(timeout=5)


def require_killable_kafka() -> None:
    """Skip the test where no cluster with killable brokers can be started."""
    if not CLUSTER.is_file() or not shutil.which("java"):
        lacks("a Kafka that may be killed", "Java 17, and the development folder's shared/kafka beside the checkout")


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Call `condition` until it holds; fail with `what` in the message after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for: {what}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The broker in STREAMFX_TEST_KAFKA, else one started from the shared folder and deleted at the end of the run."""
    bootstrap = os.environ.get("STREAMFX_TEST_KAFKA")
    if bootstrap:
        yield Broker(bootstrap)
        return
    if not CLUSTER.is_file() or not shutil.which("java"):
        lacks("Kafka", "STREAMFX_TEST_KAFKA=host:port, or Java 17 and shared/kafka beside the checkout")
    folder = tempfile.mkdtemp(prefix="streamfx-kafka-")
    command = [sys.executable, str(CLUSTER)]
    started = subprocess.run(
        [*command, "start", folder, "--secure", f"{USER}:{PASSWORD}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert started.returncode == 0, started.stderr
    state = json.loads(started.stdout)
    try:
        yield Broker(state["bootstrap"], state["secure_bootstrap"], Path(state["ca"]))
    finally:
        subprocess.run([*command, "delete", folder], capture_output=True, timeout=120, check=False)
