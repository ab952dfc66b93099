"""A look: the detector gets the picture at the size that was asked for, and answers in pixels of the picture."""

from __future__ import annotations

import numpy as np
import pytest

from streamfx.detection.centerface import Detection, apart
from streamfx.detection.look import look

MARKS = ((0.0, 0.0),) * 5


class SeesAll:
    """Finds one face that fills the picture, and remembers the picture's size (width, height)."""

    def __init__(self) -> None:
        self.size = (0, 0)

    def detect(self, picture: np.ndarray, threshold: float) -> list[Detection]:
        height, width = picture.shape[:2]
        self.size = width, height
        return [Detection(0, 0, width, height, 0.9, ((width / 2, height / 2),) * 5)]


@pytest.mark.parametrize(
    ("longest_px", "enlarged", "size"),
    [(416, 1.0, (416, 224)), (4096, 1.0, (1280, 704)), (4096, 2.0, (2560, 1440)), (1920, 2.0, (1920, 1088))],
)
def test_the_size_is_what_was_asked_for_and_boxes_are_those_of_the_picture(
    longest_px: int, enlarged: float, size: tuple[int, int]
) -> None:
    detector = SeesAll()
    (found,) = look(detector, np.zeros((720, 1280, 3), np.uint8), longest_px, 0.5, enlarged)
    assert detector.size == size
    assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx((0, 0, 1280, 720))
    assert found.landmarks[0] == pytest.approx((640, 360))


def test_a_small_picture_is_not_enlarged_unasked() -> None:
    detector = SeesAll()
    look(detector, np.zeros((96, 128, 3), np.uint8), 416, 0.5)
    assert detector.size == (128, 96)


def test_of_several_looks_each_face_counts_once_the_best_first() -> None:
    weak, strong = Detection(0, 0, 10, 10, 0.3, MARKS), Detection(1, 0, 11, 10, 0.8, MARKS)
    other = Detection(50, 50, 60, 60, 0.5, MARKS)
    assert apart([weak, other, strong]) == [strong, other]
    assert apart([]) == []
