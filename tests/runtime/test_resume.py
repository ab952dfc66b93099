"""The offset at which a line continues when another worker opens the same partition at the same time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import runs

from streamfx.pipeline import load_config
from streamfx.runtime.build import build_engine
from streamfx.runtime.resume import Bounds, open_line
from streamfx.sink.commit import Batch, Head


def test_a_worker_whose_first_entry_comes_second_follows_the_first(
    tmp_path: Path, chunks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, early, late = (
        build_engine(load_config(runs.tree(tmp_path, [chunks], windows={"hop_s": hop_s})), 0, 1) for hop_s in (2, 1, 1)
    )
    (partition,) = older.source.partitions()
    first = open_line(partition, older.new_parts(), older.writer(partition), older.source, Bounds())
    record = older.source.read_at(partition, [0])[0]
    assert record is not None
    first.process(record)
    first.commit()
    writer = late.writer(partition)
    commit = writer.commit

    def overtaken(batch: Batch) -> Head:
        """Another worker with the new configuration commits between this one's read of the log and its entry."""
        monkeypatch.undo()
        open_line(partition, early.new_parts(), early.writer(partition), early.source, Bounds())
        return commit(batch)

    monkeypatch.setattr(writer, "commit", overtaken)
    line = open_line(partition, late.new_parts(), writer, late.source, Bounds())
    entries = [json.loads(path.read_text()) for path in sorted((tmp_path / "data" / "_commits").glob("*/*/*.json"))]
    assert [entry["kind"] for entry in entries] == ["data", "config"]
    assert line.next_offset == 1
