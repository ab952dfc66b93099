"""The command line:
`streamfx run | publish | verify | files | compact | erase | retain | aggregate | episodes | audit | redact | …`.

Only click is imported here and in the commands' modules until a command does its work, so that `--help` answers at
once.
"""

from __future__ import annotations

import errno
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from streamfx import __version__
from streamfx.cli.left_out import EXIT_CODES, exit_if_left_out, say_finished_before, say_left_out
from streamfx.cli.values import Duration, set_option
from streamfx.errors import ConfigError, StreamfxError
from streamfx.processes import leave_no_core_dump, without_collections
from streamfx.shipped import named_config
from streamfx.terminal import INTERRUPTED, ProgressBar, Stop, live, once_interruptible, print_any_text, printable, say

if TYPE_CHECKING:
    from streamfx.config.source import KafkaSecurity
    from streamfx.runtime.worker import RunRange, Status

PLAIN_LINE_S = 10.0


class _Commands(click.Group):
    """Turns errors meant for a user into one message and exit code 1. A command's module is imported when the command
    is asked for, so that the model server's environment, which has no Kafka and no Ray, can run `streamfx triton`."""

    elsewhere: ClassVar[dict[str, str]] = {
        "ask": "streamfx.cli.ask",
        "audit": "streamfx.cli.audit",
        "config": "streamfx.cli.config",
        "publish": "streamfx.cli.publish",
        "files": "streamfx.cli.dataset",
        "compact": "streamfx.cli.dataset",
        "erase": "streamfx.cli.dataset",
        "retain": "streamfx.cli.dataset",
        "aggregate": "streamfx.cli.aggregate",
        "contract": "streamfx.cli.contract",
        "sql": "streamfx.cli.sql",
        "tables": "streamfx.cli.tables",
        "episodes": "streamfx.cli.episodes",
        "export": "streamfx.cli.export",
        "pseudonym": "streamfx.cli.pseudonym",
        "models": "streamfx.cli.models",
        "triton": "streamfx.cli.models",
        "redact": "streamfx.cli.redact",
        "report": "streamfx.cli.report",
        "synth": "streamfx.cli.synth",
        "train": "streamfx.cli.train",
        "tune": "streamfx.cli.tune",
        "plan": "streamfx.cli.tune",
        "evaluate": "streamfx.cli.evaluate",
        "generate": "streamfx.cli.generate",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self.elsewhere})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.elsewhere:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(self.elsewhere[cmd_name]), cmd_name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> object:
        print_any_text()
        try:
            with once_interruptible():
                return super().invoke(ctx)
        except StreamfxError as error:
            raise click.ClickException(printable(str(error))) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise click.ClickException(printable(f"{error}; make room, then give the command again")) from error
        except KeyboardInterrupt:
            say("\nInterrupted.")
            sys.exit(INTERRUPTED)


@click.group(cls=_Commands)
@click.version_option(__version__)
def main() -> None:
    """Video with sound in, Parquet tables of facial behaviour out, nobody identifiable in them."""
    leave_no_core_dump()


@main.command(epilog=EXIT_CODES)
@click.argument("config", type=click.Path(path_type=Path))
@set_option()
@click.option("--until-idle", type=Duration(), help="End once nothing has come for this long, e.g. 10s.")
@click.option(
    "--from", "start", help="First offset, or UTC time (ISO 8601), of a range to run into a dataset of its own."
)
@click.option("--to", "end", help="Offset, or UTC time, before which the range ends.")
@click.option("--quiet", is_flag=True, help="No progress line.")
def run(
    config: Path, overrides: tuple[str, ...], until_idle: float | None, start: str | None, end: str | None, quiet: bool
) -> None:
    """Run the pipeline that CONFIG describes: a YAML file, or the name of one that ships (quickstart, kafka-triton)."""
    with without_collections():
        from streamfx.runtime.logs import configure_logs
        from streamfx.runtime.reload import ConfigFile
        from streamfx.runtime.supervisor import run_pipeline

        file = ConfigFile(named_config(config), overrides)
    checked = file.active
    configure_logs(checked.runtime.log_level, checked.runtime.log_format)
    run_range = parse_range(start, end)
    stop = Stop("the chunk at hand is finished and what is done is committed; the next run goes on from there")
    progress = ProgressLine(quiet)
    try:
        statuses = run_pipeline(checked, run_range, until_idle, stop.asked, progress.show, file)
    finally:
        progress.close()
    left_out = [sentence for status in statuses for sentence in status.left_out]
    say_left_out(left_out)
    say_finished_before(statuses)
    say(f"{'interrupted; ' if stop.exit_code else ''}{_totals(statuses)} -> {checked.sink.location}")
    if not stop.exit_code:
        exit_if_left_out(left_out)
    sys.exit(stop.exit_code)


@main.command()
@click.argument("dataset")
@click.option("--bootstrap", help="Kafka broker; with --topic, the topic's readable records are checked too.")
@click.option("--topic", help="Topic the dataset was made from.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="Configuration with the broker's security and the object store.",
)
def verify(dataset: str, bootstrap: str | None, topic: str | None, config_file: Path | None) -> None:
    """Check DATASET against its own log, and the topic: gaps, duplicates, orphans. Prints JSON; exit 1 if there are
    any."""
    from streamfx.config.sink import location_of
    from streamfx.config.source import KafkaSecurity
    from streamfx.pipeline import load_config
    from streamfx.sink.verify import verify as verify_dataset

    if bool(bootstrap) != bool(topic):
        raise click.UsageError("--bootstrap and --topic go together")
    readable = None
    known = load_config(named_config(config_file)) if config_file else None
    if bootstrap and topic:
        kafka = known.source.kafka if known else None
        readable = _readable(bootstrap, topic, kafka.security if kafka else KafkaSecurity())
    report = verify_dataset(location_of(dataset), readable, known.sink.s3 if known else None)
    click.echo(report.as_json())
    sys.exit(0 if report.ok else 1)


class ProgressLine:
    """A live line on a terminal; elsewhere a plain line every ten seconds."""

    def __init__(self, quiet: bool):
        self._quiet = quiet
        self._bar: ProgressBar | None = None
        self._next_line = time.monotonic() + PLAIN_LINE_S

    def show(self, statuses: Sequence[Status]) -> None:
        """Show the sum over all workers; a closed output is no error."""
        if self._quiet:
            return
        try:
            self._show(statuses)
        except (OSError, ValueError):
            # The pipe is closed, or the terminal is gone: that must not end the run.
            self._quiet = True

    def _show(self, statuses: Sequence[Status]) -> None:
        chunks, windows = (sum(getattr(status, name) for status in statuses) for name in ("chunks", "windows"))
        lag_s = max((status.lag_s for status in statuses), default=0.0)
        if self._bar is None and live():
            self._bar = ProgressBar(" chunks")
        if self._bar is not None:
            self._bar.show(chunks, f"windows={windows}, lag={lag_s:.1f}s, workers={len(statuses)}")
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_LINE_S
            click.echo(f"{chunks} chunks, {windows} windows, lag {lag_s:.1f} s, {len(statuses)} workers", err=True)

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.close()


def parse_range(start: str | None, end: str | None) -> RunRange:
    """`--from` and `--to` as a range: both offsets, or both UTC times."""
    from streamfx.runtime.worker import RunRange

    texts = [text for text in (start, end) if text is not None]
    by_time = any(not text.isdecimal() for text in texts)
    if by_time and any(text.isdecimal() for text in texts):
        raise ConfigError("--from and --to: give two offsets or two times, not one of each")
    convert = _time_ms if by_time else _offset
    first, last = (None if text is None else convert(text) for text in (start, end))
    return RunRange(first, last, by_time)


def _offset(text: str) -> int:
    if len(text) > 18:
        raise ConfigError(f"--from and --to: {text[:40]} is more than any offset of Kafka's")
    return int(text)


def _time_ms(text: str) -> int:
    from streamfx.records import utc_us

    try:
        return round(utc_us(text) / 1000)
    except ValueError:
        raise ConfigError(f"{text!r} is neither an offset nor a time such as 2026-11-22T10:00:00Z") from None


def _readable(bootstrap: str, topic: str, security: KafkaSecurity) -> dict[tuple[str, int], Iterator[int]]:
    """The offsets of a topic's readable records, by (topic, partition); read as they are asked for."""
    from streamfx.config.source import KafkaSection
    from streamfx.source.kafka import KafkaSource

    reader = KafkaSource(KafkaSection(bootstrap=bootstrap, topic=topic, security=security))
    return {(topic, p.number): reader.readable_offsets(p, *reader.bounds(p)) for p in reader.partitions()}


def _totals(statuses: Sequence[Status]) -> str:
    fates: dict[str, int] = {}
    for status in statuses:
        for fate, number in status.fates.items():
            fates[fate] = fates.get(fate, 0) + number
    by_fate = ", ".join(f"{number} {fate}" for fate, number in sorted(fates.items())) or "none"
    return f"chunks: {by_fate}; windows: {sum(status.windows for status in statuses)}"


__all__ = ["main"]
