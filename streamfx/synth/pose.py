"""A head at one moment: its face moved, its skull turned on the neck, and all of it placed before the camera."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamfx.synth.head import Head
from streamfx.synth.looks import Look
from streamfx.synth.render import Drawn
from streamfx.synth.wrinkles import creases

Floats = npt.NDArray[np.float32]

_PIVOT = np.array([0.0, 6.3, 0.2], np.float32)
"""Where the neck bends, at rest."""


class Poser:
    """Poses a head of any shape."""

    def __init__(self, head: Head):
        self._head = head
        rest = head.rest
        # The chin turns with the skull, the throat half-way, the shoulders not at all.
        self._bend = np.clip((rest[:, 1:2] + 0.35 * rest[:, 2:] - 5.75) / 0.75, 0, 1)
        self._jaw = head.unit_names.index("jawOpen")

    def posed(
        self,
        shape: Floats,
        look: Look,
        units: Floats,
        actions: Floats,
        pose_deg: Floats,
        place: Floats,
        gaze: tuple[float, float],
    ) -> Drawn:
        """The head of `shape` [V, 3] with the face units `units`, and the wrinkles of `actions` [len(AUS)] in 0..5.

        `pose_deg` is yaw, pitch and roll; `place` is where the face's middle is in camera space, decimetres.
        """
        head = self._head
        vertices = head.moved(shape, units)
        eyes = (shape[head.left_eye].mean(0) + shape[head.right_eye].mean(0)) / 2
        base = (head.rest[head.left_eye].mean(0) + head.rest[head.right_eye].mean(0)) / 2
        pivot = _PIVOT + eyes - base
        turned = (vertices - pivot) @ _rotation(pose_deg).T + pivot
        vertices = vertices + self._bend * (turned - vertices)
        # The face's middle lies a little under the eyes.
        middle = eyes - np.array([0.0, 0.2, 0.9], np.float32)
        placed = (vertices - middle + place).astype(np.float32)
        return Drawn(placed, head.normals(placed), look, creases(actions), gaze, float(units[self._jaw]))


def _rotation(pose_deg: Floats) -> Floats:
    """Rotation matrix for column vectors: yaw (to the viewer's right), then pitch (up), then roll (clockwise)."""
    yaw, pitch, roll = np.radians(pose_deg)
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    turn: Floats = (about_z @ about_x @ about_y).astype(np.float32)
    return turn
