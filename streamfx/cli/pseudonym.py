"""`streamfx pseudonym`: from a stream's raw id to its pseudonyms, recorded in the audit log."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamfx.cli.values import Time, set_option
from streamfx.errors import ConfigError
from streamfx.shipped import named_config

if TYPE_CHECKING:
    from streamfx.config.tree import Config
    from streamfx.privacy.pseudonyms import Pseudonyms

_COLUMNS = ("stream_id", "salt_period", "period_start", "period_end")
_EPOCH = datetime(1970, 1, 1)


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@set_option()
@click.option("--stream", required=True, help="Raw id of the stream.")
@click.option("--from", "start_us", type=Time(), required=True, help="First event time (ISO 8601, UTC).")
@click.option("--to", "end_us", type=Time(), required=True, help="Event time before which the range ends.")
@click.option("--why", required=True, help="Reason, for the audit log; without the raw id.")
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
def pseudonym(
    config: Path, overrides: tuple[str, ...], stream: str, start_us: int, end_us: int, why: str, form: str
) -> None:
    """Print the pseudonyms of a stream in a range of event time, one for each salt period, as a table to join rows
    with.

    CONFIG names the dataset and the key. Who asks, when and why goes into the audit log first; where that fails,
    nothing is printed.
    """
    from streamfx.pipeline import load_config
    from streamfx.privacy.audit import append_line, audit_file, operating_user
    from streamfx.privacy.key import load_key
    from streamfx.privacy.pseudonyms import Pseudonyms
    from streamfx.source.streams import as_text

    stream = as_text(stream)
    check_reason(stream, why)
    if start_us >= end_us:
        raise ConfigError("--from and --to: expected a range of event time that is not empty")
    checked = load_config(named_config(config), overrides)
    pseudonyms = Pseudonyms(checked.privacy.salt_period_s, load_key(checked, make=False))
    table = _table(pseudonyms, checked, stream, start_us, end_us)
    file, digest = audit_file(checked), pseudonyms.audit_digest(stream)
    append_line(
        file,
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "who": operating_user(),
            "why": why.strip(),
            "stream": digest,
            "from": _utc(start_us),
            "to": _utc(end_us),
            "pseudonyms": len(table),
            "config_id": checked.config_id,
        },
    )
    click.echo(json.dumps(table, indent=1) if form == "json" else _csv(table), nl=form == "json")
    click.echo(f"recorded in {file} as {digest}{_warning(checked, {row['stream_id'] for row in table})}", err=True)


def check_reason(stream: str, why: str) -> None:
    """UsageError for a reason that says nothing, or the raw id that the audit log must not hold."""
    if not why.strip():
        raise click.UsageError("--why: say why the pseudonyms are needed")
    if not stream:
        raise click.UsageError("--stream: expected the raw id of a stream, got an empty one")
    if re.search(rf"(?<!\w){re.escape(stream)}(?!\w)", why, re.IGNORECASE):
        raise click.UsageError("--why: the audit log must not hold the raw id; give the reason without it")


def _table(pseudonyms: Pseudonyms, config: Config, stream: str, start_us: int, end_us: int) -> list[dict[str, Any]]:
    length_us = config.privacy.salt_period_s * 1_000_000
    rows = []
    for period in pseudonyms.salt_periods(start_us, end_us - 1):
        start, end = (period * length_us, (period + 1) * length_us) if length_us else (None, None)
        values = (pseudonyms.stream_pseudonym(stream, period), period, _utc(start), _utc(end))
        rows.append(dict(zip(_COLUMNS, values, strict=True)))
    return rows


def _csv(table: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


def _warning(config: Config, names: set[str]) -> str:
    """A mistyped id has pseudonyms too; say so where the dataset is there and knows none of them."""
    from streamfx.sink.log import IDENTITY_PATH
    from streamfx.sink.place import open_place
    from streamfx.sink.preview import any_seen

    fs = open_place(config.sink.path, config.sink.s3)
    if not fs.exists(IDENTITY_PATH) or any_seen(fs, config.sink.location, names):
        return ""
    return (
        f". No row of {config.sink.location} has any of these pseudonyms: is the id exact, and are key and "
        "privacy.salt_period_s those of the rows?"
    )


def _utc(time_us: int | None) -> str | None:
    if time_us is None:
        return None
    try:
        return (_EPOCH + timedelta(microseconds=time_us)).isoformat() + "Z"
    except OverflowError:
        return None
