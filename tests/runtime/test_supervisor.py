"""The supervisor: an unexpected error is the death of one worker, not the end of the run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.astronaut import make_video

from streamfx.errors import SinkError, WorkerLost
from streamfx.pipeline import load_config
from streamfx.runtime import fleet, supervisor
from streamfx.runtime.worker import RunRange, Status


def worker_that(folder: Path, errors: list[Exception]) -> type:
    """An actor that replaces a worker: its n-th life ends with the n-th error, and the one after the last succeeds."""

    class Actor:
        def __init__(self, config: Any, index: int, run_range: Any):
            self._index = index

        def run(self) -> Status:
            life = len(list(folder.glob("life-*")))
            (folder / f"life-{life}").touch()
            if life < len(errors):
                raise errors[life]
            return Status(self._index, chunks=7, finished=True)

        def status(self) -> Status:
            return Status(self._index)

    return Actor


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, errors: list[Exception]) -> list[Status]:
    monkeypatch.setattr(fleet, "WorkerActor", worker_that(folder, errors))
    clip = runs.REPO / "streamfx" / "assets" / "story.mp4"
    tree = runs.tree(folder, [clip], runtime={"engine": "ray", "workers": 1, "max_restarts": 2})
    return supervisor.run_pipeline(load_config(tree), RunRange(), None, threading.Event(), lambda _: None)


@pytest.mark.slow
def test_a_worker_that_fails_unexpectedly_is_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (status,) = run(tmp_path, monkeypatch, [RecursionError("too deep"), KeyError("what")])
    assert status.chunks == 7 and len(list(tmp_path.glob("life-*"))) == 3
    assert "RecursionError" in caplog.text and "KeyError" in caplog.text


@pytest.mark.slow
def test_a_worker_that_fails_repeatedly_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkerLost, match="workers died 3 times"):
        run(tmp_path, monkeypatch, [RecursionError("too deep")] * 5)
    assert len(list(tmp_path.glob("life-*"))) == 3


@pytest.mark.slow
def test_a_streamfx_error_ends_the_run_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SinkError, match="no space left"):
        run(tmp_path, monkeypatch, [SinkError("no space left")])
    assert len(list(tmp_path.glob("life-*"))) == 1


def test_a_failing_watch_loop_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [KeyError("what")]

    def fails(_: object) -> None:
        while errors:
            raise errors.pop()

    monkeypatch.setattr(supervisor, "WATCH_S", 0.01)
    make_video(clip := tmp_path / "clip.mp4", 4)
    with pytest.raises(KeyError, match="what"):
        supervisor.run_pipeline(load_config(runs.tree(tmp_path, [clip])), RunRange(), None, threading.Event(), fails)
