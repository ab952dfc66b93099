"""`streamfx tune` and `streamfx plan`: faster settings for this machine, and what a fleet would need."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from streamfx.cli.values import Duration, FiniteRange
from streamfx.shipped import named_config
from streamfx.terminal import tidy_when_ended


class Resolution(click.ParamType[float]):
    """`WIDTHxHEIGHT`, as pixels of a picture."""

    name = "WIDTHxHEIGHT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Pixels."""
        found = re.fullmatch(r"\s*([1-9][0-9]{0,4})\s*[xX×]\s*([1-9][0-9]{0,4})\s*", str(value))
        if not found:
            self.fail(f"{value!r} is not WIDTHxHEIGHT in pixels, such as 1920x1080", param, ctx)
        return float(int(found[1]) * int(found[2]))


class Bitrate(click.ParamType[float]):
    """`4M`, `4Mbit/s` or `800k`, as bits a second."""

    name = "bit rate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Bits a second."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKM])(?:b(?:it|ps)?(?:/s)?)?\s*", str(value))
        if not found or not float(found[1]):
            self.fail(f"{value!r} is not a bit rate such as 4M or 800k, in bits a second", param, ctx)
        return float(found[1]) * (1e6 if found[2] == "M" else 1e3)


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--sample",
    "samples",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="Video file, or folder of videos or chunks, like those that will come.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="File for the better configuration; default: CONFIG.tuned.yaml."
)
@click.option(
    "--budget", type=Duration(), default="10m", show_default=True, help="About how long it may take, e.g. 5m."
)
@click.option("--json", "as_json", is_flag=True, help="Print all that was measured as JSON.")
def tune(config: Path, samples: tuple[Path, ...], output: Path | None, budget: float, as_json: bool) -> None:
    """Measure each stage of CONFIG's line on this machine, try other throughput settings, write the better config.

    The rows do not change: no setting that is part of config_id is touched. One worker's line runs on the sample in
    processes of this machine. Nothing is read from Kafka, and nothing is left behind but the configuration. With
    `serving.backend: triton` the server must be running.
    """
    from streamfx.tuning.tables import tune_json, tune_table
    from streamfx.tuning.tune import tune as tune_config

    tidy_when_ended()
    file = named_config(config)
    beside = file.parent if file == config else Path()
    written = output or beside / f"{file.stem}.tuned.yaml"
    tuned = tune_config(file, samples, written, budget, lambda line: click.echo(line, err=True))
    click.echo(json.dumps(tune_json(tuned, str(written)), indent=1) if as_json else tune_table(tuned, str(written)))


@click.command()
@click.option("--streams", type=click.IntRange(1), required=True, help="Streams that run side by side.")
@click.option("--fps", type=FiniteRange(0, min_open=True), required=True, help="Frames a second of each stream.")
@click.option(
    "--hours", type=FiniteRange(0, min_open=True), required=True, help="Hours for which Kafka and Parquet keep them."
)
@click.option(
    "--resolution", type=Resolution(), help="Pictures of each stream, e.g. 1920x1080; default: the costs' sample's."
)
@click.option(
    "--bitrate",
    type=Bitrate(),
    help="Of each stream's chunks in Kafka, e.g. 4M: the camera's, and the sound as FLAC; default: by pixels and frames.",
)
@click.option(
    "--faces", type=FiniteRange(0, min_open=True), help="Faces in the picture, as a mean; default: the sample's."
)
@click.option(
    "--sample",
    "samples",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Video, or folder of videos or chunks, whose resolution and bit rate are measured and taken.",
)
@click.option(
    "--costs",
    type=click.Path(path_type=Path),
    help="Stage costs that `streamfx tune --json` printed; default: those that ship, measured on a machine they name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def plan(
    streams: int,
    fps: float,
    hours: float,
    resolution: float | None,
    bitrate: float | None,
    faces: float | None,
    samples: tuple[Path, ...],
    costs: Path | None,
    as_json: bool,
) -> None:
    """Say how many partitions, workers, cores and GPUs, and how much memory, network and storage so many streams
    need."""
    from streamfx.tuning.costs import read_costs
    from streamfx.tuning.plan import Camera
    from streamfx.tuning.plan import plan as plan_fleet
    from streamfx.tuning.sample import Pictures, look_at
    from streamfx.tuning.tables import plan_json, plan_table

    seen = look_at(samples) if samples else Pictures()
    # An option that was given outweighs what the sample shows.
    camera = Camera(resolution or seen.pixels, bitrate or seen.bits_per_s, faces)
    made = plan_fleet(read_costs(costs), streams, fps, hours, camera)
    click.echo(plan_json(made) if as_json else plan_table(made))
