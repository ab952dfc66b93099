"""Typical user folders: macOS files beside the videos, photos, nested folders, and films joined by `cat`."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from helpers import odd_files
from PIL import Image

from streamfx.config.source import FilesSection
from streamfx.errors import SourceError
from streamfx.source.files import FilesSource as Files
from streamfx.source.inputs import find_streams
from streamfx.source.publish import FolderDestination, publish


def test_hidden_files_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd_files.film(tmp_path / "a.mp4")
    (tmp_path / "._a.mp4").write_bytes(b"\0\5\x16\7" + bytes(4000))
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "a.srt").write_text("1\n")
    with caplog.at_level(logging.INFO, "streamfx"):
        files = Files(FilesSection(paths=[tmp_path]), 0, 1, b"key")
    assert len(files.partitions()) == 1
    assert files.left_out() == []
    assert "skipped: files that are hidden or do not have a video's suffix (3)" in caplog.text


def test_folders_in_a_folder_are_reported_as_not_searched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "monday").mkdir()
    odd_files.film(tmp_path / "monday" / "a.mp4")
    with pytest.raises(
        SourceError, match=r"contains no videos .* folders, which are not searched for videos \(1\); name"
    ):
        find_streams([tmp_path], 1.0)
    odd_files.film(tmp_path / "b.mp4")
    with caplog.at_level(logging.INFO, "streamfx"):
        assert [stream.stream_id for stream in find_streams([tmp_path], 1.0)] == ["b"]
    assert "skipped: folders, which are not searched for videos (1)" in caplog.text


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "WEBP"])
def test_a_photo_with_the_suffix_of_a_video_is_refused(format_: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    Image.new("RGB", (64, 48), (200, 30, 30)).save(path, format_)
    with pytest.raises(SourceError, match=r"a\.mp4: expected a video, found a single picture"):
        find_streams([path], 1.0)
    odd_files.film(tmp_path / "b.mp4")
    (photo,) = [stream for stream in find_streams([tmp_path], 1.0) if not stream.usable]
    assert [chunk.fault and chunk.fault.reason for chunk in photo.chunks()] == ["file_no_video"]


def test_several_pictures_in_one_file_are_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mjpeg"
    with path.open("wb") as file:
        for shade in range(30):
            Image.new("RGB", (64, 48), (shade, 30, 30)).save(file, "JPEG")
    assert [stream.usable for stream in find_streams([path], 1.0)] == [True]


@pytest.mark.parametrize("muxer", [{}, {"movflags": "faststart"}], ids=["index last", "index first"])
def test_of_joined_mp4_files_all_but_the_first_are_reported_as_unused(muxer: dict[str, str], tmp_path: Path) -> None:
    path = odd_files.doubled(odd_files.film(tmp_path / "a.mp4", muxer=muxer))
    for _ in range(2):
        files = Files(FilesSection(paths=[path], chunk_s=1.0), 0, 1, b"key")
        (sentence,) = files.left_out()
        assert sentence.startswith(f"{path}: only its first film is used")
    done = publish([path], FolderDestination(tmp_path / "chunks"), chunk_s=1.0)
    assert (done.chunks, len(done.left_out)) == (4, 1)


def test_joined_fragmented_mp4_files_are_used_completely(tmp_path: Path) -> None:
    muxer = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    path = odd_files.doubled(odd_files.film(tmp_path / "a.mp4", muxer=muxer))
    (stream,) = find_streams([path], 1.0)
    assert len(list(stream.chunks())) == 8
    assert stream.left_out == []


def test_all_files_with_the_same_stream_id_are_reported_together(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "b.mp4", "b.mkv", "c.mp4"):
        odd_files.film(tmp_path / name)
    with pytest.raises(SourceError) as refused:
        find_streams([tmp_path], 1.0)
    assert all(name in str(refused.value) for name in ("a.mp4", "a.mkv", "b.mp4", "b.mkv"))
    assert "c.mp4" not in str(refused.value) and "without the suffix" in str(refused.value)


def test_a_file_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    path = odd_files.film(tmp_path / "a.mp4")
    with pytest.raises(SourceError, match=r"a\.mp4 is named twice"):
        find_streams([path, tmp_path], 1.0)


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("A line of text.\n" * 200)
    with pytest.raises(SourceError, match=r"notes\.txt: expected a video, found text"):
        find_streams([path], 1.0)
