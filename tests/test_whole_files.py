"""Files are whole or not there, whoever else writes them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamfx.whole_files import whole_file, write_whole


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_and_its_folders_are_written_as_given(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_whole(path, "naïve\n", durable)
    write_whole(path.with_name("d"), b"\xff\x00", durable)
    assert path.read_bytes() == "naïve\n".encode() and path.with_name("d").read_bytes() == b"\xff\x00"
    assert {one.name for one in path.parent.iterdir()} == {"c.txt", "d"}


def test_a_file_that_is_there_is_replaced_at_the_end_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with whole_file(path) as hidden:
        hidden.write_text("after")
        assert path.read_text() == "before" and hidden.name.startswith(".")
    assert path.read_text() == "after"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_after_an_error_the_old_file_stands_and_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(error), whole_file(path) as hidden:
        hidden.write_text("half")
        raise error
    assert [*tmp_path.iterdir()] == [path] and path.read_text() == "before"


def test_threads_that_write_the_same_file_do_not_take_it_from_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = [f"{number}\n" * 5_000 for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda text: write_whole(path, text), texts):
            assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["file"]
