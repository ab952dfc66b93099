"""Films beside the page: only the dataset's own, redacted ones, as the log has them, and the rows of the same moments."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers.crowds import START_US
from helpers.object_store import BUCKET, CREDENTIALS, object_store, proxy_before
from helpers.tracks import Track, write

from streamfx.cli.main import main
from streamfx.report import films
from streamfx.sink.current_files import current_films
from streamfx.sink.erasure import Rule
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.maintain import forget
from streamfx.sink.place import open_place
from streamfx.testing import make_pseudonyms

S = 1_000_000
TRACKS = [Track("hhhhnnnn", smiles=(3.0,) * 8), Track("aaaaaaaa", 1), Track("hhhh", 2, stream="door")]
FILMS = [("hall", START_US, 4), ("hall", START_US + 4 * S, 4), ("door", START_US, 4)]

pytestmark = pytest.mark.usefixtures("library")


@pytest.fixture
def filmed(place: Path) -> Path:
    """A dataset with films of two streams."""
    write(place, TRACKS, films=FILMS)
    return place


def run(place: Path, *more: object) -> Result:
    out = [str(place.parent / "report.html"), "--films", str(place.parent / "films")]
    return CliRunner().invoke(main, ["report", str(place), "--out", *out, *map(str, more)])


def played(place: Path) -> list[dict[str, Any]]:
    """What the page plays."""
    page = (place.parent / "report.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found
    values: list[dict[str, Any]] = json.loads(found[1])["films"]
    return values


def test_the_films_beside_the_page_are_those_of_the_dataset(filmed: Path) -> None:
    done = run(filmed, "--json")
    assert done.exit_code == 0, done.output
    assert (json.loads(done.output)["films"], json.loads(done.output)["films_left_out"]) == (3, 0)
    copies = {file.name: file.read_bytes() for file in (filmed.parent / "films").iterdir()}
    assert copies == {file.name: file.read_bytes() for file in (filmed / "media").rglob("*.mp4")} and len(copies) == 3
    for stream in played(filmed):
        for _, _, address in stream["films"]:
            assert (filmed.parent / address).is_file()


def test_each_stream_has_its_films_and_captions_by_time(filmed: Path) -> None:
    assert run(filmed).exit_code == 0
    hall, door = sorted(played(filmed), key=lambda stream: -len(stream["films"]))
    assert [film[:2] for film in hall["films"]] == [[0, 4000], [4000, 8000]] and hall["zero"] == START_US // S
    assert {tuple(cue[2:]) for cue in hall["cues"]} == {
        (1, "happiness", False), (1, "neutral", False), (1, "AU 12", True), (2, "anger", False)
    }  # fmt: skip
    assert {cue[3] for cue in door["cues"]} == {"happiness"}


def test_a_film_that_differs_from_the_log_is_refused_and_nothing_is_written(filmed: Path) -> None:
    """Whoever puts an unredacted film into the dataset's folder does not get it beside the page."""
    film = next(iter((filmed / "media").rglob("*.mp4")))
    film.write_bytes(film.read_bytes() + b"\0")
    done = run(filmed)
    assert done.exit_code == 1 and film.name in done.output and "streamfx verify" in done.output
    assert [file.name for file in filmed.parent.iterdir()] == [filmed.name]


def test_a_film_that_no_entry_of_the_log_names_is_not_shown(filmed: Path) -> None:
    film = next(iter((filmed / "media").rglob("*.mp4")))
    film.with_name("holiday.mp4").write_bytes(b"unredacted")
    assert run(filmed).exit_code == 0
    assert not (filmed.parent / "films" / "holiday.mp4").exists()


def test_erased_films_are_not_shown(filmed: Path) -> None:
    pseudonyms = make_pseudonyms()
    hall = pseudonyms.stream_pseudonym("hall", pseudonyms.salt_period(START_US))
    forget(LocalFileSystem(filmed), str(filmed), Rule(frozenset({hall}), None, START_US + 3600 * S))
    assert len(current_films(LocalFileSystem(filmed), str(filmed))) == 1
    assert run(filmed).exit_code == 0
    assert [len(stream["films"]) for stream in played(filmed)] == [1]


def test_a_dataset_without_films_is_refused_by_name(place: Path) -> None:
    write(place, TRACKS)
    done = run(place)
    assert done.exit_code == 1 and "redact.films" in done.output and not (place.parent / "report.html").exists()


def test_a_folder_with_files_is_refused(filmed: Path) -> None:
    (filmed.parent / "films").mkdir()
    (filmed.parent / "films" / "mine.mp4").write_bytes(b"mine")
    done = run(filmed)
    assert done.exit_code == 1 and "new or empty folder" in done.output
    assert (filmed.parent / "films" / "mine.mp4").read_bytes() == b"mine"


def test_a_page_that_cannot_be_written_leaves_no_films(filmed: Path) -> None:
    done = CliRunner().invoke(
        main,
        ["report", str(filmed), "--out", str(filmed / "no" / "page.html"), "--films", str(filmed.parent / "films")],
    )
    assert done.exit_code == 1 and "--out" in done.output
    assert [file.name for file in filmed.parent.iterdir()] == [filmed.name]


def test_more_films_than_fit_are_left_out_and_counted(filmed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [file.bytes for file in current_films(LocalFileSystem(filmed), str(filmed)).values()]
    monkeypatch.setattr(films, "BYTES_MAX", max(sizes) * 2)
    done = run(filmed)
    assert done.exit_code == 0 and "2 redacted films, 1 left out" in done.output
    assert len(list((filmed.parent / "films").iterdir())) == 2
    assert "Left out here: 1 film." in (filmed.parent / "report.html").read_text()


def test_films_of_streams_without_a_face_are_left_out(place: Path) -> None:
    write(place, TRACKS[:1], films=[("door", START_US, 4)])
    done = run(place, "--json")
    assert (json.loads(done.output)["films"], json.loads(done.output)["films_left_out"]) == (0, 1)
    page = (place.parent / "report.html").read_text()
    assert "No stream that is shown here has a film." in page and "<video" not in page and played(place) == []


def test_films_of_a_dataset_in_an_object_store_are_copied_too(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore", reason="pip install 'streamfx[s3]'")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/filmed"
    with object_store() as port, proxy_before(port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        write(url, TRACKS, open_place(url), films=FILMS)
        out = ["--out", str(tmp_path / "report.html"), "--films", str(tmp_path / "films")]
        done = CliRunner().invoke(main, ["report", url, *out])
    assert done.exit_code == 0 and f"{tmp_path / 'films'}: 3 redacted films" in done.output, done.output
    assert {file.suffix for file in (tmp_path / "films").iterdir()} == {".mp4"}


def test_a_page_without_films_has_no_player_and_may_play_nothing(filmed: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(filmed), "--out", str(filmed.parent / "report.html")])
    page = (filmed.parent / "report.html").read_text()
    assert done.exit_code == 0 and "<video" not in page and "media-src" not in page
