"""A large array is filled once, and after a kill from where it was last saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from streamfx.errors import SynthError
from streamfx.train.kept_array import kept_array

PARTS = 10


class Filler:
    """Writes each part's number into its row, and may be killed before one; keeps which parts it has written."""

    def __init__(self, killed_before: int | None = None):
        self.killed_before = killed_before
        self.written: list[int] = []

    def __call__(self, array: npt.NDArray[np.int16], done: int) -> Iterator[int]:
        for part in range(done, PARTS):
            if part == self.killed_before:
                raise KeyboardInterrupt
            array[part] = part
            self.written.append(part)
            yield part + 1


def fill(path: Path, filler: Filler) -> npt.NDArray[np.int16]:
    return kept_array(path, np.int16, (PARTS, 3), PARTS, filler, save_every=4)


def test_a_call_continues_where_a_killed_one_was_last_saved_and_a_later_one_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "rows.npy"
    with pytest.raises(KeyboardInterrupt):
        fill(path, Filler(killed_before=7))
    again, once_more = Filler(), Filler()
    assert fill(path, again).tolist() == [[part] * 3 for part in range(PARTS)]
    assert again.written == list(range(4, PARTS))
    assert fill(path, once_more).tolist() == fill(path, again).tolist() and not once_more.written
    assert sorted(file.name for file in path.parent.iterdir()) == ["done", "rows.npy"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SynthError, match="name another cache"):
        fill(tmp_path / "cache" / "rows.npy", Filler())
