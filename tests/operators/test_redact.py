"""Redact: pictures leave only masked, only after the hold on both sides is known, and a failure shows nothing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from streamfx_operators.redact import Redact, RedactConfig

from streamfx.config import PrivacySection
from streamfx.operator import OperatorContext
from streamfx.privacy import Privacy
from streamfx.records import Frame, TrackedFrame

PERIOD_US = 125_000
RULES = Privacy(PrivacySection(purpose="p", deployment_context="research", mask_hold_s=0.5), b"k" * 32, "cfg")
Region = tuple[float, float, float, float]
FACE: Region = (10, 10, 20, 20)


def redact(folder: Path | None, every_s: float = 1.0) -> Redact:
    def no_model(name: str) -> None:
        raise AssertionError("redact asks no model")

    context = OperatorContext(no_model, RULES, 1, PERIOD_US)  # type: ignore[arg-type]
    return Redact(RedactConfig(preview_dir=folder, preview_every_s=every_s), context)


def frames(regions: list[list[Region] | None], first: int = 0) -> list[TrackedFrame]:
    return [
        TrackedFrame(0, Frame(n * PERIOD_US, PERIOD_US, n * PERIOD_US, np.full((64, 64, 3), 200, np.uint8)), [], r)
        for n, r in enumerate(regions, first)
    ]


def pictures(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(p.read_bytes()))) for p in sorted(folder.glob("*.png"))]


def test_without_a_folder_nothing_is_kept_or_written(tmp_path: Path) -> None:
    operator = redact(None)
    operator.observe("alice", frames([[]] * 40))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_each_second_of_event_time(tmp_path: Path) -> None:
    redact(tmp_path).observe("alice", frames([[FACE]] * 40))
    assert len(pictures(tmp_path)) == 5
    assert all((p[10:20, 10:20] == 0).all() and (p[40:] == 200).all() for p in pictures(tmp_path))


def test_a_face_seen_half_a_second_later_is_already_masked(tmp_path: Path) -> None:
    redact(tmp_path, every_s=100).observe("alice", frames([[], [], [], [], [FACE], [], [], [], []]))
    (only,) = pictures(tmp_path)
    assert (only[10:20, 10:20] == 0).all()


def test_chunks_join_as_if_they_were_one(tmp_path: Path) -> None:
    regions: list[list[Region] | None] = [[], [FACE], [], [], [FACE], [], [], [FACE], [], []] * 4
    whole, parts = redact(tmp_path / "whole"), redact(tmp_path / "parts")
    whole.observe("alice", frames(regions))
    for start in range(0, 40, 4):
        parts.observe("alice", frames(regions[start : start + 4], start))
    assert [p.tobytes() for p in pictures(tmp_path / "whole")] == [p.tobytes() for p in pictures(tmp_path / "parts")]


def test_a_picture_whose_hold_is_not_over_never_leaves(tmp_path: Path) -> None:
    operator = redact(tmp_path)
    operator.observe("alice", frames([[]] * 4))
    operator.end_stream("alice")
    operator.observe("alice", frames([[]], first=100))
    assert pictures(tmp_path) == []


def test_where_the_detector_failed_nothing_is_shown(tmp_path: Path) -> None:
    redact(tmp_path, every_s=100).observe("alice", frames([[], [], None, [], [], [], []]))
    (only,) = pictures(tmp_path)
    assert not only.any()


def test_the_file_name_is_a_pseudonym(tmp_path: Path) -> None:
    redact(tmp_path).observe("alice", frames([[]] * 10))
    assert list(tmp_path.glob("*.png")) and not list(tmp_path.glob("*alice*"))
