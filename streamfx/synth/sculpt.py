"""Units of movement that the head's data lack: skin that gathers, lips that lift off the teeth, a chin that rises.

Each is a sum of soft patches on the face at rest. They are added to the data's face units under names of their own, a
pair for each unit, so that the two sides of a face can differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LIPS_MEET_Y = 6.603
"""Rest height of the line between the lips, decimetres."""
LIDS_END_Y = 7.405
"""Rest height at which the upper lids end and the skin under the brows begins, decimetres."""


@dataclass(frozen=True)
class _Patch:
    """Skin around (x, y) of the person's left side moves by `move`, less and less up to about (rx, ry) away."""

    x: float
    y: float
    rx: float
    ry: float
    move: tuple[float, float, float]
    part: str = "all"
    """`all`, or only the skin `above` or `below` the line between the lips, or over the lids with the `brow`."""


UNITS: dict[str, tuple[_Patch, ...]] = {
    # AU 9: wings of the nose and the skin beside it rise, the inner brows sink, the lip follows.
    "noseWrinkle": (
        _Patch(0.13, 6.93, 0.08, 0.08, (0.012, 0.055, 0.0)),
        _Patch(0.24, 6.98, 0.12, 0.11, (-0.01, 0.05, 0.022)),
        _Patch(0.07, 7.22, 0.06, 0.10, (0.0, 0.012, 0.022)),
        _Patch(0.14, 7.46, 0.12, 0.08, (-0.014, -0.012, 0.012), "brow"),
        _Patch(0.10, 6.70, 0.13, 0.06, (0.0, 0.035, 0.012), "above"),
        _Patch(0.31, 7.16, 0.13, 0.05, (0.0, 0.022, 0.01)),
    ),
    # AU 10: the middle of each half of the upper lip is lifted and squared, the cheek above it bulges.
    "lipRaise": (
        _Patch(0.13, 6.69, 0.10, 0.07, (0.01, 0.085, 0.02), "above"),
        _Patch(0.02, 6.70, 0.07, 0.06, (0.0, 0.025, 0.0), "above"),
        _Patch(0.14, 6.92, 0.07, 0.07, (0.015, 0.03, 0.0)),
        _Patch(0.29, 6.88, 0.12, 0.11, (0.015, 0.035, 0.03)),
    ),
    # AU 4: the brows come down and together over a gathered root of the nose.
    "browKnit": (
        _Patch(0.16, 7.46, 0.13, 0.09, (-0.055, -0.038, 0.020), "brow"),
        _Patch(0.38, 7.47, 0.17, 0.08, (-0.022, -0.022, 0.010), "brow"),
        _Patch(0.03, 7.44, 0.06, 0.09, (0.0, -0.015, 0.02)),
    ),
    # Brows that come together while they are raised: AU 4 with AU 1 and 2.
    "browGather": (
        _Patch(0.16, 7.46, 0.13, 0.09, (-0.035, 0.050, 0.012), "brow"),
        _Patch(0.36, 7.47, 0.18, 0.09, (-0.015, 0.040, 0.0), "brow"),
    ),
    # A glare: upper lids that stay up under lowered brows, AU 5 with AU 4.
    "lidLift": (_Patch(0.31, 7.365, 0.15, 0.05, (0.0, 0.055, 0.004)),),
    # AU 6: the cheek rises under the eye and pushes the lower lid up.
    "cheekRaise": (
        _Patch(0.36, 6.99, 0.16, 0.13, (0.0, 0.05, 0.035)),
        _Patch(0.32, 7.15, 0.15, 0.05, (0.0, 0.028, 0.018)),
        _Patch(0.52, 7.22, 0.09, 0.10, (-0.015, 0.012, 0.008)),
    ),
    # AU 17: the chin is pushed up and forward, and pushes the lower lip.
    "chinRaise": (
        _Patch(0.0, 6.31, 0.16, 0.09, (0.0, 0.055, 0.03)),
        _Patch(0.0, 6.50, 0.15, 0.07, (0.0, 0.035, 0.012), "below"),
        _Patch(0.0, 6.66, 0.12, 0.05, (0.0, 0.006, 0.012), "above"),
    ),
    # AU 23 and 24: lips thin and drawn in from the corners.
    "lipTight": (
        _Patch(0.10, 6.66, 0.16, 0.045, (-0.012, -0.020, -0.018), "above"),
        _Patch(0.10, 6.54, 0.16, 0.045, (-0.012, 0.026, -0.018), "below"),
        _Patch(0.27, 6.60, 0.06, 0.07, (-0.035, -0.012, 0.012)),
    ),
    # Lips drawn back from clenched teeth, squarely: of AU 25 with AU 10 or 16.
    "lipBare": (
        _Patch(0.15, 6.68, 0.12, 0.07, (0.012, 0.04, 0.0), "above"),
        _Patch(0.13, 6.53, 0.12, 0.07, (0.012, -0.075, 0.0), "below"),
        _Patch(0.10, 6.40, 0.16, 0.09, (0.0, -0.03, 0.0), "below"),
    ),
    # AU 20: the corners go straight back and apart, and the lower cheeks with them.
    "lipStretch": (
        _Patch(0.28, 6.60, 0.10, 0.09, (0.055, -0.008, -0.015)),
        _Patch(0.42, 6.55, 0.14, 0.14, (0.03, -0.006, 0.012)),
    ),
}
"""Own units by name; each becomes two, named with `Left` and `Right` behind."""


def own_units(rest: Floats, soft: npt.NDArray[np.bool_]) -> dict[str, Floats]:
    """Offsets [V, 3] of each own unit and side for the vertices at `rest` [V, 3]; only `soft` vertices [V] move."""
    left = 1 / (1 + np.exp(np.clip(-rest[:, 0] / 0.025, -30, 30)))
    front = np.clip((rest[:, 2] - 0.5) / 0.3, 0, 1) * soft
    above = 1 / (1 + np.exp(np.clip((LIPS_MEET_Y - rest[:, 1]) / 0.006, -30, 30)))
    brow = 1 / (1 + np.exp(np.clip((LIDS_END_Y - rest[:, 1]) / 0.010, -30, 30)))
    parts = {"all": np.ones(len(rest)), "above": above, "below": 1 - above, "brow": brow}
    out: dict[str, Floats] = {}
    for name, patches in UNITS.items():
        for side, share, sign in (("Left", left, 1.0), ("Right", 1 - left, -1.0)):
            moved = np.zeros((len(rest), 3))
            for patch in patches:
                near = np.exp(
                    -(((sign * rest[:, 0] - patch.x) / patch.rx) ** 2) - ((rest[:, 1] - patch.y) / patch.ry) ** 2
                )
                moved += (near * parts[patch.part])[:, None] * np.array(patch.move) * (sign, 1, 1)
            out[name + side] = (moved * (share * front)[:, None]).astype(np.float32)
    return out
