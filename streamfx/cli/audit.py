"""`streamfx audit`: what published rows give away of streams and tracks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamfx.cli.pseudonym import check_reason
from streamfx.cli.target import check_outside
from streamfx.errors import ConfigError
from streamfx.shipped import named_config

if TYPE_CHECKING:
    from streamfx.audit.measure import Measured
    from streamfx.audit.report import Links, Report
    from streamfx.config.tree import Config
    from streamfx.privacy.pseudonyms import Pseudonyms
    from streamfx.train.metrics import Interval

REPORT_FILE = "audit.json"
_SHOWN = 5
_QUESTIONS = {
    "stream": "stream: which stream of its salt period a later window is of",
    "track": "track: which track of its stream a later window is of",
    "across_salts": "across salts: which stream of earlier salt periods a window of a later one is of",
}


@click.command()
@click.argument("dataset")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help=f"Folder that gets {REPORT_FILE}.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on one line in place of a table.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="Configuration with the salt period, the object store, the key and the audit log.",
)
@click.option("--stream", "streams", multiple=True, help="Raw id of a stream to know across salt periods; repeated.")
@click.option("--why", help="With --stream: the reason, for the audit log; without raw ids.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --stream: the pseudonym key, where it is not where the configuration says.",
)
def audit(
    dataset: str,
    out: Path | None,
    as_json: bool,
    config_file: Path | None,
    streams: tuple[str, ...],
    why: str | None,
    key_file: Path | None,
) -> None:
    """Try to recognise streams and tracks in DATASET from what was published, and say by how much better than guessing
    that works, with 95 % intervals over tracks, and which columns it comes from.

    Whether streams are recognised across salt periods can only be measured with the key, which links their pseudonyms:
    give --config, --stream for each stream (two or more), and --why, as for `streamfx pseudonym`. Each stream's line goes
    into the audit log first. Workers may run meanwhile.
    """
    from streamfx.audit.report import audit as audit_dataset
    from streamfx.config.sink import location_of
    from streamfx.pipeline import load_config
    from streamfx.sink.place import open_place
    from streamfx.train.results import json_text, write_json

    if streams and not (config_file and why):
        raise click.UsageError("--stream needs --config, which names the key and the audit log, and --why")
    if (why or key_file) and not streams:
        raise click.UsageError("--why and --key-file go with --stream")
    config = load_config(named_config(config_file)) if config_file else None
    links = _links(config, streams, why, key_file) if config and why else None
    fs = open_place(dataset, config.sink.s3 if config else None)
    if out is not None:
        check_outside("--out", out, location_of(dataset))
    found = audit_dataset(fs, location_of(dataset), config.privacy.salt_period_s if config else None, links)
    values = found.as_json()
    if out is not None:
        try:
            write_json(out / REPORT_FILE, values)
        except OSError as error:
            raise ConfigError(f"--out: cannot write the report into {out}: {error.strerror or error}") from error
    click.echo(json_text(values) if as_json else _table(location_of(dataset), found))


def _links(config: Config, streams: tuple[str, ...], why: str, key_file: Path | None) -> Links:
    """The key, and the ids as they are; who asks, and why, is in the audit log on return."""
    from streamfx.audit.report import Links
    from streamfx.config.secrets import read_secret
    from streamfx.privacy.key import load_key
    from streamfx.privacy.pseudonyms import Pseudonyms
    from streamfx.source.streams import as_text

    ids = list(dict.fromkeys(as_text(stream) for stream in streams))
    for stream in ids:
        check_reason(stream, why)
    key = read_secret(key_file, None, "--key-file") if key_file else load_key(config, make=False)
    if key is None:
        raise ConfigError(f"--key-file: {key_file} does not exist; expected the key that the rows were written with")
    pseudonyms = Pseudonyms(config.privacy.salt_period_s, key)
    _record(config, pseudonyms, ids, why)
    return Links(pseudonyms, ids)


def _record(config: Config, pseudonyms: Pseudonyms, streams: list[str], why: str) -> None:
    from streamfx.privacy.audit import append_line, audit_file, operating_user

    file, at = audit_file(config), datetime.now(UTC).isoformat(timespec="seconds")
    for stream in streams:
        line: dict[str, Any] = {"at": at, "who": operating_user(), "why": why.strip(), "command": "audit"}
        append_line(file, {**line, "stream": pseudonyms.audit_digest(stream), "config_id": config.config_id})


def _table(place: str, report: Report) -> str:
    about = report.dataset
    lines = [
        f"{place}: {about['windows']:,} windows, {about['tracks']:,} tracks, {about['streams']:,} stream pseudonyms",
        "Lift: by how much more of the held-out windows a probe names rightly than the same answers would be, dealt at "
        "random. In brackets: 95 % of what draws of other tracks give.",
    ]
    for name, part in report.parts.items():
        lines += ["", _QUESTIONS[name]]
        lines += [f"  {line}" for line in ([f"not measured: {part.why}"] if hasattr(part, "why") else _answer(part))]
    return "\n".join(lines)


def _answer(part: Measured) -> list[str]:
    lines = [
        f"{part.classes} classes (of {part.of_classes}), {part.learnt:,} windows learnt, {part.held_out:,} held out, of "
        f"{part.tracks:,} tracks; the most frequent class of each group is {part.most_frequent:.3f} of them"
    ]
    for kind, lift in part.lift.items():
        lines.append(f"{kind + ' probe':<16}lift {_shown(lift)}, right in {part.accuracy[kind]:.3f}")
    lines.append(f"{'columns':<16}{'lift of these alone':<28}lost if shuffled")
    best = {group: max(lifts.values(), key=lambda lift: lift.value) for group, lifts in part.groups.items()}
    for group in sorted(best, key=lambda group: -best[group].value):
        lines.append(f"{group:<16}{_shown(best[group]):<28}{_shown(part.group_lost[group])}")
    carry = ", ".join(f"{name} {part.column_lost[name].value:.3f}" for name in part.carriers()[:_SHOWN])
    lines.append(f"most is lost if these are shuffled: {carry}" if carry else "no single column carries it")
    return lines


def _shown(interval: Interval) -> str:
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
