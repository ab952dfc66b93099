"""`streamfx plan`: how many resources a fleet needs, a pure function of measured stage costs.

All streams are assumed to be like the sample of the costs, except where `Camera` says otherwise; they are sampled at
the sample's rate. Figures that must be whole are rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from streamfx.config.sink import Sink
from streamfx.errors import ConfigError
from streamfx.runtime.scaling import HEADROOM
from streamfx.tuning.costs import Costs, stale

PARTITIONS_PER_WORKER = 3
"""One partition more or less then changes little for a worker, and the fleet can triple without new partitions."""
KAFKA_REPLICAS = 3
"""Copies of each chunk that the brokers keep."""
OPEN_WINDOWS_S = 4.0
"""Seconds of windows that a stream holds in memory: open ones, and those of the current chunk."""
WINDOW_BYTES = 16 * 224 * 224 * 3 + 512 * 128 * 4
"""Bytes of a window's 16 crops of 224 x 224 and its filter bank, which is also the most that Triton is sent."""
BUSY = 1.0
"""Runnable processes per core above which a measurement shows the machine's load rather than the line."""
GIB = 1024**3


CHUNK_S = 2.0
"""Length of a chunk in seconds; a worker holds the sampled pictures of two, the current one and one held for masks."""
ROLL_CHUNKS = Sink.model_fields["roll_chunks"].default
"""Chunks after which a partition commits its rows, where nothing else asks for it earlier."""
TABLES = 2
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Camera:
    """Properties of each stream: `pixels` of a picture, `bits_per_s` of its chunks in Kafka, and the mean number of
    `faces` in a picture. None means the value of the sample of the costs."""

    pixels: float | None = None
    bits_per_s: float | None = None
    faces: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the plan; `value` is None where unknown. `inputs` has the values of the names in `formula`."""

    name: str
    value: float | None
    formula: str
    inputs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """The assumptions about each stream, the figures, and notes on how reliable they are."""

    stream: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> float | None:
        """The value of a figure."""
        return next(figure.value for figure in self.figures if figure.name == name)


def plan(costs: Costs, streams: int, fps: float, hours: float, camera: Camera | None = None) -> Plan:
    """What `streams` streams of `fps` frames a second each need to run, and to be kept, for `hours` hours.

    Raises ConfigError for numbers that are not positive or too large to count with, and for a `camera` with a property
    that these costs do not record for their sample.
    """
    camera = camera or Camera()
    if streams < 1 or not (0 < fps < math.inf and 0 < hours < math.inf):
        raise ConfigError(f"expected positive --streams, --fps and --hours, got {streams}, {fps:g} and {hours:g}")
    if any(
        value is not None and not 0 < value < math.inf for value in (camera.pixels, camera.bits_per_s, camera.faces)
    ):
        raise ConfigError("expected positive and finite --resolution, --bitrate and --faces")
    try:
        return _plan(costs, streams, fps, hours, camera)
    except (OverflowError, ValueError) as error:  # from rounding infinity or NaN
        raise ConfigError("--streams, --fps, --hours or the costs are too large to count with") from error


def costs_for(costs: Costs, fps: float, camera: Camera) -> Costs:
    """The costs of streams like `camera`, scaled from those of the sample.

    Decoding and masked pictures scale with pixels; crops, nets and rows with faces. Detection sees a picture of a fixed
    size. Bytes grow with pixels where no bit rate is given.
    """
    for name, wanted, known in (
        ("resolution", camera.pixels, costs.pixels),
        ("faces", camera.faces, costs.faces),
    ):
        if wanted is not None and known is None:
            raise ConfigError(
                f"--{name}: these costs do not say what their sample was like; measure with `streamfx tune --json`"
            )
    by_pixel = camera.pixels / costs.pixels if camera.pixels and costs.pixels else 1.0
    by_face = camera.faces / costs.faces if camera.faces and costs.faces else 1.0
    nets_s = costs.net_s_per_window * costs.windows_per_media_s if costs.net_device == "cpu" else 0.0
    more_s = (by_pixel - 1) * (costs.decode_s_per_frame * costs.video_fps + costs.redaction_s_per_media_s)
    more_s += (by_face - 1) * (costs.windows_s_per_media_s + costs.inference_s_per_media_s + nets_s)
    held = 2 * CHUNK_S * costs.sample_fps * 3 * ((camera.pixels or 0) - (costs.pixels or 0)) if camera.pixels else 0.0
    by_bytes = costs.media_bytes_per_frame * by_pixel
    return costs.model_copy(
        update={
            "pixels": camera.pixels or costs.pixels,
            "faces": camera.faces or costs.faces,
            "decode_s_per_frame": costs.decode_s_per_frame * by_pixel,
            "redaction_s_per_media_s": costs.redaction_s_per_media_s * by_pixel,
            "windows_s_per_media_s": costs.windows_s_per_media_s * by_face,
            "inference_s_per_media_s": costs.inference_s_per_media_s * by_face,
            "windows_per_media_s": costs.windows_per_media_s * by_face,
            "rows_bytes_per_media_s": costs.rows_bytes_per_media_s * by_face,
            "cpu_s_per_media_s": max(costs.cpu_s_per_media_s + more_s, 0.0),
            "worker_peak_bytes": max(math.ceil(costs.worker_peak_bytes + held), 0),
            "media_bytes_per_frame": camera.bits_per_s / 8 / fps if camera.bits_per_s else by_bytes,
        }
    )


def _plan(measured: Costs, streams: int, fps: float, hours: float, camera: Camera) -> Plan:
    costs = costs_for(measured, fps, camera)
    line = _line(costs, fps)
    pace = line.value or 0.0
    per_worker = math.floor(_whole(HEADROOM / pace)) if pace else streams
    workers = math.ceil(streams / max(1, per_worker))
    partitions = max(workers, min(streams, PARTITIONS_PER_WORKER * workers))
    shared = {"streams": float(streams), "headroom": HEADROOM}
    figures = (
        line,
        Figure(
            "streams_per_worker", per_worker, "floor(headroom / worker_s_per_media_s)", {"headroom": HEADROOM} | _of(line)
        ),
        Figure(
            "workers", workers, "ceil(streams / streams_per_worker)",
            {"streams": streams, "streams_per_worker": max(1, per_worker)},
        ),
        Figure(
            "partitions", partitions, "min(streams, partitions_per_worker * workers), at least workers",
            {"streams": streams, "partitions_per_worker": PARTITIONS_PER_WORKER, "workers": workers},
        ),
        _cores(costs, fps, shared),
        _gpus(costs, shared),
        _memory(costs, streams, workers),
        *_network(costs, fps, shared),
        *_storage(costs, fps, hours, shared),
        _files(shared),
    )  # fmt: skip
    return Plan(_stream(costs, fps, camera), figures, tuple(_notes(costs, fps, pace, per_worker)))


def _stream(costs: Costs, fps: float, camera: Camera) -> str:
    """The assumptions about each stream, and where they come from."""
    picture = f"{costs.pixels / 1e6:.3g} megapixels" if costs.pixels else "pictures of unknown size"
    faces = f"{costs.faces:.3g} faces in the picture" if costs.faces else "an unknown number of faces"
    rate = f"{costs.media_bytes_per_frame * fps * 8e-6:.3g} Mbit/s"
    said = f"Each stream: {picture}, {fps:g} frames a second, {rate}, {faces}."
    given = {"--resolution": camera.pixels, "--bitrate": camera.bits_per_s, "--faces": camera.faces}
    guessed = [option for option, value in given.items() if value is None]
    if not guessed:
        return said
    by_pixel = " (bits grow with the pixels)" if camera.pixels and not camera.bits_per_s else ""
    return (
        f"{said}\nTaken from the sample of the costs: the values of {', '.join(guessed)}{by_pixel}. Give your own from "
        "the camera's data sheet, or let --sample FILE measure pictures and bits."
    )


def _line(costs: Costs, fps: float) -> Figure:
    """Seconds that a worker needs per second of one stream: those of its line, or of its nets where they are slower."""
    stages = [f"{stage}_s_per_media_s" for stage in ("faces", "windows", "inference", "redaction", "write")]
    inputs = {"decode_s_per_frame": costs.decode_s_per_frame, "fps": fps}
    inputs |= {stage: getattr(costs, stage) for stage in stages}
    line_s = costs.decode_s_per_frame * fps + sum(inputs[stage] for stage in stages)
    line = Figure("worker_s_per_media_s", line_s, " + ".join(["decode_s_per_frame * fps", *stages]), inputs)
    if costs.net_device == "triton":
        return line
    if costs.net_device == "cpu" and costs.load_per_core > BUSY:
        # A stage's time was then mostly waiting for a core. The CPU seconds of all threads are at least the line's own.
        cpu = _cpu(costs, fps)
        return line if line_s <= (cpu.value or 0.0) else Figure(line.name, cpu.value, cpu.formula, cpu.inputs)
    nets_s = costs.net_s_per_window * costs.windows_per_media_s
    if nets_s <= line_s:
        return line
    return Figure(
        line.name, nets_s, "net_s_per_window * windows_per_media_s (more than the line itself)",
        {"net_s_per_window": costs.net_s_per_window, "windows_per_media_s": costs.windows_per_media_s},
    )  # fmt: skip


def _cpu(costs: Costs, fps: float) -> Figure:
    """CPU seconds of a worker per second of one stream."""
    more_s = costs.decode_s_per_frame * (fps - costs.video_fps)
    return Figure(
        "cpu", max(costs.cpu_s_per_media_s + more_s, costs.decode_s_per_frame * fps),
        "cpu_s_per_media_s + decode_s_per_frame * (fps - video_fps)",
        {
            "cpu_s_per_media_s": costs.cpu_s_per_media_s, "decode_s_per_frame": costs.decode_s_per_frame,
            "fps": fps, "video_fps": costs.video_fps,
        },
    )  # fmt: skip


def _cores(costs: Costs, fps: float, shared: Mapping[str, float]) -> Figure:
    cpu = _cpu(costs, fps)
    cores = math.ceil(_whole(shared["streams"] * (cpu.value or 0.0) / HEADROOM))
    return Figure("cpu_cores", cores, f"ceil(streams * ({cpu.formula}) / headroom)", {**shared, **cpu.inputs})


def _gpus(costs: Costs, shared: Mapping[str, float]) -> Figure:
    if costs.net_device != "cuda":
        return Figure("gpus", None, f"no GPU costs were measured (the nets ran on {costs.net_device})", {})
    need = shared["streams"] * costs.windows_per_media_s * costs.net_s_per_window
    return Figure(
        "gpus", math.ceil(_whole(need / HEADROOM)),
        "ceil(streams * windows_per_media_s * net_s_per_window / headroom)",
        {**shared, "windows_per_media_s": costs.windows_per_media_s, "net_s_per_window": costs.net_s_per_window},
    )  # fmt: skip


def _memory(costs: Costs, streams: int, workers: int) -> Figure:
    held = streams * costs.windows_per_media_s * OPEN_WINDOWS_S * WINDOW_BYTES
    return Figure(
        "worker_memory_gib", _up((workers * costs.worker_peak_bytes + held) / HEADROOM / GIB),
        "(workers * worker_peak_bytes + streams * windows_per_media_s * open_windows_s * window_bytes) / headroom",
        {
            "workers": workers, "worker_peak_bytes": costs.worker_peak_bytes, "streams": streams,
            "windows_per_media_s": costs.windows_per_media_s, "open_windows_s": OPEN_WINDOWS_S,
            "window_bytes": WINDOW_BYTES, "headroom": HEADROOM,
        },
    )  # fmt: skip


def _network(costs: Costs, fps: float, shared: Mapping[str, float]) -> tuple[Figure, ...]:
    asked = costs.windows_per_media_s * WINDOW_BYTES if costs.net_device == "triton" else 0.0
    out = shared["streams"] * (costs.rows_bytes_per_media_s + asked)
    to_triton = " + windows_per_media_s * window_bytes" if asked else ""
    triton = {"windows_per_media_s": costs.windows_per_media_s, "window_bytes": float(WINDOW_BYTES)} if asked else {}
    media = shared["streams"] * fps * costs.media_bytes_per_frame * 8e-6 / HEADROOM
    of_media = {**shared, "fps": fps, "media_bytes_per_frame": costs.media_bytes_per_frame}
    return (
        Figure("network_in_mbit_per_s", _up(media), "streams * fps * media_bytes_per_frame * 8 / headroom", of_media),
        Figure(
            "brokers_in_mbit_per_s", _up(media * KAFKA_REPLICAS),
            "streams * fps * media_bytes_per_frame * 8 * kafka_replicas / headroom",
            {**of_media, "kafka_replicas": KAFKA_REPLICAS},
        ),
        Figure(
            "network_out_mbit_per_s", _up(out * 8e-6 / HEADROOM),
            f"streams * (rows_bytes_per_media_s{to_triton}) * 8 / headroom",
            {**shared, "rows_bytes_per_media_s": costs.rows_bytes_per_media_s, **triton},
        ),
    )  # fmt: skip


def _storage(costs: Costs, fps: float, hours: float, shared: Mapping[str, float]) -> tuple[Figure, Figure]:
    kept = {**shared, "hours": hours}
    seconds = shared["streams"] * hours * 3600
    chunks = seconds * fps * costs.media_bytes_per_frame
    return (
        Figure(
            "kafka_storage_gib", _up(chunks * KAFKA_REPLICAS / HEADROOM / GIB),
            "streams * hours * 3600 * fps * media_bytes_per_frame * kafka_replicas / headroom",
            {
                **kept, "fps": fps, "media_bytes_per_frame": costs.media_bytes_per_frame,
                "kafka_replicas": KAFKA_REPLICAS,
            },
        ),
        Figure(
            "parquet_storage_gib", _up(seconds * costs.rows_bytes_per_media_s / HEADROOM / GIB),
            "streams * hours * 3600 * rows_bytes_per_media_s / headroom",
            {**kept, "rows_bytes_per_media_s": costs.rows_bytes_per_media_s},
        ),
    )  # fmt: skip


def _files(shared: Mapping[str, float]) -> Figure:
    """Files that commits add in a day, one of chunks and one of windows each, before `streamfx compact` joins them."""
    chunks = shared["streams"] * DAY_S / CHUNK_S
    return Figure(
        "files_per_day", math.ceil(_whole(TABLES * chunks / ROLL_CHUNKS)),
        "ceil(tables * streams * day_s / (chunk_s * roll_chunks))",
        {"tables": TABLES, "streams": shared["streams"], "day_s": DAY_S, "chunk_s": CHUNK_S, "roll_chunks": ROLL_CHUNKS},
    )  # fmt: skip


def _notes(costs: Costs, fps: float, pace: float, per_worker: int) -> list[str]:
    where = f"{costs.machine}, {costs.cores} cores" + (f", {costs.gpu}" if costs.gpu else "")
    notes = [
        f"Costs measured on {costs.measured_on} on {where}, with {costs.model or 'no net'} on {costs.net_device}, "
        f"{costs.sample_fps:g} sampled of {costs.video_fps:.0f} frames a second; measure yours with `streamfx "
        "tune --json`.",
        f"Headroom: everything is planned to be {HEADROOM:.0%} full. Without --bitrate, bytes grow with --fps and with "
        "pixels, an upper bound; a camera's bit rate leaves out the sound, which chunks carry as FLAC. Rows "
        "are counted "
        "as in the small files of a short run; `streamfx compact` makes them smaller.",
    ]
    if old := stale(costs):
        notes.append(old)
    if costs.load_per_core > BUSY:
        notes.append(
            f"The machine was busy during the measurement ({costs.load_per_core:g} runnable processes per core), so "
            "the seconds of stages are too long. With nets on the CPU, the worker's CPU seconds are used where less."
        )
    if not per_worker:
        notes.append(
            f"One stream needs {pace:.2f} s of a worker per second, more than the {HEADROOM:g} planned. A stream is "
            "processed by one worker, so more workers do not help: use a faster machine, or sample and detect less, "
            "which changes the rows."
        )
    if fps < costs.sample_fps:
        notes.append(
            f"{fps:g} frames a second are fewer than the {costs.sample_fps:g} that were sampled; the cost of faces is "
            "not reduced for that."
        )
    return notes


def _of(figure: Figure) -> dict[str, float]:
    return {figure.name: figure.value or 0.0}


def _whole(value: float) -> float:
    """The value without its last digits, so that a floating-point error does not change how it is rounded."""
    return round(value, 9)


def _up(value: float) -> float:
    """The value rounded up to two decimal places."""
    return math.ceil(_whole(value * 100)) / 100
