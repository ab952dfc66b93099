"""A folder of users' files: a bad file stops nothing, has its fate, and is named at the end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from helpers import odd_files, runs

ALL_DONE, ERROR, LEFT_OUT = 0, 1, 3


def run(tmp_path: Path, *paths: Path, **sections: dict[str, object]) -> tuple[int, str]:
    config = runs.tree(tmp_path, paths, **sections)
    config["pipeline"] = ["faces", "windows", "redact"]
    done = runs.streamfx("run", runs.write_config(tmp_path, config), "--quiet")
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def box(tmp_path: Path) -> Path:
    folder = tmp_path / "box"
    folder.mkdir()
    return folder


def test_two_good_videos_beside_three_bad_ones_give_their_rows(tmp_path: Path, clip: Path, box: Path) -> None:
    shutil.copy(clip, box / "hall.mp4")
    odd_files.remuxed(clip, box / "door.mkv")
    odd_files.doubled(odd_files.remuxed(clip, box / "twice.ts"))
    odd_files.broken_off(odd_files.remuxed(clip, box / "upload.mp4", movflags="faststart"))
    odd_files.NO_VIDEOS["text.mp4"](box / "text.mp4")
    code, said = run(tmp_path, box, sink={"roll_chunks": 3})
    assert code == LEFT_OUT
    named = [line for line in said.splitlines() if line.startswith("left out: ")]
    assert len(named) == 2 and "text.mp4" in named[0] and "upload.mp4" in named[1]
    assert "text.mp4" in said.splitlines()[0], "it is named at the start too"
    assert "twice.ts" in said and "jumps back" in said

    data = tmp_path / "data"
    chunks, windows = runs.rows(data, "chunks"), runs.rows(data, "windows")
    by_stream = {row["stream_id"]: [w for w in windows if w["stream_id"] == row["stream_id"]] for row in chunks}
    counts = sorted(len(rows) for name, rows in by_stream.items() if name)
    # The number of windows in 8 s depends on the fraction of a second at which the video begins.
    assert 4 <= counts[0] < 8 and {8, 9} >= set(counts[1:3]) and 16 <= counts[3] <= 18
    twice = max(by_stream.values(), key=len)
    assert len({row["track_id"] for row in twice}) == 2, "no track, and so no window, may span the jump"
    fates = runs.fates(data)
    assert fates["undecodable:file_no_video"] == fates["lost:file_truncated"] == 1
    entries = [json.loads(path.read_text()) for path in (data / "_commits").rglob("*.json")]
    (missing_ms,) = [e["details"]["missing_media_ms"] for e in entries if "missing_media_ms" in e["details"]]
    assert 1000 < missing_ms < 7000 and f"{missing_ms // 1000}." in named[1]
    runs.verified(data)
    for path in data.rglob("*"):
        assert path.is_dir() or not any(name in path.read_bytes() for name in (b"hall", b"upload", b"text.mp4"))

    code, said = run(tmp_path, box)
    assert code == LEFT_OUT and "5 of 5 already done" in said
    assert [line for line in said.splitlines() if line.startswith("left out: ")] == named
    assert len(runs.rows(data, "chunks")) == len(chunks)


def test_everything_that_only_looks_like_a_video_has_a_fate_and_is_named(tmp_path: Path, box: Path) -> None:
    odd_files.film(box / "good.mp4")
    for name, make in odd_files.NO_VIDEOS.items():
        make(box / name)
    code, said = run(tmp_path, box)
    named = [line for line in said.splitlines() if line.startswith("left out: ")]
    assert code == LEFT_OUT and len(named) == len(odd_files.NO_VIDEOS)
    assert all(any(name in line for line in named) for name in odd_files.NO_VIDEOS)
    fates = runs.fates(tmp_path / "data")
    assert fates["no_face"] == 2
    assert fates["undecodable:file_unreadable"] + fates["undecodable:file_no_video"] == len(odd_files.NO_VIDEOS)


def test_a_good_run_exits_with_0_and_a_second_one_finds_all_done(tmp_path: Path, box: Path) -> None:
    for name in ("a", "b", "c"):
        odd_files.film(box / f"{name}.mp4")
    assert run(tmp_path, box)[0] == ALL_DONE
    code, said = run(tmp_path, box)
    assert code == ALL_DONE and "3 of 3 already done" in said


def test_a_file_that_was_repaired_is_a_new_input(tmp_path: Path, box: Path) -> None:
    odd_files.film(box / "good.mp4")
    odd_files.without_index(box / "late.mp4")
    assert run(tmp_path, box)[0] == LEFT_OUT
    odd_files.film(box / "late.mp4")
    code, said = run(tmp_path, box)
    assert code == ALL_DONE and "1 of 2 already done" in said
    assert runs.fates(tmp_path / "data") == {"no_face": 4, "undecodable:file_no_video": 1}
    runs.verified(tmp_path / "data")


def test_a_file_that_changed_is_left_out_and_its_rows_stay(tmp_path: Path, box: Path) -> None:
    odd_files.film(box / "a.mp4")
    odd_files.film(box / "b.mp4")
    assert run(tmp_path, box)[0] == ALL_DONE
    odd_files.film(box / "b.mp4", seconds=6, shade=90)
    odd_files.film(box / "c.mp4")
    code, said = run(tmp_path, box)
    (named,) = [line for line in said.splitlines() if line.startswith("left out: ")]
    assert code == LEFT_OUT and "b.mp4 has changed since it was read" in named
    assert "topic" not in named and "1 of 3 already done" in said
    assert runs.fates(tmp_path / "data") == {"no_face": 6}


@pytest.mark.parametrize("name", [name for name in odd_files.NO_VIDEOS if name != "folder.mp4"])
def test_naming_a_file_that_is_not_a_video_is_an_error(tmp_path: Path, box: Path, name: str) -> None:
    good, bad = odd_files.film(box / "good.mp4"), odd_files.NO_VIDEOS[name](box / name)
    code, said = run(tmp_path, good, bad)
    assert code == ERROR and name in said[said.index("Error: ") :]
    assert runs.rows(tmp_path / "data", "chunks") == []


def test_bad_entries_in_a_folder_of_chunks_have_a_fate_each(tmp_path: Path, clip: Path, box: Path) -> None:
    done = runs.streamfx("publish", clip, "--to", box, "--chunk-s", "1")
    assert done.returncode == 0, done.stderr
    (folder,) = box.iterdir()
    (folder / "2.mp4").unlink()
    (folder / "4.json").write_text("{")
    (folder / "7.mp4").unlink()
    code, said = run(tmp_path, box)
    named = [line for line in said.splitlines() if line.startswith("left out: ")]
    assert code == LEFT_OUT and [name for name in ("2.json", "4.json", "7.json") if name in "".join(named)] == [
        "2.json",
        "4.json",
        "7.json",
    ]
    assert runs.fates(tmp_path / "data") == {
        "processed": 5,
        "undecodable:media_missing": 2,
        "undecodable:headers_unreadable": 1,
    }
    last = max(runs.rows(tmp_path / "data", "chunks"), key=lambda row: row["offset"])
    assert last["windows"] >= 1, "it ends its stream all the same"
    assert len(list((tmp_path / "data" / "_dead_letters").rglob("*.json"))) == 3
    runs.verified(tmp_path / "data")


def test_publish_leaves_bad_files_out_and_exits_with_3(tmp_path: Path, box: Path) -> None:
    odd_files.film(box / "good.mp4")
    odd_files.cut_off(box / "upload.mp4")
    odd_files.joined(box / "twice.ts")
    odd_files.NO_VIDEOS["empty.mp4"](box / "empty.mp4")
    done = runs.streamfx("publish", box, "--to", tmp_path / "out", "--chunk-s", "1")
    named = [line for line in done.stderr.splitlines() if line.startswith("left out: ")]
    assert done.returncode == LEFT_OUT and "of 3 streams" in done.stdout
    assert {"empty.mp4", "upload.mp4"} == {name for name in os.listdir(box) if any(name in line for line in named)}
    ends = {
        path.parent.name: json.loads(path.read_text()).get("streamfx-end")
        for path in sorted((tmp_path / "out").rglob("*.json"), key=lambda path: int(path.stem))
    }
    assert ends == {"good": "1", "upload": "1", "twice": "1"}
