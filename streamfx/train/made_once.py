"""Arrays on the disk that are made once, part by part, and go on where they were when the process was killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamfx.errors import SynthError
from streamfx.terminal import ProgressBar

_BATCH = 32
_SAVE_EVERY = 64


def made_once(
    folder: Path,
    name: str,
    shape: tuple[int, ...],
    kind: type[np.generic],
    title: str,
    start: Callable[[], Callable[[range], npt.NDArray[np.generic]]],
) -> npt.NDArray[np.generic]:
    """The array `name` in `folder`, mapped from the disk, of this shape. Where rows are missing, `start` is called once, and
    what it returns makes them: it is asked for a few rows at a time. SynthError where the folder cannot be written."""
    done, path = folder / "done", folder / f"{name}.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            unfinished = folder / f".{os.getpid()}.npy"
            np.lib.format.open_memmap(unfinished, "w+", kind, shape).flush()
            with unfinished.open("r+b") as file:
                # A disk that is too small is an error here; while rows are written it would be a signal that kills.
                os.posix_fallocate(file.fileno(), 0, unfinished.stat().st_size)
            done.write_text("0")
            unfinished.replace(path)
        first = int(done.read_text() or 0)
    except OSError as error:
        raise SynthError(f"{folder}: cannot be written: {error.strerror or error}; name another cache") from error
    if first < shape[0]:
        out, make = np.lib.format.open_memmap(path, "r+"), start()
        with ProgressBar(" faces", shape[0], first, title) as bar:
            for at in range(first, shape[0], _BATCH):
                rows = range(at, min(at + _BATCH, shape[0]))
                out[at : rows.stop] = make(rows)
                bar.update(len(rows))
                if (at // _BATCH) % _SAVE_EVERY == 0 or rows.stop == shape[0]:
                    out.flush()
                    done.write_text(str(rows.stop))
    made: npt.NDArray[np.generic] = np.load(path, mmap_mode="r")
    return made
