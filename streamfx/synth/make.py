"""Makes a whole set of clips with several processes, and resumes where a killed run stopped."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path

from streamfx.errors import SynthError
from streamfx.processes import Pool
from streamfx.synth.clip import ClipMaker
from streamfx.synth.head import data_dir, load_head
from streamfx.synth.output import SetInfo, SetWriter, contact_sheet
from streamfx.synth.voice import RATE
from streamfx.terminal import ProgressBar

_BATCH = 8
"""Clips given to a process at a time."""


def make_set(info: SetInfo, directory: Path, jobs: int) -> Path:
    """Make every clip of the set that `directory` lacks, its tables, and `contact.png`; return that picture's path.

    `jobs` processes draw the clips; the result does not depend on their number. Raises MissingComponent or SynthError
    where the renderer or the speech synthesiser is not installed, `directory` holds another set, or nothing can be
    written there.
    """
    data_dir()
    try:
        return _make_set(info, directory, jobs)
    except OSError as error:
        raise SynthError(
            f"{directory}: the set cannot be written: {error.strerror or error}; make room there or choose another "
            "directory, and run the command again to go on"
        ) from error


def _make_set(info: SetInfo, directory: Path, jobs: int) -> Path:
    writer = SetWriter(directory, info)
    todo = [index for index in range(info.clips) if not writer.has(f"s{info.seed}-{index:06d}")]
    frames = round(info.fps * info.seconds)
    with ProgressBar(" frames", info.clips * frames, (info.clips - len(todo)) * frames, "synth") as bar:
        if todo:
            _draw(info, directory, todo, jobs, lambda clips: bar.update(clips * frames))
    writer.finish()
    sheet = directory / "contact.png"
    contact_sheet(directory, sheet)
    return sheet


def _draw(info: SetInfo, directory: Path, todo: list[int], jobs: int, done: Callable[[int], object]) -> None:
    # Mesa's own threads and several processes get into each other's way.
    os.environ.setdefault("LP_NUM_THREADS", "0" if jobs > 1 else "1")
    batches = [todo[first : first + _BATCH] for first in range(0, len(todo), _BATCH)]
    context = multiprocessing.get_context("spawn")
    with Pool(jobs, context) as pool:
        waiting: set[Future[int]] = set()
        try:
            while batches or waiting:
                while batches and len(waiting) < 2 * jobs:
                    waiting.add(pool.submit(_make, info, directory, batches.pop(0)))
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    done(future.result())
        except BrokenProcessPool as error:
            raise SynthError("a drawing process died; run the command again to go on where it stopped") from error
        finally:
            for future in waiting:
                future.cancel()


def _make(info: SetInfo, directory: Path, indices: list[int]) -> int:
    maker, writer = _tools(info, directory)
    for index in indices:
        clip = maker.make(index)
        writer.add(clip.row, clip.frames, clip.video, info.fps, clip.crf, clip.samples, RATE)
    return len(indices)


@cache
def _tools(info: SetInfo, directory: Path) -> tuple[ClipMaker, SetWriter]:
    """The maker and writer that a drawing process keeps.

    They are made with the process's first clips, not at its start, so that their errors reach the caller.
    """
    return ClipMaker(load_head(), info), SetWriter(directory, info)
