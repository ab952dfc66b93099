"""A run that follows a consent topic: withdrawn, taken back, without brokers, and with a record that nobody understands."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers import bad_media, runs
from helpers.chaos import Brokers
from helpers.kafka import Broker, require_killable_kafka, wait_until

from streamfx.source.consent_topic import FRESH_S

pytestmark = pytest.mark.kafka

BODY = bad_media.healthy_chunk(bad_media.RECIPES[0])
STREAM = "Ada-Lovelace"
REFUSED = {"consent": "refused"}


class Fixture:
    """A run over a topic of chunks, and whoever writes its chunks and its consents."""

    def __init__(self, folder: Path, broker: Broker, connect_timeout_s: float = 20.0, **privacy: Any):
        self.broker = broker
        self.topic = broker.create_topic()
        self.consents = broker.create_topic(append_time=False, **{"cleanup.policy": "compact"})
        self.dataset = folder / "data"
        tree = runs.tree(
            folder,
            [],
            privacy={"consent_topic": self.consents, **privacy},
            sink={"roll_chunks": 1},
            expression={"model": "expression-tiny"},
            redact={"films": True},
        )
        kafka = {"bootstrap": broker.bootstrap, "topic": self.topic, "group": self.topic, "session_timeout_s": 6}
        tree["source"] = {"kafka": kafka | {"connect_timeout_s": connect_timeout_s}}
        self.config = runs.write_config(folder, tree)
        self._sent = 0

    def start(self) -> subprocess.Popen[str]:
        """Start the run."""
        return runs.start("run", self.config)

    def says(self, what: object) -> None:
        """Write into the consent topic what holds for the stream, and wait until it must hold."""
        value = what if what is None or isinstance(what, bytes) else json.dumps(what).encode()
        with closing(self.broker.producer()) as producer:
            producer.send(self.consents, value, key=STREAM.encode()).get(30)
        time.sleep(FRESH_S)

    def put(self) -> None:
        """Append the stream's next chunk."""
        self.broker.put(self.topic, [BODY], stream_id=STREAM, first=self._sent)
        self._sent += 1

    def fates(self) -> dict[int, str]:
        """Offset -> fate and reason."""
        rows = runs.rows(self.dataset, "chunks")
        assert len({row["offset"] for row in rows}) == len(rows)
        return {row["offset"]: row["reason"] or row["fate"] for row in rows}

    def settled(self, number: int) -> dict[int, str]:
        """The fates of this many chunks, once they are written."""
        wait_until(lambda: len(self.fates()) >= number, f"{number} chunks are written")
        return dict(sorted(self.fates().items()))

    def filmed(self) -> set[int]:
        """The offsets of the chunks whose pictures are in the dataset."""
        films = {row["offset"]: row["file"] for row in runs.rows(self.dataset, "films")}
        assert {str(path.relative_to(self.dataset)) for path in self.dataset.rglob("*.mp4")} == set(films.values())
        return set(films)


def ended(run: subprocess.Popen[str]) -> str:
    """Ask the run for a graceful end; what it said."""
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=runs.PATIENCE_S)
    assert run.returncode == 0, said
    return said


def test_what_is_withdrawn_in_the_topic_during_a_run_leaves_no_picture_until_it_is_taken_back(
    tmp_path: Path, broker: Broker
) -> None:
    fixture = Fixture(tmp_path, broker)
    run = fixture.start()
    try:
        fixture.put()
        assert fixture.settled(1) == {0: "no_face"}
        fixture.says(REFUSED)
        fixture.put()
        fixture.put()
        assert fixture.settled(3) == {0: "no_face", 1: "consent_refused", 2: "consent_refused"}
        fixture.says(None)
        fixture.put()
        assert fixture.settled(4)[3] == "no_face"
        said = ended(run)
    finally:
        run.kill()
    assert STREAM not in said and fixture.filmed() <= {0, 3} and 0 in fixture.filmed()
    runs.verified(fixture.dataset, "--bootstrap", broker.bootstrap, "--topic", fixture.topic)
    fixture.says(REFUSED)
    done = runs.streamfx("erase", fixture.config, "--withdrawn", "--yes")
    assert done.returncode == 0 and "withdrawal 1 of 1" in done.stdout, done.stderr
    assert fixture.filmed() == set() and STREAM not in done.stdout + done.stderr
    fixture.says(None)
    done = runs.streamfx("erase", fixture.config, "--withdrawn")
    assert f"the topic {fixture.consents} refuses nothing" in done.stdout


def test_a_record_that_cannot_be_understood_stops_the_run_and_names_nobody(tmp_path: Path, broker: Broker) -> None:
    fixture = Fixture(tmp_path, broker, consent_required=True)
    fixture.says({"consent": "granted"})
    run = fixture.start()
    try:
        fixture.put()
        assert fixture.settled(1) == {0: "no_face"}
        fixture.says(f"{STREAM} has withdrawn".encode())
        fixture.put()
        _, said = run.communicate(timeout=runs.PATIENCE_S)
    finally:
        run.kill()
    assert run.returncode == 1 and f"privacy.consent_topic: {fixture.consents}/0, offset 1: expected" in said
    assert STREAM not in said and "Ada" not in said and fixture.fates() == {0: "no_face"}
    fixture.says(REFUSED)
    run = fixture.start()
    try:
        assert fixture.settled(2) == {0: "no_face", 1: "consent_refused"}
        ended(run)
    finally:
        run.kill()


@pytest.fixture
def brokers() -> Iterator[Brokers]:
    """A cluster of one broker that can be killed."""
    require_killable_kafka()
    found = Brokers()
    try:
        yield found
    finally:
        found.delete()


@pytest.mark.slow
def test_while_no_broker_answers_nothing_passes_and_once_it_is_back_nothing_is_lost(
    tmp_path: Path, brokers: Brokers
) -> None:
    fixture = Fixture(tmp_path, Broker(brokers.bootstrap), connect_timeout_s=5.0)
    run = fixture.start()
    try:
        fixture.put()
        assert fixture.settled(1) == {0: "no_face"}
        brokers.kill(1)
        time.sleep(10)
        assert run.poll() is None and fixture.fates() == {0: "no_face"}
        brokers.start()
        fixture.put()
        fixture.says(REFUSED)
        fixture.put()
        found = fixture.settled(3)
        said = ended(run)
    finally:
        run.kill()
    assert (found[0], found[2]) == ("no_face", "consent_refused") and STREAM not in said
    runs.verified(fixture.dataset, "--bootstrap", brokers.bootstrap, "--topic", fixture.topic)
