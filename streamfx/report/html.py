"""Small pieces of HTML. Whatever is not markup of this room goes through `text`, which escapes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from streamfx.episodes.intervals import NOT_ENOUGH, Estimate

_CODE, _AS_CODE = re.compile("`([^`]+)`"), r"<code>\1</code>"


class Html(str):
    """Markup that needs no escaping any more."""


def text(value: object) -> Html:
    """Any value as escaped text; markup stays."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def join(*parts: object) -> Html:
    """The parts, escaped, one after the other."""
    return Html("\n".join(text(part) for part in parts))


def paragraph(what: str) -> Html:
    """A paragraph; what stands between backticks is code."""
    return Html(f"<p>{_CODE.sub(_AS_CODE, text(what))}</p>")


def cannot(what: str) -> Html:
    """What the numbers beside it cannot tell."""
    return Html(f'<p class="cannot"><strong>What this cannot tell:</strong> {text(what)}</p>')


def table(caption: str, head: Sequence[object], rows: Sequence[Sequence[object]]) -> Html:
    """A table whose first column names its rows; it scrolls by itself where it is wider than the page."""
    top = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>' + "".join(f"<td>{text(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return Html(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def percent(found: Estimate | None) -> str:
    """A share with its interval."""
    if found is None:
        return NOT_ENOUGH
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def points(found: Estimate | None) -> str:
    """A difference of shares, in percentage points, with its interval."""
    if found is None:
        return NOT_ENOUGH
    return f"{100 * found.value:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def number(found: Estimate | None, digits: int = 2, signed: bool = False) -> str:
    """A mean, or a difference of means, with its interval."""
    if found is None:
        return NOT_ENOUGH
    sign = "+" if signed else ""
    return f"{found.value:{sign}.{digits}f} ({found.low:{sign}.{digits}f} to {found.high:{sign}.{digits}f})"


def bar(found: Estimate | None, top: float = 1.0) -> Html:
    """A bar with its interval, for the eye only: the same numbers stand beside it."""
    if found is None:
        return Html("")
    value, low, high = (100 * min(1.0, max(0.0, one / top)) for one in (found.value, found.low, found.high))
    return Html(
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="bar" x="0" y="1" width="{value:.1f}" height="8"/>'
        f'<line class="span" x1="{low:.1f}" x2="{high:.1f}" y1="5" y2="5"/></svg>'
    )


def size(number: int) -> str:
    """Bytes as a person says them."""
    for name, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= length:
            return f"{number / length:,.1f} {name}"
    return f"{number} bytes"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    for name, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {name}"
    return f"{seconds:,.1f} s"


def chart(id_: str, title: str, about: str) -> Html:
    """The place of a chart, which `page.js` fills: a drawing that keys move through, its lines, and its numbers."""
    return Html(
        f'<figure class="chart" id="chart-{id_}" role="group" aria-labelledby="title-{id_}" hidden>'
        f'<figcaption id="title-{id_}">{text(title)}</figcaption>'
        f'<div class="plot" tabindex="0" role="application" aria-roledescription="line chart" aria-label="{text(title)}. '
        f'{text(about)} Arrow keys read it step by step, plus and minus zoom, zero shows all." '
        f'aria-describedby="summary-{id_}"></div>'
        '<p class="reading" aria-live="off"></p>'
        f'<ul class="legend" aria-label="Lines of this chart"></ul><p class="summary" id="summary-{id_}"></p>'
        f'<details><summary>The numbers in view</summary><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{text(title)}: numbers"></div></details></figure>'
    )
