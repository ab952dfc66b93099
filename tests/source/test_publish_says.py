"""What `streamfx publish` logs about a file by default: which of several tracks it uses."""

from __future__ import annotations

import subprocess
from pathlib import Path

from helpers.odd_pictures import Track, disc, write_video
from helpers.terminal import STREAMFX


def test_the_track_that_is_published_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_video(path, [Track(lambda _: disc(40, 32), default=False), Track(lambda _: disc(128, 96))], "matroska")
    command = [*STREAMFX, "publish", path, "--to", tmp_path / "chunks"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (line,) = [line for line in done.stderr.splitlines() if "is used" in line]
    assert "INFO" in line and f"{path}: 2 video tracks" in line and "track 1 is used" in line
    assert done.stdout.startswith("published 1 chunks")
