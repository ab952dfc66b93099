"""The configuration of workers and their supervisor: how many, where, and what they listen on."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamfx.config.section import RELOADABLE, Seconds, Section, Word


class Scaling(Section):
    """How many Ray workers there are, by lag and by what a worker sustains."""

    min_workers: Annotated[int, Field(ge=1, le=1000), RELOADABLE] = 1
    """Fewest workers, even when no chunks arrive."""
    max_workers: Annotated[int, Field(ge=1, le=1000), RELOADABLE] = 4
    """Most workers; never more than the topic has partitions."""
    target_lag_s: Annotated[float, Field(ge=1, le=86400), RELOADABLE] = 30.0
    """Greatest age of the oldest unprocessed chunk, seconds. Beyond half of it, workers are added to catch up."""
    grow_every_s: Annotated[float, Field(ge=1, le=3600), RELOADABLE] = 30.0
    """Seconds between two additions of workers: as long as a new worker takes to show in the lag."""
    shrink_after_s: Annotated[float, Field(ge=10, le=86400), RELOADABLE] = 300.0
    """Seconds for which fewer workers must have been enough before some are drained."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError(f"min_workers {self.min_workers} is more than max_workers {self.max_workers}")
        return self


class Runtime(Section):
    """Workers and their supervisor."""

    engine: Literal["local", "ray"] = "local"
    """`local`: one worker in this process. `ray`: `workers` Ray actors under a supervisor."""
    workers: Annotated[int, Field(ge=1, le=1000)] = 1
    """Ray workers; more than the topic's partitions are idle. Without `scaling` their number is fixed."""
    scaling: Scaling | None = None
    """With it, the number of Ray workers follows the load and `workers` is not used; default: fixed."""
    ray_address: Word | None = None
    """Address of a Ray cluster; default: a local Ray, started and ended with the run."""
    ray_timeout_s: Seconds = 60.0
    """Seconds to wait for Ray."""
    worker_cpus: Annotated[float, Field(ge=0)] = 1.0
    """CPUs Ray reserves for a worker."""
    worker_gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs, or a part of one, Ray reserves for a worker."""
    max_restarts: Annotated[int, Field(ge=0)] = 100
    """Deaths of workers, counted over all of them within one hour, after which the run gives up."""
    drain_s: Seconds = 30.0
    """Seconds a worker has to finish, commit and leave its group after SIGTERM."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """First port for Prometheus metrics; each of a machine's workers takes the next free one; 0: none."""
    health_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port of `/healthz` (fails on a stuck poll loop) and `/readyz` (fails until a model answers); 0: none."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], RELOADABLE] = "info"
    """Verbosity."""
    log_format: Literal["text", "json"] = "text"
    """Log lines for people or for machines."""

    @model_validator(mode="after")
    def _scaling_needs_ray(self) -> Self:
        if self.scaling and self.engine != "ray":
            raise ValueError("scaling needs engine: ray")
        if self.workers > 1 and self.engine != "ray":
            raise ValueError(
                f"workers {self.workers} needs engine: ray, since engine: local is one worker in this process; "
                "set runtime."
                "engine to ray, or runtime.workers to 1"
            )
        if self.ray_address and self.engine != "ray":
            raise ValueError("ray_address needs engine: ray; set runtime.engine to ray, or leave ray_address out")
        return self

    @model_validator(mode="after")
    def _ports_are_free_of_each_other(self) -> Self:
        last = self.metrics_port + self.most_workers
        if self.metrics_port and last > 65535:
            raise ValueError(
                f"metrics_port {self.metrics_port} and {self.most_workers} workers after it pass port 65535"
            )
        if self.metrics_port and self.metrics_port <= self.health_port <= last:
            raise ValueError(
                f"health_port {self.health_port} lies in the ports of metrics, {self.metrics_port} to {last}: "
                "one for the "
                "supervisor and one for each worker; give it another"
            )
        return self

    @property
    def most_workers(self) -> int:
        """The most workers this run can have."""
        return self.scaling.max_workers if self.scaling else self.workers
