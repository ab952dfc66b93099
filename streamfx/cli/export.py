"""`streamfx export`: a dataset's rows in the formats of the field's other tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamfx.cli.target import CONFIG, check_outside, open_target
from streamfx.cli.values import Time
from streamfx.errors import ConfigError
from streamfx.whole_files import is_new_or_empty, whole_folder

if TYPE_CHECKING:
    import pandas as pd

    from streamfx.export.timeline import Timeline
    from streamfx.sink.fs import FileSystem

_SUFFIX = {"openface": ".csv", "pyfeat": ".csv", "textgrid": ".TextGrid", "webvtt": ".vtt"}


@click.command()
@click.argument("target", metavar="DATASET|CONFIG")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_SUFFIX)),
    required=True,
    help="openface, pyfeat: CSV with a line for each window. textgrid (Praat, ELAN), webvtt (captions): stretches of time.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="New folder for the files."
)
@click.option(
    "--zero",
    type=Time(),
    help="UTC time (ISO 8601) from which seconds are counted; default: each stream's first chunk.",
)
@CONFIG
def export(target: str, form: str, out: Path, zero: int | None, config_file: Path | None) -> None:
    """Write DATASET for another tool, a file for each stream, named by its pseudonym. The dataset is only read. After an
    error or Ctrl-C there are no files.

    An export holds what the dataset holds of single faces, and `erase` and `retain` do not reach it.
    """
    from streamfx.export.timeline import Timeline

    fs, place = open_target(target, config_file)
    check_outside("--out", out, place)
    if not is_new_or_empty(out):
        raise ConfigError(f"--out {out}: expected a new or empty folder; name another")
    timeline = Timeline(fs, place, zero)
    files = 0
    try:
        with whole_folder(out) as hidden:
            if form in ("openface", "pyfeat"):
                files = _write_lines(fs, place, timeline, form, hidden)
            else:
                for stream, text in _texts(fs, place, timeline, form):
                    (hidden / f"{stream}{_SUFFIX[form]}").write_text(text, encoding="utf-8")
                    files += 1
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror or error}") from error
    click.echo(
        f"{out}: {files} {'file' if files == 1 else 'files'}" + ("" if files else "; the dataset has no windows")
    )


def _write_lines(fs: FileSystem, place: str, timeline: Timeline, form: str, out: Path) -> int:
    """Append each day's lines to their stream's file; the number of files."""
    from streamfx.export.frames import FIRST_FRAME, openface, pyfeat

    written: dict[str, int] = {}
    for stream, lines in (openface if form == "openface" else pyfeat)(fs, place, timeline):
        first = written.get(stream, 0)
        lines.insert(0, "frame", range(FIRST_FRAME[form] + first, FIRST_FRAME[form] + first + len(lines)))
        lines.to_csv(out / f"{stream}{_SUFFIX[form]}", mode="a", header=not first, index=False, lineterminator="\n")
        written[stream] = first + len(lines)
    return len(written)


def _texts(fs: FileSystem, place: str, timeline: Timeline, form: str) -> Iterator[tuple[str, str]]:
    from streamfx.config.episodes import Episodes
    from streamfx.episodes.table import Order, made
    from streamfx.export.stretches import captions, textgrids

    episodes: pd.DataFrame = made(Order(fs, place, Episodes())).rows
    return (textgrids if form == "textgrid" else captions)(episodes, timeline)
