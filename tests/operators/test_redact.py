"""Redact: pictures leave only masked, only after the hold on both sides is known, and a failure shows nothing."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from streamfx_operators.faces import Faces, FacesConfig
from streamfx_operators.redact import Redact, RedactConfig

from streamfx.detection.centerface import Detection
from streamfx.records import Frame, TrackedFrame
from streamfx.testing import SAMPLE_PERIOD_US as PERIOD_US
from streamfx.testing import make_context, make_frame, make_privacy, make_segment, make_tracked

Region = tuple[float, float, float, float]
FACE: Region = (10, 10, 20, 20)


def redact(folder: Path | None, every_s: float = 1.0) -> Redact:
    context = make_context(privacy=make_privacy(mask_hold_s=0.5))
    return Redact(RedactConfig(preview_dir=folder, preview_every_s=every_s), context)


def picture(n: int, face: bool = False) -> Frame:
    """The n-th sample: grey, with a white face of 100x100 pixels if there is one."""
    pixels = np.full((200, 200, 3), 90, np.uint8)
    pixels[50:150, 50:150] += np.uint8(165 * face)
    return make_frame(n, pixels)


class SeesWhite:
    """A detector that never errs, in place of the net."""

    def detect(self, pixels: np.ndarray, threshold: float) -> list[Detection]:
        rows, columns = (pixels.max(axis=2) > 200).nonzero()
        if not rows.size:
            return []
        x0, y0, x1, y1 = (float(edge) for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        return [Detection(x0, y0, x1, y1, 1.0, (((x0 + x1) / 2, (y0 + y1) / 2),) * 5)]


def frames(regions: list[list[Region] | None], first: int = 0, detected: int = 1) -> list[TrackedFrame]:
    """Grey samples with regions; the detector saw each `detected`-th."""
    return [make_tracked(make_frame(n), r, n % detected == 0) for n, r in enumerate(regions, first)]


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


def test_only_what_the_detector_saw_leaves(tmp_path: Path) -> None:
    redact(tmp_path, every_s=PERIOD_US / 1e6).observe("alice", frames([[]] * 40, detected=4))
    assert len(pictures(tmp_path)) == 9
    assert all(p.all() for p in pictures(tmp_path))


@settings(deadline=None, max_examples=50)
@given(
    detect_every=st.integers(1, 16), comes=st.integers(0, 40), goes=st.integers(1, 40), hole=st.integers(0, 40),
    hole_length=st.integers(0, 30),
)  # fmt: skip
def test_a_face_that_comes_between_two_detections_is_in_no_picture(
    detect_every: int, comes: int, goes: int, hole: int, hole_length: int
) -> None:
    with TemporaryDirectory() as folder:
        operator = redact(Path(folder), every_s=PERIOD_US / 1e6)
        faces = Faces(FacesConfig(detect_every=detect_every, detect_px=208), operator.context, SeesWhite())
        seen = [picture(n, comes <= n < comes + goes) for n in range(60) if not hole <= n < hole + hole_length]
        operator.observe("alice", faces.track("alice", 0, make_segment(seen)))
        assert pictures(Path(folder))
        assert not any((p > 200).any() for p in pictures(Path(folder)))


def test_the_file_name_is_a_pseudonym(tmp_path: Path) -> None:
    redact(tmp_path).observe("alice", frames([[]] * 10))
    assert list(tmp_path.glob("*.png")) and not list(tmp_path.glob("*alice*"))
