"""Damaged and hostile media: the line survives, every chunk has one fate, and small bodies do not use much memory."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import bad_media, runs
from helpers.media_bombs import BOMBS, repeated

from streamfx.config.media import Media
from streamfx.errors import BadChunk
from streamfx.media import chunk_media
from streamfx.media.decode import decode

SEED, CHUNKS = 5, 120
FAULTY = Path(runs.__file__).with_name("faulty_run.py")
START_US = 1_767_323_045_000_000
SPACING_US = 130_000_000
MEDIA = Media(backend="pyav")
REFUSED = {
    "huge_picture": "too_large",
    "slow_codec": "unknown_codec",
    "overlapping_samples": "corrupt",
    "inflated_blocks": "corrupt",
    "days_between_pictures": "too_long",
    "ages_between_pictures": "too_long",
}


@pytest.fixture
def modest_memory() -> Iterator[None]:
    """Fail the test if the process grows by more than 256 MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


def write_chunks(folder: Path, count: int = CHUNKS) -> None:
    """Write the seeded specimens as one stream whose chunks are so far apart that none is late."""
    folder.mkdir(parents=True)
    seeds = bad_media.healthy_chunks()
    for number in range(count):
        one = bad_media.specimen(number, SEED, seeds)
        headers = {
            "streamfx-stream-id": "s",
            "streamfx-seq": str(number),
            "streamfx-start-us": str(START_US + number * SPACING_US),
            "content-type": "video/mp4",
        }
        for name, value in one.headers.items():
            headers.pop(name, None)
            if value is not None:
                headers[name] = value.decode("latin-1")
        (folder / f"{number}.json").write_text(json.dumps(headers))
        (folder / f"{number}.mp4").write_bytes(one.body)


def test_the_fuzzer_makes_the_same_chunks_again() -> None:
    seeds = [bytes(range(256)) * 20, b"\x47" * 188 * 20]
    first, again = ([bad_media.specimen(n, SEED, seeds) for n in range(50)] for _ in range(2))
    assert first == again and len({one.body for one in first}) > 40
    assert [bad_media.specimen(n, SEED + 1, seeds) for n in range(50)] != first


def test_every_damaged_chunk_has_one_fate_and_the_line_lives(tmp_path: Path) -> None:
    write_chunks(tmp_path / "in" / "s")
    config = runs.tree(
        tmp_path, [tmp_path / "in"], faces={"detect_px": 64, "detect_every": 16}, sink={"roll_chunks": 30}
    )
    done = runs.streamfx("run", runs.write_config(tmp_path, config), "--quiet")
    assert done.returncode == 0, done.stderr[-2000:]
    runs.verified(tmp_path / "data")
    fates = Counter(row["offset"] for row in runs.rows(tmp_path / "data", "chunks"))
    assert fates == Counter(range(CHUNKS))
    met = {row["reason"] for row in runs.rows(tmp_path / "data", "chunks") if row["fate"] == "undecodable"}
    assert len(met) >= 5, f"the fuzzer no longer provokes enough kinds of errors, only {met}"


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_bomb_is_refused(name: str, modest_memory: None) -> None:
    with pytest.raises(BadChunk) as refused:
        decode(BOMBS[name](), START_US, MEDIA)
    assert refused.value.reason == REFUSED[name]


@pytest.mark.parametrize("name", [name for name in BOMBS if name.startswith("sound_")])
def test_sound_of_an_impossible_rate_is_left_out(name: str, modest_memory: None) -> None:
    segment = decode(BOMBS[name](), START_US, MEDIA)
    assert segment.sound is None and segment.frames


@pytest.mark.slow
def test_a_chunk_that_hangs_the_decoder_is_given_up_after_three_deaths(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "s"
    write_chunks(folder, 6)
    config = runs.write_config(
        tmp_path, runs.tree(tmp_path, [tmp_path / "in"], faces={"detect_px": 64}, source={"poison_after": 3})
    )
    command = [sys.executable, "-P", str(FAULTY), "spin", str(START_US + 3 * SPACING_US), "run", str(config), "--quiet"]
    codes = [subprocess.run(command, capture_output=True, timeout=250, check=False).returncode for _ in range(4)]
    assert codes == [-signal.SIGKILL] * 3 + [0]
    runs.verified(tmp_path / "data")
    by_offset = {row["offset"]: row["reason"] for row in runs.rows(tmp_path / "data", "chunks")}
    assert by_offset[3] == "killed_its_worker" and len(by_offset) == 6
    assert list(by_offset.values()).count("killed_its_worker") == 1


def test_more_pixels_than_a_chunk_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    body = repeated("libx264", 64, 48, 50, 25)
    assert decode(body, START_US, MEDIA).frames_decoded == 50
    monkeypatch.setattr(chunk_media, "MAX_CHUNK_PIXELS", 49 * 64 * 48)
    with pytest.raises(BadChunk) as refused:
        decode(body, START_US, MEDIA)
    assert refused.value.reason == "too_large"
