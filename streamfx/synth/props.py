"""Things worn on the head that stand off it: frames and lenses of glasses, brims of hats, a bun of hair.

They are triangles in the coordinates of the head at rest, and move rigidly with the skull.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfx.synth.head import Head
from streamfx.synth.looks import Look

Floats = npt.NDArray[np.float32]

EYE_MIDDLE = np.array([0.0, 7.2842, 1.24], np.float32)
"""The middle between the eyeballs at rest."""
_LENS_Z = 1.68
_LENS_X = 0.315
_LENSES = {"round": (0.215, 0.205, 2.0), "square": (0.235, 0.175, 4.0), "thin": (0.225, 0.165, 2.6)}
"""Half width and half height of a lens, and how square it is."""
_TUBE = {"round": 0.018, "square": 0.026, "thin": 0.009}


@dataclass(frozen=True)
class Worn:
    """Triangles [T, 3] x (position, normal, linear colour) of one person: `solid` ones and `lenses`; `dark`: of these."""

    solid: Floats
    lenses: Floats
    dark: float


@dataclass(frozen=True)
class Pose:
    """Where a skull is in camera space: `origin` the middle between the eyes, `turn` its axes as columns, `scale`."""

    origin: Floats
    turn: Floats
    scale: Floats
    """Widths, heights and depths as multiples of those of the head at rest."""

    def placed(self, worn: Floats) -> Floats:
        """Worn things [T, 3, 9] in camera space."""
        out = worn.copy()
        out[..., :3] = (worn[..., :3] - EYE_MIDDLE) * self.scale @ self.turn.T + self.origin
        out[..., 3:6] = worn[..., 3:6] @ self.turn.T
        return out


class Skull:
    """Finds the pose of the skull in a head's vertices, by points that expressions do not move."""

    def __init__(self, head: Head):
        rest = head.rest
        skin = np.zeros(len(rest), bool)
        skin[head.triangles["skin"]] = True
        self._eyes = head.left_eye, head.right_eye
        self._top = np.flatnonzero(skin & (rest[:, 1] > 8.3))
        temple = skin & (head.ears < 0.1) & (np.abs(rest[:, 1] - 7.3) < 0.15) & (rest[:, 2] > 0.4) & (rest[:, 2] < 0.9)
        self._temples = [np.flatnonzero(temple & (side * rest[:, 0] > 0.5)) for side in (1, -1)]
        bridge = skin & (np.abs(rest[:, 0]) < 0.06) & (rest[:, 1] > 7.2) & (rest[:, 1] < 7.3) & (rest[:, 2] > 1.3)
        self._bridge = np.flatnonzero(bridge)
        self._rest = self._measures(rest, np.eye(3, dtype=np.float32))

    def pose(self, vertices: Floats) -> Pose:
        """The pose of the skull of `vertices` [V, 3]."""
        left, right = (vertices[eye].mean(0) for eye in self._eyes)
        across = (left - right) / np.linalg.norm(left - right)
        up = vertices[self._top].mean(0) - (left + right) / 2
        up = up - across * (up @ across)
        # The top of a head at rest lies behind its eyes.
        level = up / np.linalg.norm(up)
        ahead = np.cross(across, level)
        lean = np.arctan2(EYE_MIDDLE[2] - 0.68, 8.41 - EYE_MIDDLE[1])
        y = level * np.cos(lean) + ahead * np.sin(lean)
        turn = np.stack([across, y, np.cross(across, y)], 1).astype(np.float32)
        scale = self._measures(vertices, turn) / self._rest
        return Pose(((left + right) / 2).astype(np.float32), turn, scale.astype(np.float32))

    def _measures(self, vertices: Floats, turn: Floats) -> Floats:
        """The width at the temples, the height of the top and the depth of the nose's bridge from the eyes."""
        eyes = (vertices[self._eyes[0]].mean(0) + vertices[self._eyes[1]].mean(0)) / 2
        wide = (vertices[self._temples[0]].mean(0) - vertices[self._temples[1]].mean(0)) @ turn[:, 0]
        high = (vertices[self._top].mean(0) - eyes) @ turn[:, 1]
        deep = (vertices[self._bridge].mean(0) - eyes) @ turn[:, 2]
        return np.array([wide, high, deep], np.float32)


def worn_by(look: Look) -> Worn:
    """What a person wears."""
    traits = look.traits
    solid: list[Floats] = []
    lenses: list[Floats] = []
    if traits.glasses != "none":
        frame = np.array(look.frame, np.float32)
        half, high, square = _LENSES[traits.glasses]
        for side in (1, -1):
            ring = _outline(side * _LENS_X, half, high, square)
            solid.append(_tube(ring, _TUBE[traits.glasses], frame, closed=True))
            lenses.append(_lens(ring, np.full(3, 0.02, np.float32)))
            end = side * (_LENS_X + half)
            arm = np.array(
                [[end, 7.33, _LENS_Z - 0.09], [side * 0.66, 7.33, 1.2], [side * 0.72, 7.30, 0.35]], np.float32
            )
            solid.append(_tube(arm, _TUBE[traits.glasses] * 0.9, frame, closed=False))
        inner = _LENS_X - half
        bow = np.array(
            [[x, 7.315 + 0.02 * (1 - (x / inner) ** 2), _LENS_Z] for x in np.linspace(-inner, inner, 5)], np.float32
        )
        solid.append(_tube(bow, _TUBE[traits.glasses] * 0.9, frame, closed=False))
    if traits.hat in ("cap", "brim"):
        solid.append(_brim(traits.hat == "brim", np.array(look.hat, np.float32)))
    if traits.hair_style == "bun" and traits.hat in ("none", "cap"):
        solid.append(_ball(np.array([0, 8.45, 0.15], np.float32), 0.26, np.array(look.hair, np.float32)))
    empty = np.zeros((0, 3, 9), np.float32)
    return Worn(
        np.concatenate([empty, *solid]), np.concatenate([empty, *lenses]), 0.86 if traits.sunglasses else 0.0
    )  # fmt: skip


def _outline(x: float, half: float, high: float, square: float) -> Floats:
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    px = x + half * np.sign(cos) * np.abs(cos) ** (2 / square)
    py = 7.255 + high * np.sign(sin) * np.abs(sin) ** (2 / square)
    # Lenses curve around the face.
    return np.stack([px, py, _LENS_Z - 0.28 * px**2], 1).astype(np.float32)


def _tube(path: Floats, radius: float, colour: Floats, closed: bool) -> Floats:
    """A tube of five sides along a path [N, 3]."""
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    if not closed:
        ahead[0], ahead[-1] = path[1] - path[0], path[-1] - path[-2]
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    first = np.cross(ahead, np.array([0.3, 0.2, 1.0], np.float32))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(ahead, first)
    angle = np.linspace(0, 2 * np.pi, 5, endpoint=False)
    normal = first[:, None] * np.cos(angle)[:, None] + second[:, None] * np.sin(angle)[:, None]
    return _strip(path[:, None] + radius * normal, normal, colour, closed, around=True)


def _strip(points: Floats, normals: Floats, colour: Floats, closed: bool, around: bool) -> Floats:
    """Triangles [T, 3, 9] of a grid of points [N, M, 3]; rows may close to a ring, and columns may go around."""
    rows, columns = points.shape[:2]
    i, j = np.meshgrid(np.arange(rows if closed else rows - 1), np.arange(columns if around else columns - 1))
    i2, j2 = (i + 1) % rows, (j + 1) % columns
    corners = np.stack([i * columns + j, i2 * columns + j, i2 * columns + j2, i * columns + j2], -1).reshape(-1, 4)
    index = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])
    flat = np.concatenate([points.reshape(-1, 3), normals.reshape(-1, 3)], 1)[index]
    tint = np.broadcast_to(colour, (*flat.shape[:2], 3))
    return np.concatenate([flat, tint], 2).astype(np.float32)


def _lens(ring: Floats, colour: Floats) -> Floats:
    middle = ring.mean(0) + np.array([0, 0, 0.02], np.float32)
    bulge = (ring - middle) * 0.35 + np.array([0, 0, 1.0], np.float32)
    normals = bulge / np.linalg.norm(bulge, axis=1, keepdims=True)
    ahead = np.array([middle[0] * 0.4, 0, 1.0], np.float32)
    centre = np.broadcast_to(middle, ring.shape)
    points, turned = np.stack([centre, ring], 1), np.stack([np.broadcast_to(ahead, ring.shape), normals], 1)
    return _strip(points.astype(np.float32), turned.astype(np.float32), colour, closed=True, around=False)


def _brim(around: bool, colour: Floats) -> Floats:
    """The peak of a cap, or the brim around a hat."""
    angle = np.linspace(-np.pi, np.pi, 33) if around else np.linspace(-1.05, 1.05, 17)
    reach = 0.42 if around else 0.62 * np.sqrt(np.clip(np.cos(angle * 1.3), 0.02, 1))
    inner = np.stack([0.80 * np.sin(angle), np.full_like(angle, 7.83), 0.50 + 1.0 * np.cos(angle)], 1)
    outer = inner + np.stack([reach * np.sin(angle) * 0.75, np.full_like(angle, -0.08), reach * np.cos(angle)], 1)
    if around:
        inner[:, 1] = outer[:, 1] = 7.80
    up = np.broadcast_to(np.array([0, 1.0, 0.15]), inner.shape)
    return _strip(
        np.stack([inner, outer], 1).astype(np.float32), np.stack([up, up], 1).astype(np.float32), colour * 0.8,
        closed=False, around=False,
    )  # fmt: skip


def _ball(middle: Floats, radius: float, colour: Floats) -> Floats:
    down, round_ = np.linspace(0, np.pi, 9), np.linspace(0, 2 * np.pi, 12, endpoint=False)
    normal = np.stack(
        [np.outer(np.sin(down), np.cos(round_)), np.outer(np.cos(down), np.ones(12)), np.outer(np.sin(down), np.sin(round_))],
        2,
    ).astype(np.float32)  # fmt: skip
    return _strip(middle + radius * normal, normal, colour, closed=False, around=True)
