"""Prometheus metrics of one worker, and of the supervisor of several. They are written here and read by others alone:
what the program itself reads is in `totals.py`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from streamfx.serving.uploads import Uploads, uploads

log = logging.getLogger(__name__)

_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Metrics:
    """The metrics of one worker in a registry of its own, served on the first free of `ports` (none: not served)."""

    def __init__(self, ports: range = range(0)):
        registry = self.registry = CollectorRegistry()
        self.chunks = Counter("streamfx_chunks", "Chunks by what became of them", ["fate"], registry=registry)
        self.rows = Counter("streamfx_rows", "Committed rows", ["table"], registry=registry)
        self.windows = Counter("streamfx_windows", "Windows closed", registry=registry)
        self.frames = Counter(
            "streamfx_frames",
            "Decoded frames: looked at for faces, or skipped (by media.sample_fps, or seen before)",
            ["use"],
            registry=registry,
        )
        self.redaction_failures = Counter(
            "streamfx_redaction_failures",
            "Frames whose detector failed; nothing of them may be shown",
            registry=registry,
        )
        self.fills = Counter(
            "streamfx_film_fills",
            "Fills of faces in films with drawn faces: painted, or left solid, by the reason",
            ["outcome"],
            registry=registry,
        )
        self.windows_lost = Counter(
            "streamfx_windows_lost_input", "Open windows lost because a chunk they need is gone", registry=registry
        )
        self.missing = Counter("streamfx_missing_chunks", "Sequence numbers skipped by a stream", registry=registry)
        self.gap_records = Counter(
            "streamfx_gap_records", "Offsets that retention took before they were read", registry=registry
        )
        self.commits = Counter("streamfx_commits", "Entries committed", registry=registry)
        self.commits_lost = Counter("streamfx_commits_lost", "Commits another writer won", registry=registry)
        self.deaths = Counter("streamfx_poison_chunks", "Chunks given up after killing their worker", registry=registry)
        self.lag_s = Gauge(
            "streamfx_lag_seconds",
            "Age of the oldest record at hand that is not processed, by its append time",
            registry=registry,
        )
        self.broker_away_s = Gauge(
            "streamfx_broker_away_seconds",
            "Seconds that the broker has given no answer for, 0 while it does",
            registry=registry,
        )
        self.queued = Gauge("streamfx_queued_chunks", "Chunks waiting in this worker", registry=registry)
        self.in_flight = Gauge(
            "streamfx_inflight_requests",
            "Windows that an operator was asked about and has not answered yet",
            ["operator"],
            registry=registry,
        )
        self.inference = Histogram(
            "streamfx_inference_seconds",
            "Seconds from asking an operator about a window to its answer",
            ["operator"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.model = Gauge(
            "streamfx_model_info", "1 for each model that scores", ["operator", "model", "version"], registry=registry
        )
        self.partitions = Gauge("streamfx_partitions", "Partitions this worker owns", registry=registry)
        self.stage = Histogram(
            "streamfx_stage_seconds",
            "Seconds by stage: each poll that brought chunks, each chunk, each window's answer, each commit",
            ["stage"],
            buckets=_BUCKETS,
            registry=registry,
        )
        registry.register(
            _UploadCounter(
                "streamfx_uploads",
                "Tensors handed to model servers: copied into memory that the server reads too, or sent in the request",
                lambda upload: upload.tensors,
            )
        )
        registry.register(
            _UploadCounter("streamfx_uploaded_bytes", "Bytes of these tensors", lambda upload: upload.bytes)
        )
        self.reloads = _reloads(registry)
        if ports:
            serve(ports, registry)

    def follow(self, operator: str, future: Future[Any]) -> None:
        """Count a request of an operator as under way until it is answered, and its time from now: by operator, and as
        the stage `inference`, which is all operators together."""
        asked = time.perf_counter()
        in_flight = self.in_flight.labels(operator)
        in_flight.inc()

        def answered(_: object) -> None:
            took_s = time.perf_counter() - asked
            in_flight.dec()
            self.inference.labels(operator).observe(took_s)
            self.observe("inference", took_s)

        future.add_done_callback(answered)

    def observe(self, stage: str, took_s: float) -> None:
        """Note how long a stage took this time."""
        self.stage.labels(stage).observe(took_s)


class _UploadCounter(Collector):
    """Serves the plain counts of `serving/uploads.py`, which are those of the process."""

    _labelnames = ("tensor", "way")

    def __init__(self, name: str, meaning: str, number: Callable[[Uploads], int]):
        self._name, self._meaning, self._number = name, meaning, number

    def describe(self) -> list[CounterMetricFamily]:
        return [CounterMetricFamily(self._name, self._meaning, labels=self._labelnames)]

    def collect(self) -> Iterator[CounterMetricFamily]:
        [family] = self.describe()
        for labels, so_far in uploads().items():
            family.add_metric(labels, self._number(so_far))
        yield family


class FleetMetrics:
    """What the supervisor knows of its Ray workers, served as `Metrics` are."""

    def __init__(self, ports: range = range(0)):
        registry = self.registry = CollectorRegistry()
        self.wanted = Gauge("streamfx_workers_desired", "Workers there should be", registry=registry)
        self.running = Gauge("streamfx_workers_running", "Workers whose models have answered", registry=registry)
        self.changes = Counter(
            "streamfx_scalings", "Changes of the number of workers wanted", ["direction"], registry=registry
        )
        self.held = Gauge(
            "streamfx_scaling_held",
            "1 while more workers are wanted and not started, since the model server binds",
            registry=registry,
        )
        self.lag_s = Gauge(
            "streamfx_fleet_lag_seconds", "Age of the oldest unprocessed record of all partitions", registry=registry
        )
        self.reloads = _reloads(registry)
        if ports:
            serve(ports, registry)


def _reloads(registry: CollectorRegistry) -> Counter:
    """The counter that a worker has where it is its own supervisor, and else the supervisor."""
    reloads = Counter(
        "streamfx_config_reloads",
        "Changes of the configuration file while running: applied, refused (they want a restart), or invalid",
        ["outcome"],
        registry=registry,
    )
    # Served as 0 from the start, so that the first one is an increase.
    for outcome in ("applied", "refused", "invalid"):
        reloads.labels(outcome)
    return reloads


def serve(ports: range, registry: CollectorRegistry, knob: str = "runtime.metrics_port") -> None:
    """Serve on the first free of `ports`, which `knob` names; where none is free, the log says so."""
    for port in ports:
        try:
            start_http_server(port, registry=registry)
        except (OSError, OverflowError) as error:  # the latter above 65535
            problem = getattr(error, "strerror", None) or str(error)
        else:
            log.info("metrics on port %d", port)
            return
    # Rows matter more than their metrics: ports that are taken must not stop the run.
    log.error("no metrics on ports %d to %d (%s): %s", ports[0], ports[-1], knob, problem)
