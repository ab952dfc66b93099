"""An error that stops a run is one clear message with an exit status, and loses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import runs
from helpers.ports import free_port


def error_of(config: Path, *arguments: str) -> str:
    done = runs.streamfx("run", config, "--quiet", *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr[done.stderr.index("Error: ") :]


def test_a_wrong_configuration_is_a_clear_error(tmp_path: Path, clip: Path) -> None:
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [clip], sink={"rol": 1}))
    assert "sink.rol: unknown key" in error_of(config)


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [tmp_path / "nothing.mp4"]))
    assert "nothing.mp4" in error_of(config)


def test_a_file_that_is_not_a_video_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [tmp_path / "notes.mp4"]))
    assert "notes.mp4" in error_of(config)


def test_a_dead_broker_is_a_clear_error(tmp_path: Path) -> None:
    kafka = {"bootstrap": f"127.0.0.1:{free_port()}", "topic": "media", "connect_timeout_s": 3}
    config = runs.tree(tmp_path, [])
    config["source"] = {"kafka": kafka}
    assert kafka["bootstrap"] in error_of(runs.write_config(tmp_path, config))


def test_a_dead_triton_is_a_clear_error(tmp_path: Path, clip: Path) -> None:
    url = f"127.0.0.1:{free_port()}"
    serving = {"backend": "triton", "triton": {"url": url}, "deadline_s": 1, "retries": 1}
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [clip], serving=serving))
    assert url in error_of(config)
    assert runs.rows(tmp_path / "data", "chunks") == []


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [clip]))
    assert str(tmp_path / "data") in error_of(config)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_a_clear_error(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o555)
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [clip]))
    assert str(tmp_path / "data") in error_of(config)


def test_a_dataset_of_another_pipeline_is_refused(tmp_path: Path, quickstart: Path, clip: Path) -> None:
    config = runs.tree(quickstart, [clip])
    config["pipeline"] = ["faces", "windows", "redact"]
    assert "pipeline" in error_of(runs.write_config(tmp_path, config))


def test_another_key_of_the_pseudonyms_is_refused_and_nothing_is_read_again(
    tmp_path: Path, quickstart: Path, clip: Path
) -> None:
    before = len(runs.rows(quickstart / "data", "chunks"))
    (tmp_path / "key").write_text("another key, which is long enough")
    privacy = {"purpose": "test", "deployment_context": "research", "stream_id_key_file": str(tmp_path / "key")}
    config = runs.write_config(tmp_path, runs.tree(quickstart, [clip], privacy=privacy))
    assert "another pseudonym key" in error_of(config)
    assert len(runs.rows(quickstart / "data", "chunks")) == before > 0


def test_a_range_needs_a_new_dataset(tmp_path: Path, quickstart: Path, clip: Path) -> None:
    config = runs.write_config(tmp_path, runs.tree(quickstart, [clip]))
    assert "new dataset" in error_of(config, "--from", "0", "--to", "2")


def test_a_range_runs_into_a_new_dataset(tmp_path: Path, clip: Path) -> None:
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [clip]))
    done = runs.streamfx("run", config, "--from", "1", "--to", "3")
    assert done.returncode == 0, done.stderr
    assert sorted(row["offset"] for row in runs.rows(tmp_path / "data", "chunks")) == [1, 2]
