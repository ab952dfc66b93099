"""`streamfx files | compact | erase | retain`: list a dataset's current files, merge small ones, and erase rows."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamfx.cli.target import CONFIG, config_of, is_dataset, open_target
from streamfx.cli.values import Time, set_option
from streamfx.errors import ConfigError
from streamfx.shipped import named_config

if TYPE_CHECKING:
    from streamfx.config.tree import Config
    from streamfx.sink.erasure import Rule
    from streamfx.sink.fs import FileSystem
    from streamfx.sink.preview import Preview

_SECONDS = {"h": 3600, "d": 86_400}
_AGE = re.compile(r"(\d{1,6})([hd])", re.ASCII)
_UNCHANGED = "nothing was changed (--dry-run)"
_DAY_US = 86_400_000_000
_DATASET = click.argument("dataset", metavar="DATASET|CONFIG")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
_YES = click.option("--yes", is_flag=True, help="Confirm an erasure that leaves nothing in the dataset.")


class Age(click.ParamType[int]):
    """An age such as `90d` or `36h`."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        found = _AGE.fullmatch(str(value).strip())
        if not found:
            self.fail(f"{value!r} is not an age such as 90d (days) or 36h (hours)", param, ctx)
        return int(found[1]) * _SECONDS[found[2]]


@click.command()
@_DATASET
@click.option(
    "--table",
    type=click.Choice(["windows", "chunks", "films", "media", "aggregates", "episodes"]),
    help="Only this table's files.",
)
@CONFIG
def files(dataset: str, table: str | None, config_file: Path | None) -> None:
    """Print the files that hold each committed row of DATASET once, one a line, also while it is compacted."""
    from streamfx.sink.current_files import shown_files

    fs, place = open_target(dataset, config_file)
    for path in shown_files(fs, place, table):
        click.echo(f"{place.rstrip('/')}/{path}")


@click.command()
@_DATASET
@_DRY_RUN
@CONFIG
def compact(dataset: str, dry_run: bool, config_file: Path | None) -> None:
    """Merge the small files of each partition, table and day of DATASET. Workers may run meanwhile."""
    from streamfx.sink.maintain import compact as compact_dataset
    from streamfx.sink.maintain import count_mergeable

    fs, place = open_target(dataset, config_file)
    if dry_run:
        would = count_mergeable(fs, place)
        click.echo(f"{place}: would merge {would.before} files into {would.after}; {_UNCHANGED}")
        return
    done = compact_dataset(fs, place)
    click.echo(f"merged {done.before} files into {done.after}")


@click.command()
@_DATASET
@click.option(
    "--older-than",
    type=Age(),
    help="Event time is further back than this, e.g. 90d or 36h. Default: privacy.retention_days of CONFIG or --config.",
)
@_DRY_RUN
@_YES
@CONFIG
def retain(dataset: str, older_than: int | None, dry_run: bool, yes: bool, config_file: Path | None) -> None:
    """Erase what is older than an age from DATASET, in all streams. Workers may run meanwhile."""
    from streamfx.sink.erasure import Rule
    from streamfx.sink.preview import preview

    named = config_file or (None if is_dataset(dataset) else config_of(dataset))
    age_s = _kept_s(named) if older_than is None else older_than
    rule = Rule(None, None, round((time.time() - age_s) * 1e6))
    fs, place = open_target(dataset, config_file)
    _forget(fs, place, rule, preview(fs, place, rule), dry_run, yes)


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@set_option()
@click.option("--stream", "streams", multiple=True, help="Raw id of a stream to erase; may be repeated. Default: all.")
@click.option("--from", "start_us", type=Time(), help="First event time (ISO 8601, UTC); default: the beginning.")
@click.option("--to", "end_us", type=Time(), help="Event time before which the range ends; default: now.")
@click.option(
    "--withdrawn",
    is_flag=True,
    help="Erase all that the consent table (privacy.consent_file or consent_topic) calls refused.",
)
@click.option(
    "--future", is_flag=True, help="Also for a stream that no row names yet, or a range that ends in the future."
)
@_DRY_RUN
@_YES
def erase(
    config: Path,
    overrides: tuple[str, ...],
    streams: tuple[str, ...],
    start_us: int | None,
    end_us: int | None,
    withdrawn: bool,
    future: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Erase streams, a range of event time, or both, from the dataset of CONFIG, whose key gives their pseudonyms.

    Rows that arrive later and fall under the same rule are left out as well. A stream that the dataset does not know,
    and a range that ends in the future, are refused, since both are usually mistakes; --future says that they are
    intended.
    """
    from streamfx.pipeline import load_config
    from streamfx.sink.erasure import Rule
    from streamfx.sink.place import open_place
    from streamfx.sink.preview import preview

    told = bool(streams) or start_us is not None or end_us is not None
    if told == withdrawn:
        raise click.UsageError("say what to erase: --stream, or --from and --to, or both; or --withdrawn alone")
    checked = load_config(named_config(config), overrides)
    if withdrawn:
        _erase_withdrawn(checked, dry_run, yes)
        return
    until_us = _checked_end(start_us, end_us, future)
    fs, place = open_place(checked.sink.path, checked.sink.s3), checked.sink.location
    names, known = _pseudonyms(checked, fs, streams, start_us, until_us)
    rule = Rule(frozenset().union(*names) if streams else None, start_us, until_us)
    found = preview(fs, place, rule, known)
    if found.unseen and not future:
        unseen = ", ".join(str(number + 1) for number in sorted(found.unseen))
        which = "this stream" if len(streams) == 1 else f"stream {unseen} of the {len(streams)} given"
        raise ConfigError(
            f"--stream: no row of {place} names {which}, so nothing was changed. Ids must be exact; the "
            "configuration must "
            "name this dataset, the key (privacy.stream_id_key_file) and the privacy.salt_period_s that it was "
            "written with. "
            "Where the stream's rows are yet to come, add --future"
        )
    _forget(fs, place, rule, found, dry_run, yes)


def _erase_withdrawn(config: Config, dry_run: bool, yes: bool) -> None:
    """Erase, stream by stream, what the consent table calls refused up to now."""
    from streamfx.sink.erasure import Rule
    from streamfx.sink.place import open_place
    from streamfx.sink.preview import preview
    from streamfx.source import open_consents

    consents = open_consents(config)
    if consents is None:
        raise ConfigError(
            "--withdrawn: expected a consent table in privacy.consent_file or privacy.consent_topic, got none"
        )
    fs, place = open_place(config.sink.path, config.sink.s3), config.sink.location
    refused = consents.withdrawn(round(time.time() * 1e6))
    consents.close()
    for number, (stream, start_us, until_us) in enumerate(refused, 1):
        click.echo(f"withdrawal {number} of {len(refused)}")
        names, _ = _pseudonyms(config, fs, (stream,), start_us, until_us)
        rule = Rule(frozenset(names[0]), start_us, until_us)
        _forget(fs, place, rule, preview(fs, place, rule), dry_run, yes)
    if not refused:
        click.echo(f"{consents.where} refuses nothing, so nothing was changed")


def _checked_end(start_us: int | None, end_us: int | None, future: bool) -> int:
    """Where the range ends, UTC microseconds. ConfigError for an empty range, or one in the future without --future."""
    now_us = round(time.time() * 1e6)
    until_us = now_us if end_us is None else end_us
    if start_us is not None and start_us >= until_us:
        why = "" if end_us is not None else "; where it is meant to lie in the future, give --to as well"
        raise ConfigError(
            f"--from and --to: expected a range of event time that is not empty, got {_utc(start_us)} to "
            f"{_utc(until_us)}{why}"
        )
    if until_us > now_us and not future:
        raise ConfigError(
            f"--to: {_utc(until_us)} lies in the future; what comes until then would be left out without a "
            "further word. "
            "Where that is meant, add --future"
        )
    return until_us


def _pseudonyms(
    config: Config, fs: FileSystem, streams: tuple[str, ...], start_us: int | None, until_us: int
) -> tuple[list[set[str]], list[set[str]]]:
    """Each stream's pseudonyms within the range, and within all that the dataset has rows of, the range included."""
    if not streams:
        return [], []
    from streamfx.privacy.key import load_key
    from streamfx.privacy.pseudonyms import Pseudonyms
    from streamfx.records import utc_us
    from streamfx.sink.current_files import shown_days
    from streamfx.source.streams import as_text

    ids = [as_text(stream) for stream in streams]
    pseudonyms = Pseudonyms(config.privacy.salt_period_s, load_key(config, make=False))
    days = shown_days(fs, config.sink.location)
    ends = [utc_us(day) for day in days] or [until_us]
    first_us, last_us = min(ends), max(ends) + _DAY_US
    # Before the dataset's first day there are no rows, so no pseudonyms are needed, whatever the range says.
    begin_us = min(until_us, first_us if start_us is None else max(start_us, first_us))
    names = [pseudonyms.stream_pseudonyms(stream, begin_us, until_us) for stream in ids]
    known = [
        pseudonyms.stream_pseudonyms(stream, min(begin_us, first_us), max(until_us, last_us)) | its
        for stream, its in zip(ids, names, strict=True)
    ]
    return names, known


def _kept_s(config_file: Path | None) -> float:
    """Seconds for which the configuration lets rows be kept. UsageError where none says it."""
    from streamfx.pipeline import load_config

    days = load_config(named_config(config_file)).privacy.retention_days if config_file else None
    if days is None:
        raise click.UsageError(
            "say how long rows are kept: --older-than, or a configuration that has privacy.retention_days"
        )
    return days * _SECONDS["d"]


def _forget(fs: FileSystem, place: str, rule: Rule, found: Preview, dry_run: bool, yes: bool) -> None:
    """Print what the rule covers, then apply it; not with --dry-run, and not without --yes where nothing would be
    left."""
    click.echo(f"{place}: {_summary(found)}")
    if dry_run:
        needs = "; to do it, add --yes: nothing else is left in the dataset" if found.everything else ""
        click.echo(f"{_UNCHANGED}{needs}")
        return
    if found.everything and not yes:
        raise ConfigError(
            f"{place}: nothing would be left in it, so nothing was changed; where that is meant, add --yes"
        )
    from streamfx.sink.maintain import forget

    done = forget(fs, place, rule)
    click.echo(f"took {done.rows} rows away; rewrote {done.before} files")


def _summary(found: Preview) -> str:
    if found.first_us is None or found.last_us is None:
        return "no row falls under this rule yet; rows that come later will be left out where they do"
    streams = f"{len(found.streams)} stream pseudonym" + ("" if len(found.streams) == 1 else "s")
    also = f"and {found.films} films " if found.films else ""
    also += f"and {found.aggregates} rows of aggregates " if found.aggregates else ""
    also += f"and {found.episodes} rows of episodes " if found.episodes else ""
    return (
        f"{found.windows} rows of windows {also}go and {found.chunks} rows of chunks keep only offset, append "
        f"time, fate and size, in {found.files} files; {streams}; event time from {_utc(found.first_us)} to "
        f"{_utc(found.last_us)}"
    )


def _utc(time_us: int) -> str:
    """A time as the options take it; a number of microseconds where the calendar ends."""
    try:
        return (datetime(1970, 1, 1) + timedelta(microseconds=time_us)).isoformat(timespec="seconds") + "Z"
    except OverflowError:
        return f"{time_us} us"
