"""Looks for known faces near the places where they are expected, which costs a fraction of a look at the whole picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from streamfx.detection.centerface import GRAIN, Detection, Detector, apart
from streamfx.detection.look import look

SIDES = 2.0
"""Side of the square that is looked at, in sizes of the face: a face that moved by half of its size is whole in it."""
SEEN_PX = 128
"""Side of the square, pixels of what the detector sees; a larger one is shrunk to it. CenterFace finds faces from about
16 pixels on, and here sees one of 64; at 38 its boxes were a sixth too small."""
LEAST_PX = 64
"""Least side of the square, pixels of what the detector sees, so that a small face keeps its surroundings."""
WORTH = 0.3
"""Share of the whole picture's pixels from which looks near faces are not worth it."""
EDGE = 0.02
"""A detection this close to an edge of the square, in its sides, may be a part of a face."""
SAME = 0.3
"""Most of a face's size that lies between the centres of two detections of it in one picture."""

Pixels = npt.NDArray[np.uint8] | torch.Tensor
Place = tuple[float, float, float]
"""Centre and size of a face, pixels of the frame."""
Square = tuple[int, int, int, int, int]
"""x0, y0, x1, y1 in pixels of the frame, and the longest side that the detector sees."""


def squares(faces: Sequence[Place], width: int, height: int, longest_px: int) -> list[Square] | None:
    """What to look at of a `width` x `height` picture for faces that are expected at these places; None where a look at the
    whole picture, whose longer side the detector sees at no more than `longest_px`, is as good."""
    scale = min(1.0, longest_px / max(width, height))
    found, pixels = [], 0
    for x, y, size in faces:
        shrunk = min(scale, SEEN_PX / SIDES / size)
        seen_px = max(LEAST_PX, math.ceil(round(SIDES * size * shrunk, 3) / GRAIN) * GRAIN)
        half = seen_px / shrunk / 2
        x0, y0 = (max(0, math.floor(center - half)) for center in (x, y))
        x1, y1 = min(width, math.ceil(x + half)), min(height, math.ceil(y + half))
        if x1 - x0 < half or y1 - y0 < half:
            return None  # a face is leaving the picture
        found.append((x0, y0, x1, y1, seen_px))
        pixels += seen_px * seen_px
    return found if pixels < WORTH * width * scale * height * scale else None


def refined(
    detector: Detector, pixels: Pixels, found: Sequence[Detection], longest_px: int, threshold: float
) -> list[Detection]:
    """Faces that were found in the whole picture, with the boxes and landmarks that looks near them give, so that all of
    a track's boxes are of one scale: CenterFace's are some percent smaller in a smaller picture. A face that is not
    found again keeps its own."""
    width, height = int(pixels.shape[1]), int(pixels.shape[0])
    where = squares([(*d.center, d.size) for d in found], width, height, longest_px)
    if not where:
        return list(found)
    again = look_near(detector, pixels, where, threshold)
    return [_refined(d, again) for d in found]


def _refined(face: Detection, again: Sequence[Detection]) -> Detection:
    best = min(again, key=lambda one: math.dist(one.center, face.center), default=face)
    return replace(best, score=face.score) if math.dist(best.center, face.center) < SAME * face.size else face


def look_near(detector: Detector, pixels: Pixels, where: Sequence[Square], threshold: float) -> list[Detection]:
    """Faces of at least `threshold` in the squares of a picture, uint8 RGB [H, W, 3], in its pixels, each once.

    What touches an edge of a square inside the picture is left out: it may be a part of a face.
    """
    height, width = int(pixels.shape[0]), int(pixels.shape[1])
    found = []
    for x0, y0, x1, y1, seen_px in where:
        edge_x, edge_y = EDGE * (x1 - x0), EDGE * (y1 - y0)
        for d in look(detector, pixels[y0:y1, x0:x1], seen_px, threshold):
            whole_x = (x0 == 0 or d.x0 > edge_x) and (x1 == width or d.x1 < x1 - x0 - edge_x)
            whole_y = (y0 == 0 or d.y0 > edge_y) and (y1 == height or d.y1 < y1 - y0 - edge_y)
            if whole_x and whole_y:
                marks = tuple((x + x0, y + y0) for x, y in d.landmarks)
                found.append(replace(d, x0=d.x0 + x0, y0=d.y0 + y0, x1=d.x1 + x0, y1=d.y1 + y0, landmarks=marks))
    return apart(found)
