"""With the detector that ships, a real face is filled in every frame, also while it comes in over the border."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import runs
from helpers.films import read_film, write_film
from PIL import Image
from skimage import data

from streamfx.detection.also import film_detector
from streamfx.privacy.fills import SOLID
from streamfx.redaction.film import FilmFrame
from streamfx.redaction.redact import redact_film

FACE = (176, 62, 272, 190)
"""Roughly where the astronaut's face is in the 512 x 512 picture."""


def left(number: int) -> int:
    """Where the astronaut's picture begins in a frame: it comes in from the left."""
    return -160 + 12 * number


def frame(number: int) -> np.ndarray:
    pixels = Image.new("RGB", (640, 384), (90, 110, 130))
    pixels.paste(Image.fromarray(data.astronaut()).resize((256, 256), Image.Resampling.BICUBIC), (left(number), 60))
    return 64 + (np.asarray(pixels).astype(np.uint16) * 191 // 255).astype(np.uint8)


def test_a_real_face_is_covered_in_every_frame(tmp_path: Path) -> None:
    def passed(title: str, total: int | None, frames: Iterable[FilmFrame]) -> Iterator[FilmFrame]:
        yield from frames

    film, out = write_film(tmp_path / "film.mp4", map(frame, range(30))), tmp_path / "out.mp4"
    done = redact_film(film, out, SOLID, film_detector(()), 1, passed)
    for number, pixels in enumerate(read_film(out)[0]):
        x0, y0, x1, y1 = (edge // 2 for edge in FACE)
        shown = pixels[60 + y0 : 60 + y1, max(0, left(number) + x0) : max(0, left(number) + x1)]
        assert shown.size == 0 or (shown.max(axis=2) < 40).mean() > 0.97, number
    assert done.tracks >= 1 and done.filled < 0.35


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_ended_leaves_nothing_behind(tmp_path: Path, sent: signal.Signals) -> None:
    film = write_film(tmp_path / "film.mp4", map(frame, range(60)))
    # A test run under nohup ignores SIGHUP, and so would what it starts.
    process = runs.start(
        "redact", film, "--out", tmp_path / "out", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/.*.part")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(sent)
    process.communicate(timeout=60)
    assert process.returncode == 128 + sent and list((tmp_path / "out").iterdir()) == []
