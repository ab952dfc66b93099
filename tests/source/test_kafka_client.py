"""Every error of kafka-python becomes one of our errors, and the classes of its errors that we reference exist."""

from __future__ import annotations

import ast
import inspect

import pytest
from helpers.kafka import Broker
from kafka import errors as kafka_errors

from streamfx.errors import BrokerUnavailable, SourceError
from streamfx.source import kafka, kafka_client

EVERY_ERROR = [
    kind for _, kind in inspect.getmembers(kafka_errors, inspect.isclass) if issubclass(kind, kafka_errors.KafkaError)
]
PASSING_OR_REFUSED = [
    kafka_errors.KafkaTimeoutError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.NodeNotReadyError,
    kafka_errors.RequestTimedOutError,
    kafka_errors.NotEnoughReplicasError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
]


def became(kind: type[kafka_errors.KafkaError]) -> SourceError:
    return kafka_client.broker_error(Broker("broker:9092").settings("any"), kind("a test error"))


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_any_error_becomes_a_source_error_that_names_the_broker(kind: type[kafka_errors.KafkaError]) -> None:
    assert "broker:9092" in str(became(kind)) and "a test error" in str(became(kind))


@pytest.mark.parametrize("kind", PASSING_OR_REFUSED, ids=lambda kind: kind.__name__)
def test_temporary_errors_and_refusals_are_distinguished_from_the_others(kind: type[kafka_errors.KafkaError]) -> None:
    assert isinstance(became(kind), BrokerUnavailable)
    assert not isinstance(became(kafka_errors.CorruptRecordError), BrokerUnavailable)


@pytest.mark.parametrize("module", [kafka, kafka_client], ids=lambda module: module.__name__)
def test_every_referenced_error_class_exists(module: object) -> None:
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    named = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kafka_errors"
    }
    assert named and not {name for name in named if not hasattr(kafka_errors, name)}
