"""The supervisor: one worker in this process, or Ray actors that it starts, watches, starts again and drains.

Nothing it knows matters after its death: the log in the dataset holds where every partition continues.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from streamfx.config.tree import Config
from streamfx.errors import StreamfxError, WorkerLost
from streamfx.processes import without_collections
from streamfx.runtime.fleet import WATCH_S, Fleet
from streamfx.runtime.health import Health, health_server
from streamfx.runtime.lane import RunRange
from streamfx.runtime.preflight import refuse
from streamfx.runtime.ray_cluster import start_ray
from streamfx.runtime.reload import ConfigFile
from streamfx.runtime.status import Status
from streamfx.runtime.worker import Worker

Progress = Callable[[Sequence[Status]], None]


def run_pipeline(
    config: Config,
    run_range: RunRange,
    until_idle_s: float | None,
    stop: threading.Event,
    progress: Progress,
    file: ConfigFile | None = None,
) -> list[Status]:
    """Run the pipeline to its end, until `stop` is set, or idle for `until_idle_s`; `progress` is called each second.

    Live knobs that change in `file` are applied meanwhile. Raises ConfigError at once for what `config check` would
    find.
    """
    refuse(config)
    health = Health(config.runtime.drain_s)

    def report(statuses: Sequence[Status]) -> None:
        health.note(statuses)
        progress(statuses)

    run = _run_ray if config.runtime.engine == "ray" else _run_local
    with health_server(health, config.runtime.health_port):
        return run(config, run_range, until_idle_s, stop, report, file)


def _run_local(
    config: Config,
    run_range: RunRange,
    until_idle_s: float | None,
    stop: threading.Event,
    progress: Progress,
    file: ConfigFile | None,
) -> list[Status]:
    with without_collections():
        worker = Worker(config, run_range=run_range)
    over = threading.Event()
    failure: list[BaseException] = []

    def watch() -> None:
        try:
            while not over.wait(WATCH_S):
                progress([worker.status()])
                changed = file.look(worker.engine.parts.metrics.reloads) if file else None
                if changed is not None:
                    worker.reconfigure(changed)
                if stop.is_set():
                    worker.stop()
        except BaseException as error:
            # Without this loop the worker would notice neither SIGTERM nor a change of its configuration file.
            failure.append(error)
            worker.stop()

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        status = worker.run(until_idle_s)
    finally:
        over.set()
        watcher.join()
    if failure:
        raise failure[0]
    progress([status])
    return [status]


def _run_ray(
    config: Config,
    run_range: RunRange,
    until_idle_s: float | None,
    stop: threading.Event,
    progress: Progress,
    file: ConfigFile | None,
) -> list[Status]:
    start_ray(config)
    import ray

    fleet = Fleet(config, run_range)
    try:
        while not fleet.all_over():
            fleet.watch()
            fleet.reconfigure(file)
            fleet.scale()
            progress(fleet.statuses())
            if stop.is_set() or fleet.idle_for(until_idle_s):
                fleet.drain()
                break
        progress(fleet.statuses())
        return fleet.statuses()
    except StreamfxError:
        raise
    except Exception as error:
        # Ray has several errors for a cluster that went away; they are those after which it is no longer connected.
        if ray.is_initialized() and not isinstance(error, ConnectionError):
            raise
        raise WorkerLost(
            f"the Ray cluster at {config.runtime.ray_address} went away: {error}; what is committed stays, and "
            "the next run "
            "goes on from there"
        ) from error
    finally:
        fleet.kill()
        ray.shutdown()
