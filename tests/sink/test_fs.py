"""The local file system keeps the guarantees that the simulated one assumes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamfx.sink.fs import LocalFileSystem, make_durable_dir


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(inode, size) of everything that is synced, in order; a folder has size -1."""
    seen: list[tuple[int, int]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        seen.append((status.st_ino, -1 if os.path.isdir(f"/proc/self/fd/{descriptor}") else status.st_size))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def test_a_new_file_is_synced_completely_and_never_overwrites(tmp_path: Path, synced: list[tuple[int, int]]) -> None:
    fs = LocalFileSystem(tmp_path)
    fs.write_new("a", b"x" * 100_000)
    assert synced == [((tmp_path / "a").stat().st_ino, 100_000)]
    with pytest.raises(FileExistsError):
        fs.write_new("a", b"y")
    assert fs.read("a") == b"x" * 100_000


def test_a_folder_is_synced_by_its_own_descriptor(tmp_path: Path, synced: list[tuple[int, int]]) -> None:
    (tmp_path / "d").mkdir()
    LocalFileSystem(tmp_path).sync_dir("d")
    assert synced == [((tmp_path / "d").stat().st_ino, -1)]


def test_each_new_folder_is_synced_into_the_one_above(tmp_path: Path, synced: list[tuple[int, int]]) -> None:
    fs = LocalFileSystem(tmp_path / "x" / "y")
    fs.make_root()
    (tmp_path / "x/y/base").mkdir()
    make_durable_dir(fs, "base", "a/b")
    above = [tmp_path / "x", tmp_path, tmp_path / "x/y/base", tmp_path / "x/y/base/a"]
    assert synced == [(folder.stat().st_ino, -1) for folder in above]


def test_a_link_takes_a_name_once(tmp_path: Path) -> None:
    fs = LocalFileSystem(tmp_path)
    fs.write_new("a", b"a")
    fs.write_new("b", b"b")
    fs.link("a", "c")
    with pytest.raises(FileExistsError):
        fs.link("b", "c")
    with pytest.raises(FileNotFoundError):
        fs.link("gone", "d")
    assert fs.read("c") == b"a"


def test_removing_and_creating_may_be_repeated(tmp_path: Path) -> None:
    fs = LocalFileSystem(tmp_path)
    fs.make_root()
    for _ in range(2):
        fs.mkdir("d")
        fs.remove("gone")
    fs.write_new("d/b", b"")
    fs.write_new("d/a", b"")
    assert fs.listdir("d") == ["a", "b"]
    assert fs.exists("d/a") and not fs.exists("d/c")
