"""A gap in a live stream: all windows lie on one side of it, and lost chunks are counted."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

from helpers import runs

from streamfx.media.cut import cut_video
from streamfx.media.live import LivePiece
from streamfx.source.live import ChunkBuffer, LiveMetrics
from streamfx.source.publish import FolderDestination
from streamfx.source.streams import parse_start


def test_windows_lie_on_one_side_of_a_gap(tmp_path: Path, clip: Path) -> None:
    pause_us, lost = 300_000, 8
    buffer = ChunkBuffer("door", 1 << 30, LiveMetrics())
    pieces = list(cut_video(clip, 1.0, parse_start(runs.START)))
    for piece in pieces:
        moved_us = piece.start_us + (pause_us if piece.seq >= 2 else 0)
        buffer.put(LivePiece(moved_us, moved_us + piece.duration_us, piece.body, joined=piece.seq not in (2, 5)))
    buffer.interrupt()
    with closing(FolderDestination(tmp_path / "chunks")) as folder:
        folder.open("door")
        while (chunk := buffer.take(0)) is not None:
            # Marks are 0, 3 (the pause), 7 (dropped chunks, such as 8) and the last.
            if chunk.seq != lost:
                folder.put("door", chunk)
            buffer.sent()
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [tmp_path / "chunks"]))
    done = runs.streamfx("run", config)
    assert done.returncode == 0, done.stderr
    fates = runs.fates(tmp_path / "data")
    assert fates["processed:end_mark"] == 4 and set(fates) <= {"processed:end_mark", "processed", "no_face"}
    windows = runs.rows(tmp_path / "data", "windows")
    edge_us = pieces[2].start_us
    sides = {(side_of(row["first_offset"]), side_of(row["last_offset"])) for row in windows}
    assert sides == {(0, 0), (1, 1), (2, 2)}, "no window is made of frames from both sides"
    tracks = [{row["track_id"] for row in windows if side_of(row["first_offset"]) == side} for side in range(3)]
    assert all(not one & other for one, other in combinations(tracks, 2))
    across = [row for row in windows if row["window_start"] < moment(edge_us) < row["window_end"]]
    assert across, "windows that the gap cuts must exist with frames from one side"
    entries = [json.loads(file.read_text()) for file in (tmp_path / "data" / "_commits").glob("*/*/*.json")]
    assert sum(entry["details"].get("missing_chunks", 0) for entry in entries) == 1
    assert all(count == 1 for count in runs.keys(tmp_path / "data").values())
    runs.verified(tmp_path / "data")


def side_of(offset: int) -> int:
    """Before the pause, between it and the dropped chunk, after both."""
    return (offset > 3) + (offset > 7)


def moment(time_us: int) -> datetime:
    """The time as in the tables."""
    return datetime.fromtimestamp(time_us / 1e6, UTC)
