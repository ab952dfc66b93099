"""`streamfx report`: one HTML page that shows a dataset."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from streamfx.cli.target import CONFIG, check_outside, open_target


@click.command()
@click.argument("target", metavar="DATASET|CONFIG")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="HTML file to write, e.g. report.html.",
)
@click.option(
    "--films",
    type=click.Path(path_type=Path, file_okay=False),
    help="New folder for copies of the dataset's redacted films, which the page then plays beside the rows.",
)
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print what the page was made of as JSON.")
def report(target: str, out: Path, films: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Write one HTML page that shows a dataset: expressions and action units over time by stream and track, coverage and
    gaps, quality, versions and drift between them, delays, and what none of it can tell.

    Give a dataset (a folder or s3://bucket/prefix), or the configuration of the run that writes it. The page opens from disk
    and fetches nothing. It shows single streams and faces under pseudonyms: it is for those who may read the dataset.
    Workers may run meanwhile. `erase` and `retain` reach neither the page nor the films beside it.
    """
    from streamfx.report.page import write_report

    fs, place = open_target(target, config_file)
    check_outside("--out", out, place)
    if films is not None:
        check_outside("--films", films, place)
    written = write_report(fs, place, out, films=films)
    if as_json:
        click.echo(json.dumps({"out": str(out), **asdict(written)}))
    else:
        click.echo(
            f"{out}: {written.windows:,} windows and {written.chunks:,} chunks of {place}; {written.bytes / 1e6:.2f} MB"
        )
        if films is not None:
            left = f", {written.films_left_out:,} left out" if written.films_left_out else ""
            click.echo(f"{films}: {written.films:,} redacted films{left}; keep the folder where it is beside the page")
