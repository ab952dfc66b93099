"""A drawn face inside a fill, moved by numbers alone: what a painter is given, and where what it paints may go.

A painter never gets a pixel or a feature of the person: `Painter.paint` takes `Controls`, which are single numbers, a seed
and the size of the filled rectangle, and `paint_inside` is all that calls it. A package registers a painter under the entry
point `streamfx.painters`; the one that streamfx brings is `drawn`.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from streamfx.errors import PrivacyRefusal, StreamfxError, SurrogateError
from streamfx.plugins import find_class

log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "streamfx.painters"
SURROGATE_WEAKNESS = (
    "it shows how the face moves: its expressions, action units, turns, size and brightness, as numbers, which a way of moving "
    "may be known by"
)
"""What a drawn face leaves of the person, as a sentence's end."""
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Controls:
    """What moves a drawn face, as numbers. PrivacyRefusal for anything that is not a finite number.

    `middle_x`, `middle_y` and `height` say where the face lies in the filled rectangle, in pixels from its upper left
    corner. `expressions` are probabilities, `action_units` intensities in 0..5 (FACS), and `units_count` in 0..1 says how far
    the latter count; where they do not, expressions alone move the face. `roll_deg` is clockwise, `yaw_deg` to the viewer's
    right; `light` is the brightness of the face, 0..1.
    """

    middle_x: float
    middle_y: float
    height: float
    roll_deg: float
    yaw_deg: float
    light: float
    units_count: float
    expressions: Mapping[str, float]
    action_units: Mapping[str, float]

    def __post_init__(self) -> None:
        numbers = [
            self.middle_x, self.middle_y, self.height, self.roll_deg, self.yaw_deg, self.light, self.units_count,
            *self.expressions.values(), *self.action_units.values(),
        ]  # fmt: skip
        if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
            raise PrivacyRefusal("a drawn face is moved by finite numbers alone; something else was given")


class Painter(ABC):
    """Paints faces that are nobody's. It is made without arguments, once in each process, and asked by one thread."""

    @abstractmethod
    def paint(self, controls: Controls, seed: int, width: int, height: int) -> Pixels:
        """A face as uint8 RGBA [height, width, 4], not premultiplied: equal arguments give equal pixels.

        Whose face it is follows from `seed` alone. Raises SurrogateError where it cannot be painted.
        """


@dataclass(frozen=True, slots=True)
class Surrogate:
    """A drawn face of one picture: the painter, what it is given, and which of the picture's regions it lies in."""

    painter: Painter
    controls: Controls
    seed: int
    region: int


def find_painter(name: str = "drawn") -> Painter:
    """The painter that is registered as `name`. Raises SurrogateError for one that is not there or cannot be made here."""
    kind = find_class(ENTRY_POINT_GROUP, name, Painter, "painter", SurrogateError)  # type: ignore[type-abstract]
    try:
        return kind()
    except StreamfxError:
        raise
    except Exception as error:  # whatever a package that is not ours raises
        raise SurrogateError(f"painter {name!r} could not be made: {type(error).__name__}: {error}") from error


def paint_inside(shown: Pixels, box: tuple[int, int, int, int], surrogate: Surrogate) -> bool:
    """Paint a face over `box` (x0, y0, x1, y1) of a picture, in place; all of the box must have been filled before. False, and
    nothing painted, where the painter fails."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    try:
        painted = surrogate.painter.paint(surrogate.controls, surrogate.seed, width, height)
        if painted.shape != (height, width, 4) or painted.dtype != np.uint8:
            raise SurrogateError(f"expected uint8 [{height}, {width}, 4], got {painted.dtype} {list(painted.shape)}")
    except Exception as error:  # whatever it is, the fill stays
        _log_once(f"a face could not be painted ({type(error).__name__}: {error}); the fill stays")
        return False
    alpha, below = painted[..., 3:].astype(np.uint16), shown[y0:y1, x0:x1]
    below[:] = ((painted[..., :3] * alpha + below * (255 - alpha)) // 255).astype(np.uint8)
    return True


@lru_cache(maxsize=16)
def _log_once(message: str) -> None:
    log.error("%s", message)
