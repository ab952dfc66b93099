"""The aspect ratio of a video track's pixels, and the size at which a picture has its right proportions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

SQUARE = Fraction(1)
WIDEST = 4
"""Aspect ratios above 4:1 or below 1:4 are treated as errors. The most extreme real ones are below: half of the pixels
of a line on a wide screen give 40:11."""
NEARLY_SQUARE = Fraction(1, 100)
"""Ratios this close to 1 come from rounded sizes; following them would blur a picture only to move it by a pixel."""
_MOST_EXACT = 1000


class PixelAspect:
    """The width of a video track's pixels divided by their height. Create it before anything is decoded.

    As in players, the container's ratio is used where it differs from that in the codec's headers. Otherwise the
    codec's headers are used, which may change within a stream (broadcasts change between 4:3 and 16:9).
    """

    def __init__(self, video: Any):
        self._codec = video.codec_context
        declared = _plausible(video.sample_aspect_ratio)
        differs = declared is not None and declared != _plausible(self._codec.sample_aspect_ratio)
        self.by_container = declared if differs else None
        """The container's ratio if it differs from that in the codec's headers, else None."""

    @property
    def now(self) -> Fraction:
        """The ratio of the frame that the track's decoder gave last, or, before any, of the first frame."""
        return self.by_container or _plausible(self._codec.sample_aspect_ratio) or SQUARE


def _plausible(ratio: Fraction | None) -> Fraction | None:
    """The ratio, simplified, if it is within bounds; None if it is missing, 0 or out of bounds."""
    if not ratio or not Fraction(1, WIDEST) <= ratio <= WIDEST:
        return None
    return SQUARE if abs(ratio - 1) <= NEARLY_SQUARE else ratio.limit_denominator(_MOST_EXACT)


def shown_size(width: int, height: int, aspect: Fraction, max_pixels: int) -> tuple[int, int]:
    """The width and height at which pixels are square. The shorter side of a pixel is stretched, so no detail is lost.

    If that gives more than `max_pixels`, both sides are reduced in proportion. With square pixels the size is
    unchanged.
    """
    if aspect == SQUARE:
        return width, height
    wide, high = (width * aspect, Fraction(height)) if aspect > 1 else (Fraction(width), height / aspect)
    shrink = min(1.0, (max_pixels / float(wide * high)) ** 0.5)
    return max(1, int(float(wide) * shrink + 0.5)), max(1, int(float(high) * shrink + 0.5))
