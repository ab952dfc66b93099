"""`streamfx redact`: which files are made, which are left out, what is said, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.films import SeesWhite, picture, write_film

from streamfx.cli.main import main
from streamfx.errors import SynthError


@pytest.fixture(autouse=True)
def sees_white(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamfx.detection.also.shared_detector", lambda threads, precision: SeesWhite())


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "film.mp4", map(picture, range(10)))


def redact(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["redact", *map(str, arguments)])


def names(folder: Path) -> Sequence[str]:
    return sorted(file.name for file in folder.iterdir())


def test_each_video_gets_a_copy_and_a_line(film: Path, tmp_path: Path) -> None:
    done = redact(film, "--out", tmp_path / "out")
    assert done.exit_code == 0 and names(tmp_path / "out") == ["film.mp4"]
    assert "10 frames (0.4 s), 1 faces" in done.stdout and done.stderr == ""


def test_json_says_what_became_of_each_file(film: Path, tmp_path: Path) -> None:
    done = redact(film, "--out", tmp_path / "out", "--json")
    (told,) = map(json.loads, done.stdout.splitlines())
    assert told["file"] == str(film) and told["out"] == str(tmp_path / "out" / "film.mp4") and told["fill"] == "solid"
    assert (told["frames"], told["seconds"], told["tracks"], told["whole"]) == (10, 0.4, 1, {})
    assert 0 < told["filled"] < 1 and told["frames_per_s"] > 0


def test_a_bad_file_stops_no_other_and_the_end_is_3(film: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video\n" * 50)
    done = redact(bad, tmp_path / "none.mp4", film, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 3 and names(tmp_path / "out") == ["film.mp4"]
    assert [("left_out" in json.loads(line)) for line in done.stdout.splitlines()] == [True, True, False]
    assert done.stderr.count("left out: ") == 2 and "bad.mp4" in done.stderr and "none.mp4" in done.stderr


def test_a_copy_that_exists_is_kept_and_its_video_left_out(film: Path, tmp_path: Path) -> None:
    assert redact(film, "--out", tmp_path / "out").exit_code == 0
    before = (tmp_path / "out" / "film.mp4").stat().st_mtime_ns
    done = redact(film, "--out", tmp_path / "out")
    assert done.exit_code == 3 and "exists already" in done.stderr
    assert (tmp_path / "out" / "film.mp4").stat().st_mtime_ns == before


def test_the_input_is_never_overwritten_by_whatever_name(film: Path, tmp_path: Path) -> None:
    before = film.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "link"):
        done = redact(film, "--out", out)
        assert done.exit_code == 2 and "overwrite" in done.stderr
    assert film.read_bytes() == before


def test_two_videos_of_one_name_are_refused_before_any_work(film: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write_film(tmp_path / "other" / "film.mov", map(picture, range(5)))
    assert redact(film, other, "--out", tmp_path / "out").exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_machine_that_cannot_draw_says_so_and_counts_what_stays_filled(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks() -> None:
        raise SynthError("no OpenGL 3.3 through EGL")

    monkeypatch.setattr("streamfx.redaction.surrogates.find_painter", lacks)
    done = redact(film, "--out", tmp_path / "out", "--fill", "surrogate", "--json")
    told = json.loads(done.stdout)
    assert (
        done.exit_code == 0 and "all fills stay solid: no OpenGL" in done.stderr and "weaker than solid" in done.stderr
    )
    assert (told["fill"], told["painted"], told["left_filled"]) == ("surrogate", 0, {"no_painter": 10})
    line = redact(film, "--out", tmp_path / "again", "--fill", "surrogate").stdout
    assert ", 0 drawn, 10 left filled (no_painter 10), " in line


@pytest.mark.parametrize(("fill", "says"), [("pixelate", "epsilon = 0.5"), ("blur", "no bound")])
def test_a_weaker_fill_warns_and_says_its_bound(film: Path, tmp_path: Path, fill: str, says: str) -> None:
    done = redact(film, "--out", tmp_path / "out", "--fill", fill, "--json")
    assert done.exit_code == 0 and done.stderr.startswith(f"warning: --fill {fill} is weaker") and says in done.stderr
    told = json.loads(done.stdout)
    assert (told.get("bound") or {}).get("epsilon_per_frame") == (0.5 if fill == "pixelate" else None)
