"""Starts a Ray on this machine, or joins a cluster, within a time limit and without giving up SIGTERM to it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Any

from streamfx.config.tree import Config
from streamfx.errors import StreamfxError

JOIN_AGAIN_S = 1.0


def start_ray(config: Config) -> None:
    """Start a Ray on this machine, or join the cluster at `runtime.ray_address`, within the configured time."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Else a call after the cluster went away would start a Ray on this machine, which takes over SIGTERM.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    import ray

    runtime = config.runtime
    options: dict[str, Any] = {"logging_level": logging.WARNING, "namespace": "streamfx"}
    if runtime.ray_address:
        options["address"] = runtime.ray_address
    else:
        cpus = max(os.cpu_count() or 1, round(runtime.most_workers * runtime.worker_cpus + 0.5))
        options |= {
            "address": "local",
            "num_cpus": cpus,
            "include_dashboard": False,
            "object_store_memory": 128 * 1024 * 1024,
        }
    where = runtime.ray_address or "on this machine"
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if runtime.ray_address:
            _join_in_time(options, runtime.ray_timeout_s)
        else:
            # In this thread: Ray's own processes end with the thread that started them.
            ray.init(**options)
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        raise StreamfxError(f"Ray {where} could not be started or reached: {error}") from error
    if threading.current_thread() is threading.main_thread():
        # Ray puts a handler of its own there, which would end the run without a drain.
        signal.signal(signal.SIGTERM, handler)


def _join_in_time(options: dict[str, Any], timeout_s: float) -> None:
    """`ray.init` on a cluster, which waits for ever where the address is dead; raises ConnectionError after
    `timeout_s`."""
    import ray

    give_up = time.monotonic() + timeout_s
    failure: list[BaseException] = []

    def join() -> None:
        while time.monotonic() < give_up:
            try:
                ray.init(**options)
                failure.clear()
                return
            except ConnectionError as error:
                # Mostly the process that the head started for this client, which has died: ray-project/ray#63202.
                failure[:] = [error]
                time.sleep(JOIN_AGAIN_S)
            except BaseException as error:
                failure[:] = [error]
                return

    joiner = threading.Thread(target=join, daemon=True)
    joiner.start()
    joiner.join(timeout_s)
    if failure:
        raise ConnectionError(str(failure[0])) from failure[0]
    if joiner.is_alive():
        raise ConnectionError(f"no answer within runtime.ray_timeout_s = {timeout_s:.0f} s; check runtime.ray_address")
