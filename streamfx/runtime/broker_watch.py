"""Whether the broker is still there: one that is silent looks like a topic that is idle, and is not the same.

Two monotonic times tell them apart: when this worker last had something to do, and when the broker last answered.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from streamfx.config.tree import Config
from streamfx.errors import BrokerUnavailable, SourceError
from streamfx.source import Source

log = logging.getLogger(__name__)

ASK_EVERY_S = 2.0
"""Seconds of silence after which the broker is asked whether it is there."""


class BrokerWatch:
    """One worker's view of its broker. Both threads of the worker note what they see; any thread may ask."""

    def __init__(self, source: Source):
        self._source = source
        self._worked = time.monotonic()
        self._answered = time.monotonic()
        self._missed: float | None = None
        self._free: float | None = time.monotonic()

    @property
    def _is_files(self) -> bool:
        return self._source.cluster == "files"

    def note_work(self) -> None:
        """There is something to do: a record came or was processed, or the worker's partitions changed."""
        self._worked = time.monotonic()

    def note_answer(self) -> None:
        """The broker has answered a question."""
        self._answered = time.monotonic()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While this lasts nobody asks the broker, so that its silence says nothing, however long the work takes."""
        self._free = None
        try:
            yield
        finally:
            self._free = time.monotonic()

    def note_missing(self) -> None:
        """The broker was asked and gave no answer; the first time counts."""
        if not self.away_s():
            self._missed = time.monotonic()

    def ask(self) -> None:
        """While nothing comes, ask the broker now and then whether it is there. Files have none."""
        if self._is_files or self.silent_s() < ASK_EVERY_S:
            return
        try:
            for partition in self._source.partitions()[:1]:
                self._source.bounds(partition)
            self.note_answer()
        except SourceError as error:
            log.warning("the broker does not answer: %s", error)
            self.note_missing()

    def idle_s(self) -> float | None:
        """Seconds since there was something to do; None where the silence may be the broker's."""
        if not self._is_files and self._answered < self._worked:
            return None
        return time.monotonic() - self._worked

    def silent_s(self) -> float:
        """Seconds since the broker was last heard of, by a record or an answer, or could have been asked; 0 at work."""
        free = self._free
        return 0.0 if free is None else time.monotonic() - max(self._answered, self._worked, free)

    def away_s(self) -> float:
        """Seconds since the broker first gave no answer, 0 where it has been heard of since."""
        missed, heard = self._missed, max(self._answered, self._worked)
        return 0.0 if missed is None or heard > missed else time.monotonic() - missed


def check_heard(silent_s: float, config: Config, until_idle_s: float) -> None:
    """BrokerUnavailable where a run that ends once it is idle has not heard of its broker for too long to be called
    idle."""
    kafka = config.source.kafka
    if kafka and silent_s > max(until_idle_s, kafka.connect_timeout_s) + ASK_EVERY_S:
        raise BrokerUnavailable(
            f"the broker at {kafka.bootstrap} has not answered for {silent_s:.0f} s; nothing is lost"
        )
