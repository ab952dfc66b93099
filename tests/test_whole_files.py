"""Files and folders are whole or not there, whoever else writes them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamfx.whole_files import is_new_or_empty, whole_file, whole_folder, write_whole


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


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    path = tmp_path / ("\U0001f600" * 62 + ".txt")
    write_whole(path, "whole")
    assert path.read_text() == "whole" and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_holds_all_files_at_the_end_or_none(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "above" / "folder"
    if there:
        folder.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), whole_folder(folder) as hidden:
        (hidden / "one").write_text("half")
        raise KeyboardInterrupt
    assert [*folder.parent.iterdir()] == [folder] * there and is_new_or_empty(folder)
    with whole_folder(folder) as hidden:
        (hidden / "one").write_text("1")
        assert not (folder / "one").exists()
        (hidden / "two").mkdir()
    assert {one.name for one in folder.iterdir()} == {"one", "two"} and [*folder.parent.iterdir()] == [folder]
    assert not is_new_or_empty(folder)


def test_the_empty_folder_in_which_somebody_stands_is_filled_and_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with whole_folder(Path()) as hidden:
        (hidden / "one").write_text("1")
    assert os.listdir() == ["one"]


@pytest.mark.parametrize("kind", ["file", "link to nowhere"])
def test_what_is_no_folder_is_not_taken_for_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "path"
    path.write_text("mine") if kind == "file" else path.symlink_to("nowhere")
    assert not is_new_or_empty(path)
