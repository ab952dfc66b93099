"""`config check --deep` of a real broker's topics: video that is kept too long, and consents that would be forgotten."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.kafka import Broker
from kafka import KafkaAdminClient
from kafka.errors import TopicAuthorizationFailedError

from streamfx.pipeline import load_config
from streamfx.runtime.preflight import check

pytestmark = pytest.mark.kafka

DAY_MS = 86_400_000
FOR_EVER = "keeps video for ever"


def warnings(folder: Path, broker: Broker, topic: str, path: str, **privacy: Any) -> list[str]:
    """What a deep check warns of at one path, without the path; nothing may be missing."""
    tree = runs.tree(folder, [], privacy=privacy, expression={"model": "expression-tiny"})
    tree["source"] = {"kafka": {"bootstrap": broker.bootstrap, "topic": topic, "group": topic}}
    report = check(load_config(tree), deep=True)
    assert report.of("wrong") == report.of("missing") == []
    return [text.removeprefix(f"{path}: ") for text in report.of("warning") if text.startswith(f"{path}: ")]


@pytest.mark.parametrize(
    ("configs", "days", "said"),
    [
        ({"retention.ms": str(7 * DAY_MS)}, 7, None),
        ({"retention.ms": str(7 * DAY_MS + 1)}, 7, f"keeps video for 7 days (retention.ms={7 * DAY_MS + 1})"),
        ({"retention.ms": str(2 * DAY_MS)}, 1.5, "keeps video for 2 days"),
        ({"retention.ms": "-1"}, 36_500, f"{FOR_EVER} (retention.ms=-1)"),
        ({"retention.ms": "1000", "cleanup.policy": "compact"}, 7, f"{FOR_EVER} (cleanup.policy=compact)"),
        ({"retention.ms": "1000", "cleanup.policy": "compact,delete"}, 7, None),
        ({"retention.ms": "-1"}, None, None),
    ],
)
def test_a_topic_that_keeps_video_longer_than_rows_may_be_kept_is_a_warning(
    tmp_path: Path, broker: Broker, configs: dict[str, str], days: float | None, said: str | None
) -> None:
    topic = broker.create_topic(**configs)
    found = warnings(tmp_path, broker, topic, "source.kafka.topic", retention_days=days)
    if said is None:
        assert found == []
    else:
        (text,) = found
        assert text.startswith(f"{topic} {said}") and f"privacy.retention_days allows {days:g} days" in text
        assert f"retention.ms={round((days or 0) * DAY_MS)} or less" in text


@pytest.mark.parametrize("policy", ["compact", "delete", "compact,delete"])
def test_a_consent_topic_that_retention_shortens_is_a_warning(tmp_path: Path, broker: Broker, policy: str) -> None:
    consents = broker.create_topic(append_time=False, **{"cleanup.policy": policy})
    found = warnings(tmp_path, broker, broker.create_topic(), "privacy.consent_topic", consent_topic=consents)
    said = f"{consents} has cleanup.policy={policy}, so its retention forgets withdrawals; set cleanup.policy=compact"
    assert found == ([] if policy == "compact" else [said])


@pytest.mark.parametrize("raised", [True, False], ids=["an error", "no settings"])
def test_settings_that_may_not_be_read_are_said_to_be_unchecked(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, raised: bool
) -> None:
    """kafka-python passes over a refusal of one topic, and shows it as a topic without settings."""

    def forbidden(_: object, resources: list[Any], **__: object) -> dict[str, Any]:
        if raised:
            raise TopicAuthorizationFailedError
        return {"topic": {resource.name: {} for resource in resources}}

    monkeypatch.setattr(KafkaAdminClient, "describe_configs", forbidden)
    topic, consents = broker.create_topic(), broker.create_topic()
    privacy = {"retention_days": 7, "consent_topic": consents}
    source = warnings(tmp_path, broker, topic, "source.kafka.topic", **privacy)
    assert any(text.startswith(f"how long {topic} keeps video could not be checked") for text in source)
    (text,) = warnings(tmp_path, broker, topic, "privacy.consent_topic", **privacy)
    assert text.startswith(f"whether {consents} is compacted could not be checked")


def test_a_consent_topic_that_cannot_be_understood_is_found_before_a_run(tmp_path: Path, broker: Broker) -> None:
    consents = broker.create_topic(append_time=False, **{"cleanup.policy": "compact"})
    with closing(broker.producer()) as producer:
        producer.send(consents, json.dumps("Ada").encode(), key=b"Ada").get(30)
    tree = runs.tree(tmp_path, [], privacy={"consent_topic": consents}, expression={"model": "expression-tiny"})
    tree["source"] = {"kafka": {"bootstrap": broker.bootstrap, "topic": broker.create_topic(), "group": "any"}}
    (problem,) = check(load_config(tree), deep=True).of("missing")
    assert problem.startswith(f"privacy.consent_topic: {consents}/0, offset 0, item 1: expected an object")
    assert "Ada" not in problem
