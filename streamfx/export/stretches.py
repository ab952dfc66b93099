"""Files of stretches of time: Praat TextGrids, which ELAN reads too, and WebVTT captions for a film."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from streamfx.columns import EXPRESSION, FACE, INACTIVE, UNCLEAR
from streamfx.export.timeline import Timeline

_NO_LABEL = ("", INACTIVE, UNCLEAR)


def textgrids(episodes: pd.DataFrame, timeline: Timeline) -> Iterator[tuple[str, str]]:
    """(stream, TextGrid): a tier of intervals for each track and measure. An interval without a label is not known, or
    known and shows nothing; the tier of the face says when the track was seen.

    Format: Praat's long text format of an object of class TextGrid.
    """
    for stream, rows in _streams(episodes, timeline):
        end = round(float(rows["until"].max()), 3)
        tiers = [
            _tier(f"{_face(timeline, stream, str(track))} {measure}", part, end)
            for (track, measure), part in rows.groupby(["track_id", "measure"], sort=False)
        ]
        head = [
            'File type = "ooTextFile"',
            'Object class = "TextGrid"',
            "",
            "xmin = 0",
            f"xmax = {end:g}",
            "tiers? <exists>",
            f"size = {len(tiers)}",
            "item []:",
        ]
        body = [line for number, tier in enumerate(tiers, 1) for line in (f"    item [{number}]:", *tier)]
        yield stream, "\n".join([*head, *body]) + "\n"


class Cue(NamedTuple):
    """What one face shows for a time: `since` and `until` are seconds since the stream's beginning, `face` counts from 1.

    `what` is an expression, or an action unit that acts, as in `AU 12`; `unit` says which of the two.
    """

    since: float
    until: float
    face: int
    what: str
    unit: bool


def cues(episodes: pd.DataFrame, timeline: Timeline) -> Iterator[tuple[str, list[Cue]]]:
    """(stream, its cues by time): one for each episode of an expression, and for each of an action unit that acts."""
    for stream, rows in _streams(episodes, timeline):
        shown = rows[~rows["value"].isin(_NO_LABEL) & (rows["measure"] != FACE)]
        shown = shown.sort_values(["since", "until"], kind="stable")
        found = []
        for since, until, track, measure, value in shown[["since", "until", "track_id", "measure", "value"]].to_numpy():
            unit = measure != EXPRESSION
            what = f"AU {int(measure.removeprefix('au_'))}" if unit else str(value)
            found.append(Cue(float(since), float(until), timeline.number(stream, track) + 1, what, unit))
        yield stream, found


def captions(episodes: pd.DataFrame, timeline: Timeline) -> Iterator[tuple[str, str]]:
    """(stream, WebVTT): its cues, in the format of captions for a film."""
    for stream, found in cues(episodes, timeline):
        lines = ["WEBVTT", "", "NOTE An expression is what a face shows, and not what a person feels.", ""]
        for cue in found:
            lines += [f"{_clock(cue.since)} --> {_clock(cue.until)}", f"face {cue.face}: {cue.what}", ""]
        yield stream, "\n".join(lines)


def _streams(episodes: pd.DataFrame, timeline: Timeline) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each stream's rows in order of time, with `since` and `until` in seconds; nothing before the beginning."""
    for stream, rows in episodes.groupby("stream_id", sort=True):
        since = timeline.seconds(str(stream), rows["episode_start"]).clip(lower=0.0)
        until = timeline.seconds(str(stream), rows["episode_end"])
        found = rows.assign(since=since, until=until)
        found = found[found["until"] > found["since"]]
        if len(found):
            rank = found["measure"].map({FACE: 0, EXPRESSION: 1}).fillna(2)
            yield (
                str(stream),
                found.assign(rank=rank).sort_values(["since", "track_id", "rank", "measure"], kind="stable"),
            )


def _face(timeline: Timeline, stream: str, track: str) -> str:
    return f"face {timeline.number(stream, track) + 1}"


def _tier(name: str, rows: pd.DataFrame, end: float) -> list[str]:
    pieces: list[tuple[float, float, str]] = []
    at = 0.0
    for since, until, value in zip(rows["since"].round(3), rows["until"].round(3), rows["value"], strict=True):
        begin = max(at, float(since))
        if begin > at:
            pieces.append((at, begin, ""))
        if float(until) > begin:
            pieces.append((begin, float(until), "" if value in _NO_LABEL else str(value)))
            at = float(until)
    if at < end:
        pieces.append((at, end, ""))
    lines = [
        '        class = "IntervalTier"',
        f'        name = "{name}"',
        "        xmin = 0",
        f"        xmax = {end:g}",
        f"        intervals: size = {len(pieces)}",
    ]
    for number, (since, until, label) in enumerate(pieces, 1):
        lines += [
            f"        intervals [{number}]:",
            f"            xmin = {since:.10g}",
            f"            xmax = {until:.10g}",
            f'            text = "{label}"',
        ]
    return lines


def _clock(seconds: float) -> str:
    """`HH:MM:SS.mmm`, with more digits for the hours of long films."""
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
