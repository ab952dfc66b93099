"""`streamfx tune` and `streamfx plan`: faster settings for this machine, and what a fleet would need."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import click

from streamfx.cli import Duration, FiniteRange
from streamfx.shipped import named_config


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
    "--output", type=click.Path(path_type=Path), help="Where the better config goes; default: CONFIG.tuned.yaml."
)
@click.option(
    "--budget", type=Duration(), default="10m", show_default=True, help="About how long it may take, e.g. 5m."
)
@click.option("--json", "as_json", is_flag=True, help="Print all that was measured as JSON.")
def tune(config: Path, samples: tuple[Path, ...], output: Path | None, budget: float, as_json: bool) -> None:
    """Measure each stage of CONFIG's line on this machine, try other throughput settings, write the better config.

    Rows stay what they are: no knob that is part of config_id is touched. One worker's line runs in this machine's
    processes on the sample; nothing is read from Kafka, and nothing is left but the config. Behind Triton the server must
    be up.
    """
    from streamfx.tuning.tables import tune_json, tune_table
    from streamfx.tuning.tune import tune as tune_config

    # The temporary folder goes on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    file = named_config(config)
    beside = file.parent if file == config else Path()
    written = output or beside / f"{file.stem}.tuned.yaml"
    tuned = tune_config(file, samples, written, budget, lambda line: click.echo(line, err=True))
    click.echo(json.dumps(tune_json(tuned, str(written)), indent=1) if as_json else tune_table(tuned, str(written)))


@click.command()
@click.option("--streams", type=click.IntRange(1), required=True, help="Streams that run side by side.")
@click.option("--fps", type=FiniteRange(0, min_open=True), required=True, help="Frames a second of each stream.")
@click.option(
    "--hours", type=FiniteRange(0, min_open=True), required=True, help="Hours of them that Kafka and Parquet keep."
)
@click.option(
    "--costs",
    type=click.Path(path_type=Path),
    help="Stage costs that `streamfx tune --json` printed; default: those that ship, measured on a machine they name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def plan(streams: int, fps: float, hours: float, costs: Path | None, as_json: bool) -> None:
    """Say how many partitions, workers, cores and GPUs, and how much memory, network and storage so many streams need."""
    from streamfx.tuning.costs import read_costs
    from streamfx.tuning.plan import plan as plan_fleet
    from streamfx.tuning.tables import plan_json, plan_table

    made = plan_fleet(read_costs(costs), streams, fps, hours)
    click.echo(plan_json(made) if as_json else plan_table(made))
