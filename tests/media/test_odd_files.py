"""Unusual and damaged files: what is complete in them is used, and what is missing is reported."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import odd_files

from streamfx.config.media import Media
from streamfx.errors import SourceError
from streamfx.media.cut import CutChunk, check_pictures, cut_video, default_start_us, plan_video
from streamfx.media.decode import open_decoder
from streamfx.records import Segment

START_US = 1_700_000_000_000_000
DECODER = open_decoder(Media(backend="pyav"))


def decoded(chunks: list[CutChunk]) -> list[Segment]:
    return [DECODER.decode(chunk.body, chunk.start_us) for chunk in chunks]


@pytest.mark.parametrize("group", [25, 1000], ids=["copied", "encoded"])
def test_after_a_backward_jump_time_continues_in_a_new_stretch(tmp_path: Path, group: int) -> None:
    once = odd_files.film(tmp_path / "once.ts", group=group, sound=True, **{"x264-params": "scenecut=0"})
    alone = decoded(list(cut_video(once, 1.0, START_US)))
    twice = odd_files.doubled(once)
    chunks = list(cut_video(twice, 1.0, START_US))
    assert len(chunks) == 2 * len(alone) and [chunk.seq for chunk in chunks] == list(range(len(chunks)))
    for before, after in pairwise(chunks):
        assert before.start_us + before.duration_us == after.start_us
    assert [chunk.end for chunk in chunks].count(True) == 2 and chunks[len(alone) - 1].end and chunks[-1].end
    parts = decoded(chunks)
    assert sum(part.frames_decoded for part in parts) == 200
    assert all(before.end_us <= after.start_us for before, after in pairwise(parts))
    first, second = parts[: len(alone)], parts[len(alone) :]
    for half in (first, second):
        sounds = [part.sound for part in half if part.sound is not None]
        assert len(sounds) == len(half)
        assert all(a.first_sample + a.waveform.size == b.first_sample for a, b in pairwise(sounds))
    heard = [np.concatenate([part.sound.waveform for part in half if part.sound]) for half in (first, second)]
    assert abs(heard[0].size - heard[1].size) <= 2000 and np.abs(heard[1]).max() > 0.1


def test_sound_that_only_the_second_part_has_stays_with_it(tmp_path: Path) -> None:
    silent = odd_files.film(tmp_path / "silent.ts")
    heard = odd_files.film(tmp_path / "heard.ts", sound=True)
    both = tmp_path / "both.ts"
    both.write_bytes(heard.read_bytes() + silent.read_bytes() + heard.read_bytes())
    parts = decoded(list(cut_video(both, 4.0, START_US)))
    assert [part.sound is not None for part in parts] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "container"), [("a.mp4", None), ("a.mov", None), ("a.mkv", None), ("a.avi", None), ("a.flv", None)]
)
def test_a_truncated_upload_is_used_up_to_its_end_and_the_rest_is_counted(
    tmp_path: Path, name: str, container: str | None
) -> None:
    path = odd_files.cut_off(tmp_path / name, codec="mpeg4" if name.endswith("avi") else "libx264")
    chunks = list(cut_video(path, 1.0, START_US))
    frames = sum(part.frames_decoded for part in decoded(chunks))
    missing_us = plan_video(path, 1.0).missing_us
    # Most bytes of an AVI are in its keyframes.
    assert frames > 30 and missing_us is not None
    assert abs(frames * 40_000 + missing_us - 4_000_000) <= 80_000


def test_how_much_a_transport_stream_that_ends_inside_a_packet_lacks_is_unknown(tmp_path: Path) -> None:
    path = odd_files.cut_off(tmp_path / "a.ts")
    os.truncate(path, path.stat().st_size // 188 * 188 + 100)
    assert plan_video(path, 1.0).missing_us == 0
    assert sum(part.frames_decoded for part in decoded(list(cut_video(path, 1.0, START_US)))) > 50
    whole = odd_files.film(tmp_path / "whole.ts")
    assert plan_video(whole, 1.0).missing_us is None


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.webm", "a.flv", "a.mov"])
@pytest.mark.parametrize("sound", [False, True])
def test_nothing_is_missing_from_a_complete_file(tmp_path: Path, name: str, sound: bool) -> None:
    codec = {"a.avi": "mpeg4", "a.webm": "libvpx"}.get(name, "libx264")
    path = odd_files.film(tmp_path / name, codec=codec, sound=sound and name not in ("a.webm", "a.flv"))
    assert plan_video(path, 1.0).missing_us is None


@pytest.mark.parametrize(("name", "codec"), [("a.h264", "libx264"), ("a.h265", "libx265")])
@pytest.mark.parametrize("bf", ["0", "3"])
def test_a_stream_without_timestamps_is_played_at_its_declared_rate(
    tmp_path: Path, name: str, codec: str, bf: str
) -> None:
    path = odd_files.film(
        tmp_path / name, codec=codec, container={"a.h264": "h264", "a.h265": "hevc"}[name], fps=30, bf=bf
    )
    assert plan_video(path, 1.0).step_us == 33_333
    chunks = list(cut_video(path, 1.0, START_US))
    parts = decoded(chunks)
    assert sum(part.frames_decoded for part in parts) == 120
    assert parts[0].start_us == START_US and abs(parts[-1].end_us - START_US - 4_000_000) < 50_000


@pytest.mark.parametrize("stamp", ["1904-01-01T00:00:01Z", "1970-01-01T00:00:00Z", "2090-01-01T00:00:00Z"])
def test_an_impossible_creation_time_is_not_used(tmp_path: Path, stamp: str, caplog: pytest.LogCaptureFixture) -> None:
    path = odd_files.film(tmp_path / "a.mkv", metadata={"creation_time": stamp})
    assert default_start_us(path) == path.stat().st_mtime_ns // 1000
    assert "a.mkv" in caplog.text and stamp[:4] in caplog.text
    for modified_s in (0, time.time() + 1e7):
        os.utime(path, (modified_s, modified_s))
        with pytest.raises(SourceError, match=r"source\.files\.start"):
            default_start_us(path)


def test_an_mp4_without_its_index_is_refused_with_that_reason(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"its index .* is missing"):
        plan_video(odd_files.without_index(tmp_path / "a.mp4"), 1.0)


def test_a_file_that_becomes_shorter_while_it_is_read_is_reported(tmp_path: Path) -> None:
    path = odd_files.film(tmp_path / "a.ts", seconds=20, crf="1")
    chunks = cut_video(path, 1.0, START_US)
    taken = [next(chunks)]
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(SourceError, match="was changed while it was being read"):
        taken.extend(chunks)
    assert len(taken) > 5


def test_a_file_with_one_picture_is_a_chunk(tmp_path: Path) -> None:
    (chunk,) = cut_video(odd_files.film(tmp_path / "a.mp4", seconds=0.04), 1.0, START_US)
    assert chunk.end and decoded([chunk])[0].frames_decoded == 1


def test_a_file_without_a_picture_that_can_be_decoded_is_refused(tmp_path: Path) -> None:
    path = odd_files.film(tmp_path / "a.mp4", muxer={"movflags": "faststart"})
    check_pictures(path)
    os.truncate(path, path.read_bytes().index(b"mdat") + 5)
    with pytest.raises(SourceError, match="cannot decode any picture"):
        check_pictures(path)
