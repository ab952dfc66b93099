"""A large array on the disk that is filled part by part, so that a call that was killed continues where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from streamfx.errors import SynthError
from streamfx.terminal import ProgressBar
from streamfx.whole_files import whole_file

_DONE = "done"
_BATCH, _SAVE_EVERY = 32, 64


def kept_array(
    path: Path,
    dtype: npt.DTypeLike,
    shape: tuple[int, ...],
    parts: int,
    fill: Callable[[npt.NDArray[Any], int], Iterable[int]],
    save_every: int,
) -> npt.NDArray[Any]:
    """The array in `path`, an .npy file alone in its folder, of this type and shape, mapped from the disk for reading.

    While not all `parts` are in it, `fill(array, done)` writes those after the first `done`, in order, and yields after each
    step how many are there. Every `save_every` steps that number is kept beside the array. Raises SynthError where the
    folder cannot be written.
    """
    done = path.with_name(_DONE)
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with whole_file(path) as hidden:
                np.lib.format.open_memmap(hidden, "w+", dtype, shape).flush()
                with hidden.open("r+b") as file:
                    # A disk that is too small is an error here; while parts are written it would be a signal that kills.
                    os.posix_fallocate(file.fileno(), 0, hidden.stat().st_size)
                done.write_text("0")
        first = int(done.read_text() or 0)
    if first < parts:
        array = np.lib.format.open_memmap(path, "r+")
        for step, at in enumerate(fill(array, first), 1):
            if step % save_every == 0 or at == parts:
                with _writing(path.parent):
                    array.flush()
                    done.write_text(str(at))
    kept: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    return kept


def fingerprint(net: nn.Module, sizes: object) -> str:
    """A digest of a net's weights and of `sizes`: by it what was made with the net is known again."""
    whole = hashlib.sha256(repr(sizes).encode())
    for name, value in sorted(net.state_dict().items()):
        whole.update(name.encode() + value.numpy().tobytes())
    return whole.hexdigest()


def kept_rows(
    path: Path,
    dtype: npt.DTypeLike,
    shape: tuple[int, ...],
    title: str,
    start: Callable[[], Callable[[range], npt.NDArray[Any]]],
) -> npt.NDArray[Any]:
    """`kept_array` of faces, a row each, with a progress line. Where rows are missing, `start` is called once, and what it
    returns makes a few rows at a time."""

    def fill(array: npt.NDArray[Any], first: int) -> Iterator[int]:
        make = start()
        with ProgressBar(" faces", shape[0], first, title) as bar:
            for at in range(first, shape[0], _BATCH):
                rows = range(at, min(at + _BATCH, shape[0]))
                array[at : rows.stop] = make(rows)
                bar.update(len(rows))
                yield rows.stop

    return kept_array(path, dtype, shape, shape[0], fill, _SAVE_EVERY)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SynthError(f"{folder}: cannot be written: {error.strerror or error}; name another cache") from error
