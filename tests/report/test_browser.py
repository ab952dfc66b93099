"""The page in a real Chromium: at phone, laptop and print width, in light and dark, by mouse, keys and screen reader.

With STREAMFX_WRITE_SCREENS set, the screens of docs/report.md are written anew.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import LAPTOP, PAPER, PHONE, Shown
from helpers.lacking import needs

from streamfx.report.page import write_report
from streamfx.sink.fs import LocalFileSystem

pytestmark = [needs("Chromium"), pytest.mark.usefixtures("library")]
DOCS = Path(__file__).parents[2] / "docs"
SCREEN_BYTES_MAX = 300_000
NOTE = "These faces are synthetic: no person was filmed, the rows were drawn by chance."


@pytest.fixture(scope="module")
def file(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the drawn dataset."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(LocalFileSystem(drawn), "out/dataset", out, NOTE)
    return out


@pytest.fixture
def laptop(chromium: Any, file: Path) -> Iterator[Shown]:
    shown = Shown(chromium, file, LAPTOP, "light")
    yield shown
    assert shown.said == []
    shown.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, LAPTOP, PAPER])
def test_the_page_is_drawn_without_an_error_or_anything_from_outside(
    chromium: Any, file: Path, size: tuple[int, int], scheme: str
) -> None:
    shown = Shown(chromium, file, size, scheme)
    assert shown.said == [] and shown.asked == [file.as_uri()]
    assert shown.overflow() == 0
    assert shown.page.locator("figure canvas").count() == shown.page.locator("figure.chart").count() == 10
    paper = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 24, 26)")
    shown.context.close()


def test_on_paper_charts_fit_and_controls_are_gone(laptop: Shown) -> None:
    laptop.page.set_viewport_size({"width": PAPER[0], "height": PAPER[1]})
    laptop.page.emulate_media(media="print")
    assert laptop.overflow() == 0
    assert not laptop.page.locator(".controls").is_visible() and not laptop.page.locator("details").first.is_visible()
    canvas = laptop.page.locator("figure canvas").first.bounding_box()
    assert 0.9 * PAPER[0] < canvas["width"] <= PAPER[0]
    assert laptop.page.pdf(format="A4").startswith(b"%PDF")


def test_a_screen_reader_finds_names_roles_and_the_numbers_in_words(laptop: Shown) -> None:
    page = laptop.page
    assert page.get_attribute("html", "lang") == "en"
    assert page.get_by_role("heading", level=1).count() == 1 and page.get_by_role("heading", level=2).count() == 7
    assert page.get_by_role("main").count() == page.get_by_role("navigation", name="Sections").count() == 1
    assert page.get_by_role("toolbar", name="What the charts show").count() == 1
    assert page.get_by_role("combobox", name="View").count() == 1
    charts = page.get_by_role("application")
    assert charts.count() == 10
    for chart in charts.all():
        about = page.text_content(f"#{chart.get_attribute('aria-describedby')}")
        assert len(chart.get_attribute("aria-label")) > 20 and "at most" in about
        assert re.match(r"2026-01-01 09:\d\d:\d\d UTC to 2026-01-02 1\d:\d\d:\d\d UTC", about)
    for table in page.get_by_role("table").all():
        assert table.locator("caption").text_content() and table.locator("th[scope=row]").count()
    assert "synthetic" in page.text_content("header") and "not a feeling" in page.text_content("header")


def test_keys_read_zoom_and_reset_a_chart(laptop: Shown) -> None:
    chart = laptop.chart("Mean score of each expression")
    reading = laptop.page.locator("#chart-score .reading")
    whole = laptop.summary("score")
    chart.focus()
    laptop.page.keyboard.press("Home")
    first = reading.text_content()
    laptop.page.keyboard.press("ArrowRight")
    assert re.search(r"UTC: happiness \d+", first) and reading.text_content() != first
    assert reading.get_attribute("aria-live") == "polite"
    laptop.page.keyboard.press("+")
    assert laptop.summary("score") != whole and laptop.summary("unit")[:50] == laptop.summary("score")[:50]
    laptop.page.keyboard.press("0")
    assert laptop.summary("score") == whole


def test_the_mouse_reads_and_zooms_all_charts_together(laptop: Shown) -> None:
    whole = laptop.summary("height")
    plot = laptop.page.locator("#chart-faces .u-over")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    middle = box["y"] + box["height"] / 2
    readings = set()
    for step in range(40):
        laptop.page.mouse.move(box["x"] + 2 * step, middle)
        readings.add(laptop.page.text_content("#chart-faces .legend"))
    assert len({reading for reading in readings if re.search(r"faces in view \d", reading)}) > 1
    laptop.page.mouse.down()
    laptop.page.mouse.move(box["x"] + box["width"] / 2, middle, steps=4)
    laptop.page.mouse.up()
    assert laptop.summary("height")[:50] != whole[:50]
    plot.dblclick()
    assert laptop.summary("height") == whole


def test_a_stream_and_a_track_can_be_looked_at_alone(laptop: Shown) -> None:
    chooser = laptop.page.get_by_role("combobox", name="View")
    whole = laptop.summary("score")
    for kind in ("stream", "track"):
        name = laptop.page.locator("#view option", has_text=re.compile(f"^{kind} ")).first
        chooser.select_option(value=name.get_attribute("value"))
        assert laptop.summary("score") != whole
        assert laptop.page.locator("#chart-share").is_hidden(), "shares of single tracks would be noughts and ones"
        assert laptop.page.locator("#chart-covered").is_visible()
    chooser.select_option(value="0")
    assert laptop.summary("score") == whole


def test_lines_are_switched_by_key_and_numbers_in_view_are_a_table(laptop: Shown) -> None:
    button = laptop.page.locator("#chart-unit").get_by_role("button", name="AU 1", exact=True)
    before = button.get_attribute("aria-pressed")
    button.focus()
    laptop.page.keyboard.press("Enter")
    assert {before, button.get_attribute("aria-pressed")} == {"true", "false"}
    details = laptop.page.locator("#chart-unit details")
    details.locator("summary").focus()
    laptop.page.keyboard.press("Enter")
    details.locator("tbody tr").nth(10).wait_for()  # the table is made when the browser says that it was opened
    assert details.locator("thead th").count() == 20
    assert laptop.overflow() == 0


def test_buttons_zoom_and_move(laptop: Shown) -> None:
    seen = [laptop.summary("score")[:50]]
    for name in ("Zoom in", "Later", "Zoom out", "Earlier", "Show all"):
        laptop.page.get_by_role("button", name=name).click()
        seen.append(laptop.summary("score")[:50])
    assert all(one != other for one, other in pairwise(seen)) and seen[-1] == seen[0]


def luminance(colour: str) -> float:
    """Relative luminance of a `#rrggbb` (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_and_lines_have_colours_that_the_colour_blind_can_tell(
    chromium: Any, file: Path, scheme: str
) -> None:
    shown = Shown(chromium, file, LAPTOP, scheme)
    names = ["ink", "faint", "link", "paper", "card", *(f"c{at}" for at in range(7))]
    style = "getComputedStyle(document.documentElement).getPropertyValue"
    colours = {name: shown.page.evaluate(f"{style}('--{name}')").strip() for name in names}
    colours = {name: re.sub(r"^#(.)(.)(.)$", r"#\1\1\2\2\3\3", colour) for name, colour in colours.items()}
    for text in ("ink", "faint", "link"):
        for ground in ("paper", "card"):
            light = sorted((luminance(colours[text]), luminance(colours[ground])))
            assert (light[1] + 0.05) / (light[0] + 0.05) >= 4.5, (text, ground)
    okabe_ito = {"#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"}
    lines = {colours[f"c{at}"] for at in range(7)}
    assert len(lines) == 7 and len(lines - okabe_ito) == (0 if scheme == "light" else 1), "blue is lighter on black"
    shown.context.close()


@pytest.mark.parametrize(("name", "size", "scheme"), [("phone", PHONE, "dark"), ("laptop", LAPTOP, "light")])
def test_the_screens_of_the_docs_are_small(
    chromium: Any, file: Path, tmp_path: Path, name: str, size: tuple[int, int], scheme: str
) -> None:
    """They show a track, of which all steps are there; on the phone, from the choice of the view on."""
    shown = Shown(chromium, file, (size[0], 2 * size[1]), scheme)
    screen = tmp_path / f"report-{name}.png"
    track = shown.page.locator("#view option", has_text=re.compile("^track ")).first
    shown.page.get_by_role("combobox", name="View").select_option(value=track.get_attribute("value"))
    if size == PHONE:
        shown.page.evaluate("document.querySelector('.controls').scrollIntoView()")
    shown.page.screenshot(path=screen)
    shown.context.close()
    assert 10_000 < screen.stat().st_size < SCREEN_BYTES_MAX
    if os.environ.get("STREAMFX_WRITE_SCREENS"):
        shutil.copy(screen, DOCS / screen.name)
