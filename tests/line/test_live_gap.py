"""A gap in a live stream, through the whole line: its windows lie on one side of it, and lost chunks are counted."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from helpers import runs

from streamfx.media.cut import cut_video
from streamfx.media.live import LivePiece
from streamfx.source.live import ChunkBuffer, LiveMetrics
from streamfx.source.publish import FolderDestination
from streamfx.source.streams import parse_start


def test_windows_lie_on_one_side_of_a_gap(tmp_path: Path, clip: Path) -> None:
    pause_us, lost = 300_000, range(4, 6)
    buffer = ChunkBuffer("door", 1 << 30, LiveMetrics())
    pieces = list(cut_video(clip, 1.0, parse_start(runs.START)))
    for piece in pieces:
        moved_us = piece.start_us + (pause_us if piece.seq >= 2 else 0)
        buffer.put(LivePiece(moved_us, moved_us + piece.duration_us, piece.body, joined=piece.seq != 2))
    buffer.interrupt()
    with closing(FolderDestination(tmp_path / "chunks")) as folder:
        folder.open("door")
        while (chunk := buffer.take(0)) is not None:
            # 0: mark, 1 and 2: before the pause, 3: mark, and from 4 on what is after it.
            if chunk.seq - 4 not in lost:
                folder.put("door", chunk)
            buffer.sent()
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [tmp_path / "chunks"]))
    done = runs.streamfx("run", config)
    assert done.returncode == 0, done.stderr
    fates = runs.fates(tmp_path / "data")
    assert fates["processed:end_mark"] == 3 and set(fates) <= {"processed:end_mark", "processed", "no_face"}
    windows = runs.rows(tmp_path / "data", "windows")
    edge_us = pieces[2].start_us
    sides = {(row["offset_first"] > 3, row["offset_last"] > 3) for row in windows}
    assert sides == {(False, False), (True, True)}, "no window is made of frames from both sides"
    tracks = {side: {row["track_id"] for row in windows if (row["offset_first"] > 3) == side} for side in (False, True)}
    assert not tracks[False] & tracks[True]
    across = [row for row in windows if row["window_start"] < moment(edge_us) < row["window_end"]]
    assert across, "the windows that the gap cuts are there, from one side"
    entries = [json.loads(file.read_text()) for file in (tmp_path / "data" / "_commits").glob("*/*/*.json")]
    assert sum(entry["details"].get("missing_chunks", 0) for entry in entries) == len(lost)
    assert all(count == 1 for count in runs.keys(tmp_path / "data").values())
    runs.verified(tmp_path / "data")


def moment(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us / 1e6, UTC)
