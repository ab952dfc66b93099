"""The shape of a video track's pixels, and the size at which a picture has the proportions that a screen gives it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

SQUARE = Fraction(1)
WIDEST = 4
"""Pixels more than four times as wide as high, or as high as wide, are taken for a mistake. Real ones stay within: half
of a line's pixels on a wide screen are 40:11."""
NEARLY_SQUARE = Fraction(1, 100)
"""Ratios this close to 1 come from rounded sizes; to follow them would blur a picture to move it by a pixel."""
_MOST_EXACT = 1000


class PixelAspect:
    """Width by height of a video track's pixels, made before anything of it is decoded.

    As players do it, the container's word counts where it says something else than the codec's headers; otherwise the
    codec's headers count, which may change on the way (broadcasts between 4:3 and 16:9).
    """

    def __init__(self, video: Any):
        self._codec = video.codec_context
        said = _believed(video.sample_aspect_ratio)
        self.by_container = said if said is not None and said != _believed(self._codec.sample_aspect_ratio) else None
        """What the container says against the codec's headers, else None."""

    @property
    def now(self) -> Fraction:
        """That of the frame which the track's decoder gave last; before any, that of the first."""
        return self.by_container or _believed(self._codec.sample_aspect_ratio) or SQUARE


def _believed(said: Fraction | None) -> Fraction | None:
    """A ratio in bounds, or None where nothing, 0 or nonsense is said."""
    if not said or not Fraction(1, WIDEST) <= said <= WIDEST:
        return None
    return SQUARE if abs(said - 1) <= NEARLY_SQUARE else said.limit_denominator(_MOST_EXACT)


def shown_size(width: int, height: int, aspect: Fraction, max_pixels: int) -> tuple[int, int]:
    """Columns and rows at which pixels are square: the short side of a pixel is stretched, so that nothing is lost.

    Where that would make more than `max_pixels`, both are made smaller alike. Square pixels change nothing.
    """
    if aspect == SQUARE:
        return width, height
    wide, high = (width * aspect, Fraction(height)) if aspect > 1 else (Fraction(width), height / aspect)
    shrink = min(1.0, (max_pixels / float(wide * high)) ** 0.5)
    return max(1, int(float(wide) * shrink + 0.5)), max(1, int(float(high) * shrink + 0.5))
