"""A picture of the `windows` table: a lane of scores over time for each expression, and above them the truth where
known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Truth = Sequence[tuple[float, str, float]]
"""(time_s, expression, intensity 0..1) at even steps."""

COLOURS: dict[str, Colour] = {
    "happiness": (230, 159, 0),
    "sadness": (0, 114, 178),
    "neutral": (120, 120, 120),
    "anger": (200, 40, 40),
    "surprise": (204, 121, 167),
    "disgust": (0, 158, 115),
    "fear": (110, 60, 160),
}
_OTHER: Colour = (90, 70, 50)
_INK, _PALE, _PAPER = (40, 40, 40), (215, 215, 215), (255, 255, 255)
_WIDTH, _LEFT, _RIGHT = 1200, 120, 24
_HEAD, _BAND, _LANE, _ROW, _GAP, _AXIS, _LEGEND = 64, 64, 58, 16, 10, 44, 60
_SCALE = 2
"""Drawn this much larger and made smaller at the end, for smooth edges."""


@dataclass(frozen=True)
class ScoredWindow:
    """One row of the `windows` table; times count from the start of the stream."""

    start_s: float
    end_s: float
    frames: int
    sound: bool
    scores: dict[str, float]
    """Probability by expression."""

    @property
    def top(self) -> str:
        """The likeliest expression."""
        return max(self.scores, key=lambda label: self.scores[label])


def draw_scores(windows: Sequence[ScoredWindow], truth: Truth, title: str, caption: str, path: Path) -> None:
    """Draw at least one window of one face to `path` (the type of picture is that of its name), 1200 pixels wide.

    A lane an expression, in the order of the scores: its probability at each window's middle, joined by lines where
    windows follow each other. Below are the windows from start to end, in the colour of their likeliest expression, and
    where there was sound. `truth` may be empty; else it is the band on top (height: intensity), and tints the lanes.
    """
    labels = list(windows[0].scores)
    ends_s = [window.end_s for window in windows] + [time_s for time_s, _, _ in truth]
    sheet = _Sheet(max(ends_s), labels, with_truth=bool(truth))
    sheet.text(_LEFT, 10, title, 20)
    sheet.text(_LEFT, 36, caption, 14)
    spans = _spans(truth)
    if truth:
        _draw_truth(sheet, truth, spans)
    for label in labels:
        _draw_lane(sheet, label, windows, [(first, last) for first, last, shown in spans if shown == label])
    _draw_windows(sheet, windows)
    _draw_axis(sheet)
    _draw_legend(sheet, with_truth=bool(truth))
    sheet.save(path)


class _Sheet:
    """A canvas in pixels of the finished picture, and the places of things on it."""

    def __init__(self, seconds: float, labels: Sequence[str], with_truth: bool):
        self.seconds = seconds
        self.band_top = _HEAD
        top = _HEAD + (_BAND + _GAP if with_truth else 0)
        self.lane_tops = {label: top + number * (_LANE + _GAP) for number, label in enumerate(labels)}
        self.rows_top = top + len(labels) * (_LANE + _GAP) + 4
        self.sound_top = self.rows_top + 2 * _ROW + 8
        self.axis_top = self.sound_top + 14
        self.legend_top = self.axis_top + _AXIS
        self._picture = Image.new("RGB", (_WIDTH * _SCALE, (self.legend_top + _LEGEND) * _SCALE), _PAPER)
        self._pen = ImageDraw.Draw(self._picture)

    def x(self, time_s: float) -> float:
        """Where a time is."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * time_s / self.seconds

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        self._pen.rectangle([x0 * _SCALE, y0 * _SCALE, x1 * _SCALE, y1 * _SCALE], fill=fill)

    def area(self, points: Sequence[tuple[float, float]], floor: float, fill: Colour, outline: Colour) -> None:
        """What lies between a course and the floor under it."""
        line = [(x * _SCALE, y * _SCALE) for x, y in points]
        under = [(line[0][0], floor * _SCALE), *line, (line[-1][0], floor * _SCALE)]
        self._pen.polygon(under, fill=fill)
        self._pen.line(line, fill=outline, width=2 * _SCALE, joint="curve")

    def dot(self, x: float, y: float, fill: Colour) -> None:
        self._pen.ellipse([(v - 3.5) * _SCALE for v in (x, y)] + [(v + 3.5) * _SCALE for v in (x, y)], fill=fill)

    def line(self, x0: float, y0: float, x1: float, y1: float, fill: Colour = _PALE) -> None:
        self._pen.line([x0 * _SCALE, y0 * _SCALE, x1 * _SCALE, y1 * _SCALE], fill=fill, width=_SCALE)

    def text(self, x: float, y: float, words: str, size: int, anchor: str = "la", fill: Colour = _INK) -> None:
        font = ImageFont.load_default(size * _SCALE)
        self._pen.text((x * _SCALE, y * _SCALE), words, font=font, anchor=anchor, fill=fill)

    def save(self, path: Path) -> None:
        small = (self._picture.width // _SCALE, self._picture.height // _SCALE)
        self._picture.resize(small, Image.Resampling.BOX).save(path)


def _draw_truth(sheet: _Sheet, truth: Truth, spans: Sequence[tuple[float, float, str]]) -> None:
    top, floor = sheet.band_top, sheet.band_top + _BAND
    sheet.text(_LEFT - 10, top + _BAND / 2, "TRUTH", 15, "rm")
    for first_s, last_s, label in spans:
        colour, x0, x1 = _colour(label), sheet.x(first_s), sheet.x(last_s)
        sheet.box(x0, top, x1, floor, _light(colour, 0.18))
        course = [(sheet.x(t), floor - _BAND * much) for t, shown, much in truth if first_s <= t < last_s and much > 0]
        if course:
            sheet.area([(x0, floor), *course, (x1, floor)], floor, _light(colour, 0.6), colour)
        sheet.line(x0, top, x0, floor, _PAPER)
        sheet.text((x0 + x1) / 2, top + _BAND / 2, label, 15, "mm")


def _draw_lane(
    sheet: _Sheet, label: str, windows: Sequence[ScoredWindow], true_spans: Sequence[tuple[float, float]]
) -> None:
    colour, top = _colour(label), sheet.lane_tops[label]
    floor = top + _LANE
    sheet.text(_LEFT - 10, top + _LANE / 2, label, 15, "rm", colour)
    for first_s, last_s in true_spans:
        sheet.box(sheet.x(first_s), top, sheet.x(last_s), floor, _light(colour, 0.18))
    for part in (0.0, 0.5, 1.0):
        sheet.line(_LEFT, floor - part * _LANE, _WIDTH - _RIGHT, floor - part * _LANE)
    for run in _runs(windows):
        points = [((sheet.x(w.start_s) + sheet.x(w.end_s)) / 2, floor - _LANE * w.scores[label]) for w in run]
        if len(points) > 1:
            sheet.area(points, floor, _light(colour, 0.6), colour)
        for window, (x, y) in zip(run, points, strict=True):
            if window.top == label:
                sheet.dot(x, y, colour)


def _draw_windows(sheet: _Sheet, windows: Sequence[ScoredWindow]) -> None:
    """Windows that overlap lie in two rows in turn."""
    sheet.text(_LEFT - 10, sheet.rows_top + _ROW, "windows", 15, "rm")
    sheet.text(_LEFT - 10, sheet.sound_top + 4, "sound", 15, "rm")
    for number, window in enumerate(windows):
        y, x0, x1 = sheet.rows_top + (number % 2) * _ROW, sheet.x(window.start_s), sheet.x(window.end_s)
        sheet.box(x0 + 1, y + 1, max(x0 + 2, x1 - 1), y + _ROW - 2, _colour(window.top))
        if window.sound:
            sheet.box(x0, sheet.sound_top + 1, x1, sheet.sound_top + 6, _INK)


def _draw_axis(sheet: _Sheet) -> None:
    step = next((step for step in (1, 2, 5, 10, 30, 60, 120, 300, 600) if sheet.seconds / step <= 26), 1800)
    sheet.line(_LEFT, sheet.axis_top, _WIDTH - _RIGHT, sheet.axis_top, _INK)
    for time_s in np.arange(0, sheet.seconds + 1e-6, step):
        x = sheet.x(float(time_s))
        sheet.line(x, sheet.axis_top, x, sheet.axis_top + 5, _INK)
        sheet.text(x, sheet.axis_top + 8, f"{time_s:g}", 13, "ma")
    sheet.text((_LEFT + _WIDTH - _RIGHT) / 2, sheet.axis_top + 26, "seconds", 13, "ma")


def _draw_legend(sheet: _Sheet, with_truth: bool) -> None:
    y, grey = sheet.legend_top + 8, (90, 90, 90)
    sheet.area([(_LEFT, y + 11), (_LEFT + 14, y + 2), (_LEFT + 28, y + 8)], y + 13, _light(grey, 0.6), grey)
    sheet.text(_LEFT + 38, y + 8, "probability of the expression, lines at 0, 0.5 and 1", 13, "lm")
    sheet.dot(_LEFT + 434, y + 8, grey)
    sheet.text(_LEFT + 448, y + 8, "the likeliest of a window, which also colours its bar", 13, "lm")
    if with_truth:
        y += 24
        sheet.box(_LEFT, y + 1, _LEFT + 28, y + 15, _light(grey, 0.18))
        sheet.text(
            _LEFT + 38, y + 8, "time at which the expression is the true one; TRUTH: as high as it is strong", 13, "lm"
        )


def _spans(truth: Truth) -> list[tuple[float, float, str]]:
    """Stretches of equal expression: first second, last second, label."""
    spans: list[tuple[float, float, str]] = []
    for number, (time_s, label, _) in enumerate(truth):
        end_s = truth[number + 1][0] if number + 1 < len(truth) else 2 * time_s - truth[number - 1][0]
        if spans and spans[-1][2] == label:
            spans[-1] = (spans[-1][0], end_s, label)
        else:
            spans.append((time_s, end_s, label))
    return spans


def _runs(windows: Sequence[ScoredWindow]) -> list[list[ScoredWindow]]:
    """Windows without a hole between them: each starts before the one before it ends, or as it ends."""
    runs: list[list[ScoredWindow]] = []
    for window in windows:
        if runs and window.start_s <= runs[-1][-1].end_s:
            runs[-1].append(window)
        else:
            runs.append([window])
    return runs


def _colour(label: str) -> Colour:
    return COLOURS.get(label, _OTHER)


def _light(colour: Colour, part: float) -> Colour:
    """`part` of a colour on paper."""
    red, green, blue = (round(255 - (255 - channel) * part) for channel in colour)
    return red, green, blue
