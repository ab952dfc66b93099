"""`streamfx episodes`: stretches of one expression or active action unit, as a table of the dataset, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamfx.cli.sections import section_of
from streamfx.cli.target import check_outside, config_of, is_dataset
from streamfx.cli.values import set_option
from streamfx.errors import ConfigError
from streamfx.terminal import ProgressBar

if TYPE_CHECKING:
    from streamfx.config.tree import Config
    from streamfx.episodes.statistics import Share, Statistics
    from streamfx.episodes.table import Order
    from streamfx.sink.parquet import StoredTable

_KINDS = (".parquet", ".csv")


@click.command()
@click.argument("target", metavar="CONFIG|DATASET")
@set_option(example="episodes.smoother=hmm")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the rows into this .parquet or .csv file in place of the dataset, which is then only read.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the statistics as JSON on one line in place of a table.")
def episodes(target: str, overrides: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Write, into the table `episodes`, when each track showed which expression and when each of its action units acted:
    start, end, apex, mean and peak, each moment once; then print seconds, shares of time, and what follows what.

    Give the configuration of a run, or a dataset (a folder or s3://bucket/prefix). Only days that changed since the last
    call are read. Workers may run meanwhile.
    """
    from streamfx.episodes.statistics import statistics
    from streamfx.episodes.table import made, stored, update
    from streamfx.train.results import json_text

    if out is not None and out.suffix not in _KINDS:
        raise click.UsageError(f"--out: expected a file that ends in {' or '.join(_KINDS)}, got {out.name}")
    bar = _Bar()
    order = _order(target, overrides, bar)
    if out is not None:
        check_outside("--out", out, order.place)
    try:
        if out is None:
            done = update(order)
            rows = stored(order)
            said = f"{order.place}: read {done.read} days of partitions, wrote {done.rows} rows of {done.changed}"
        else:
            table = made(order)
            rows = table.rows
            _write(out, table)
            said = f"{out}: wrote {len(rows)} rows"
    finally:
        bar.close()
    found = statistics(rows)
    click.echo(json_text(found.as_json()) if as_json else f"{said}\n{_table(found)}")


class _Bar:
    """Days that are done, on a terminal; nothing where there is nothing to do."""

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None

    def show(self, done: int, of: int) -> None:
        if self._bar is None and of:
            self._bar = ProgressBar(" days", of, title="episodes")
        if self._bar is not None:
            self._bar.show(done)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _order(target: str, overrides: tuple[str, ...], bar: _Bar) -> Order:
    from streamfx.config.episodes import Episodes
    from streamfx.config.sink import location_of
    from streamfx.episodes.table import Order
    from streamfx.pipeline import load_config
    from streamfx.sink.place import open_place

    if is_dataset(target):
        section = section_of(overrides, "episodes", Episodes)
        return Order(open_place(target), location_of(target), section, show=bar.show)
    config: Config = load_config(config_of(target), overrides)
    fs = open_place(config.sink.path, config.sink.s3)
    return Order(fs, config.sink.location, config.episodes, config.sink.compression, bar.show)


def _write(out: Path, table: StoredTable) -> None:
    """The file whole or not at all."""
    from streamfx.sink.parquet import encode
    from streamfx.whole_files import whole_file

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as hidden:
            if out.suffix == ".csv":
                table.rows.to_csv(hidden, index=False, date_format="%Y-%m-%dT%H:%M:%S.%fZ")
            else:
                hidden.write_bytes(encode(table))
    except OSError as error:
        raise ConfigError(f"--out: cannot write {out}: {error.strerror or error}") from error


def _table(found: Statistics) -> str:
    from streamfx.episodes.statistics import NOTE

    lines = [NOTE, "", f"faces seen: {found.seen_s:,.1f} s, of {found.tracks:,} tracks"]
    for name, values in found.measures.items():
        lines += ["", f"{name}: known for {values.known_s:,.1f} s, not known for {values.missing_s:,.1f} s"]
        for value, seconds in sorted(values.seconds.items(), key=lambda pair: -pair[1]):
            share = _shown(values.share[value])
            lines.append(f"  {value:<12}{seconds:>12,.1f} s{values.episodes[value]:>9,} episodes   {share}")
    if found.transitions:
        lines += ["", "what follows what, on one track without a gap:"]
    for before, row in found.transitions.items():
        for after, count in sorted(row.items(), key=lambda pair: -pair[1]):
            lines.append(f"  {before:<12}{after:<12}{count:>9,} times      {_shown(found.next_share[before][after])}")
    return "\n".join(lines)


def _shown(share: Share) -> str:
    if (found := share.estimate) is None:
        return share.why
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"
