"""Costs of the line's stages on one machine, measured by `streamfx tune` and read by `streamfx plan`."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from streamfx.config.messages import sentences
from streamfx.config.section import Section
from streamfx.config.tree import Config
from streamfx.errors import ConfigError
from streamfx.tuning.measurement import STAGES, Measurement

SHIPPED = Path(__file__).with_name("measured_costs.json")
"""Costs measured on one machine, which the file names."""

Cost = Annotated[float, Field(ge=0)]


class Costs(Section):
    """Measured costs. A "second of media" is one second of one stream like the sample, sampled at the same rate."""

    measured_on: str
    """UTC day of the measurement."""
    machine: str
    """Processor of the machine."""
    cores: Annotated[int, Field(ge=1)]
    """Its CPU cores."""
    load_per_core: Cost
    """Runnable processes per core during the measurement; well over 1 means that the measured times are too long."""
    model: str
    """The nets that scored, with their versions."""
    net_device: Literal["cpu", "cuda", "triton"]
    """Device of the nets; the hardware of a Triton server is unknown."""
    gpu: str | None
    """The GPU, if the nets ran on one."""
    sample_fps: Annotated[float, Field(gt=0)]
    """Sampled frames a second, those that were analysed."""
    video_fps: Annotated[float, Field(gt=0)]
    """Frames a second of the sample's video."""
    pixels: Annotated[float, Field(gt=0)] | None = None
    """Pixels of a picture of the sample; None in older files, whose costs do not convert to other picture sizes."""
    faces: Annotated[float, Field(gt=0)] | None = None
    """Mean number of faces in the sample's pictures; None in older files, or where the sample showed no face."""
    decode_s_per_frame: Cost
    """Seconds of a worker's line per frame of video for unpacking, decoding and the sound."""
    faces_s_per_media_s: Cost
    """Seconds of a worker's line per second of media for detection and tracks."""
    windows_s_per_media_s: Cost
    """Seconds of a worker's line per second of media for crops and the filter bank."""
    inference_s_per_media_s: Cost
    """Seconds of a worker's line per second of media for preparing inputs and waiting for answers."""
    redaction_s_per_media_s: Cost
    """Seconds of a worker's line per second of media for masks and preview pictures."""
    write_s_per_media_s: Cost
    """Seconds of a worker's line per second of media for staging, syncing and committing rows."""
    net_s_per_window: Cost
    """Seconds of the nets' device per window in full batches."""
    cpu_s_per_media_s: Cost
    """CPU seconds of the whole worker process per second of media."""
    windows_per_media_s: Cost
    """Windows per second of media: faces in the picture divided by the hop."""
    media_bytes_per_frame: Cost
    """Bytes of chunks per frame of video, sound included."""
    rows_bytes_per_media_s: Cost
    """Bytes of Parquet per second of media, in the small files of a short run."""
    worker_peak_bytes: Annotated[int, Field(ge=0)]
    """Peak memory of the worker's process, bytes."""


def costs_of(config: Config, runs: Sequence[Measurement]) -> Costs:
    """The costs from `runs` of one configuration, one of which timed the nets alone.

    Each stage's cost is that of the run in which it was cheapest, since other load on the machine can only add to it.
    """
    best = max(runs, key=lambda run: run.speed)

    def cheapest(name: str) -> float:
        return min(sum(run.stage_s.get(stage, 0.0) for stage in STAGES[name]) / run.media_s for run in runs)

    video_fps = best.frames / best.media_s
    values = {f"{name}_s_per_media_s": cheapest(name) for name in STAGES if name != "decode"}
    return Costs.model_validate(
        values
        | {
            "measured_on": datetime.now(UTC).date().isoformat(),
            "machine": _processor(),
            "cores": cores(),
            "load_per_core": round(os.getloadavg()[0] / cores(), 2),
            "model": best.model,
            "net_device": best.net_device,
            "gpu": best.gpu,
            "sample_fps": config.media.sample_fps,
            "video_fps": video_fps,
            "pixels": best.pixels or None,
            "faces": best.windows * _hop_s(config) / best.media_s or None,
            "decode_s_per_frame": cheapest("decode") / video_fps,
            "net_s_per_window": min(run.net_s_per_window for run in runs if run.net_s_per_window is not None),
            "cpu_s_per_media_s": min(run.cpu_s / run.media_s for run in runs),
            "windows_per_media_s": best.windows / best.media_s,
            "media_bytes_per_frame": best.media_bytes / best.frames,
            "rows_bytes_per_media_s": best.dataset_bytes / best.media_s,
            "worker_peak_bytes": max(run.peak_bytes for run in runs),
        }
    )


def read_costs(file: Path | None = None) -> Costs:
    """Read costs from the output of `streamfx tune --json` or its part `costs`; without a file, the shipped costs.

    Raises ConfigError with one sentence for each wrong value.
    """
    file = file or SHIPPED
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: expected the JSON that `streamfx tune --json` prints: {error}") from error
    try:
        return Costs.model_validate(tree.get("costs", tree) if isinstance(tree, dict) else tree)
    except ValidationError as error:
        problems = sentences(error, Costs)
        raise ConfigError(
            f"{file} holds no stage costs:\n" + "\n".join(f"  {p}" for p in problems), problems
        ) from error


def stale(costs: Costs) -> str | None:
    """A warning if the costs were measured with other weights of a shipped model than today's, else None."""
    from streamfx.models.find import list_models

    for card in list_models():
        measured = re.search(rf"(?:^|, ){re.escape(card.name)} ([^,]+)", costs.model)
        # The version in the form that rows carry, which is what a trial reports.
        now = card.info.version
        if measured and measured[1] != now:
            return (
                f"The costs were measured with the weights {measured[1]} of {card.name}, but {now} ships now, so the "
                "model may cost more or less. Measure again with `streamfx tune --json`."
            )
    return None


def _hop_s(config: Config) -> float:
    """Seconds from window to window; 1 for a windows operator that has no such setting."""
    return next((section.hop_s for section in config.operators.values() if hasattr(section, "hop_s")), 1.0)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _processor() -> str:
    """The processor's name from Linux, without anything about the machine's owner or place."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
