"""Bad input gets a fate with a reason and a dead letter without its body, and it never stops the line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import runs

DAMAGE: dict[str, Callable[[Path], None]] = {
    "text": lambda chunk: chunk.write_text("this is no video\n" * 50),
    "truncated": lambda chunk: chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 3]),
    "empty": lambda chunk: chunk.write_bytes(b""),
    "huge_length": lambda chunk: chunk.write_bytes(b"\xff\xff\xff\xf0moov" + chunk.read_bytes()[8:]),
    "flipped": lambda chunk: chunk.write_bytes(bytes(b ^ 0x5A for b in chunk.read_bytes())),
}


@pytest.fixture(scope="module")
def chunks(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip as a folder of one-second chunks."""
    folder = tmp_path_factory.mktemp("chunks")
    done = runs.streamfx("publish", clip, "--to", folder, "--chunk-s", "1", "--start", "2026-01-02T03:04:05Z")
    assert done.returncode == 0, done.stderr
    return folder


def run_damaged(tmp_path: Path, chunks: Path, damage: Callable[[Path], None], number: int = 2) -> Path:
    shutil.copytree(chunks, tmp_path / "in")
    damaged = sorted((tmp_path / "in").glob("*/*.mp4"))[number]
    damage(damaged)
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [tmp_path / "in"], sink={"roll_chunks": 3}))
    done = runs.streamfx("run", config)
    assert done.returncode == 0, done.stderr
    runs.verified(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("name", list(DAMAGE))
def test_a_damaged_chunk_leaves_its_fate_and_the_line_goes_on(tmp_path: Path, chunks: Path, name: str) -> None:
    data = run_damaged(tmp_path, chunks, DAMAGE[name])
    by_offset = {row["offset"]: row for row in runs.rows(data, "chunks")}
    assert by_offset[2]["fate"] == "undecodable" and by_offset[2]["reason"]
    others = [row["fate"] for offset, row in by_offset.items() if offset != 2]
    assert others == ["processed"] * 7 or others == ["processed"] * (len(by_offset) - 1)
    (letter,) = (data / "_dead_letters").rglob("*.json")
    note = json.loads(letter.read_text())
    assert note["reason"] == by_offset[2]["reason"] and len(note["sha256"]) == 64
    assert "body" not in note and "astronaut" not in letter.read_text()


def test_a_damaged_last_chunk_still_ends_its_stream(tmp_path: Path, chunks: Path) -> None:
    data = run_damaged(tmp_path, chunks, DAMAGE["text"], number=-1)
    last = max(runs.rows(data, "chunks"), key=lambda row: row["offset"])
    assert last["fate"] == "undecodable" and last["windows"] >= 1


def edit_headers(chunks: Path, number: int, **changes: str | None) -> None:
    file = sorted(chunks.glob("*/*.json"))[number]
    headers = json.loads(file.read_text())
    for name, value in changes.items():
        headers.pop("streamfx-" + name.replace("_", "-"), None)
        if value is not None:
            headers["streamfx-" + name.replace("_", "-")] = value
    file.write_text(json.dumps(headers))


@pytest.mark.parametrize(
    ("changes", "fate"),
    [
        ({"consent": "refused"}, "refused:consent_refused"),
        ({"start_us": "soon"}, "undecodable:header_invalid"),
        ({"start_us": "-1"}, "undecodable:header_invalid"),
    ],
)
def test_a_chunk_with_wrong_headers_leaves_its_fate(
    tmp_path: Path, chunks: Path, changes: dict[str, str | None], fate: str
) -> None:
    data = run_damaged(tmp_path, chunks, lambda chunk: edit_headers(chunk.parents[1], 2, **changes))
    assert runs.fates(data)[fate] == 1
    letters = list((data / "_dead_letters").rglob("*.json"))
    assert len(letters) == (0 if fate.startswith("refused") else 1)


def test_consent_can_be_required(tmp_path: Path, chunks: Path) -> None:
    config = runs.tree(tmp_path, [chunks])
    config["privacy"]["consent_required"] = True
    assert runs.streamfx("run", runs.write_config(tmp_path, config)).returncode == 0
    assert set(runs.fates(tmp_path / "data")) == {"refused:consent_missing"}
    assert runs.rows(tmp_path / "data", "windows") == []
