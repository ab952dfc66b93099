"""A file that fails while it is read: the chunks before are used, and one more offset says why no others follow."""

from __future__ import annotations

import os
from pathlib import Path

from helpers import odd_files

from streamfx.config.source import FilesSection
from streamfx.source.files import FilesSource as Files
from streamfx.source.inputs import find_streams
from streamfx.source.streams import VideoStream

START_US = 1_769_860_800_000_000


def test_the_chunks_before_the_damage_are_used_and_the_stream_is_ended(tmp_path: Path) -> None:
    path = odd_files.film(tmp_path / "a.ts", seconds=20, crf="1")
    stream = VideoStream(path, "a", 1.0, START_US, None, 20.0, "auto", "auto")
    chunks = stream.chunks()
    taken = [next(chunks)]
    os.truncate(path, path.stat().st_size // 2)
    taken += chunks
    *whole, last = taken
    assert len(whole) > 5 and all(chunk.body and chunk.fault is None for chunk in whole)
    assert last.fault is not None and last.fault.reason == "file_broken" and not last.body
    assert [chunk.seq for chunk in taken] == list(range(len(taken)))
    assert [b"1" in dict(chunk.headers).values() and "streamfx-end" in dict(chunk.headers) for chunk in taken].count(
        True
    ) == 1
    assert stream.left_out and "a.ts" in stream.left_out[0]
    assert "a.ts" not in last.fault.detail
    assert list(stream.seqs()) == list(range(len(taken)))


def test_a_file_that_disappears_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        odd_files.film(tmp_path / f"{name}.mp4")
    files = Files(FilesSection(paths=[tmp_path], chunk_s=1.0), 0, 1, b"key")
    (tmp_path / "b.mp4").unlink()
    files.subscribe(lambda mine: [files.seek(partition, 0) for partition in mine] and None, lambda *_: None)
    records = files.poll(0)
    while not all(files.finished(partition) for partition in files.partitions()):
        records += files.poll(0)
    assert sorted(record.fault.reason if record.fault else "" for record in records) == ["", "", "", "", "file_broken"]
    (sentence,) = files.left_out()
    assert "b.mp4" in sentence and "No such file" in sentence


def test_a_file_without_a_plausible_time_is_left_out_unless_a_start_is_given(tmp_path: Path) -> None:
    os.utime(odd_files.film(tmp_path / "a.mp4"), (0, 0))
    odd_files.film(tmp_path / "b.mp4")
    files = Files(FilesSection(paths=[tmp_path]), 0, 1, b"key")
    (sentence,) = files.left_out()
    assert "a.mp4" in sentence and "1970" in sentence and "source.files.start" in sentence
    (bad,) = [stream for stream in find_streams([tmp_path], 1.0) if not stream.usable]
    assert [chunk.fault and chunk.fault.reason for chunk in bad.chunks()] == ["file_start"]
    given = Files(FilesSection(paths=[tmp_path], start="2026-01-31T12:00:00Z"), 0, 1, b"key")
    assert given.left_out() == []


def test_two_bad_files_with_the_same_name_and_content_stay_distinct(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        odd_files.film(tmp_path / folder / f"{folder}.mp4")
        (tmp_path / folder / "empty.mp4").touch()
    files = Files(FilesSection(paths=[tmp_path / "x", tmp_path / "y"]), 0, 1, b"key")
    assert len(files.partitions()) == 4 and len(files.left_out()) == 2
