"""Only a death during a chunk's processing counts as a death that the chunk caused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamfx.errors import BrokerUnavailable, PrivacyRefusal, SinkError, SourceError
from streamfx.privacy.consent import ConsentLine, ConsentTable, Said
from streamfx.privacy.rows import Rows
from streamfx.records import Partition, Segment, Window
from streamfx.runtime import line as line_module
from streamfx.runtime.attempts import Attempts
from streamfx.runtime.line import PartitionLine
from streamfx.testing import make_privacy, make_pseudonyms

HERE = Partition("t", "id", 0)
WINDOW = Window(
    "s", 0, 0, 0, 1, np.empty(0, np.uint8), np.empty(0, np.float32), np.ones(16, bool), True, 1.0, 1.0, 0, (0, 0)
)
OpenLine = Callable[..., tuple[PartitionLine, Any]]


class Failing:
    """A decoder that fails in a given way."""

    def __init__(self, error: BaseException):
        self._error = error

    def decode(self, body: bytes, start_us: int) -> Segment:
        raise self._error


def test_three_deaths_make_a_chunk_undecodable(opened: OpenLine) -> None:
    for _ in range(3):
        line, record = opened(decoder=Failing(SystemExit()))
        with pytest.raises(SystemExit):  # leaves the mark behind, as kill -9 does
            line.process(record)
    line, record = opened()
    line.process(record)
    assert line.pending.chunk_rows[0].values["reason"] == "killed_its_worker"


def test_errors_that_stop_the_worker_do_not_count_as_deaths_of_the_chunk(opened: OpenLine) -> None:
    for _ in range(4):
        line, record = opened(decoder=Failing(SourceError("the storage is away")))
        with pytest.raises(SourceError):
            line.process(record)
    line, record = opened()
    line.process(record)
    assert line.pending.chunk_rows[0].values["fate"] == "no_face"


def test_waiting_for_the_model_server_leaves_no_mark_on_the_chunk(
    opened: OpenLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[list[Path]] = []

    class Scorer:
        """Notes which marks there are when the line asks it, which may take as long as the model server wants."""

        name = "waits"

        def submit(self, window: Window) -> Future[Any]:
            marks.append(list((tmp_path / "data" / "_attempts").rglob("*.json")))
            return Future()

    line, record = opened()
    line.scorers = [Scorer()]  # type: ignore[list-item]
    monkeypatch.setattr(line.windows, "end_stream", lambda stream_id, closed_by: [WINDOW])
    line.process(record)
    assert marks == [[]], "the mark must be gone before the line may wait"


def test_two_workers_can_mark_the_same_partition_at_once(tmp_path: Path) -> None:
    """The former owner and the new one must not stop each other."""
    failures: list[BaseException] = []

    def mark() -> None:
        attempts = Attempts(tmp_path, HERE)
        try:
            for offset in range(300):
                attempts.begin(offset)
                attempts.end()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=mark) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and list(tmp_path.rglob("*.tmp")) == []


def test_a_failing_disk_is_a_plain_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(tmp_path, HERE)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SinkError, match="free some space"):
        attempts.begin(1)


class StorageThatIsAway:
    """Replaces a claim check reader; its storage is unavailable the first two times."""

    def outlast(self, read: Callable[[], Any], pause: Callable[[float], None]) -> Any:
        pause(1.0)
        pause(2.0)
        return read()


def test_waiting_for_a_claims_storage_leaves_no_mark_on_the_chunk(
    opened: OpenLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: dict[float, list[Path]] = {}

    def look(seconds: float) -> None:
        marks[seconds] = list((tmp_path / "data" / "_attempts").rglob("*.json"))

    line, record = opened(claims=StorageThatIsAway())
    monkeypatch.setattr(line_module.time, "sleep", look)
    line.process(record)
    assert marks == {1.0: [], 2.0: []}, "there must be no mark while the line waits"
    assert line.pending.chunk_rows[0].values["fate"] == "no_face"


class ConsentsAreAway(ConsentTable):
    """A consent table whose brokers do not answer the first two times, and that refuses every stream afterwards."""

    def __init__(self) -> None:
        self._asked = 0

    def said(self) -> Said:
        self._asked += 1
        if self._asked <= 2:
            raise BrokerUnavailable("no broker answers")
        return {"s": {0: [ConsentLine("refused", None, None)]}}


def test_while_the_consent_topic_cannot_be_read_a_chunk_waits_without_a_mark(
    opened: OpenLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[list[Path]] = []
    privacy = make_privacy(consent_topic="consents")
    rows = Rows(privacy, make_pseudonyms(privacy), "c1", consents=ConsentsAreAway())
    line, record = opened(rows=rows)
    monkeypatch.setattr(
        line_module.time, "sleep", lambda _: marks.append(list((tmp_path / "data" / "_attempts").rglob("*.json")))
    )
    line.process(record)
    assert marks == [[], []]
    assert line.pending.chunk_rows[0].values["reason"] == "consent_refused"


def test_no_rows_are_made_while_a_consent_table_is_named_and_not_read() -> None:
    privacy = make_privacy(consent_topic="consents")
    with pytest.raises(PrivacyRefusal, match="a consent table is named"):
        Rows(privacy, make_pseudonyms(privacy), "c1")
