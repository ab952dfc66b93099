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
from streamfx_operators.tracker import Track

SIDES = 2.5
"""Side of the square that is looked at, in sizes of the face: a face that moved by half of its size is whole in it."""
SEEN_PX = 96
"""Side of the square, pixels of what the detector sees; a larger one is shrunk to it. CenterFace finds faces from about
16 pixels on, and here sees one of 38."""
LEAST_PX = 64
"""Least side of the square, pixels of what the detector sees, so that a small face keeps its surroundings."""
WORTH = 0.5
"""Share of the whole picture's pixels from which looks near faces are not worth it."""
EDGE = 0.02
"""A detection this close to an edge of the square, in its sides, may be a part of a face."""

Pixels = npt.NDArray[np.uint8] | torch.Tensor
Square = tuple[int, int, int, int, int]
"""x0, y0, x1, y1 in pixels of the frame, and the longest side that the detector sees."""


def squares(tracks: Sequence[Track], width: int, height: int, longest_px: int) -> list[Square] | None:
    """What to look at of a `width` x `height` picture for faces that are expected at `tracks`; None where a look at the
    whole picture, whose longer side the detector sees at no more than `longest_px`, is as good."""
    scale = min(1.0, longest_px / max(width, height))
    found, pixels = [], 0
    for track in tracks:
        shrunk = min(scale, SEEN_PX / SIDES / track.size)
        seen_px = max(LEAST_PX, math.ceil(round(SIDES * track.size * shrunk, 3) / GRAIN) * GRAIN)
        half = seen_px / shrunk / 2
        x0, y0 = (max(0, math.floor(center - half)) for center in (track.center_x, track.center_y))
        x1, y1 = min(width, math.ceil(track.center_x + half)), min(height, math.ceil(track.center_y + half))
        if x1 - x0 < GRAIN or y1 - y0 < GRAIN:
            return None  # the face is about to leave the picture
        found.append((x0, y0, x1, y1, seen_px))
        pixels += seen_px * seen_px
    return found if pixels < WORTH * width * scale * height * scale else None


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
