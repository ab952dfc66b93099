"""The page: it fetches nothing, escapes what comes from the dataset, stays small, and says what is not known."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers.crowds import Seen, crowd, write
from helpers.object_store import BUCKET, CREDENTIALS, object_store, proxy_before

from streamfx.cli.main import main
from streamfx.errors import MissingComponent
from streamfx.models.outside_files import FOLDER_ENV
from streamfx.report.page import write_report
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.maintain import compact
from streamfx.sink.place import open_place

pytestmark = pytest.mark.usefixtures("library")


def made(place: Path, tmp_path: Path, note: str = "") -> str:
    write_report(LocalFileSystem(place), str(place), tmp_path / "report.html", note)
    return (tmp_path / "report.html").read_text()


def numbers(page: str) -> dict[str, Any]:
    """What the charts draw."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found
    values: dict[str, Any] = json.loads(found[1])
    return values


def words(page: str) -> str:
    """The page's text without markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<body>")[2].partition("<script")[0]))


class Elements(HTMLParser):
    """The attributes of all elements."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_has_every_part_and_a_view_of_each_stream_and_track(place: Path, tmp_path: Path) -> None:
    write(place, [*crowd(range(30), "anger", smile=2.0), *crowd(range(30, 60), "happiness"), Seen(1, stream="door")])
    page = made(place, tmp_path)
    said, drawn = words(page), numbers(page)
    for part in (
        "Expressions",
        "Action units",
        "Coverage",
        "Quality",
        "Versions and drift",
        "Delays",
        "How it is counted",
    ):
        assert f">{part}</h2>" in page
    assert "An expression is not a feeling" in said.partition("Expressions")[0], "at the top"
    assert [view["kind"] for view in drawn["views"]].count("stream") == 2
    assert [view["kind"] for view in drawn["views"]].count("track") == 61
    assert re.search(r"anger 90\.0 s 30 49\.2 % \(3\d\.\d to 6\d\.\d\)", said), said[:3000]


def test_too_few_tracks_have_no_shares(place: Path, tmp_path: Path) -> None:
    write(place, crowd(range(19), "anger"))
    said = words(made(place, tmp_path))
    assert "not enough data" in said and not re.search(r"anger [^a-z]*%", said)


def test_nothing_is_fetched_and_no_script_but_the_pages_own_runs(place: Path, tmp_path: Path) -> None:
    write(place, crowd(range(2)))
    elements = Elements(made(place, tmp_path)).found
    policy = next(a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy
    assert not [
        tag for tag, attrs in elements if {"src", "style", "onclick"} & attrs.keys() or tag in ("link", "iframe")
    ]
    assert all((attrs.get("href") or "#").startswith("#") for _, attrs in elements)


def test_what_comes_from_the_dataset_is_escaped(place: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    write(place, crowd(range(2)))
    hostile.parent.mkdir(parents=True, exist_ok=True)
    write_report(LocalFileSystem(place), str(hostile), tmp_path / "report.html", "<b>&</b>")
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page and "<img" not in page and "&lt;b&gt;&amp;&lt;/b&gt;" in page
    assert page.count("<script") == page.count("</script>") == 3


def test_a_dataset_without_rows_gives_a_page_that_says_so(place: Path, tmp_path: Path) -> None:
    write(place, [])
    said = words(made(place, tmp_path))
    assert "No window had a face" in said and "processed" in said


def test_one_window_gives_a_page(place: Path, tmp_path: Path) -> None:
    write(place, [Seen(1, None, seconds=2)])
    drawn = numbers(made(place, tmp_path))
    assert drawn["views"][0]["lines"]["faces"] == [[100, 100]]


def test_merging_files_changes_no_number(place: Path, tmp_path: Path) -> None:
    write(place, crowd(range(25), "anger"))
    write(place, crowd(range(25, 50), "happiness"), offset=1)
    before = numbers(made(place, tmp_path))
    assert compact(LocalFileSystem(place), str(place)).before
    assert numbers(made(place, tmp_path)) == before


def test_a_drawn_dataset_has_drift_between_its_two_versions(drawn: Path, tmp_path: Path) -> None:
    page = made(drawn, tmp_path)
    said = words(page)
    assert "version 2" in said and "difference (95 %)" in said and "points (" in said
    assert 'id="drift-pair"' in page and numbers(page)["fixed"].keys() == {"covered", "delay", "commit", "versions"}
    assert len(page) < 2_000_000


def test_delays_are_told_up_to_the_commit_and_where_they_are_not_known(
    drawn: Path, place: Path, tmp_path: Path
) -> None:
    said = words(made(drawn, tmp_path))
    told = re.search(r"Of ([\d,]+) chunks with an append time after their end, the log says of ([\d,]+) when", said)
    assert told and told[1] == told[2], "of each"
    row = re.search(r"half of the chunks (\d\.\d\d) s (.*?) 95 %", said)
    assert row and 0.1 < float(row[1]) < 1 and row[2] == "a day or more a day or more", (
        "drawn long after its event time"
    )
    write(place, crowd(range(2)))
    assert "no chunk's append time lies after its end" in words(made(place, tmp_path)).replace("&#x27;", "'")


def test_a_dataset_in_an_object_store_gives_the_same_numbers(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore", reason="pip install 'streamfx[s3]'")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    url, faces = f"s3://{BUCKET}/rows", crowd(range(25), "anger", smile=2.0)
    with object_store() as port, proxy_before(port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        write(url, faces, open_place(url))
        assert run(url, "--out", tmp_path / "far.html").exit_code == 0
    write(place, faces)
    assert numbers(made(place, tmp_path)) == numbers((tmp_path / "far.html").read_text())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_the_command_says_what_the_page_is_made_of(place: Path, tmp_path: Path) -> None:
    write(place, crowd(range(2)))
    done = run(place, "--out", tmp_path / "page.html", "--json")
    values = json.loads(done.output)
    assert done.exit_code == 0 and (values["windows"], values["chunks"], values["tracks_shown"]) == (4, 1, 2)
    assert values["bytes"] == (tmp_path / "page.html").stat().st_size


def test_a_configuration_names_its_dataset(place: Path, tmp_path: Path) -> None:
    write(place, crowd(range(2)))
    config = tmp_path / "config.yaml"
    text = (Path(__file__).parents[2] / "config" / "quickstart.yaml").read_text()
    config.write_text(re.sub(r"path: out/\S+", f"path: {place}", text))
    done = run(config, "--out", tmp_path / "page.html")
    assert done.exit_code == 0 and "4 windows" in done.output, done.output


@pytest.mark.parametrize(("target", "why"), [("nowhere", "nowhere"), ("folder", "is not a streamfx dataset")])
def test_what_is_no_dataset_is_a_message_and_leaves_no_page(tmp_path: Path, target: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    done = run(tmp_path / target, "--out", tmp_path / "page.html")
    assert done.exit_code == 1 and why in done.output and not (tmp_path / "page.html").exists()


def test_a_damaged_file_is_named_and_the_old_page_stays(place: Path, tmp_path: Path) -> None:
    write(place, crowd(range(2)))
    (tmp_path / "page.html").write_text("old")
    (file,) = (place / "windows").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-9])
    done = run(place, "--out", tmp_path / "page.html")
    assert done.exit_code == 1 and file.name in done.output and (tmp_path / "page.html").read_text() == "old"


def test_a_page_that_cannot_be_written_is_an_error(place: Path, tmp_path: Path) -> None:
    write(place, crowd(range(2)))
    done = run(place, "--out", tmp_path / "no" / "page.html")
    assert done.exit_code == 1 and "--out" in done.output


def test_without_the_plotting_library_the_command_that_fetches_it_is_named(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_ENV, str(tmp_path / "empty"))
    with pytest.raises(MissingComponent, match=r"plotting library .*uplot.*`streamfx models fetch`"):
        write_report(LocalFileSystem(place), str(place), tmp_path / "report.html")
