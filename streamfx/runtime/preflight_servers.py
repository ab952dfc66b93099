"""`streamfx config check --deep`: asks the servers that a configuration names. Nothing is left on any of them."""

from __future__ import annotations

import secrets
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from streamfx.config.findings import Finding, missing
from streamfx.config.source import KafkaSection
from streamfx.config.tree import Config
from streamfx.errors import StreamfxError

if TYPE_CHECKING:
    from streamfx.source.kafka_client import TopicFacts

DAY_MS = 86_400_000
ANSWER_S = 10.0
"""Seconds that a server is given, where its own limit in the configuration is not shorter."""


def servers(config: Config) -> list[str]:
    """What `--deep` asks for this configuration, in words."""
    kafka, triton = config.source.kafka, config.serving.triton
    asked = []
    if kafka:
        asked.append(f"the Kafka broker at {kafka.bootstrap}: login, topic {kafka.topic}")
    if config.privacy.consent_topic:
        asked.append(f"the consent topic {config.privacy.consent_topic}, which is read")
    if config.dead_letter.topic:
        asked.append(f"the dead-letter topic {config.dead_letter.topic}")
    where = f"Triton at {triton.url}" if config.serving.backend == "triton" else "this process"
    asked.append(f"whether the model answers in {where}")
    if config.sink.folder is None:
        asked.append(f"the object store at {config.sink.location}: rights, conditional writes")
    else:
        asked.append(f"hard links at {config.sink.location}")
    remote = [prefix for prefix in config.source.claim_check.allowed_prefixes if "://" in prefix]
    if remote:
        asked.append(f"the claim checks' storage at {', '.join(remote)}")
    if config.tracing.endpoint:
        asked.append(f"the collector at {config.tracing.endpoint}")
    if config.runtime.engine == "ray" and config.runtime.ray_address:
        asked.append(f"the Ray cluster at {config.runtime.ray_address}")
    return asked


def _quick(kafka: KafkaSection) -> KafkaSection:
    return kafka.model_copy(update={"connect_timeout_s": min(kafka.connect_timeout_s, ANSWER_S)})


def _kafka(config: Config) -> Iterator[Finding]:
    from streamfx.source.kafka_client import ask_topic

    kafka = config.source.kafka
    if kafka is None:
        return
    quick = _quick(kafka)
    try:
        facts = ask_topic(quick, kafka.topic)
    except StreamfxError as error:
        yield missing("source.kafka", error)
        return
    if not facts.stamped_on_append:
        yield Finding(
            "warning", "source.kafka.topic",
            f"{kafka.topic} is not stamped on append (message.timestamp.type=LogAppendTime), so streams close only at "
            "their end header",
        )  # fmt: skip
    if facts.max_message_bytes > kafka.max_chunk_bytes:
        yield Finding(
            "warning", "source.kafka.max_chunk_bytes",
            f"{kafka.topic} takes messages of {facts.max_message_bytes} bytes, more than the "
            f"{kafka.max_chunk_bytes} that are "
            "fetched",
        )  # fmt: skip
    if facts.partitions < config.runtime.most_workers:
        yield Finding(
            "warning", "runtime.workers",
            f"{config.runtime.most_workers} workers, and {kafka.topic} has {facts.partitions} partitions: the "
            "others are idle",
        )  # fmt: skip
    yield from _kept_too_long(kafka.topic, facts, config.privacy.retention_days)
    if config.dead_letter.topic:
        try:
            ask_topic(quick, config.dead_letter.topic)
        except StreamfxError as error:
            yield missing("dead_letter.topic", error)


def _kept_too_long(topic: str, facts: TopicFacts, days: float | None) -> Iterator[Finding]:
    """Whether the topic keeps video, which shows people as they are, for longer than rows may be kept."""
    if days is None:
        return
    policy, kept_ms, allowed_ms = facts.cleanup_policy, facts.retention_ms, round(days * DAY_MS)
    if policy is None or kept_ms is None:
        kept = None
    elif "delete" not in policy.split(","):
        kept = f"video for ever (cleanup.policy={policy})"
    elif kept_ms < 0:
        kept = "video for ever (retention.ms=-1)"
    elif kept_ms > allowed_ms:
        kept = f"video for {kept_ms / DAY_MS:.4g} days (retention.ms={kept_ms})"
    else:
        return
    path, change = "source.kafka.topic", f"cleanup.policy=delete and retention.ms={allowed_ms} or less"
    if kept is None:
        yield Finding(
            "warning", path,
            f"how long {topic} keeps video could not be checked, since the broker does not let this user read the "
            f"topic's settings; privacy.retention_days {days:g} wants {change}",
        )  # fmt: skip
    else:
        yield Finding(
            "warning", path, f"{topic} keeps {kept}, and privacy.retention_days allows {days:g} days; set {change}"
        )


def _consents(config: Config) -> Iterator[Finding]:
    """Whether the consent topic can be read and understood, and will not forget a withdrawal."""
    from streamfx.source.consent_topic import ConsentTopic
    from streamfx.source.kafka_client import ask_topic

    kafka, topic, path = config.source.kafka, config.privacy.consent_topic, "privacy.consent_topic"
    if kafka is None or topic is None:
        return
    try:
        policy = ask_topic(_quick(kafka), topic).cleanup_policy
        ConsentTopic(_quick(kafka), topic).close()
    except StreamfxError as error:
        yield missing(path, error)
        return
    if policy is None:
        yield Finding(
            "warning", path,
            f"whether {topic} is compacted could not be checked, since the broker does not let this user read the topic's "
            "settings; it must have cleanup.policy=compact",
        )  # fmt: skip
    elif policy != "compact":
        yield Finding(
            "warning", path,
            f"{topic} has cleanup.policy={policy}, so its retention forgets withdrawals; set cleanup.policy=compact",
        )  # fmt: skip


def _models(config: Config) -> Iterator[Finding]:
    from streamfx.pipeline import find_operator
    from streamfx.serving.client import open_model

    for name in config.pipeline:
        for path, (model, weights) in find_operator(name).models(config.operators[name]).items():
            serving = config.serving.for_model(model.spec.name)
            quick = {"deadline_s": min(serving.deadline_s, ANSWER_S), "retries": min(serving.retries, 3)}
            try:
                open_model(model, weights, serving.model_copy(update=quick)).close()
            except StreamfxError as error:
                yield missing("serving.triton.url" if config.serving.backend == "triton" else f"{name}.{path}", error)


def _store(config: Config) -> Iterator[Finding]:
    """Whether names can be taken exclusively, beside where the dataset is or will be."""
    from streamfx.sink.dataset import probe
    from streamfx.sink.place import open_place

    folder = config.sink.folder
    made: list[Path] = []
    try:
        if folder is not None:
            # The nearest folder that is there lies on the same file system, unless somebody mounts one in between.
            while not folder.is_dir() and folder != folder.parent:
                folder = folder.absolute().parent
            place = folder / f".streamfx-check-{secrets.token_hex(8)}"
            place.mkdir()
            made.append(place)
            probe(open_place(place), config.sink.location, "")
        else:
            s3 = config.sink.s3.model_copy(update={"retry_s": min(config.sink.s3.retry_s, ANSWER_S)})
            store = open_place(config.sink.path, s3)
            store.make_root()
            probe(store, config.sink.location)
    except (StreamfxError, OSError) as error:
        yield missing("sink.path", error)
    finally:
        for place in made:
            with suppress(OSError):
                place.rmdir()


def _claim_checks(config: Config) -> Iterator[Finding]:
    import fsspec

    for prefix in config.source.claim_check.allowed_prefixes:
        if "://" not in prefix or prefix.startswith("file://"):
            continue
        try:
            system, path = fsspec.core.url_to_fs(prefix)
            system.ls(path, detail=False)
        except FileNotFoundError:
            yield missing("source.claim_check.allowed_prefixes", f"nothing lies under {prefix} yet")
        except ImportError as error:
            yield missing(
                "source.claim_check.allowed_prefixes", f"{prefix} needs a package that is not installed: {error}"
            )
        except Exception as error:  # each storage driver has errors of its own
            yield missing("source.claim_check.allowed_prefixes", f"{prefix} cannot be listed: {type(error).__name__}")


def _collector(config: Config) -> Iterator[Finding]:
    """An empty export, which OTLP over HTTP accepts from a client that has nothing to send."""
    endpoint = config.tracing.endpoint
    if endpoint is None:
        return
    empty = urllib.request.Request(endpoint, b"", {"Content-Type": "application/x-protobuf"})
    try:
        with urllib.request.urlopen(empty, timeout=ANSWER_S):
            return
    except urllib.error.HTTPError as error:
        reason = f"answers {error.code} to an empty export; expected a path such as /v1/traces"
    except (OSError, ValueError) as error:
        reason = f"does not answer: {getattr(error, 'reason', error)}"
    except Exception as error:  # http.client has errors of its own for what is no HTTP
        reason = f"does not speak HTTP ({type(error).__name__}); the port for OTLP over HTTP is usually 4318"
    yield missing("tracing.endpoint", f"{endpoint} {reason}")


def _ray(config: Config) -> Iterator[Finding]:
    """Whether something listens there; joining would start Ray."""
    address = config.runtime.ray_address
    if config.runtime.engine != "ray" or address is None or ":" not in address:
        return
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        with socket.create_connection((place.hostname or "", place.port or 10001), ANSWER_S):
            return
    except (OSError, ValueError) as error:
        yield missing("runtime.ray_address", f"nothing answers at {address}: {error}")


DEEP_LOOKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    _kafka, _consents, _models, _store, _claim_checks, _collector, _ray,
)  # fmt: skip
