"""The film in a real Chromium: the page opened from disk plays it, its captions are rows, and charts and film move together."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import LAPTOP, PAPER, PHONE, Shown
from helpers.crowds import START_US
from helpers.lacking import needs
from helpers.tracks import Track, write

from streamfx.report.page import write_report
from streamfx.sink.fs import LocalFileSystem

pytestmark = [needs("Chromium"), pytest.mark.usefixtures("library")]
S = 1_000_000
PATIENCE_S = 60
VIDEO = "document.getElementById('film-video')"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two films of a stream, 20 s and 10 s long with a gap of 10 s between, and one of another."""
    folder = tmp_path_factory.mktemp("a folder # of films")
    tracks = [Track("h" * 10 + "n" * 30, smiles=(3.0,) * 40), Track("a" * 5, 2, stream="door")]
    films = [("hall", START_US, 20), ("hall", START_US + 30 * S, 10), ("door", START_US, 5)]
    write(folder / "dataset", tracks, films=films)
    write_report(LocalFileSystem(folder / "dataset"), "out/dataset", folder / "report.html", films=folder / "films")
    return folder / "report.html"


class Film(Shown):
    """The page, and its film."""

    def wait(self, condition: str) -> None:
        """The page's policy forbids playwright's own way of asking again and again."""
        until = time.monotonic() + PATIENCE_S
        while not self.page.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < until, f"{condition}; {self.moment()}"
            self.page.wait_for_timeout(50)

    def ready(self) -> None:
        """Waits until a picture is there."""
        self.wait(f"{VIDEO}.readyState >= 2 && !{VIDEO}.seeking")

    def moment(self) -> str:
        return str(self.page.text_content("#film-time"))

    def rows(self) -> list[str]:
        return [str(row) for row in self.page.locator("#film-rows li").all_text_contents()]

    def captions(self, track: int) -> list[str]:
        """The captions that lie over the picture now."""
        found: list[str] = self.page.evaluate(f"[...{VIDEO}.textTracks[{track}].activeCues].map((cue) => cue.text)")
        return found

    def playhead_s(self, chart: str) -> float:
        """At which second of the chart the line stands, by its place between the plot's edges."""
        return float(
            self.page.evaluate(
                """(id) => {
                    const over = document.querySelector(`#chart-${id} .u-over`).getBoundingClientRect();
                    const line = document.querySelector(`#chart-${id} .playhead`).getBoundingClientRect();
                    return (line.left - over.left) / over.width;
                }""",
                chart,
            )
        )


@pytest.fixture
def film(chromium: Any, file: Path) -> Iterator[Film]:
    shown = Film(chromium, file, LAPTOP, "light")
    shown.ready()
    yield shown
    assert shown.said == []
    shown.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, LAPTOP, PAPER])
def test_the_page_from_disk_shows_a_film_and_asks_for_nothing_else(
    chromium: Any, file: Path, size: tuple[int, int], scheme: str
) -> None:
    shown = Film(chromium, file, size, scheme)
    shown.ready()
    assert shown.page.evaluate(f"[{VIDEO}.videoWidth, {VIDEO}.duration]") == [160, 20]
    assert shown.said == [] and {re.sub(r"[^/]*$", "", url) for url in shown.asked[1:]} == {
        f"{file.parent.as_uri()}/films/"
    }
    assert shown.overflow() == 0
    shown.page.get_by_role("button", name="Keep in view").click()
    assert shown.overflow() == 0
    shown.context.close()


def test_a_screen_reader_finds_the_film_its_buttons_and_its_rows(film: Film) -> None:
    page = film.page
    assert page.get_by_role("group", name="Redacted film and its rows").count() == 1
    assert page.get_by_role("combobox", name="Film of stream").locator("option").count() == 2
    assert page.get_by_role("list", name="What the rows say of this moment").count() == 1
    assert re.search(r"Redacted film of stream \w{20}", page.get_attribute("#film-video", "aria-label"))
    assert page.get_by_role("heading", name="Film and rows", level=2).count() == 1


def test_captions_are_the_rows_of_the_moment(film: Film) -> None:
    film.page.evaluate(f"{VIDEO}.currentTime = 5")
    film.wait("document.getElementById('film-time').textContent.includes('00:00:05')")
    film.ready()
    assert film.rows() == ["face 1: happiness, AU 12"]
    film.wait(f"{VIDEO}.textTracks[0].activeCues.length === 1")
    assert film.captions(0) == ["face 1: happiness"] and film.captions(1) == ["face 1: AU 12"]
    film.page.evaluate(f"{VIDEO}.currentTime = 15")
    film.wait(f"{VIDEO}.textTracks[0].activeCues[0]?.text === 'face 1: neutral'")


def test_no_caption_stays_over_another_part_of_the_film(film: Film) -> None:
    """Chromium may leave a caption on the picture that its list of active ones no longer has."""
    film.page.evaluate(f"{VIDEO}.controls = false")
    film.page.get_by_role("button", name="Film after").click()
    film.wait(f"{VIDEO}.textTracks[0].activeCues[0]?.text === 'face 1: neutral'")
    film.page.evaluate(f"document.dispatchEvent(new CustomEvent('moment', {{ detail: {START_US // S + 15} }}))")
    film.wait("document.getElementById('film-time').textContent.includes('00:00:15.0')")
    film.ready()
    film.page.wait_for_timeout(1000)
    shown = film.page.locator("#film-video").screenshot()
    film.page.evaluate(f"{{ const track = {VIDEO}.textTracks[0]; track.mode = 'hidden'; track.mode = 'showing' }}")
    film.page.wait_for_timeout(1000)
    assert film.page.locator("#film-video").screenshot() == shown


def test_the_playing_film_moves_a_line_on_the_charts(film: Film) -> None:
    before = film.playhead_s("score")
    film.page.evaluate(f"{VIDEO}.playbackRate = 4; {VIDEO}.play()")
    film.wait(f"{VIDEO}.currentTime > 8")
    film.page.evaluate(f"{VIDEO}.pause()")
    film.ready()
    second = film.page.evaluate(f"{VIDEO}.currentTime")
    assert before == pytest.approx(0, abs=0.02)
    film.wait(f"document.getElementById('film-time').textContent.includes('00:00:{int(second):02}')")
    assert film.playhead_s("score") == pytest.approx(second / 41, abs=0.02), "41 s are covered by windows"


def test_a_click_on_a_chart_shows_the_film_of_that_time_also_of_another_file(film: Film) -> None:
    plot = film.page.locator("#chart-score .u-over")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] * 35 / 41, "y": 20})
    film.wait("document.getElementById('film-time').textContent.includes('film 2 of 2')")
    film.ready()
    assert film.page.evaluate(f"{VIDEO}.currentTime") == pytest.approx(5, abs=0.2)
    assert film.rows() == ["face 1: neutral, AU 12"]
    plot.click(position={"x": box["width"] * 25 / 41, "y": 20})
    film.wait("document.getElementById('film-time').textContent.includes('00:00:30.0')")
    assert "film 2 of 2" in film.moment(), "where there is no film, the next one is shown"


def test_a_drag_that_zooms_does_not_move_the_film(film: Film) -> None:
    plot = film.page.locator("#chart-score .u-over")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    before = film.moment()
    film.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    film.page.mouse.down()
    film.page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 50, steps=4)
    film.page.mouse.up()
    assert film.moment() == before
    assert film.page.locator("#chart-score .playhead").is_hidden(), "the moment is not in view"


def test_keys_alone_lead_from_a_chart_to_the_film(film: Film) -> None:
    film.chart("Mean score of each expression").focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
        film.page.keyboard.press(key)
    film.wait("document.getElementById('film-time').textContent.includes('00:00:03.5')")


def test_a_stream_and_its_film_are_chosen_together(film: Film) -> None:
    film.page.get_by_role("combobox", name="Film of stream").select_option(value="1")
    film.ready()
    chosen = film.page.locator("#view option:checked").text_content()
    door = film.page.locator("#film-stream option:checked").text_content().split(" ")[0]
    assert chosen.startswith(f"stream {door}")
    assert film.page.evaluate(f"{VIDEO}.duration") == 5
    track = film.page.locator("#view option", has_text=re.compile(f"^track (?!{door})")).first
    film.page.get_by_role("combobox", name="View").select_option(value=track.get_attribute("value"))
    assert film.page.input_value("#film-stream") == "0"


def test_one_film_follows_another(film: Film) -> None:
    film.page.evaluate(f"{VIDEO}.currentTime = 19.5; {VIDEO}.play()")
    film.wait("document.getElementById('film-time').textContent.includes('film 2 of 2')")
    film.page.get_by_role("button", name="Film before").click()
    film.wait("document.getElementById('film-time').textContent.includes('film 1 of 2')")


def test_on_paper_there_is_no_film(film: Film) -> None:
    film.page.emulate_media(media="print")
    assert not film.page.locator("#film-video").is_visible()
    assert film.page.pdf(format="A4").startswith(b"%PDF")


def test_a_film_that_was_not_moved_with_the_page_is_said(chromium: Any, file: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.html").write_bytes(file.read_bytes())
    shown = Film(chromium, tmp_path / "alone.html", LAPTOP, "light")
    shown.wait("document.getElementById('film-time').textContent.includes('keep the folder of films beside this page')")
    shown.context.close()
