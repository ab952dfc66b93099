"""A worker: one thread polls the source and never stops polling, one thread runs the lines of the partitions it owns.

The source belongs to the polling thread alone, except `read_at`, `bounds` and `check_topic`, which the line thread
uses. The two talk through an inbox (open, close, record) and an outbox (seek, committed).
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from streamfx.config.tree import Config
from streamfx.errors import BrokerUnavailable, CommitLost, InputChanged, SourceError
from streamfx.records import Partition, Record
from streamfx.runtime.broker_watch import BrokerWatch, check_heard
from streamfx.runtime.build import Engine, build_engine
from streamfx.runtime.lane import Lane, RunRange
from streamfx.runtime.line import PartitionLine
from streamfx.runtime.load import Pace
from streamfx.runtime.logs import set_log_level
from streamfx.runtime.resume import open_line, reopen_line
from streamfx.runtime.status import Status
from streamfx.source import OffsetGone

__all__ = ["RunRange", "Status", "Worker"]

log = logging.getLogger(__name__)

POLL_S = 0.2
OPENING_POLL_S = 0.02
"""The same while a line is being opened, since its partition delivers nothing until the source is told where to begin."""
MEASURE_S = 5.0
RANGE_IDLE_S = 5.0
STUCK_CPU_S = 300.0
"""CPU seconds that one chunk may cost the thread of the lines. A worker that needs more hangs in a decoder, and ends
itself: the death is counted against the chunk. CPU and not wall time, so that a busy machine condemns nothing."""


class Worker:
    """Runs the pipeline for the partitions it is given until stopped, finished or idle."""

    def __init__(self, config: Config, index: int = 0, workers: int = 1, run_range: RunRange | None = None):
        self._range = run_range or RunRange()
        self.engine: Engine = build_engine(config, index, workers, self._range.words)
        self._source = self.engine.source
        self._lanes: dict[Partition, Lane] = {}
        self._inbox: queue.Queue[Callable[[], None] | tuple[Lane, int, Record]] = queue.Queue()
        self._outbox: queue.Queue[Callable[[], None]] = queue.Queue()
        self._lines_clock: int | None = None
        self._stop = threading.Event()
        self._lines_over = threading.Event()
        self._failure: BaseException | None = None
        self._changed: list[str] = []
        self._assigned = False
        self._broker = BrokerWatch(self._source)
        self.engine.parts.metrics.broker_away_s.set_function(self._broker.away_s)
        self._polled: float | None = None
        self._pace = Pace()
        self._measured = 0.0
        # What does not change until the run is over. The engine is built, so the models have answered.
        self._status = Status(index, ready=True)

    def stop(self) -> None:
        """Ask for a graceful end: finish the chunk at hand, commit, leave the group. Returns at once."""
        self._stop.set()

    def reconfigure(self, config: Config) -> None:
        """Go on with a configuration that differs in live knobs alone; may be called from any thread."""
        set_log_level(config.runtime.log_level)
        self.engine.reconfigure(config)

    def status(self) -> Status:
        """A snapshot of progress; may be called from any thread."""
        lanes, totals = list(self._lanes.values()), self.engine.parts.totals
        at_work = any(lane.queued or not (lane.line or lane.changed) for lane in lanes)
        opened = self._assigned and not at_work and self._inbox.empty()
        return replace(
            self._status,
            owned=[lane.partition.log_name for lane in lanes],
            partitions_total=len(self._source.partitions()),
            left_out=[*self._source.left_out(), *self._changed],
            uncommitted=sum(lane.uncommitted for lane in lanes),
            chunks=totals.chunks,
            windows=totals.windows,
            fates=dict(totals.fates),
            stage_seconds=dict(totals.stage_seconds),
            idle_s=self._broker.idle_s() if opened else None,
            silent_s=self._broker.silent_s(),
            poll_age_s=None if self._polled is None else time.monotonic() - self._polled,
            lag_s=self._lag_s(lanes),
            loads={lane.partition.log_name: lane.meter.load(shared=len(lanes) > 1) for lane in lanes if lane.line},
            sustains=self._pace.sustains,
            # Nets in the worker are a part of it: more workers are more nets.
            waits=self._pace.waits if self.engine.config.serving.backend == "triton" else 0.0,
        )

    def run(self, until_idle_s: float | None = None) -> Status:
        """Run until stopped, until a files source or the range is finished, or idle for `until_idle_s`.

        Raises the first error that stopped it; what is committed stays, the rest is read again by the next run.
        """
        line_thread = self._line_thread = threading.Thread(target=self._run_lines, name="lines", daemon=True)
        line_thread.start()
        assert line_thread.ident is not None
        self._lines_clock = time.pthread_getcpuclockid(line_thread.ident)
        try:
            self._source.subscribe(self._on_assigned, self._on_revoked)
            while not self._stop.is_set() and self._failure is None and not self._is_over(until_idle_s):
                self._poll_once()
            if self._failure is None:
                self._on_revoked(list(self._lanes), lost=False)
        finally:
            self._polled = None
            self._stop.set()
            self._lines_over.set()
            line_thread.join(self.engine.config.runtime.drain_s)
            self._source.close()
            self.engine.close()
        if self._failure is not None:
            raise self._failure
        return self.status()

    # The polling thread.

    def _poll_once(self) -> None:
        self._polled = time.monotonic()
        self._run_outbox()
        self._check_stuck()
        poll_s = POLL_S
        for lane in self._lanes.values():
            full = lane.queued >= self.engine.config.source.queue_chunks
            opening = lane.line is None or lane.polled_generation != lane.generation
            if opening and not lane.changed:
                poll_s = OPENING_POLL_S
            wanted_pause = full or opening
            if wanted_pause != lane.paused:
                (self._source.pause if wanted_pause else self._source.resume)([lane.partition])
                lane.paused = wanted_pause
        asked = time.perf_counter()
        try:
            records = self._source.poll(poll_s)
        except OffsetGone as gone:
            self._reopen(gone.partition)
            return
        if records:
            self.engine.parts.metrics.observe("fetch", time.perf_counter() - asked)
        for record in records:
            lane_or_none = self._lanes.get(record.partition)
            if lane_or_none is not None:
                self._enqueue(lane_or_none, record)
        for lane in self._lanes.values():
            at_end = lane.polled_generation == lane.generation and self._source.finished(lane.partition)
            lane.polled_all = lane.past_end or at_end
        self.engine.parts.metrics.queued.set(sum(lane.queued for lane in self._lanes.values()))
        self.engine.parts.metrics.lag_s.set(self._lag_s(self._lanes.values()))

    def _lag_s(self, lanes: Iterable[Lane]) -> float:
        """The oldest record's age over all lanes; 0 for files, whose chunks have no append time."""
        return 0.0 if self._source.cluster == "files" else max((lane.meter.lag_s() for lane in lanes), default=0.0)

    def _enqueue(self, lane: Lane, record: Record) -> None:
        if lane.bounds.end is not None and record.offset >= lane.bounds.end:
            lane.past_end = True
            return
        self._broker.note_work()
        lane.polled += 1
        lane.meter.polled(record.timestamp_ms)
        self._inbox.put((lane, lane.polled_generation, record))

    def _is_over(self, until_idle_s: float | None) -> bool:
        lanes = list(self._lanes.values())
        if self._assigned and lanes and self._inbox.empty() and all(lane.finished for lane in lanes):
            before = sum(lane.finished_before for lane in lanes)
            self._status = replace(self._status, finished=True, inputs=len(lanes), finished_before=before)
            return self._source.cluster == "files" or self._range.end is not None
        if self._assigned and not lanes and self._source.cluster == "files":
            return True
        if self._range.end is not None:
            # The offsets up to the range's end may hold no more readable records.
            until_idle_s = RANGE_IDLE_S
        if until_idle_s is None:
            return False
        idle_s = self.status().idle_s
        if idle_s is not None and idle_s >= until_idle_s:
            return self._all_committed()
        check_heard(self._broker.silent_s(), self.engine.config, until_idle_s)
        return False

    def _all_committed(self) -> bool:
        """Whether nothing waits to be committed. If something does, it is committed now, and the answer is no: another
        writer may be first, and then there is more to read."""
        waiting = [lane for lane in self._lanes.values() if lane.uncommitted]
        for lane in waiting:
            self._inbox.put(lambda lane=lane: self.commit_lane(lane))  # type: ignore[misc]
        return not waiting

    def _on_assigned(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            lane = self._lanes[partition] = Lane(partition)
            self._source.pause([partition])
            self._inbox.put(lambda lane=lane: self.open_lane(lane))  # type: ignore[misc]
        self._assigned = True
        self._broker.note_work()
        self.engine.parts.metrics.partitions.set(len(self._lanes))

    def _on_revoked(self, partitions: Sequence[Partition], lost: bool) -> None:
        """Commit and let go; without membership (`lost`) just let go. Waits for the line thread within the drain
        time."""
        closing = []
        for partition in partitions:
            lane = self._lanes.pop(partition, None)
            if lane is not None:
                done = threading.Event()
                closing.append(done)
                self._inbox.put(lambda lane=lane, done=done: self._close(lane, lost, done))  # type: ignore[misc]
        deadline = time.monotonic() + self.engine.config.runtime.drain_s
        for done in closing:
            # After an error in either thread nobody closes lanes any more: what is not committed is read again.
            while self._line_thread.is_alive() and self._failure is None and time.monotonic() < deadline:
                if done.wait(POLL_S):
                    break
        self._run_outbox()
        self._broker.note_work()
        self.engine.parts.metrics.partitions.set(len(self._lanes))

    def _reopen(self, partition: Partition) -> None:
        """Begin the partition again from its log: retention took what was to be read next."""
        lane = self._lanes[partition]
        self._inbox.put(lambda: self.open_lane(lane))

    def _check_stuck(self) -> None:
        """End this process at once where a chunk holds the lines for ever; the chunk's mark is all that stays."""
        assert self._lines_clock is not None
        for lane in self._lanes.values():
            since = None if lane.line is None else lane.line.busy_since_cpu_s
            if since is not None and time.clock_gettime(self._lines_clock) - since > STUCK_CPU_S:
                log.critical("%s: a chunk took more than %.0f s of CPU", lane.partition.topic, STUCK_CPU_S)
                os.kill(os.getpid(), signal.SIGKILL)

    def _run_outbox(self) -> None:
        while True:
            try:
                self._outbox.get_nowait()()
            except queue.Empty:
                return

    # The line thread.

    def _run_lines(self) -> None:
        try:
            while not (self._lines_over.is_set() and self._inbox.empty()):
                self._take()
                self._flush_idle()
                self._broker.ask()
                self._measure()
        except BaseException as error:
            self._failure = error

    def _take(self) -> None:
        try:
            item = self._inbox.get(timeout=POLL_S)
        except queue.Empty:
            return
        with self._broker.at_work():
            if callable(item):
                item()
            else:
                self._take_record(*item)

    def _take_record(self, lane: Lane, generation: int, record: Record) -> None:
        try:
            dropped = self._lanes.get(lane.partition) is not lane or self._stop.is_set()
            if lane.line is not None and generation == lane.generation and not dropped:
                self._process(lane, lane.line, record)
            else:
                lane.meter.dropped()
        finally:
            # Only now: a worker that works on its last record is not idle.
            self._broker.note_work()
            lane.taken += 1

    def _process(self, lane: Lane, line: PartitionLine, record: Record) -> None:
        began, waited_s = time.monotonic(), self._waited_s()
        outcome = line.process(record)
        if outcome is None:
            lane.meter.dropped()
            return
        media_s = outcome.decoded.media_s if outcome.decoded else 0.0
        if line.due(idle=False):
            self.commit_lane(lane)
        lane.meter.took(media_s)
        self._pace.note(media_s, time.monotonic() - began, self._waited_s() - waited_s)

    def _waited_s(self) -> float:
        """Seconds that the lines have waited for room among `serving.in_flight` requests so far."""
        return self.engine.parts.totals.stage_seconds["submit"]

    def open_lane(self, lane: Lane) -> None:
        """Open the lane's line where its log ends, in place of the one that it has; on the thread of the lines."""
        lane.bounds = self._range.bounds(self._source, lane.partition)
        if lane.line is not None:
            lane.bounds = replace(lane.bounds, begun=lane.line.pending.start)
            lane.line.close()
            lane.line = None
        writer = self.engine.writer(lane.partition)
        try:
            line = open_line(lane.partition, self.engine.new_parts(), writer, self._source, lane.bounds)
        except InputChanged as changed:
            log.error("left out: %s", changed)
            self._changed.append(str(changed))
            lane.changed = True
            return
        self._read_on(lane, line)

    def _read_on(self, lane: Lane, line: PartitionLine) -> None:
        """Give the lane its line, and have the source continue where the line does."""
        # First the number: a new line over the reading of the old one would look as if all of it were done.
        lane.generation += 1
        lane.line = line
        offset, generation = line.next_offset, lane.generation

        def seek() -> None:
            if self._lanes.get(lane.partition) is lane:
                self._source.seek(lane.partition, offset)
                lane.seeked(generation)

        self._outbox.put(seek)

    def commit_lane(self, lane: Lane) -> None:
        """Commit what is pending in the lane, or follow the writer that was first; on the thread of the lines. While no
        broker can confirm that the topic is still the same one, it stays pending."""
        assert lane.line is not None
        line = lane.line
        if not line.pending.records or not self._same_topic():
            return
        try:
            head = line.commit()
        except CommitLost as lost:
            log.warning(
                "%s partition %d: another writer was first; following it", line.partition.topic, line.partition.number
            )
            self.engine.parts.metrics.commits_lost.inc()
            line.close()
            self._broker.note_work()
            self._read_on(
                lane, reopen_line(lane.partition, self.engine.new_parts(), line.writer, self._source, lost.head)
            )
            return
        if head is not None and head.end is not None:
            end = head.end
            self._outbox.put(lambda: self._source.commit(lane.partition, end))

    def _same_topic(self) -> bool:
        """Whether all that was read came from the topic that the log belongs to; False, for now, where no broker
        answers."""
        try:
            self._source.check_topic()
        except BrokerUnavailable as error:
            log.warning("not committed yet: %s", error)
            self._broker.note_missing()
            return False
        return True

    def _close(self, lane: Lane, lost: bool, done: threading.Event) -> None:
        try:
            if lane.line is not None:
                if not lost:
                    self.commit_lane(lane)
                lane.line.close()
                lane.line = None
        finally:
            done.set()

    def _flush_idle(self) -> None:
        for lane in list(self._lanes.values()):
            if lane.line is not None and (lane.line.due(idle=True) or lane.read_out):
                with self._broker.at_work():
                    self.commit_lane(lane)

    def _measure(self) -> None:
        """Where the number of workers follows the load, ask now and then how much waits in the broker."""
        now = time.monotonic()
        if self.engine.config.runtime.scaling is None or now - self._measured < MEASURE_S:
            return
        try:
            for lane in list(self._lanes.values()):
                if lane.line is not None:
                    lane.meter.measure(max(0, self._source.bounds(lane.partition)[1] - lane.line.next_offset))
                    self._broker.note_answer()
        except SourceError as error:
            log.warning("the broker does not report how much waits: %s", error)
        self._measured = time.monotonic()
