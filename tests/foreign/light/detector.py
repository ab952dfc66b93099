"""Finds the brightest block of a picture, as if it were a number plate."""

from __future__ import annotations

import numpy as np

from streamfx.detection.also import OwnDetector
from streamfx.detection.centerface import Detection


class Plates(OwnDetector):
    """One box around all pixels that are nearly white."""

    def detect(self, picture, threshold):
        """The box, where there are such pixels."""
        rows, columns = np.nonzero(picture.min(axis=2) > 240)
        if not len(rows):
            return []
        return [Detection(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9, ())]


class Broken(OwnDetector):
    """Cannot be made, since its weights are missing."""

    def __init__(self):
        raise FileNotFoundError("plates.onnx")

    def detect(self, picture, threshold):
        """Never asked."""
        return []
