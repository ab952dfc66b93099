"""One trial: the real line over the sample, in a process of its own.

torch's threads, the allocator's peak and the caches of nets belong to a process, so a process of its own keeps a trial
independent of earlier ones. It is forked from a server that has imported everything and started nothing.
"""

from __future__ import annotations

import multiprocessing
import resource
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import torch

from streamfx.config.tree import Config
from streamfx.errors import WorkerLost
from streamfx.models.base import pick_device
from streamfx.operator import ScoreOperator
from streamfx.processes import Pool
from streamfx.records import Window
from streamfx.runtime.worker import Status, Worker
from streamfx.tuning.measurement import STAGES, Measurement
from streamfx.tuning.sample import Sample

NET_BATCHES = 4


class Trials:
    """Runs trials one after the other, each in a fresh process."""

    def __init__(self, config: Config):
        context = multiprocessing.get_context("forkserver")
        operators = {type(section).__module__ for section in config.operators.values()}
        context.set_forkserver_preload([__name__, *sorted(operators)])
        self._context = context

    def run(self, config: Config, sample: Sample, limit_s: float, nets: bool = False) -> Measurement:
        """Run the line that `config` describes for about `limit_s` seconds at most; with `nets`, also time them alone.

        Raises the error that stopped the line, or WorkerLost where its process died.
        """
        try:
            with Pool(1, self._context) as pool:
                return pool.submit(run_line, config, sample, limit_s, nets).result()
        except BrokenProcessPool as error:
            raise WorkerLost("the process of a trial died; is there enough memory for this configuration?") from error


def run_line(config: Config, sample: Sample, limit_s: float, nets: bool = False) -> Measurement:
    """Run the trial itself. Media beyond the time limit are not processed and not counted."""
    _warm(config, sample, limit_s)
    worker = Worker(config)
    parts = worker.engine.parts
    scorers = [operator for operator in parts.operators.values() if isinstance(operator, ScoreOperator)]
    serving = config.serving
    device = "triton" if serving.backend == "triton" else pick_device(serving.device)
    net_s = time_nets(scorers, serving.batch_size) if nets else None
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    status = _run(worker, limit_s)
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    sampled, skipped = parts.totals.frames_looked_at, parts.totals.frames_skipped
    return Measurement(
        elapsed_s=elapsed_s,
        media_s=sampled * config.media.sample_period_us / 1e6,
        frames=sampled + skipped,
        chunks=status.chunks,
        windows=status.windows,
        stage_s={stage: status.stage_seconds.get(stage, 0.0) for stages in STAGES.values() for stage in stages},
        cpu_s=cpu_s,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        dataset_bytes=_bytes_in(config.sink.path),
        media_bytes=sample.media_bytes * status.chunks / sample.chunks,
        pixels=sample.pixels,
        model=", ".join(sorted({" ".join(scorer.provenance().values()) for scorer in scorers} - {""})),
        net_device=device,
        gpu=torch.cuda.get_device_name() if device == "cuda" else None,
        net_s_per_window=net_s,
    )


def _warm(config: Config, sample: Sample, limit_s: float) -> None:
    """Run one chunk through a line of its own, so that a process's one-time work is not counted as a chunk's cost."""
    files = config.source.files
    assert files is not None
    source = config.source.model_copy(update={"files": files.model_copy(update={"paths": [sample.warm]})})
    sink = config.sink.model_copy(update={"path": config.sink.path.with_name("warm")})
    _run(Worker(config.model_copy(update={"source": source, "sink": sink})), limit_s)


def _run(worker: Worker, limit_s: float) -> Status:
    timer = threading.Timer(limit_s, worker.stop)
    timer.daemon = True
    timer.start()
    try:
        return worker.run()
    finally:
        timer.cancel()


def time_nets(scorers: list[ScoreOperator], batch: int) -> float:
    """Seconds that all nets together take per window when windows always wait: that of the fastest of some batches."""
    took = []
    for _ in range(NET_BATCHES):
        began_s = time.perf_counter()
        asked = [scorer.submit(_any_window()) for _ in range(batch) for scorer in scorers]
        for scorer in scorers:
            scorer.flush()
        for answer in asked:
            answer.result()
        took.append((time.perf_counter() - began_s) / batch)
    return min(took)


def _any_window() -> Window:
    """A window with the shapes of the line's; speed does not depend on its content."""
    frames = np.zeros((16, 224, 224, 3), np.uint8)
    return Window(
        "", 0, 0, 0, 0, frames, np.zeros((512, 128), np.float32), np.ones(16, bool), True, 1.0, 1.0, 0, (0, 0)
    )


def _bytes_in(folder: Path) -> int:
    """Bytes of the files with rows; the small log beside them, whose names begin with `_`, does not count."""
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))
