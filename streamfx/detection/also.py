"""Detectors of a user's own: for number plates, screens, badges and whatever else a redacted film must not show.

A package registers a class under the entry point `streamfx.detectors`:

    [project.entry-points."streamfx.detectors"]
    plates = "my_package.plates:Plates"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from streamfx.detection.centerface import Detection, Detector, shared_detector
from streamfx.errors import ConfigError
from streamfx.plugins import find_class

ENTRY_POINT_GROUP = "streamfx.detectors"


class OwnDetector(ABC):
    """Finds something else than faces. It is made without arguments, once in each process, and asked by several threads."""

    @abstractmethod
    def detect(self, picture: npt.NDArray[np.uint8], threshold: float) -> list[Detection]:
        """Boxes of at least `threshold` in a uint8 RGB [H, W, 3] whose sides are multiples of 32. No landmarks are needed.

        Each frame is shown shrunk to 416 pixels, some in full size and enlarged too. What is found is followed and filled as
        faces are; where this raises, the whole frame is filled.
        """


class _Together:
    """The face detector and others, asked one after the other."""

    def __init__(self, detectors: Sequence[Detector]):
        self._detectors = detectors

    def detect(self, picture: npt.NDArray[np.uint8], threshold: float) -> list[Detection]:
        """All that any of them finds, best first."""
        found = [seen for detector in self._detectors for seen in detector.detect(picture, threshold)]
        return sorted(found, key=lambda seen: -seen.score)


def together(faces: Detector, also: Sequence[str]) -> Detector:
    """The face detector, and those that are registered under these names. Raises as `check_also` does, and ConfigError for
    one that cannot be made."""
    return _Together([faces, *(_own(name) for name in also)]) if also else faces


def film_detector(also: Sequence[str]) -> Detector:
    """What looks at the frames of films: CenterFace in 8 bits, and what is registered under these names; see `together`."""
    return together(shared_detector(1, "int8"), also)


def check_also(names: Sequence[str]) -> None:
    """Raise ConfigError for a name under which no usable detector is registered."""
    for name in names:
        _class(name)


@lru_cache
def _own(name: str) -> OwnDetector:
    kind = _class(name)
    try:
        return kind()
    except Exception as error:  # whatever a package that is not ours raises
        raise ConfigError(
            f"detector {name!r} ({kind.__module__}.{kind.__qualname__}) could not be made: {type(error).__name__}: {error}"
        ) from error


def _class(name: str) -> type[OwnDetector]:
    return find_class(ENTRY_POINT_GROUP, name, OwnDetector, "detector", ConfigError)  # type: ignore[type-abstract]
