"""The Ray actors of one run: each is a worker, which is started, watched, started again after its death, and drained.

How many there should be is decided in `scaling.py`; here it is carried out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamfx.config.tree import Config
from streamfx.errors import StreamfxError, WorkerLost
from streamfx.processes import leave_no_core_dump
from streamfx.runtime.broker_watch import check_heard
from streamfx.runtime.deaths import Deaths
from streamfx.runtime.lane import RunRange
from streamfx.runtime.logs import configure_logs, set_log_level
from streamfx.runtime.metrics import FleetMetrics
from streamfx.runtime.reload import ConfigFile
from streamfx.runtime.scaling import History, PartitionLoad, decide
from streamfx.runtime.status import Status
from streamfx.runtime.worker import Worker

log = logging.getLogger(__name__)

WATCH_S = 1.0
DECIDE_S = 5.0


class WorkerActor:
    """A worker as a Ray actor. `run` blocks in a thread of its own; the other calls answer meanwhile."""

    def __init__(self, config: Config, index: int, run_range: RunRange):
        leave_no_core_dump()
        configure_logs(config.runtime.log_level, config.runtime.log_format, index)
        self._config, self._index, self._range = config, index, run_range
        self._worker: Worker | None = None
        self._stopped = False

    def run(self) -> Status:
        """Work until stopped or finished."""
        self._worker = Worker(self._config, self._index, self._config.runtime.most_workers, self._range)
        # Both may have been asked for while it was built.
        self._worker.reconfigure(self._config)
        if self._stopped:
            self._worker.stop()
        return self._worker.run()

    def reconfigure(self, config: Config) -> None:
        """Go on with a configuration that differs in live knobs alone."""
        self._config = config
        if self._worker is not None:
            self._worker.reconfigure(config)

    def stop(self) -> None:
        """Drain: finish the chunk at hand, commit, leave the group."""
        self._stopped = True
        if self._worker is not None:
            self._worker.stop()

    def status(self) -> Status:
        """Progress so far."""
        return self._worker.status() if self._worker is not None else Status(self._index)

    def pid(self) -> int:
        """Process id, for fault tests."""
        return os.getpid()


@dataclass(slots=True)
class RunningWorker:
    """One actor, the run that it is at, and the status that it gave last."""

    actor: Any
    run: Any
    status: Status
    over: bool = False
    polled: float | None = None
    """When the worker polled last, by this process's clock: one that stops answering grows old here."""
    leave_by: float | None = None
    """By when it must have drained, where it is wanted no more."""

    def note(self, status: Status) -> None:
        """Take the status that the worker has just given."""
        self.status = status
        self.polled = None if status.poll_age_s is None else time.monotonic() - status.poll_age_s

    def end(self, status: Status) -> None:
        """Take the worker's last status."""
        self.note(status)
        self.over = True


class Fleet:
    """The actors of one run, by worker index."""

    def __init__(self, config: Config, run_range: RunRange):
        import ray

        self._config, self._range = config, run_range
        self._deaths = Deaths()
        runtime = config.runtime
        self._remote = ray.remote(
            num_cpus=runtime.worker_cpus, num_gpus=runtime.worker_gpus, max_concurrency=4, max_restarts=0
        )(WorkerActor)
        port = runtime.metrics_port
        self._metrics = FleetMetrics(range(port, port + runtime.most_workers + 1) if port else range(0))
        self._drained: dict[int, Status] = {}
        self._loads: dict[str, PartitionLoad] = {}
        self._history = History()
        self._held = False
        self._decided = time.monotonic()
        self._wanted = runtime.scaling.min_workers if runtime.scaling else runtime.workers
        self._running = {index: self._start(index) for index in range(self._wanted)}

    def statuses(self) -> list[Status]:
        """The latest status of each worker, those that were drained included: what they did counts."""
        for worker in self._running.values():
            worker.status.poll_age_s = None if worker.polled is None else time.monotonic() - worker.polled
        return [*self._drained.values(), *(worker.status for worker in self._running.values())]

    def reconfigure(self, file: ConfigFile | None) -> None:
        """Take live knobs that have changed in the file, and pass them on to the workers."""
        changed = file.look(self._metrics.reloads) if file else None
        if changed is None:
            return
        set_log_level(changed.runtime.log_level)
        # Those that start later, in place of one that dies as well, start with it.
        self._config = changed
        for worker in self._running.values():
            if not worker.over:
                worker.actor.reconfigure.remote(changed)

    def scale(self) -> None:
        """Where the number of workers follows the load: decide it anew now and then, and start or drain some."""
        self._update_metrics()
        scaling, now = self._config.runtime.scaling, time.monotonic()
        if scaling is None:
            return
        self._remove_drained(now)
        staying = {index: worker for index, worker in self._running.items() if worker.leave_by is None}
        statuses = [worker.status for worker in staying.values()]
        partitions = max((status.partitions_total for status in statuses), default=0)
        # A worker that is over has finished its range: there is less to do from now on.
        over = any(worker.over for worker in staying.values())
        if now - self._decided < DECIDE_S or not partitions or over:
            return
        self._decided = now
        for status in statuses:
            self._loads |= status.loads
        paces = [status.sustains for status in statuses if status.sustains is not None]
        sustains = sum(paces) / len(paces) if paces else None
        waits = sum(status.waits for status in statuses) / len(statuses)
        loads = list(self._loads.values())
        decision = decide(scaling, loads, partitions, sustains, len(staying), now, self._history, waits)
        self._history = decision.history
        if decision.held and not self._held:
            log.warning("no more than %d workers for now: %s", decision.workers, decision.reason)
        self._held = decision.held
        self._metrics.held.set(decision.held)
        if decision.workers != self._wanted:
            log.info("%d workers in place of %d: %s", decision.workers, self._wanted, decision.reason)
            self._metrics.changes.labels("up" if decision.workers > self._wanted else "down").inc()
        self._wanted = decision.workers
        for index in sorted(staying)[decision.workers :]:
            staying[index].actor.stop.remote()
            staying[index].leave_by = now + self._config.runtime.drain_s
        for _ in range(decision.workers - len(staying)):
            index = next(index for index in range(len(self._running) + 1) if index not in self._running)
            self._running[index] = self._start(index)

    def _remove_drained(self, now: float) -> None:
        """Forget the workers that have drained; end those that have not in time."""
        import ray

        for index, worker in list(self._running.items()):
            if worker.leave_by is None or not (worker.over or now > worker.leave_by):
                continue
            if not worker.over:
                log.warning("worker %d did not drain in time; what it had not committed is read again", index)
            with contextlib.suppress(Exception):
                ray.kill(worker.actor)
            del self._running[index]
            self._drained[index] = _sum(self._drained.get(index, Status(index)), worker.status)

    def _update_metrics(self) -> None:
        statuses = [worker.status for worker in self._running.values() if not worker.over]
        self._metrics.wanted.set(self._wanted)
        self._metrics.running.set(sum(status.ready for status in statuses))
        self._metrics.lag_s.set(max((status.lag_s for status in statuses), default=0.0))

    def all_over(self) -> bool:
        """True when every worker has finished by itself."""
        return all(worker.over for worker in self._running.values())

    def idle_for(self, until_idle_s: float | None) -> bool:
        """True when nothing is left to do; see `nothing_left`."""
        living = [worker.status for worker in self._running.values() if not worker.over]
        return nothing_left(living, len(living) < len(self._running), self._config, until_idle_s)

    def watch(self) -> None:
        """Wait a moment; note which workers have ended, start those again that have died, and ask the others for their
        status.

        WorkerLost where no node is left that could start one: the workers may live on for a while, but only until they
        die.
        """
        import ray

        if not any(node["Alive"] for node in ray.nodes()):
            raise WorkerLost(
                "no node of the Ray cluster is alive; what is committed stays, and the next run goes on from there"
            )
        by_run = {worker.run: index for index, worker in self._running.items() if not worker.over}
        ended, _ = ray.wait(list(by_run), num_returns=1, timeout=WATCH_S)
        for run in ended:
            self._note_end(by_run[run])
        asked = {worker.actor.status.remote(): worker for worker in self._running.values() if not worker.over}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=WATCH_S) if asked else ([], [])
        for answer in answered:
            with contextlib.suppress(ray.exceptions.RayError):
                asked[answer].note(ray.get(answer))

    def drain(self) -> None:
        """Ask all workers to finish and wait for them within the drain time."""
        import ray

        waiting = {worker.run: index for index, worker in self._running.items() if not worker.over}
        for index in waiting.values():
            self._running[index].actor.stop.remote()
        deadline = time.monotonic() + self._config.runtime.drain_s
        while waiting and time.monotonic() < deadline:
            ended, _ = ray.wait(list(waiting), num_returns=1, timeout=WATCH_S)
            for run in ended:
                index = waiting.pop(run)
                with contextlib.suppress(ray.exceptions.RayActorError, ray.exceptions.RayTaskError):
                    self._running[index].end(_result(run))
                self._running[index].over = True
        if waiting:
            log.warning("%d workers did not drain in time; what they had not committed is read again", len(waiting))

    def kill(self) -> None:
        """End the actors that are left."""
        import ray

        for worker in self._running.values():
            with contextlib.suppress(Exception):
                ray.kill(worker.actor)

    def _start(self, index: int) -> RunningWorker:
        actor = self._remote.remote(self._config, index, self._range)
        return RunningWorker(actor, actor.run.remote(), Status(index))

    def _note_end(self, index: int) -> None:
        import ray

        worker = self._running[index]
        try:
            worker.end(_result(worker.run))
        except (ray.exceptions.RayActorError, ray.exceptions.RayTaskError) as error:
            # An error that nobody foresaw is a death too: what it was at work on is read again, and given up in the
            # end.
            if isinstance(error, ray.exceptions.RayTaskError):
                log.error("worker %d failed", index, exc_info=error.cause)
                ray.kill(worker.actor)
            if worker.leave_by is not None:
                worker.over = True
                return
            deaths = self._deaths.note(time.monotonic())
            if deaths > self._config.runtime.max_restarts:
                raise WorkerLost(
                    f"workers died {deaths} times within an hour, more than runtime.max_restarts allows; what "
                    "is committed "
                    "stays"
                ) from None
            log.warning("worker %d died; starting it again", index)
            self._running[index] = self._start(index)


def nothing_left(living: Sequence[Status], some_are_over: bool, config: Config, until_idle_s: float | None) -> bool:
    """True when all partitions are owned, all is committed and their workers have been idle for `until_idle_s`, or when
    others have finished the range and the workers that are left own nothing.

    BrokerUnavailable where no worker has heard of the broker for longer than it may be silent.
    """
    if until_idle_s is not None and living:
        check_heard(min(status.silent_s for status in living), config, until_idle_s)
    owners = [status for status in living if status.owned]
    if not owners:
        return some_are_over
    if until_idle_s is None:
        return False
    owned = {name for status in owners for name in status.owned}
    idle = all(
        status.idle_s is not None and status.idle_s >= until_idle_s and not status.uncommitted for status in owners
    )
    return idle and len(owned) == max(status.partitions_total for status in owners)


def _sum(before: Status, status: Status) -> Status:
    """What two workers with the same index have done one after the other. Counts alone: neither owns anything now."""
    return Status(
        before.index,
        chunks=before.chunks + status.chunks,
        windows=before.windows + status.windows,
        fates=dict(Counter(before.fates) + Counter(status.fates)),
        stage_seconds=dict(Counter(before.stage_seconds) + Counter(status.stage_seconds)),
    )


def _result(run: Any) -> Status:
    """A finished run's status. A StreamfxError is raised as it was; RayActorError and RayTaskError where the worker
    died."""
    import ray

    try:
        status: Status = ray.get(run)
        return status
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, StreamfxError) else error from None
