"""The sections of the page: numbers in tables with their intervals, places for charts, and what none of it can tell."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np

from streamfx.columns import NOVEL
from streamfx.episodes.intervals import NOT_ENOUGH, Drawn
from streamfx.report.charts import VERSIONS_DRAWN, version_names
from streamfx.report.chunks import DELAY_EDGES_S, GAP_S, Chunks, quantile
from streamfx.report.commits import ENTRIES_MAX
from streamfx.report.faces import Channels, Faces
from streamfx.report.html import (
    Html,
    bar,
    cannot,
    chart,
    duration,
    join,
    number,
    paragraph,
    percent,
    points,
    size,
    table,
)  # fmt: skip
from streamfx.report.series import Floats, Series, Sums

STREAMS_LISTED = 20
VERSIONS_COMPARED = 6
"""So many versions, the first ones, are compared with each other."""
_FATES = {
    "processed": "decoded, with a face", "no_face": "decoded, without a face", "undecodable": "could not be decoded",
    "duplicate": "came twice", "refused": "the privacy rules forbade it", "lost": "came too late, or is missing",
}  # fmt: skip


class Groups:
    """The tracks' sums as groups that intervals are drawn from: all, of each stream, of each version."""

    def __init__(self, faces: Faces):
        self._keys, self._sums = faces.by_track()
        self.whole = Drawn(_once(self._keys["track"].to_numpy(object), self._sums))

    def of_version(self, version: str) -> Drawn:
        """The tracks of one version."""
        return Drawn(self._sums[(self._keys["version"] == version).to_numpy(bool)])

    def of_streams(self, streams: list[str]) -> list[Drawn]:
        """The tracks of each of these streams."""
        tracks = self._keys["track"].to_numpy(object)
        stream = np.array([track.partition("/")[0] for track in tracks], object)
        return [Drawn(_once(tracks[stream == name], self._sums[stream == name])) for name in streams]

    def showing(self, column: int) -> int:
        """How many tracks have anything in a channel."""
        tracks = self._keys["track"].to_numpy(object)
        return len(set(tracks[self._sums[:, column] > 0]))


def _once(tracks: np.ndarray[tuple[int, ...], np.dtype[np.object_]], sums: Sums) -> Sums:
    """A track under two versions as one row."""
    names, number = np.unique(tracks.astype(str), return_inverse=True) if len(tracks) else (tracks, np.zeros(0, int))
    if len(names) == len(tracks):
        return sums
    together = np.zeros((len(names), sums.shape[1]), sums.dtype)
    np.add.at(together, number, sums)
    return together


def expressions(faces: Faces, groups: Groups) -> Html:
    """Shares and mean scores of each expression, and both over time."""
    channels = faces.channels
    if not channels.expressions:
        return paragraph("This dataset has no column `expression`: no expression model was in its pipeline.")
    rows = []
    for at, label in enumerate(channels.expressions):
        showing = groups.showing(1 + at)
        share = groups.whole.estimate(partial(channels.share, expression=label), showing)
        score = None
        if f"p_{label}" in channels.scores:
            score = groups.whole.estimate(partial(channels.mean, name=f"p_{label}"))
        rows.append(
            [label, duration(groups.whole.total[1 + at]), f"{showing:,}", bar(share), percent(share), percent(score)]
        )
    head = ("expression", "face time as likeliest", "tracks", "", "share of face time (95 %)", "mean score (95 %)")
    return join(
        cannot(
            "An expression is how a face looks to a model, by its likeness to faces that people called by this word. It is not "
            "what someone feels, thinks or intends. People look so for many reasons, differently by person, culture and "
            "situation, and a share of happiness is not a share of happy people."
        ),
        table("Expressions over all streams", head, rows),
        chart("share", "Likeliest expression, share of face time", "All streams only."),
        chart("score", "Mean score of each expression", "Of the view that is chosen above."),
        chart("faces", "Faces in view at once, mean", "Of the view that is chosen above."),
    )


def action_units(faces: Faces, groups: Groups) -> Html:
    """Mean intensity of each unit, how much of the time it acts, and intensities over time."""
    channels = faces.channels
    if not channels.units and not channels.acting:
        return paragraph("This dataset has no action units: the operator `action_units` was not in its pipeline.")
    rows = []
    for unit in sorted({*channels.units, *(name.removesuffix("_present") for name in channels.acting)}):
        mean = groups.whole.estimate(partial(channels.mean, name=unit)) if unit in channels.units else None
        flag = f"{unit}_present"
        acts = groups.whole.estimate(partial(channels.mean, name=flag)) if flag in channels.acting else None
        told = "" if unit in channels.units else "not told"
        rows.append(
            [
                f"AU {int(unit[3:])}",
                bar(mean, 5),
                told or number(mean),
                percent(acts) if flag in channels.acting else "not told",
            ]
        )
    return join(
        cannot(
            "A unit says that muscles of the face seem to move, not why: speech, chewing, light and glasses move these numbers "
            "too. Windows in which the face is covered or turned have none and are left out, not counted as 0."
        ),
        table(
            "Action units over all streams",
            ("unit", "", "mean intensity, 0 to 5 (95 %)", "share of face time in which it acts (95 %)"),
            rows,
        ),
        chart(
            "unit",
            "Mean intensity of action units, 0 to 5",
            "Of the view that is chosen above; the six strongest are drawn at first.",
        ),
    )


def coverage(faces: Faces, chunks: Chunks, groups: Groups) -> Html:
    """What was decoded and when, gaps, fates and reasons, and the streams of the most face time."""
    total = sum(chunks.fates.values())
    fates = [
        [fate, _FATES.get(fate, ""), why or "none", f"{count:,}", f"{100 * count / total:.2f} %"]
        for (fate, why), count in sorted(chunks.fates.items(), key=lambda item: (-item[1], item[0]))
    ]
    gaps = [[gap.stream, utc(gap.start_us), duration(gap.seconds)] for gap in sorted(chunks.longest, reverse=True)]
    best = faces.streams.best()[:STREAMS_LISTED]
    channels, streams = faces.channels, []
    for (name, series), drawn in zip(best, groups.of_streams([name for name, _ in best]), strict=True):
        top, share = _likeliest(channels, drawn)
        first = utc(int(series.bins[0]) * series.every_s * 1_000_000)
        streams.append([name, first, duration(series.total[0]), f"{drawn.tracks:,}", top, share])
    return join(
        cannot(
            "Where nothing was decoded, nothing is known: it does not mean that nobody was there. A stream's pseudonym changes "
            "with each salt period, so one camera over many days is many streams here, and one person can be many tracks."
        ),
        paragraph(
            f"{total:,} chunks, {size(chunks.bytes)}. Of the decoded {duration(_sum(chunks, 0))}, "
            f"{duration(_sum(chunks, 1))} lie in chunks with a face. {chunks.gaps:,} gaps of over {GAP_S:g} s within streams, "
            f"{duration(chunks.gap_s)} together. {chunks.skipped:,} chunk numbers were skipped by producers."
        ),
        chart("covered", "Streams decoded at once, mean", "All streams, whatever view is chosen."),
        table("Fates of chunks", ("fate", "meaning", "reason", "chunks", "share"), fates) if fates else "",
        table(f"The longest gaps within streams ({len(gaps)} of {chunks.gaps:,})", ("stream", "begins", "length"), gaps)
        if gaps
        else "",
        table(
            f"Streams of the most face time ({len(streams)})",
            (
                "stream",
                "first face, about",
                "face time",
                "tracks",
                "likeliest expression",
                "its share of face time (95 %)",
            ),
            streams,
        ),
    )


def _likeliest(channels: Channels, drawn: Drawn) -> tuple[str, str]:
    seconds = drawn.total[1 : 1 + len(channels.expressions)]
    if not len(seconds) or not seconds.sum():
        return "none", percent(None)
    label = channels.expressions[int(seconds.argmax())]
    share = drawn.estimate(partial(channels.share, expression=label))
    return (label if share else NOT_ENOUGH), percent(share)


def quality(faces: Faces, groups: Groups) -> Html:
    """Face size, detector confidence, and how far faces are from what the models know."""
    channels, whole = faces.channels, groups.whole
    rows = [
        ["height of the face, pixels", number(whole.estimate(partial(channels.mean, name="face_height_px")), 1)],
        ["confidence of the face detector, 0 to 1", number(whole.estimate(partial(channels.mean, name="face_score")))],
        [
            "segments of the window with the face, of 16",
            number(whole.estimate(partial(channels.mean, name="frames")), 1),
        ],
    ]
    for name in channels.novelty:
        of = name.removesuffix("_novelty").replace("_", " ")
        rows.append(
            [f"novelty to the model of {of}, 0 to 1", number(whole.estimate(partial(channels.mean, name=name)))]
        )
        share = whole.estimate(partial(channels.mean, name=f"{name}>={NOVEL}"))
        rows.append([f"share of face time with a novelty of {NOVEL:g} or more", percent(share)])
    return join(
        cannot(
            "A confident detector has found a face; that does not make the scores right. Novelty says how far a face is from "
            "all that the model knows: near 1, do not believe its scores. A low novelty is no proof that they are right, least "
            "of all for groups of people that its training and tests did not have."
            + (
                ""
                if channels.novelty
                else " No model in this dataset tells novelty, so how far its faces are from what it knows is not known."
            )
        ),
        table("Quality over all streams", ("what", "mean over face time (95 %)"), rows),
        chart("height", "Mean height of the face, pixels", "Of the view that is chosen above."),
        chart("sure", "Detector confidence and novelty", "Of the view that is chosen above."),
    )


def versions(faces: Faces, groups: Groups) -> Html:
    """Which configuration and models made the rows when, and how their answers differ."""
    channels, names = faces.channels, version_names(faces)
    rows = []
    for at, name in enumerate(names):
        series, (config, *models) = faces.versions[name], name.split("|")
        first, last = (int(series.bins[end]) * series.every_s for end in (0, -1))
        said = [
            f"{column.removesuffix('_model_version')} {model or 'none'}"
            for column, model in zip(channels.versions, models, strict=True)
        ]
        span = [utc(first * 1_000_000), utc((last + series.every_s) * 1_000_000)]
        count = groups.of_version(name).tracks
        rows.append(
            [
                f"version {at + 1}",
                config,
                "; ".join(said),
                *span,
                f"{faces.windows_of[name]:,}",
                f"{count:,}",
                duration(series.total[0]),
            ]
        )
    head = ("", "configuration", "versions of the models", "from, about", "to, about", "windows", "tracks", "face time")
    parts = [
        cannot(
            "A difference between two versions is not all due to the version: other people, places, light and times of day "
            "were in view as well. Only the same film under both versions tells them apart."
        ),
        table("Configurations and model versions", head, rows),
    ]
    if len(names) < 2:
        return join(
            *parts, paragraph("There is one version in this dataset, so there is no drift between two to show.")
        )
    pairs = list(combinations(range(min(len(names), VERSIONS_COMPARED)), 2))
    drawn = [groups.of_version(name) for name in names[:VERSIONS_COMPARED]]
    options = "".join(f'<option value="{a}-{b}">version {a + 1} to version {b + 1}</option>' for a, b in pairs)
    more = f" Only the first {VERSIONS_COMPARED} are compared." if len(names) > VERSIONS_COMPARED else ""
    return join(
        *parts,
        chart(
            "versions",
            "Faces in view at once by version",
            f"All streams; at most {VERSIONS_DRAWN} versions.",
        ),
        Html("<h3>Drift between two versions</h3>"),
        paragraph(f"Differences with intervals by bootstrap over the tracks of both.{more}") if more else "",
        Html(f'<p><label>Compare <select id="drift-pair">{options}</select></label></p>'),
        *(Html(f'<div data-pair="{a}-{b}">{_drift(channels, a, b, drawn[a], drawn[b])}</div>') for a, b in pairs),
    )


def _drift(channels: Channels, a: int, b: int, before: Drawn, after: Drawn) -> Html:
    rows: list[list[object]] = []
    for label in channels.expressions:
        of = partial(channels.share, expression=label)
        rows.append(
            [
                f"{label}, share of face time",
                percent(before.estimate(of)),
                percent(after.estimate(of)),
                points(before.difference(after, of)),
            ]
        )
    for name in ("face_height_px", "face_score", *channels.novelty, *channels.units):
        mean = partial(channels.mean, name=name)
        rows.append(
            [
                name.replace("_", " "),
                number(before.estimate(mean)),
                number(after.estimate(mean)),
                number(before.difference(after, mean), signed=True),
            ]
        )
    head = ("mean over face time", f"version {a + 1} (95 %)", f"version {b + 1} (95 %)", "difference (95 %)")
    return table(f"Version {a + 1} and version {b + 1}", head, rows)


def delays(chunks: Chunks) -> Html:
    """How long after their end chunks were appended, and their rows committed."""
    (ends, known), (waits, _), (totals, committed) = map(_late, (chunks.delays, chunks.waits, chunks.totals))
    if not known:
        return paragraph(
            "Not known: no chunk's append time lies after its end. Files have no broker that stamps them, and a topic with "
            "CreateTime holds whatever its producer wrote."
        )
    rows = [
        [name, *(_delay(quantile(share, counts)) for counts in (ends, waits, totals))]
        for name, share in (("half of the chunks", 0.5), ("95 %", 0.95), ("99 %", 0.99))
    ]
    head = ("at most so late, about", "from end to append", "from append to commit", "from end to commit")
    return join(
        cannot(
            "Three clocks are in these times: a chunk's end is by its producer's, its append by the broker's, its commit by "
            "the worker's, and what their differences are is not known. Readers see rows a little after their commit. A "
            "stretch that was processed again, or only after the line had stood still, is late by that."
        ),
        paragraph(
            f"Of {known:,} chunks with an append time after their end, the log says of {committed:,} when they were committed"
            + (
                "."
                if known == committed
                else f". Of the others it does not: of long logs only {ENTRIES_MAX:,} entries of a partition are read, evenly "
                "spaced, and a commit before the append has another clock."
            )
        ),
        table("Delays of chunks", head, rows),
        chart("delay", "From a chunk's end to its append, seconds", "All streams. A day stands for more as well."),
        chart(
            "commit",
            "From a chunk's end to the commit of its rows, seconds",
            "All streams. A day stands for more as well.",
        ),
    )


def _late(series: Series) -> tuple[Floats, int]:
    """The classes of delays of all times, and how many chunks there are."""
    counts = series.total if len(series.bins) else np.zeros(0)
    return counts, int(counts.sum())


def _delay(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    return "a day or more" if seconds >= DELAY_EDGES_S[-1] else f"{seconds:.2f} s"


def utc(time_us: int) -> str:
    """A moment for people."""
    return str(np.datetime_as_string(np.datetime64(time_us, "us"), unit="s")).replace("T", " ") + " UTC"


def _sum(chunks: Chunks, channel: int) -> float:
    return float(chunks.covered.total[channel]) if len(chunks.covered.bins) else 0.0


__all__ = ["Groups", "action_units", "coverage", "delays", "expressions", "quality", "utc", "versions"]
