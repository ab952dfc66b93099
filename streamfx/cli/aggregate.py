"""`streamfx aggregate`: publishes numbers of many tracks together as a table of its own."""

from __future__ import annotations

import math
import time
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from streamfx.cli.sections import section_of
from streamfx.cli.target import config_of, is_dataset
from streamfx.cli.values import Duration, Time, set_option

if TYPE_CHECKING:
    from streamfx.aggregate.release import Done, Order
    from streamfx.config.tree import Config


@click.command()
@click.argument("target", metavar="CONFIG|DATASET")
@set_option(example="aggregate.k=20")
@click.option("--every", type=Duration(), help="Length of a time bin, e.g. 15m or 1h; in place of aggregate.every_s.")
@click.option(
    "--from", "start_us", type=Time(), help="First event time (ISO 8601, UTC); default: the dataset's first day."
)
@click.option("--to", "end_us", type=Time(), help="Event time before which the range ends; default: what is closed.")
def aggregate(
    target: str, overrides: tuple[str, ...], every: float | None, start_us: int | None, end_us: int | None
) -> None:
    """Publish, in the table `aggregates`, how many faces showed which expression or action unit, in each bin of time and
    group of streams: only where at least k distinct tracks did, with noise if the configuration says so.

    Give the configuration of a run, or a dataset (a folder or s3://bucket/prefix) for exact numbers. Each stretch of event
    time is published once; what was published before is left as it is.
    """
    from streamfx.aggregate.release import release

    if every is not None:
        overrides = (*overrides, f"aggregate.every_s={int(every) if every == int(every) else every}")
    order = (
        _of_dataset(target, overrides, start_us, end_us)
        if is_dataset(target)
        else _of_config(target, overrides, start_us, end_us)
    )
    click.echo(f"{order.place}: {_said(order, release(order))}")


def _of_config(target: str, overrides: tuple[str, ...], start_us: int | None, end_us: int | None) -> Order:
    from streamfx.aggregate.groups import read_groups
    from streamfx.aggregate.release import Order
    from streamfx.pipeline import load_config
    from streamfx.privacy.key import load_key
    from streamfx.privacy.pseudonyms import Pseudonyms
    from streamfx.sink.place import open_place

    config: Config = load_config(config_of(target), overrides)
    section = config.aggregate
    # Without groups nothing is asked of the key.
    pseudonyms = (
        Pseudonyms(config.privacy.salt_period_s, load_key(config, make=False))
        if section.groups_file is not None
        else None
    )
    exemption = config.privacy.exemption
    return Order(
        open_place(config.sink.path, config.sink.s3),
        config.sink.location,
        section,
        read_groups(section.groups_file, pseudonyms),
        start_us,
        end_us,
        round(time.time() * 1e6),
        config.privacy.salt_period_s,
        {
            "purpose": config.privacy.purpose,
            "deployment_context": config.privacy.deployment_context,
            "exemption": f"{exemption.kind}: {exemption.reference}" if exemption else "",
        },
        config.sink.compression,
    )


def _of_dataset(target: str, overrides: tuple[str, ...], start_us: int | None, end_us: int | None) -> Order:
    from streamfx.aggregate.groups import read_groups
    from streamfx.aggregate.release import Order
    from streamfx.config.aggregate import Aggregate
    from streamfx.config.sink import location_of
    from streamfx.sink.place import open_place

    section = section_of(overrides, "aggregate", Aggregate)
    fs, place = open_place(target), location_of(target)
    now_us = round(time.time() * 1e6)
    return Order(fs, place, section, read_groups(section.groups_file, None), start_us, end_us, now_us)


def _said(order: Order, done: Done) -> str:
    if not done.bins:
        return "nothing to publish: all closed bins of this range were published before"
    text = f"published {done.rows} rows of {done.bins} bins, and hid {done.hidden} cells"
    if done.hidden:
        text += f" to hold back numbers of fewer than {order.section.k} tracks (aggregate.k)"
    if done.spent is None or done.budget is None:
        return text
    noise = order.section.noise
    if noise is None or noise.gaussian is None:
        return f"{text}; epsilon {done.spent} of {done.budget} is spent in the salt period of the most"
    delta = noise.gaussian.delta
    return (
        f"{text}; rho {done.spent} of {done.budget} is spent in the salt period of the most: "
        f"({_epsilon(done.spent, delta):.3g}, {delta:g})-differential privacy"
    )


def _epsilon(rho: Decimal, delta: float) -> float:
    """Epsilon of rho-zCDP at this delta (Bun and Steinke, Concentrated Differential Privacy, 2016)."""
    return float(rho) + 2 * math.sqrt(float(rho) * -math.log(delta))
