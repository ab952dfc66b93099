"""Connects to Kafka: login, readable errors, the properties of a topic, and sending messages to it."""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from streamfx.config.secrets import read_secret
from streamfx.config.source import KafkaSection, KafkaSecurity
from streamfx.errors import BrokerUnavailable, ConfigError, SourceError

log = logging.getLogger(__name__)

LARGEST_FRAME_BYTES = 2**31 - 1
DEFAULT_MESSAGE_BYTES = 1_048_588
"""Kafka's default for max.message.bytes, assumed if the broker does not let us read the setting."""
IN_FLIGHT_MESSAGES = 32
IN_FLIGHT_BYTES = 64 * 1024 * 1024
SEND_TIMEOUT_S = 120

Client = TypeVar("Client")

_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"Authentication failed|SaslAuthenticationFailed|UnsupportedSaslMechanism|IllegalSaslState",
        "it refuses the login ({why}); check username, password and sasl_mechanism in source.kafka.security",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|Hostname mismatch",
        "its TLS certificate is not trusted ({why}); check ca_file and check_hostname in source.kafka.security",
    ),
    (
        r"WRONG_VERSION_NUMBER|SSLV3_ALERT|TLSV1|\[SSL|Handshake failed",
        "TLS fails ({why}); check source.kafka.security",
    ),
    (r"DNS", "the host name cannot be resolved; check source.kafka.bootstrap"),
    (
        r"ECONNREFUSED|Connection refused",
        "nothing listens there; check source.kafka.bootstrap and that the broker runs",
    ),
)
_CLOSED = r"socket disconnected|InvalidReceive"


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What the broker reports about a topic. `topic_id` is a UUID; a recreated topic gets another one."""

    cluster: str
    topic_id: str
    partitions: int
    stamped_on_append: bool
    max_message_bytes: int
    cleanup_policy: str | None
    """`delete`, `compact`, or both with a comma; None where the broker does not let us read the topic's settings."""
    retention_ms: int | None
    """How long the policy `delete` keeps records, -1: for ever; None as for `cleanup_policy`."""


class TopicState(NamedTuple):
    """What a topic is now; a recreated topic gets another id, and its partitions only grow."""

    topic_id: str
    partitions: int


def connect(client: Callable[..., Client], kafka: KafkaSection, **settings: Any) -> Client:
    """A connected kafka-python client of the given class. Raises BrokerUnavailable with the cause after at most
    `connect_timeout_s`."""
    settings |= login(kafka) | {
        "bootstrap_servers": [address.strip() for address in kafka.bootstrap.split(",")],
        "bootstrap_timeout_ms": round(kafka.connect_timeout_s * 1000),
        "client_id": "streamfx",
        "reconnect_backoff_max_ms": 3000,
        "receive_message_max_bytes": LARGEST_FRAME_BYTES,
    }
    with _overhear_kafka() as lines:
        try:
            return client(**settings)
        except (kafka_errors.KafkaError, OSError, ValueError) as error:
            raise BrokerUnavailable(
                f"cannot use the Kafka broker at {kafka.bootstrap} within {kafka.connect_timeout_s:g} s: "
                f"{_cause(lines, error, kafka.security)}"
            ) from error


def login(kafka: KafkaSection) -> dict[str, Any]:
    """kafka-python's settings for transport and login. Raises ConfigError if a named file or secret is missing."""
    security = kafka.security
    for name in ("ca_file", "cert_file", "key_file"):
        file: Path | None = getattr(security, name)
        if file and not file.is_file():
            raise ConfigError(f"source.kafka.security.{name}: there is no file {file}")
    settings: dict[str, Any] = {"security_protocol": security.protocol, "ssl_check_hostname": security.check_hostname}
    for name, file in (
        ("ssl_cafile", security.ca_file),
        ("ssl_certfile", security.cert_file),
        ("ssl_keyfile", security.key_file),
    ):
        if file:
            settings[name] = str(file)
    if security.protocol.startswith("SASL"):
        password = read_secret(security.password_file, security.password_env, "source.kafka.security.password_env")
        if password is None:
            raise ConfigError(f"source.kafka.security.password_file: there is no file {security.password_file}")
        settings |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": _text_of(password),
        }
    return settings


def _text_of(password: bytes) -> str:
    try:
        return password.decode()
    except UnicodeDecodeError:
        raise ConfigError("source.kafka.security: expected a password in UTF-8, got other bytes") from None


def ask_topic(kafka: KafkaSection, topic: str) -> TopicFacts:
    """Ask the broker about a topic. Raises BrokerUnavailable, or SourceError if there is no such topic."""
    admin: KafkaAdminClient = connect(KafkaAdminClient, kafka)
    try:
        cluster = str(admin.describe_cluster()["cluster_id"])
        described = admin.describe_topics([topic])[0]
        _check_topic(kafka, topic, kafka_errors.for_code(described["error_code"]))
        settings = _topic_settings(admin, topic)
    except kafka_errors.KafkaError as error:
        raise broker_error(kafka, error) from error
    finally:
        admin.close()
    return TopicFacts(
        cluster=cluster,
        topic_id=str(described["topic_id"]),
        partitions=len(described["partitions"]),
        stamped_on_append=settings.get("message.timestamp.type") == "LogAppendTime",
        max_message_bytes=int(settings.get("max.message.bytes", DEFAULT_MESSAGE_BYTES)),
        cleanup_policy=settings.get("cleanup.policy"),
        retention_ms=int(settings["retention.ms"]) if "retention.ms" in settings else None,
    )


class TopicWatch:
    """Asks repeatedly, over one connection, which topic has the name now."""

    def __init__(self, kafka: KafkaSection, topic: str):
        self._kafka = kafka
        self._topic = topic
        self._admin: KafkaAdminClient | None = None

    def ask(self) -> TopicState:
        """The topic as it is. Raises BrokerUnavailable, or SourceError if there is no such topic."""
        admin: KafkaAdminClient = self._admin or connect(KafkaAdminClient, self._kafka)
        self._admin = admin
        try:
            described = admin.describe_topics([self._topic])[0]
        except kafka_errors.KafkaError as error:
            # A client that has lost its last broker does not recover.
            self.close()
            raise broker_error(self._kafka, error) from error
        _check_topic(self._kafka, self._topic, kafka_errors.for_code(described["error_code"]))
        return TopicState(str(described["topic_id"]), len(described["partitions"]))

    def close(self) -> None:
        """Disconnect from the broker."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None


def create_topic(kafka: KafkaSection, topic: str, partitions: int) -> None:
    """Create a topic whose messages are stamped on append. Raises SourceError if one exists and is different."""
    admin: KafkaAdminClient = connect(KafkaAdminClient, kafka)
    try:
        admin.create_topics(
            {topic: {"num_partitions": partitions, "configs": {"message.timestamp.type": "LogAppendTime"}}},
            wait_for_metadata=True,
        )
    except kafka_errors.TopicAlreadyExistsError as error:
        facts = ask_topic(kafka, topic)
        if facts.partitions != partitions or not facts.stamped_on_append:
            raise SourceError(
                f"the topic {topic} already exists, with {facts.partitions} partitions and "
                f"{'append' if facts.stamped_on_append else 'creation'} times; to use it unchanged, leave out "
                "--create-topic"
            ) from error
    except kafka_errors.KafkaError as error:
        raise broker_error(kafka, error) from error
    finally:
        admin.close()


def broker_error(kafka: KafkaSection, error: kafka_errors.KafkaError) -> SourceError:
    """The SourceError for an error of kafka-python: BrokerUnavailable if it is temporary or access was refused."""
    refused = isinstance(error, (kafka_errors.SaslAuthenticationFailedError, kafka_errors.AuthorizationError))
    kind = BrokerUnavailable if refused or getattr(error, "retriable", False) else SourceError
    return kind(f"the Kafka broker at {kafka.bootstrap} reports an error: {error}")


class Sender:
    """Sends messages to one topic: idempotent, acknowledged by all in-sync replicas, with a limit in flight."""

    def __init__(self, kafka: KafkaSection, topic: str):
        """Raises BrokerUnavailable, or SourceError if there is no such topic."""
        self.facts = ask_topic(kafka, topic)
        self._kafka = kafka
        self._topic = topic
        self._under_way: deque[tuple[int, Any]] = deque()
        self._bytes = 0
        self._producer: KafkaProducer = connect(
            KafkaProducer,
            kafka,
            acks="all",
            enable_idempotence=True,
            batch_size=0,
            max_request_size=self.facts.max_message_bytes + 65_536,
            delivery_timeout_ms=SEND_TIMEOUT_S * 1000,
            max_block_ms=round(kafka.connect_timeout_s * 1000),
            allow_auto_create_topics=False,
        )

    def fits(self, key: bytes, headers: Sequence[tuple[str, bytes]], value: bytes) -> bool:
        """Whether the topic accepts a message of this size, with room for Kafka's own framing."""
        size = len(key) + len(value) + sum(len(name) + len(text) + 16 for name, text in headers) + 256
        return size <= self.facts.max_message_bytes

    def send(self, key: bytes, headers: Sequence[tuple[str, bytes]], value: bytes) -> None:
        """Send a message, after waiting if too many are in flight. Raises SourceError, also for an earlier message."""
        while len(self._under_way) >= IN_FLIGHT_MESSAGES or self._bytes > IN_FLIGHT_BYTES:
            self._await_oldest()
        try:
            future = self._producer.send(self._topic, value=value, key=key, headers=list(headers))
        except kafka_errors.KafkaError as error:
            raise self._failed(error) from error
        self._under_way.append((len(value), future))
        self._bytes += len(value)

    def flush(self) -> None:
        """Wait until all sent messages are acknowledged. Raises SourceError."""
        while self._under_way:
            self._await_oldest()

    def close(self) -> None:
        """Disconnect from the broker; messages that were not flushed may be lost."""
        self._producer.close(timeout=5)

    def _await_oldest(self) -> None:
        size, future = self._under_way.popleft()
        self._bytes -= size
        try:
            future.get(timeout=SEND_TIMEOUT_S + 10)
        except kafka_errors.KafkaError as error:
            raise self._failed(error) from error

    def _failed(self, error: kafka_errors.KafkaError) -> SourceError:
        if isinstance(error, kafka_errors.MessageSizeTooLargeError):
            return SourceError(f"the topic {self._topic} refuses a message as too large; raise its max.message.bytes")
        return broker_error(self._kafka, error)


def _topic_settings(admin: KafkaAdminClient, topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    try:
        answer = admin.describe_configs([resource], config_filter="all")["topic"][topic]
    except kafka_errors.KafkaError as error:
        log.warning(
            "the broker does not return the settings of topic %s (%s): idle streams are not closed, and messages may "
            "have up to %d bytes",
            topic,
            error,
            DEFAULT_MESSAGE_BYTES,
        )
        return {}
    return {name: str(setting["value"]) for name, setting in answer.items()}


def _check_topic(kafka: KafkaSection, topic: str, error: type[kafka_errors.KafkaError]) -> None:
    if error is kafka_errors.NoError:
        return
    if issubclass(error, kafka_errors.UnknownTopicOrPartitionError):
        publish = f", for example with `streamfx publish --create-topic PARTITIONS --topic {topic} …`"
        raise SourceError(
            f"there is no topic {topic} on the Kafka broker at {kafka.bootstrap}; create it"
            f"{publish if topic == kafka.topic else ''}"
        )
    if issubclass(error, kafka_errors.TopicAuthorizationFailedError):
        raise BrokerUnavailable(
            f"the Kafka broker at {kafka.bootstrap} does not allow this user to see the topic {topic}"
        )
    raise SourceError(f"the Kafka broker at {kafka.bootstrap} cannot describe the topic {topic}: {error.__name__}")


def _cause(lines: Sequence[str], error: Exception, security: KafkaSecurity) -> str:
    """The cause of a failed connection. kafka-python reports a refused login and a closed port alike, as a timeout;
    only its log shows the difference."""
    for pattern, sentence in _CAUSES:
        for line in reversed(lines):
            if re.search(pattern, line):
                return sentence.format(why=_core(line))
    if any(re.search(_CLOSED, line) for line in lines):
        closed = "it closes the connection; check that source.kafka.security.protocol is the protocol of this listener"
        # If the broker closes the connection right after refusing a login, kafka-python discards the refusal.
        login = security.protocol.startswith("SASL")
        return f"{closed}, and username, password and sasl_mechanism" if login else closed
    return _core(lines[-1] if lines else str(error))


def _core(line: str) -> str:
    """The part of a log line that states the error, without kafka-python's class names and back-off."""
    line = re.sub(r" \(backoff .*$| \(_ssl\.c:\d+\)", "", line)
    return re.split(r"(?:Error: |failed: |\[Error \d+\] |Abort \()", line)[-1].strip(") ")


_overhearing = threading.Lock()


@contextmanager
def _overhear_kafka() -> Iterator[list[str]]:
    """Collect kafka-python's warnings instead of logging them, because it logs dozens of lines for one failure."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("kafka")
    with _overhearing:
        level, spread = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        try:
            yield lines
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = spread
