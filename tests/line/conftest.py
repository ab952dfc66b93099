"""One clip and one quickstart run that the tests of the whole line share."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import runs
from helpers.astronaut import make_video


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One face, 8 s, with sound."""
    path = tmp_path_factory.mktemp("clip") / "astronaut.mp4"
    make_video(path)
    return path


@pytest.fixture(scope="session")
def quickstart(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of that clip (dataset in `data`, masked pictures in `previews`)."""
    folder = tmp_path_factory.mktemp("quickstart")
    config = runs.write_config(
        folder, runs.tree(folder, [clip], redact={"preview_dir": str(folder / "previews")}, sink={"roll_chunks": 2})
    )
    done = runs.streamfx("run", config)
    assert done.returncode == 0, done.stderr
    return folder
