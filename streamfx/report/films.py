"""Redacted films beside the page: copies of the dataset's own, each compared with the log, and captions of their rows.

Only what the log lists as a current film is copied, with the digest that its entry states. Nothing but a film that was
redacted in the line can be committed (`privacy/films.py`), so no other file can get beside the page.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from streamfx.config.episodes import Episodes
from streamfx.episodes.table import Order, made
from streamfx.errors import ConfigError, SinkError
from streamfx.export.stretches import Cue, cues
from streamfx.export.timeline import Timeline
from streamfx.records import MICROSECONDS
from streamfx.report.html import Html, cannot, join, paragraph, text
from streamfx.sink.current_files import FileReplaced, current_films, read_live
from streamfx.sink.fs import FileSystem
from streamfx.sink.log import FileSpec
from streamfx.sink.parquet import utc_us
from streamfx.sink.read_windows import WindowReader
from streamfx.terminal import ProgressBar
from streamfx.whole_files import is_new_or_empty, whole_folder

BYTES_MAX = 2 * 10**9
"""So much may lie beside a page."""
_COLUMNS = ("stream_id", "film_start", "film_end", "file")


@dataclass(frozen=True, slots=True)
class Film:
    """One film: its event time (UTC microseconds), and the file of the dataset."""

    start_us: int
    end_us: int
    file: FileSpec


@dataclass(frozen=True, slots=True)
class Films:
    """Films by stream, each stream's by time, and how many more there are that were `left_out`."""

    of: Mapping[str, Sequence[Film]]
    left_out: int

    @property
    def count(self) -> int:
        """How many films there are."""
        return sum(map(len, self.of.values()))


def find_films(fs: FileSystem, place: str) -> dict[str, list[Film]]:
    """The dataset's current films by stream, each stream's by time. Raises SinkError for a dataset without a film."""
    reader = WindowReader(fs, place, "films")
    parts = [reader.read(day, _COLUMNS, partition) for day, partition in reader.parts()]
    # Looked up after the rows: a film that is committed meanwhile is no matter, and one that is erased is left out.
    listed = current_films(fs, place)
    found: defaultdict[str, list[Film]] = defaultdict(list)
    for rows in parts:
        times = (utc_us(rows["film_start"]), utc_us(rows["film_end"]))
        for stream, path, start, end in zip(rows["stream_id"], rows["file"], *times, strict=True):
            if path in listed:
                found[str(stream)].append(Film(int(start), int(end), listed[path]))
    if not found:
        raise SinkError(
            f"{place}: expected redacted films, found none; a run with `redact.films: true` makes them, and no other films "
            "are put beside a page"
        )
    return {stream: sorted(of, key=lambda film: film.start_us) for stream, of in found.items()}


def chosen(found: Mapping[str, Sequence[Film]], streams: Sequence[str]) -> Films:
    """The films of these streams, in their order, as many as BYTES_MAX allows."""
    kept: dict[str, list[Film]] = {}
    left = BYTES_MAX
    for stream in streams:
        for film in found.get(stream, ()):
            left -= film.file.bytes
            if left >= 0:
                kept.setdefault(stream, []).append(film)
    return Films(kept, sum(map(len, found.values())) - sum(map(len, kept.values())))


def check_new(folder: Path) -> None:
    """Raises ConfigError unless the folder is new or empty: films of an earlier page may have been erased since."""
    if not is_new_or_empty(folder):
        raise ConfigError(f"--films {folder}: expected a new or empty folder; name another, or remove it")


def copy(fs: FileSystem, place: str, films: Films, folder: Path) -> None:
    """Copy all films into `folder`, or none.

    Raises ConfigError where the folder cannot be written, SinkError where a film is not as the log says.
    """
    every = [film.file for of in films.of.values() for film in of]
    try:
        with whole_folder(folder) as hidden:
            for file in ProgressBar(" films", len(every), title="copying").over(every):
                (hidden / _name(file)).write_bytes(read_live(fs, file))
    except FileReplaced as gone:
        raise SinkError(
            f"{place}: {gone} is gone, erased meanwhile or damaged; give the command again, or see `streamfx verify`"
        ) from gone
    except OSError as error:
        raise ConfigError(f"--films {folder}: cannot be written: {error.strerror or error}; name another") from error


def shown_films(fs: FileSystem, place: str, films: Films, page: Path, folder: Path) -> list[dict[str, Any]]:
    """What the page plays, as plain JSON, by stream: `zero`, in seconds since 1970; films, [from, to, address seen from the
    page], and captions, [from, to, face, what, whether it is an action unit], in milliseconds since `zero`."""
    with ProgressBar(" days", title="captions") as bar:
        order = Order(fs, place, Episodes(), show=lambda done, of: bar.show(done, f"of {of:,}"))
        episodes = made(order).rows
    said = dict(cues(episodes[episodes["stream_id"].isin(list(films.of))], Timeline(fs, place, 0)))
    at = os.path.relpath(folder.resolve(), page.resolve().parent)
    return [_stream(stream, of, said.get(stream, ()), at) for stream, of in films.of.items()]


def _stream(stream: str, films: Sequence[Film], said: Sequence[Cue], at: str) -> dict[str, Any]:
    zero = films[0].start_us // MICROSECONDS
    first, last = films[0].start_us / MICROSECONDS, max(film.end_us for film in films) / MICROSECONDS
    return {
        "stream": stream,
        "zero": zero,
        "films": [
            [_ms(film.start_us, zero), _ms(film.end_us, zero), quote(f"{at}/{_name(film.file)}")] for film in films
        ],
        "cues": [
            [round((cue.since - zero) * 1000), round((cue.until - zero) * 1000), cue.face, cue.what, cue.unit]
            for cue in said
            if cue.until > first and cue.since < last
        ],
    }


def _ms(time_us: int, zero: int) -> int:
    return (time_us - zero * MICROSECONDS) // 1000


def _counted(films: int) -> str:
    return f"{films:,} film" if films == 1 else f"{films:,} films"


def _name(file: FileSpec) -> str:
    return file.final.rpartition("/")[2]


def film_section(films: Films) -> Html:
    """The player, which `film.js` fills."""
    if not films.of:
        return paragraph("No stream that is shown here has a film.")
    options = "".join(
        f'<option value="{at}">{text(stream)} ({_counted(len(of))})</option>'
        for at, (stream, of) in enumerate(films.of.items())
    )
    left = f" Left out here: {_counted(films.left_out)}." if films.left_out else ""
    return join(
        cannot(
            "Faces are filled, so what a model saw of them is not shown. Faces are numbered in the order in which the rows "
            "first tell of them; which number belongs to which filled place, the rows do not say. Captions follow the "
            "episodes, which are smoothed."
        ),
        paragraph(
            "A click on a chart shows the film of that time, as does Enter where arrow keys have led; while the film plays, a "
            f"line on the charts follows it. Choosing a film shows its stream in the charts.{left}"
        ),
        Html(
            '<figure class="film" id="film" role="group" aria-label="Redacted film and its rows">'
            f'<p><label>Film of stream <select id="film-stream">{options}</select></label></p>'
            '<video id="film-video" controls muted playsinline preload="metadata" aria-label="Redacted film"></video>'
            '<p id="film-time" class="reading" aria-live="off"></p>'
            '<ul id="film-rows" aria-label="What the rows say of this moment"></ul>'
            '<p class="buttons"><button type="button" id="film-before">Film before</button> '
            '<button type="button" id="film-after">Film after</button> '
            '<button type="button" id="film-pin" aria-pressed="false">Keep in view</button></p></figure>'
        ),
    )
