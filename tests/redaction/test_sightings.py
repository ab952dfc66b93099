"""The first pass: which looks a frame gets, what is noted, and which frames are unsure."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from helpers.films import SeesWhite, picture

from streamfx.detection.centerface import Detection
from streamfx.redaction.film import FilmFrame
from streamfx.redaction.sightings import MANY, find_faces

TICKS = Fraction(1, 25)


def frames(count: int, whole: Callable[[int], bool] = lambda number: True) -> list[FilmFrame]:
    return [FilmFrame(number, 1, whole(number), picture(number, size=(640, 320))) for number in range(count)]


class NotesSizes(SeesWhite):
    """Remembers how wide the pictures are that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []

    def detect(self, picture: np.ndarray, threshold: float) -> list[Detection]:
        self.widths.append(picture.shape[1])
        return super().detect(picture, threshold)


def test_each_frame_is_looked_at_and_at_intervals_whole_or_enlarged() -> None:
    detector = NotesSizes()
    find_faces(frames(36), TICKS, detector, threads=1)
    assert detector.widths.count(416) == 36
    assert [width for width in detector.widths if width != 416] == [1280, 640, 640, 1280, 640, 640, 1280, 1280]


def test_boxes_are_those_of_the_film_and_each_face_counts_once_a_frame() -> None:
    seen = find_faces(frames(12), TICKS, SeesWhite(), threads=2)
    assert list(seen.frames) == list(range(12)) == list(seen.ticks) and not seen.unsure
    boxes = np.array(seen.boxes).reshape(-1, 4)
    assert np.abs(boxes[:, 0] - [40 + 3 * number for number in range(12)]).max() < 2.5


def test_a_damaged_picture_is_unsure() -> None:
    assert find_faces(frames(5, lambda number: number != 3), TICKS, SeesWhite(), 1).unsure == {3: "picture_damaged"}


def test_more_faces_than_can_be_believed_are_unsure() -> None:
    class SeesCrowds:
        def detect(self, picture: np.ndarray, threshold: float) -> list[Detection]:
            marks = ((0.0, 0.0),) * 5
            return [Detection(20 * i, 0, 20 * i + 10, 10, 0.5, marks) for i in range(MANY + 1)]

    assert find_faces(frames(2), TICKS, SeesCrowds(), 1).unsure == {0: "too_many_faces", 1: "too_many_faces"}
