"""`streamfx config`: check a configuration before anything runs, or print its JSON Schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from streamfx.cli.values import set_option
from streamfx.shipped import named_config


@click.group()
def config() -> None:
    """Check a configuration, or print the schema of all of it."""


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@set_option()
@click.option(
    "--deep",
    is_flag=True,
    help="Also ask every server, and load the model.",
)
@click.option(
    "--elsewhere",
    is_flag=True,
    help="FILE is for another machine: what this machine lacks is listed and is no error.",
)
def check(file: Path, overrides: tuple[str, ...], deep: bool, elsewhere: bool) -> None:
    """Say whether FILE is a configuration that can run here, and name the path of each value that is wrong or names
    something that is missing here.

    Exit code 1 if it cannot run. With --elsewhere, 1 only if no machine could run it. The last lines say what was not
    checked.
    """
    if deep and elsewhere:
        raise click.UsageError("--deep asks what this machine can reach; it does not go with --elsewhere")
    from streamfx.pipeline import load_config
    from streamfx.runtime.preflight import check as look

    checked = load_config(named_config(file), overrides)
    report = look(checked, deep)
    wrong, missing = report.of("wrong"), report.of("missing")
    fails = bool(wrong or (missing and not elsewhere))
    if wrong:
        verdict = f"{file} is wrong"
    elif fails:
        verdict = f"{file} cannot run here" + ("" if deep else " (--elsewhere, where it is for another machine)")
    elif missing:
        verdict = f"no value of {file} is wrong, but not all that it names is on this machine"
    else:
        verdict = f"{file} is right"
    click.echo(f"{verdict}; config_id {checked.config_id}")
    for title, lines in (
        ("Wrong:", wrong),
        ("Not here, or not answering:" if deep else "Not on this machine (a run here would stop):", missing),
        ("Worth knowing:", report.of("warning")),
        ("Looked at:", report.looked_at),
        ("Not looked at" + ("" if deep else " (--deep asks servers)") + ":", report.left_out),
    ):
        for number, line in enumerate(lines):
            click.echo(f"{title}\n  {line}" if number == 0 else f"  {line}")
    sys.exit(1 if fails else 0)


@config.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration, with a section for each installed operator."""
    from streamfx.pipeline import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
