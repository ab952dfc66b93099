"""Redacted films from the line: a film for each chunk, committed with its row, verified, and erased with it."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers import runs
from helpers.films import street, write_film
from helpers.foreign import INSTALLED
from helpers.kafka import Broker
from helpers.lacking import needs

from streamfx.detection.also import film_detector
from streamfx.detection.look import look


def config(folder: Path, clip: Path, roll_chunks: int = 2) -> dict[str, Any]:
    """A configuration that makes films of the clip."""
    tree = runs.tree(
        folder,
        [clip],
        expression={"model": "expression-tiny"},
        redact={"films": True},
        sink={"roll_chunks": roll_chunks},
    )
    tree["source"]["files"]["chunk_s"] = 2.0
    return tree


def commits(dataset: Path) -> int:
    return len(list((dataset / "_commits").glob("*/*/*.json")))


@pytest.fixture(scope="module")
def folder(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with films."""
    made = tmp_path_factory.mktemp("films")
    done = runs.streamfx("run", runs.write_config(made, config(made, clip)))
    assert done.returncode == 0, done.stderr
    return made


def frames(film: Path) -> list[np.ndarray]:
    with av.open(io.BytesIO(film.read_bytes())) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_each_chunk_has_a_film_with_all_its_frames_and_no_face(folder: Path) -> None:
    rows = sorted(runs.rows(folder / "data", "films"), key=lambda row: row["offset"])
    chunks = {row["offset"]: row for row in runs.rows(folder / "data", "chunks")}
    assert [row["offset"] for row in rows] == sorted(chunks) and len(rows) >= 4
    detector = film_detector(())
    for row in rows:
        chunk = chunks[row["offset"]]
        assert (row["film_start"], row["film_end"]) == (chunk["chunk_start"], chunk["chunk_end"])
        assert row["stream_id"] == chunk["stream_id"] and row["faces"] >= 1 and row["frames_filled"] == 0
        shown = frames(folder / "data" / row["file"])
        assert len(shown) == row["frames"] and (folder / "data" / row["file"]).stat().st_size == row["bytes"]
        assert not any(look(detector, pixels, 416, 0.5) for pixels in shown)
    runs.verified(folder / "data")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be changed."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def problems(dataset: Path) -> dict[str, list[object]]:
    """What `streamfx verify` finds wrong, which must be something."""
    done = runs.streamfx("verify", dataset)
    assert done.returncode == 1, done.stdout + done.stderr
    report = json.loads(done.stdout)
    return {name: report[name] for name in ("gaps", "duplicates", "orphans") if report[name]}


@pytest.mark.parametrize("change", ["removed", "altered"])
def test_verify_misses_a_film_that_is_removed_or_altered(copy: Path, change: str) -> None:
    film = next((copy / "data" / "media").rglob("*.mp4"))
    film.unlink() if change == "removed" else film.write_bytes(film.read_bytes()[:-1])
    found = problems(copy / "data")
    assert set(found) == {"gaps"} and film.name in str(found)


def test_verify_names_a_film_that_no_entry_knows(copy: Path) -> None:
    film = next((copy / "data" / "media").rglob("*.mp4"))
    stray = film.with_name("stray.mp4")
    shutil.copy(film, stray)
    assert problems(copy / "data") == {"orphans": [str(stray.relative_to(copy / "data"))]}


def test_what_is_erased_takes_its_films_with_it_and_compaction_leaves_the_others(copy: Path) -> None:
    films = sorted(runs.rows(copy / "data", "films"), key=lambda row: row["film_start"])
    until = films[1]["film_end"]
    whose = copy / "config.yaml", "--set", f"sink.path={copy / 'data'}"
    done = runs.streamfx("erase", *whose, "--from", runs.START, "--to", until.isoformat(), "--dry-run")
    assert "and 2 films go" in done.stdout + done.stderr
    done = runs.streamfx("erase", *whose, "--from", runs.START, "--to", until.isoformat())
    assert done.returncode == 0, done.stderr
    assert runs.streamfx("compact", copy / "data").returncode == 0
    left = {row["file"] for row in runs.rows(copy / "data", "films")}
    assert left == {row["file"] for row in films[2:]} and left
    assert {str(path.relative_to(copy / "data")) for path in (copy / "data").rglob("*.mp4")} == left
    runs.verified(copy / "data")


def test_a_withdrawal_in_the_consent_table_takes_rows_and_films_and_refuses_what_comes(copy: Path, clip: Path) -> None:
    table = copy / "consent.csv"
    table.write_text("stream,consent,from,until\nastronaut,refused,,\n")
    here = "--set", f"sink.path={copy / 'data'}", "--set", f"privacy.consent_file={table}"
    done = runs.streamfx("erase", copy / "config.yaml", *here, "--withdrawn", "--yes")
    assert done.returncode == 0 and "withdrawal 1 of 1" in done.stdout, done.stderr
    assert runs.rows(copy / "data", "windows") == runs.rows(copy / "data", "films") == []
    assert list((copy / "data").rglob("*.mp4")) == []
    runs.verified(copy / "data")
    done = runs.streamfx("run", copy / "config.yaml", *here[2:], "--set", f"sink.path={copy / 'other'}")
    assert done.returncode == 0, done.stderr
    assert {row["reason"] for row in runs.rows(copy / "other", "chunks")} == {"consent_refused"}
    assert runs.rows(copy / "other", "windows") == [] and not list((copy / "other").rglob("*.mp4"))


def films_of(dataset: Path) -> dict[int, bytes]:
    """Offset -> film; there must be one for each."""
    rows = runs.rows(dataset, "films")
    assert len({row["offset"] for row in rows}) == len(rows)
    return {row["offset"]: (dataset / row["file"]).read_bytes() for row in rows}


def test_kills_leave_the_films_of_an_undisturbed_run(folder: Path, clip: Path, tmp_path: Path) -> None:
    file = runs.write_config(tmp_path, config(tmp_path, clip, roll_chunks=1))
    killed_and_run_again(file, tmp_path / "data", 3, random.Random(3))
    assert films_of(tmp_path / "data") == films_of(folder / "data")


def drawn(folder: Path, clip: Path, roll_chunks: int = 2) -> Path:
    """The file of a configuration that makes films with drawn faces."""
    tree = config(folder, clip, roll_chunks)
    tree["redact"]["fill"] = "surrogate"
    return runs.write_config(folder, tree)


@pytest.mark.slow
@needs("anny", "OpenGL")
def test_drawn_faces_are_the_same_whatever_was_killed(folder: Path, clip: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for place in (whole, killed):
        place.mkdir()
    done = runs.streamfx("run", drawn(whole, clip))
    assert done.returncode == 0 and "weaker than solid: it shows how the face moves" in done.stderr, done.stderr
    killed_and_run_again(drawn(killed, clip, roll_chunks=1), killed / "data", 2, random.Random(5))
    films, solid = films_of(whole / "data"), films_of(folder / "data")
    assert films == films_of(killed / "data") and films.keys() == solid.keys()
    detector = film_detector(())
    for row in runs.rows(whole / "data", "films"):
        shown = frames(whole / "data" / row["file"])
        assert sum(bool(look(detector, pixels, 416, 0.5)) for pixels in shown) > 0.5 * len(shown), "there are faces"


def test_a_machine_that_cannot_draw_says_so_and_leaves_every_fill(folder: Path, clip: Path, tmp_path: Path) -> None:
    without = tmp_path / "without"
    without.mkdir()
    (without / "moderngl.py").write_text("raise ImportError('not here')\n")
    done = runs.streamfx("run", drawn(tmp_path, clip), env={**os.environ, "PYTHONPATH": str(without)})
    assert done.returncode == 0 and "no face is drawn here" in done.stderr, done.stderr
    assert films_of(tmp_path / "data") == films_of(folder / "data")


def killed_and_run_again(file: Path, dataset: Path, kills: int, chance: random.Random) -> None:
    """Run a configuration that commits each chunk, with so many kills; it must be finished afterwards."""
    for number in range(kills):
        process = runs.start("run", file, "--quiet")
        deadline = time.monotonic() + runs.PATIENCE_S
        while commits(dataset) < number + 1 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(chance.random() * 0.5)
        process.kill()
        process.communicate()
        assert process.returncode < 0, "the run ended before it was killed"
    assert runs.streamfx("run", file).returncode == 0
    runs.verified(dataset)


def test_a_new_configuration_keeps_the_film_that_waits_for_its_next_chunk(
    folder: Path, clip: Path, tmp_path: Path
) -> None:
    file = runs.write_config(tmp_path, config(tmp_path, clip, roll_chunks=1))
    process = runs.start("run", file, "--quiet")
    while commits(tmp_path / "data") < 2 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    done = runs.streamfx("run", file, "--set", "windows.hop_s=0.5")
    assert done.returncode == 0, done.stderr
    runs.verified(tmp_path / "data")
    assert films_of(tmp_path / "data") == films_of(folder / "data")


@pytest.mark.kafka
def test_a_film_whose_chunk_retention_took_before_a_restart_is_missing_and_counted(
    clip: Path, tmp_path: Path, broker: Broker
) -> None:
    topic = broker.create_topic()
    done = runs.streamfx("publish", clip, "--topic", topic, "--bootstrap", broker.bootstrap, "--chunk-s", "2")
    assert done.returncode == 0, done.stderr
    tree = config(tmp_path, clip, roll_chunks=1)
    tree["source"] = {"kafka": {"bootstrap": broker.bootstrap, "topic": topic, "group": topic, "session_timeout_s": 6}}
    file = runs.write_config(tmp_path, tree)
    process = runs.start("run", file, "--quiet")
    while commits(tmp_path / "data") < 2 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    entries = sorted((tmp_path / "data" / "_commits").glob("*/*/*.json"))
    waiting = json.loads(entries[-1].read_text())["snapshot"]["streams"][0]["operators"]["films"]["offsets"][-1]
    broker.delete_records(topic, 0, before=waiting + 1)
    done = runs.streamfx("run", file, "--until-idle", "3s")
    assert done.returncode == 0, done.stderr
    runs.verified(tmp_path / "data")
    offsets = {row["offset"] for row in runs.rows(tmp_path / "data", "chunks")}
    assert set(films_of(tmp_path / "data")) == offsets - {waiting}
    entries = sorted((tmp_path / "data" / "_commits").glob("*/*/*.json"))
    assert sum(json.loads(path.read_text())["details"].get("films_lost_input", 0) for path in entries) == 1


def test_what_a_users_own_detector_finds_is_filled_too(tmp_path: Path) -> None:
    film = write_film(tmp_path / "street.mp4", (street(number, 2) for number in range(50)))
    tree = config(tmp_path, film)
    tree["redact"]["also"] = ["plates"]
    done = runs.streamfx("run", runs.write_config(tmp_path, tree), env=INSTALLED)
    assert done.returncode == 0, done.stderr
    [row, *others] = runs.rows(tmp_path / "data", "films")
    assert max(shown.max() for one in (row, *others) for shown in frames(tmp_path / "data" / one["file"])) < 120
