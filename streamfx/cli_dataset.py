"""`streamfx files | compact | erase | retain`: what is live in a dataset, fewer files for it, and rows out of it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamfx.errors import ConfigError
from streamfx.shipped import named_config

if TYPE_CHECKING:
    from streamfx.config import Config
    from streamfx.sink.fs import FileSystem
    from streamfx.sink.maintain import Done

_SECONDS = {"h": 3600, "d": 86_400}
_AGE = re.compile(r"(\d+)([hd])")
_DATASET = click.argument("dataset")
_CONFIG = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="Configuration whose sink.s3 says how to reach it."
)


class Age(click.ParamType[int]):
    """An age such as `90d` or `36h`."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        found = _AGE.fullmatch(str(value).strip())
        if not found:
            self.fail(f"{value!r} is not an age such as 90d or 36h", param, ctx)
        return int(found[1]) * _SECONDS[found[2]]


class Time(click.ParamType[int]):
    """A UTC time (ISO 8601)."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Microseconds since 1970."""
        try:
            time_ = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-22T10:00:00Z", param, ctx)
        return round((time_ if time_.tzinfo else time_.replace(tzinfo=UTC)).timestamp() * 1e6)


@click.command()
@_DATASET
@click.option("--table", type=click.Choice(["windows", "chunks"]), help="Only this table's files.")
@_CONFIG
def files(dataset: str, table: str | None, config_file: Path | None) -> None:
    """Print the files that hold each committed row of DATASET once, one a line, also while it is compacted."""
    from streamfx.config import location_of
    from streamfx.sink.live import shown_files

    place = location_of(dataset)
    for path in shown_files(_open(dataset, config_file), place, table):
        click.echo(f"{place.rstrip('/')}/{path}")


@click.command()
@_DATASET
@_CONFIG
def compact(dataset: str, config_file: Path | None) -> None:
    """Merge the small files of each partition, table and day of DATASET. Workers may run meanwhile."""
    from streamfx.config import location_of
    from streamfx.sink.maintain import compact as compact_dataset

    done = compact_dataset(_open(dataset, config_file), location_of(dataset))
    click.echo(f"merged {done.before} files into {done.after}")


@click.command()
@_DATASET
@click.option("--older-than", type=Age(), required=True, help="Event time is further back than this, e.g. 90d or 36h.")
@_CONFIG
def retain(dataset: str, older_than: int, config_file: Path | None) -> None:
    """Erase what is older than an age from DATASET, in all streams. Workers may run meanwhile."""
    from streamfx.config import location_of
    from streamfx.sink.erasure import Rule
    from streamfx.sink.maintain import forget

    rule = Rule(None, None, round((time.time() - older_than) * 1e6))
    _say(forget(_open(dataset, config_file), location_of(dataset), rule))


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a value of the configuration.")
@click.option("--stream", "streams", multiple=True, help="Raw id of a stream to erase; may be repeated. Default: all.")
@click.option("--from", "start_us", type=Time(), help="First event time (ISO 8601, UTC); default: the beginning.")
@click.option("--to", "end_us", type=Time(), help="Event time before which the range ends; default: now.")
def erase(
    config: Path, overrides: tuple[str, ...], streams: tuple[str, ...], start_us: int | None, end_us: int | None
) -> None:
    """Erase streams, a range of event time, or both, from the dataset of CONFIG, whose key gives their pseudonyms."""
    from streamfx.config import load_config
    from streamfx.sink.erasure import Rule
    from streamfx.sink.maintain import forget
    from streamfx.sink.place import open_place

    if not streams and start_us is None and end_us is None:
        raise click.UsageError("say what to erase: --stream, or --from and --to, or both")
    checked = load_config(named_config(config), overrides)
    fs, place = open_place(checked.sink.path, checked.sink.s3), checked.sink.location
    until_us = round(time.time() * 1e6) if end_us is None else end_us
    if start_us is not None and start_us >= until_us:
        raise ConfigError("--from and --to: expected a range of event time that is not empty")
    names = _pseudonyms(checked, fs, streams, start_us, until_us) if streams else None
    _say(forget(fs, place, Rule(names, start_us, until_us)))


def _pseudonyms(
    config: Config, fs: FileSystem, streams: tuple[str, ...], start_us: int | None, end_us: int
) -> frozenset[str]:
    """The streams' pseudonyms in every salt period of the range, from the dataset's first day on."""
    from streamfx.privacy import Privacy, load_key
    from streamfx.sink.live import shown_files
    from streamfx.source.streams import as_text

    privacy = Privacy(config.privacy, load_key(config, make=False), config.config_id)
    if start_us is None:
        days = [path.split("date=")[1][:10] for path in shown_files(fs, config.sink.location) if "/date=" in path]
        first = datetime.fromisoformat(min(days)) if days else datetime.fromtimestamp(end_us / 1e6, UTC)
        start_us = min(end_us, round(first.replace(tzinfo=UTC).timestamp() * 1e6))
    return frozenset(
        name for stream in streams for name in privacy.stream_pseudonyms(as_text(stream), start_us, end_us)
    )


def _open(dataset: str, config_file: Path | None) -> FileSystem:
    from streamfx.config import load_config
    from streamfx.sink.place import open_place

    return open_place(dataset, load_config(named_config(config_file)).sink.s3 if config_file else None)


def _say(done: Done) -> None:
    click.echo(f"took {done.rows} rows away; rewrote {done.before} files")
