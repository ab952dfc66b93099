"""Writes an evaluation as JSON, a self-contained HTML page and two pictures, which need only Pillow."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from streamfx.errors import EvaluationError
from streamfx.train.evaluate import CONDITIONS, Evaluation, Measures
from streamfx.train.results import json_text

SCALE = 2
"""Pixels of the pictures per pixel of the page."""
INK, FAINT, PAPER, BAR = (25, 25, 25), (205, 205, 205), (255, 255, 255), (66, 113, 174)
DEEP = (8, 48, 107)
"""Colour of the share 1."""

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #191919; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse } th, td { padding: .2rem .8rem .2rem 0; text-align: right }
th:first-child, td:first-child { text-align: left } tr + tr td { border-top: 1px solid #ddd }
img { max-width: 100% } .faint { color: #666 }
"""


def write_page(evaluation: Evaluation, out: Path) -> list[Path]:
    """Write evaluation.json, evaluation.html, confusion.png and reliability.png into `out`; returns their paths."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        pictures = {
            "confusion": draw_confusion(evaluation.whole),
            "reliability": draw_reliability(evaluation.whole),
        }
        paths = [out / "evaluation.json", out / "evaluation.html"]
        paths[0].write_text(json_text(evaluation.as_json()) + "\n", encoding="utf-8")
        for name, picture in pictures.items():
            paths.append(out / f"{name}.png")
            picture.save(paths[-1])
        sources = {path.stem: base64.b64encode(path.read_bytes()).decode() for path in paths[2:]}
        paths[1].write_text(_page(evaluation, sources), encoding="utf-8")
        return paths
    except OSError as error:
        raise EvaluationError(f"cannot write the evaluation into {out}: {error}") from error


def draw_confusion(measures: Measures) -> Image.Image:
    """Draw the confusion matrix: rows are true classes, columns the model's; cells show share of the row and count."""
    labels, cell, left, top = measures.labels, 84, 130, 34
    sheet = _Sheet(left + cell * len(labels) + 10, top + cell * len(labels) + 34)
    shares = measures.confusion / np.maximum(measures.confusion.sum(axis=1, keepdims=True), 1)
    for i, label in enumerate(labels):
        sheet.text(left - 10, top + cell * (i + 0.5), label, 13, "rm")
        sheet.text(left + cell * (i + 0.5), top - 12, label, 11, "mm")
        for j in range(len(labels)):
            x, y, share = left + cell * j, top + cell * i, float(shares[i, j])
            sheet.box(x, y, x + cell, y + cell, _shade(share), FAINT)
            ink = PAPER if share > 0.5 else INK
            sheet.text(x + cell / 2, y + cell / 2 - 8, f"{share:.0%}", 15, "mm", ink)
            sheet.text(x + cell / 2, y + cell / 2 + 12, str(measures.confusion[i, j]), 11, "mm", ink)
    sheet.text(left, top + cell * len(labels) + 18, "Rows: true. Columns: named by the model.", 12, "lm")
    return sheet.picture


def draw_reliability(measures: Measures) -> Image.Image:
    """Draw accuracy by confidence against the diagonal, and below it the share of examples in each bin."""
    curve, left, top, side, low = measures.curve, 60, 30, 360, 80
    bins, bottom = len(curve.counts), top + side
    sheet = _Sheet(left + side + 20, bottom + low + 70)
    for tenth in range(0, 11, 2):
        at = side * tenth / 10
        sheet.line(left, bottom - at, left + side, bottom - at, FAINT)
        sheet.text(left - 8, bottom - at, f"{tenth / 10:.1f}", 11, "rm")
        sheet.text(left + at, bottom + low + 30, f"{tenth / 10:.1f}", 11, "mm")
    most = max(1, int(curve.counts.max()))
    for i in range(bins):
        x0, x1 = left + side * i / bins, left + side * (i + 1) / bins
        if curve.counts[i]:
            sheet.box(x0 + 1, bottom - side * curve.accuracy[i], x1 - 1, bottom, BAR)
            floor = bottom + 20 + low
            sheet.box(x0 + 1, floor - low * curve.counts[i] / most, x1 - 1, floor, FAINT)
    sheet.line(left, bottom, left + side, top, INK)
    ece = "" if math.isnan(curve.ece) else f"   ECE {curve.ece:.3f}"
    sheet.text(left, top - 14, f"Accuracy by confidence{ece}", 13, "lm")
    sheet.text(left, bottom + low + 52, "Confidence; below, how many examples have it", 12, "lm")
    return sheet.picture


class _Sheet:
    """A white picture that is drawn on in pixels of the page."""

    def __init__(self, width: float, height: float):
        self.picture = Image.new("RGB", (round(width * SCALE), round(height * SCALE)), PAPER)
        self._draw = ImageDraw.Draw(self.picture)

    def text(self, x: float, y: float, text: str, size: int, anchor: str, ink: tuple[int, int, int] = INK) -> None:
        font = ImageFont.load_default(size * SCALE)
        self._draw.text((x * SCALE, y * SCALE), text, ink, font, anchor)

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: tuple[int, int, int],
        edge: tuple[int, int, int] | None = None,
    ) -> None:
        self._draw.rectangle((x0 * SCALE, y0 * SCALE, x1 * SCALE, y1 * SCALE), fill, edge)

    def line(self, x0: float, y0: float, x1: float, y1: float, ink: tuple[int, int, int]) -> None:
        self._draw.line((x0 * SCALE, y0 * SCALE, x1 * SCALE, y1 * SCALE), ink, SCALE)


def _shade(share: float) -> tuple[int, int, int]:
    red, green, blue = (round(white + (deep - white) * share) for white, deep in zip(PAPER, DEEP, strict=True))
    return red, green, blue


def _page(evaluation: Evaluation, pictures: Mapping[str, str]) -> str:
    whole, model = evaluation.whole, evaluation.model
    title = f"{model.name} {model.version} on {Path(evaluation.source).name}"
    chance = 1 / max(1, len(whole.recall))
    skipped = ", ".join(f"{n} of {label}" for label, n in evaluation.skipped.items())
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{whole.n} examples of {len(whole.recall)} expressions. <b>UAR {whole.uar:.3f}</b> (mean recall of the "
        f"classes; chance {chance:.3f}), <b>WAR {whole.war:.3f}</b> (accuracy), ECE {whole.curve.ece:.3f} "
        "(expected calibration error, 15 bins).</p>",
        *([f"<p>Left out, since the model does not know them: {html.escape(skipped)}.</p>"] if skipped else []),
        *(["<p><b>This model is untrained: its answers mean nothing.</b></p>"] if not model.trained else []),
        "<h2>Confusion</h2>",
        _picture("Confusion matrix", pictures["confusion"]),
        "<h2>Calibration</h2>",
        _picture("Reliability curve", pictures["reliability"]),
        "<h2>Recall by expression</h2>",
        _table(("expression", "n", "recall"), _recall_rows(whole)),
        "<h2>By condition</h2>",
        _measures_table(
            "condition", {CONDITIONS[name][0]: measures for name, measures in evaluation.conditions.items()}, whole
        ),
        "<h2>By group</h2>",
        '<p class="faint">A few dozen examples say little; differences are to the whole set.</p>'
        if evaluation.groups
        else '<p class="faint">The set says nothing of groups.</p>',
        *(_measures_table(name.replace("_", " "), by, whole) for name, by in evaluation.groups.items()),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _picture(name: str, png: str) -> str:
    return f'<img alt="{name}" style="max-height: 46rem" src="data:image/png;base64,{png}">'


def _recall_rows(measures: Measures) -> list[tuple[str, ...]]:
    of_class = dict(zip(measures.labels, measures.confusion.sum(axis=1).tolist(), strict=True))
    return [(label, str(of_class[label]), f"{value:.3f}") for label, value in measures.recall.items()]


def _measures_table(name: str, by: Mapping[str, Measures], whole: Measures) -> str:
    rows = [
        (
            value,
            str(measures.n),
            f"{measures.uar:.3f}",
            f"{measures.uar - whole.uar:+.3f}",
            f"{measures.war:.3f}",
            f"{measures.curve.ece:.3f}",
        )
        for value, measures in by.items()
    ]
    return _table((name, "n", "UAR", "difference", "WAR", "ECE"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + row(head, "th") + "".join(row(cells, "td") for cells in rows) + "</table>"
