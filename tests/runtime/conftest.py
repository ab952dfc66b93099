"""A partition's line over a folder with one chunk, opened as by a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import bad_media, runs

from streamfx.pipeline import load_config
from streamfx.runtime.build import build_engine
from streamfx.runtime.line import PartitionLine
from streamfx.runtime.resume import Bounds, open_line

OpenLine = Callable[..., tuple[PartitionLine, Any]]


@pytest.fixture
def chunks(tmp_path: Path) -> Path:
    """A folder with one chunk."""
    folder = tmp_path / "in" / "s"
    folder.mkdir(parents=True)
    headers = {"stream-id": "s", "seq": "0", "start-us": "1767323045000000", "end": "1"}
    named = {f"streamfx-{name}": value for name, value in headers.items()}
    (folder / "0.json").write_text(json.dumps(named | {"content-type": "video/mp4"}))
    (folder / "0.mp4").write_bytes(bad_media.healthy_chunk(bad_media.RECIPES[0]))
    return folder.parent


@pytest.fixture
def opened(tmp_path: Path, chunks: Path) -> OpenLine:
    """A function that opens the line, optionally with other parts, and returns it with the folder's record."""

    def again(**changed: Any) -> tuple[PartitionLine, Any]:
        engine = build_engine(load_config(runs.tree(tmp_path, [chunks], source={"poison_after": 3})), 0, 1)
        (partition,) = engine.source.partitions()
        parts = replace(engine.new_parts(), **changed)
        line = open_line(partition, parts, engine.writer(partition), engine.source, Bounds())
        return line, engine.source.read_at(partition, [0])[0]

    return again
