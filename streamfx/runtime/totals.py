"""What the lines of one worker have done so far, as plain numbers.

They are counted here once, and the worker's metrics are fed from the same place. The program itself (progress, scaling,
`tune`) reads only these numbers: metrics are for whoever watches the run, and nothing is decided by reading one back.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from streamfx.runtime.metrics import Metrics
from streamfx.runtime.pending import Outcome


class Totals:
    """Belongs to the thread of the lines; other threads may read it."""

    def __init__(self, metrics: Metrics):
        self._metrics = metrics
        self.chunks = 0
        """Records that were taken, whatever became of them."""
        self.fates: dict[str, int] = {}
        """The same by fate."""
        self.windows = 0
        self.frames_looked_at = 0
        self.frames_skipped = 0
        self.stage_seconds: dict[str, float] = defaultdict(float)
        """Seconds of the lines' own thread by stage."""

    def count(self, outcome: Outcome, windows: int) -> None:
        """Count one record, and how many windows closed with it."""
        self.chunks += 1
        self.fates[outcome.fate] = self.fates.get(outcome.fate, 0) + 1
        self.windows += windows
        self._metrics.chunks.labels(outcome.fate).inc()
        self._metrics.windows.inc(windows)
        if outcome.decoded is not None:
            self.frames_looked_at += outcome.decoded.frames
            self.frames_skipped += outcome.decoded.skipped
            self._metrics.frames.labels("looked_at").inc(outcome.decoded.frames)
            self._metrics.frames.labels("skipped").inc(outcome.decoded.skipped)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - started
            self.stage_seconds[stage] += took_s
            self._metrics.observe(stage, took_s)
