"""Makes the page of a dataset: reads it once, counts, and writes one HTML file that fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np

from streamfx import __version__
from streamfx.episodes.intervals import DRAWS, SHOWING_MIN, TRACKS_MIN
from streamfx.errors import ConfigError
from streamfx.records import Partition
from streamfx.report import sections
from streamfx.report.charts import Json, charts
from streamfx.report.chunks import COLUMNS, Chunks
from streamfx.report.commits import CommitTimes
from streamfx.report.faces import Channels, Faces
from streamfx.report.films import Films, check_new, chosen, copy, film_section, find_films, shown_films
from streamfx.report.html import Html, duration, join, paragraph, text
from streamfx.report.library import LICENCE, SCRIPT, STYLE, UPLOT
from streamfx.report.sections import Groups, utc
from streamfx.sink.fs import FileSystem
from streamfx.sink.read_windows import WindowReader, declared_columns
from streamfx.terminal import ProgressBar
from streamfx.whole_files import whole_file

_SAID = ("purpose", "deployment_context", "exemption", "sensitive")
_MODEL = re.compile(r"streamfx\.([a-z0-9_]+)\.model")
FILM = "Film and rows"
_SECTIONS = ("Expressions", "Action units", "Coverage", "Quality", "Versions and drift", "Delays", "How it is counted")


@dataclass(frozen=True, slots=True)
class Written:
    """What a report was made of, and its size."""

    windows: int
    chunks: int
    streams_shown: int
    tracks_shown: int
    films: int
    films_left_out: int
    bytes: int


def write_report(fs: FileSystem, place: str, out: Path, note: str = "", films: Path | None = None) -> Written:
    """Write the page of the dataset at `place` to the file `out`, whole or not at all.

    `note` stands at the top, for what a reader must know of these rows. With `films`, a new folder, the page plays the
    dataset's redacted films beside the rows; they are copied there. Raises SinkError if there is no dataset, a file of it
    is damaged, or it has no films, MissingComponent if the plotting library is not on this machine, and ConfigError if
    `out` or `films` cannot be written.
    """
    UPLOT.contents()  # before an hour of reading
    if films is not None:
        check_new(films)
    found = None if films is None else find_films(fs, place)
    faces, said = _faces(fs, place)
    chunks = _chunks(fs, place)
    drawn = charts(faces, chunks)
    beside = None if found is None else chosen(found, [name for name, _ in faces.streams.best()])
    if beside is None or films is None:
        page = _page(place, faces, chunks, said, note, drawn, None)
        _write(out, page)
    else:
        drawn["films"] = shown_films(fs, place, beside, out, films)
        page = _page(place, faces, chunks, said, note, drawn, beside)
        _write(out, page, partial(copy, fs, place, beside, films))
    views = drawn["views"]
    return Written(
        faces.windows,
        sum(chunks.fates.values()),
        sum(view["kind"] == "stream" for view in views),
        sum(view["kind"] == "track" for view in views),
        beside.count if beside else 0,
        beside.left_out if beside else 0,
        len(page.encode()),
    )


def _faces(fs: FileSystem, place: str) -> tuple[Faces, dict[str, set[str]]]:
    reader = WindowReader(fs, place, keys=_is_shown)
    parts = reader.parts()
    faces = Faces(Channels.of(declared_columns(fs, place)))
    for day, partition in ProgressBar(" parts", len(parts), title="windows").over(parts):
        faces.add(reader.read(day, faces.channels.columns, partition))
    return faces, reader.said


def _is_shown(key: str) -> bool:
    """Whether the page shows this key of a file's footer."""
    return key.removeprefix("streamfx.") in _SAID or _MODEL.fullmatch(key) is not None


def _chunks(fs: FileSystem, place: str) -> Chunks:
    chunks, reader = Chunks(), WindowReader(fs, place, "chunks")
    parts, commits = reader.parts(), dict[Partition, CommitTimes]()
    for day, partition in ProgressBar(" parts", len(parts), title="chunks").over(parts):
        if partition not in commits:
            commits[partition] = CommitTimes(fs, place, partition)
        rows = reader.read(day, COLUMNS, partition)
        chunks.add(rows, commits[partition].of(rows["offset"].to_numpy(np.int64)))
    return chunks


def _write(out: Path, page: str, before: Callable[[], None] = lambda: None) -> None:
    """Write the page; `before` is called when nothing is left to do but to give it its name."""
    try:
        with whole_file(out) as hidden:
            hidden.write_text(page, encoding="utf-8")
            before()
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror or error}; name another file") from error


def _page(
    place: str, faces: Faces, chunks: Chunks, said: dict[str, set[str]], note: str, data: Json, films: Films | None
) -> str:
    library = UPLOT.contents()
    own = files("streamfx.report")
    style = library[STYLE].decode() + (own / "page.css").read_text(encoding="utf-8")
    scripts = [library[SCRIPT].decode(), (own / "page.js").read_text(encoding="utf-8")]
    if films and films.of:
        scripts.append((own / "film.js").read_text(encoding="utf-8"))
    # JSON inside a script element ends at the first `</`, whatever it stands in.
    values = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    allowed = " ".join(_digest(script) for script in scripts)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src {_digest(style)}; base-uri 'none'; form-action 'none'"
        + ("; media-src 'self'" if films else "")
    )
    body = _body(place, faces, chunks, said, note, data, films)
    title = text(f"streamfx report: {place}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">\n'
        f"<title>{title}</title>\n<style>{style}</style></head>\n<body>\n{body}\n"
        f'<script type="application/json" id="data">{values}</script>\n'
        f"<!-- uPlot {UPLOT.version}, {UPLOT.licence}:\n{library[LICENCE].decode()}-->\n"
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + "</body></html>\n"
    )


def _digest(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _body(
    place: str,
    faces: Faces,
    chunks: Chunks,
    said: dict[str, set[str]],
    note: str,
    data: Json,
    films: Films | None,
) -> Html:
    groups = Groups(faces)
    made: tuple[Html, ...] = (
        sections.expressions(faces, groups), sections.action_units(faces, groups), sections.coverage(faces, chunks, groups),
        sections.quality(faces, groups), sections.versions(faces, groups), sections.delays(chunks), _rules(faces, groups),
    )  # fmt: skip
    if not faces.windows:
        nothing = paragraph("No window had a face in at least half of it.")
        made = (nothing, nothing, made[2], nothing, nothing, *made[5:])
    names: tuple[str, ...] = _SECTIONS
    if films is not None:
        names, made = (FILM, *names), (film_section(films), *made)
    links = "".join(f'<li><a href="#{_anchor(name)}">{name}</a></li>' for name in names)
    return join(
        Html('<a class="skip" href="#main">To the numbers</a>'),
        Html(f"<header><h1>Faces in {text(place)}</h1>"),
        Html(f'<p class="note synthetic"><strong>{text(note)}</strong></p>') if note else "",
        Html(
            '<p class="note"><strong>An expression is not a feeling.</strong> These numbers say how faces looked to a '
            "model, not what people felt. Do not judge anybody by them.</p>"
        ),
        paragraph(
            "This page shows single faces and streams under pseudonyms. It is for those who may read the dataset; to give "
            "numbers to others, publish them with `streamfx aggregate`, which holds small groups back."
        ),
        _figures(faces, chunks, groups),
        _about(said),
        Html(f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main id="main">'),
        _controls(faces, data),
        Html("<noscript><p>The charts need JavaScript; all tables are here without it.</p></noscript>"),
        *(
            Html(
                f'<section aria-labelledby="{_anchor(name)}"><h2 id="{_anchor(name)}">{name}</h2>\n{section}</section>'
            )
            for name, section in zip(names, made, strict=True)
        ),
        Html("</main>"),
        Html(
            f'<footer><p class="faint">Made by streamfx {text(__version__)} on {text(_now())}. Times are UTC.</p></footer>'
        ),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00") + " UTC"


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _figures(faces: Faces, chunks: Chunks, groups: Groups) -> Html:
    first, last = (utc(time) if time is not None else "none" for time in (faces.first_us, faces.last_us))
    shown = {
        "windows": f"{faces.windows:,}", "face tracks": f"{groups.whole.tracks:,}",
        "stream pseudonyms": f"{len(faces.streams.series) + len(faces.streams.dropped):,}",
        "face time": duration(float(groups.whole.total[0])), "chunks": f"{sum(chunks.fates.values()):,}",
        "first window": first, "end of the last window": last,
    }  # fmt: skip
    return Html(
        '<dl class="figures">'
        + "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in shown.items())
        + "</dl>"
    )


def _about(said: dict[str, set[str]]) -> Html:
    known = [(name.replace("_", " "), said.get(f"streamfx.{name}", ())) for name in _SAID]
    known += [(f"model of {found[1]}", values) for key, values in said.items() if (found := _MODEL.fullmatch(key))]
    lines = [f"<li>{text(name)}: {text('; '.join(sorted(values)))}</li>" for name, values in sorted(known) if values]
    return Html(f"<ul>{''.join(lines)}</ul>") if lines else Html("")


def _controls(faces: Faces, data: Json) -> Html:
    if not faces.windows:
        return Html("")
    options: dict[str, list[str]] = {"all": [], "stream": [], "track": []}
    for at, view in enumerate(data["views"]):
        name = str(view["name"])
        named = name if view["kind"] == "all" else f"{view['kind']} {name}"
        options[str(view["kind"])].append(
            f'<option value="{at}">{text(named)} ({duration(float(str(view["seconds"])))})</option>'
        )
    groups = "".join(
        f'<optgroup label="{label}">{"".join(options[kind])}</optgroup>'
        for kind, label in (
            ("all", "All"),
            ("stream", "Streams of the most face time"),
            ("track", "Tracks that were seen longest"),
        )
    )
    buttons = (
        ("zoom-in", "Zoom in"),
        ("zoom-out", "Zoom out"),
        ("earlier", "Earlier"),
        ("later", "Later"),
        ("reset", "Show all"),
    )
    return Html(
        '<div class="controls" role="toolbar" aria-label="What the charts show">'
        f'<label>View <select id="view">{groups}</select></label>'
        + "".join(f'<button type="button" id="{id_}">{label}</button>' for id_, label in buttons)
        + "</div>"
    )


def _rules(faces: Faces, groups: Groups) -> Html:
    streams = len(faces.streams.series) + len(faces.streams.dropped)
    return join(
        paragraph(
            "Face time: windows overlap, so each stands for the time until the next window of its track begins, and at either "
            "end of a track for as much as the face was seen in. Each moment of each face counts once. Shares and means are "
            "over face time. Nulls are left out, not counted as 0."
        ),
        paragraph(
            f"Intervals: 95 %, by bootstrap over tracks ({DRAWS} draws of whole tracks), because the windows of a track are "
            f"not independent. With fewer than {TRACKS_MIN} tracks, or where fewer than {SHOWING_MIN} tracks show an "
            "expression at all, “not enough data” stands in place of its share. One person can be many tracks, and tracks "
            "of one stream resemble each other, so true intervals are wider."
        ),
        paragraph(
            "Charts: steps of time are as short as the page's size allows, and each shows a mean over its face time; a step "
            f"without faces is a gap. Of {streams:,} streams and {groups.whole.tracks:,} tracks, those of the most face time "
            "have a view of their own. Drag across a chart, or use the buttons or the keys, to zoom; double-click to see all."
        ),
    )
