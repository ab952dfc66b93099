"""What the page's charts draw, as plain JSON: whole numbers in units of a chart's `step`, null where nothing is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamfx.report.chunks import Chunks, quantile
from streamfx.report.faces import Channels, Faces
from streamfx.report.series import Floats, Series

VALUES_MAX = 400_000
"""Numbers that the views of all streams together may have, and those of all tracks; further ones are left out."""
VERSIONS_DRAWN = 8
LINES_SHOWN = 6
"""So many lines of a chart are drawn at first; the others at a press of their button."""
_STEP = {
    "faces": 0.01, "share": 0.001, "score": 0.001, "unit": 0.01, "height": 1.0, "sure": 0.001, "covered": 0.01, "delay": 0.01,
    "commit": 0.01, "versions": 0.01,
}  # fmt: skip
"""Of what each chart's numbers are multiples."""

Json = dict[str, Any]


def charts(faces: Faces, chunks: Chunks) -> Json:
    """`charts`: what is drawn. `views`: of all streams, of streams and of tracks, each with its numbers by chart. `fixed`:
    the numbers of the charts that do not depend on the view."""
    about = _of_views(faces.channels, faces.whole.total) if faces.windows else []
    names = [one["id"] for one in about]
    views = [_view("all", "All streams", faces.whole, faces.channels, names)] if faces.windows else []
    for kind, found in (("stream", faces.streams.best()), ("track", faces.tracks_shown.best())):
        left = VALUES_MAX
        for key, series in found:
            view = _view(kind, key, series, faces.channels, [n for n in names if n != "share"])
            left -= sum(len(line) for lines in view["lines"].values() for line in lines)
            if left < 0:
                break
            views.append(view)
    fixed, about_fixed = {}, []
    if len(chunks.covered.bins):
        fixed["covered"] = _plain(chunks.covered, chunks.covered.sums.T / chunks.covered.every_s, "covered")
        about_fixed.append(_about("covered", ("decoded", "with a face")))
    for id_, late in (("delay", chunks.delays), ("commit", chunks.totals)):
        if len(late.bins):
            delays = np.array([[quantile(share, row) for row in late.sums] for share in (0.5, 0.95)], float)
            fixed[id_] = _plain(late, delays, id_)
            about_fixed.append(_about(id_, ("median", "95th percentile"), "s"))
    if len(faces.versions) > 1:
        fixed["versions"], labels = _versions(faces)
        about_fixed.append(_about("versions", labels))
    return {"charts": about + about_fixed, "views": views, "fixed": fixed}


def version_names(faces: Faces) -> list[str]:
    """The versions of `faces`, by their first window."""
    return sorted(faces.versions, key=lambda name: (faces.versions[name].bins[0] * faces.versions[name].every_s, name))


def _about(
    id_: str, names: Sequence[str], unit: str = "", top: float | None = None, on: Sequence[int] | None = None
) -> Json:
    step = _STEP[id_] * (100 if unit == "%" else 1)
    lines = list(range(len(names)) if on is None else on)
    return {"id": id_, "names": list(names), "step": step, "unit": unit, "top": top, "on": lines}


def _of_views(channels: Channels, total: Floats) -> list[Json]:
    found = [_about("faces", ("faces in view",))]
    if channels.expressions:
        found.append(_about("share", channels.expressions, "%", 100))
    if channels.scores:
        found.append(_about("score", [name[2:] for name in channels.scores], "%", 100))
    if channels.units:
        means = [float(np.nan_to_num(channels.mean(total, name))) for name in channels.units]
        most = sorted(range(len(means)), key=lambda at: -means[at])[:LINES_SHOWN]
        found.append(_about("unit", [f"AU {int(name[3:])}" for name in channels.units], "", 5, sorted(most)))
    found.append(_about("height", ("face height",), "px"))
    novel = [f"novelty of {name.removesuffix('_novelty').replace('_', ' ')}" for name in channels.novelty]
    found.append(_about("sure", ("detector confidence", *novel), "%", 100))
    return found


def _columns(chart: str, channels: Channels) -> tuple[str, ...]:
    return {
        "score": channels.scores,
        "unit": channels.units,
        "height": ("face_height_px",),
        "sure": ("face_score", *channels.novelty),
    }[chart]


def _view(kind: str, name: str, series: Series, channels: Channels, names: Sequence[str]) -> Json:
    lines = {}
    for chart in names:
        if chart == "faces":
            values = [series.sums[:, 0] / series.every_s]
        elif chart == "share":
            values = [channels.share(series.sums, label) for label in channels.expressions]
        else:
            values = [channels.mean(series.sums, column) for column in _columns(chart, channels)]
        lines[chart] = [_whole(line, _STEP[chart]) for line in values]
    return {"kind": kind, "name": name, "seconds": round(float(series.total[0]), 1), **_times(series), "lines": lines}


def _plain(series: Series, lines: Floats, chart: str) -> Json:
    return {**_times(series), "lines": [_whole(line, _STEP[chart]) for line in lines]}


def _times(series: Series) -> Json:
    """The bins: the number of the first, and how far each is from the one before."""
    first = int(series.bins[0])
    return {"every": series.every_s, "bins": np.diff(series.bins, prepend=first).tolist()[1:], "first": first}


def _whole(line: Floats, step: float) -> list[int | None]:
    known = ~np.isnan(line)
    whole = np.rint(np.where(known, line, 0) / step).astype(np.int64)
    return [value if there else None for value, there in zip(whole.tolist(), known.tolist(), strict=True)]


def _versions(faces: Faces) -> tuple[Json, list[str]]:
    names = version_names(faces)[:VERSIONS_DRAWN]
    together = [faces.versions[name] for name in names]
    rung = max(series.rung for series in together)
    joined = [series.coarser(rung) for series in together]
    bins = np.unique(np.concatenate([series.bins for series in joined]))
    lines = np.zeros((len(names), len(bins)))
    for line, series in zip(lines, joined, strict=True):
        line[np.searchsorted(bins, series.bins)] = series.sums[:, 0] / series.every_s
    whole = Series(len(bins) + 1, rung, bins, lines.T)
    return _plain(whole, lines, "versions"), [f"version {number + 1}" for number in range(len(names))]
