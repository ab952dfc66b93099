"""What a worker reports of itself, to the progress line, to probes, and to the supervisor that decides about its
number."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamfx.runtime.scaling import PartitionLoad


@dataclass(slots=True)
class Status:
    """What a worker reports of itself. `idle_s` is None until it has been given partitions and has opened them, while
    it works, and where silence may be the broker's. `silent_s`: seconds since the broker was heard of. `uncommitted`:
    records that no entry covers yet. `ready`: its models have answered. `poll_age_s`: seconds since its poll loop came
    round; None where it does not run. `lag_s`: age of the oldest chunk at hand that is not processed. `loads` by
    partition, `sustains` (seconds of media a second of work), and `waits` (part of the work that is waiting for a model
    server, 0 where the nets are in the worker), are what `runtime.scaling` decides by. Of a files run that is over:
    `inputs`, how many files and folders of chunks this worker had, and how many of them were `finished_before`.
    `left_out`: a sentence for each input, or part of one, that could not be used."""

    index: int
    owned: list[str] = field(default_factory=list)
    idle_s: float | None = None
    silent_s: float = 0.0
    uncommitted: int = 0
    chunks: int = 0
    windows: int = 0
    lag_s: float = 0.0
    finished: bool = False
    ready: bool = False
    poll_age_s: float | None = None
    partitions_total: int = 0
    fates: dict[str, int] = field(default_factory=dict)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    loads: dict[str, PartitionLoad] = field(default_factory=dict)
    sustains: float | None = None
    waits: float = 0.0
    inputs: int = 0
    finished_before: int = 0
    left_out: list[str] = field(default_factory=list)
