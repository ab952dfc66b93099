"""Pictures that may leave: every place that may show a face is filled solid. Only this makes a `PublicPicture`."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from streamfx.config.privacy import PrivacySection
from streamfx.errors import PrivacyRefusal
from streamfx.records import TrackedFrame

_SEAL = object()


class PublicPicture:
    """A picture in which every face is filled solid. `pixels` uint8 RGB [H, W, 3]."""

    __slots__ = ("pixels",)

    def __init__(self, seal: object, pixels: npt.NDArray[np.uint8]):
        if seal is not _SEAL:
            raise PrivacyRefusal("only streamfx.privacy.pictures makes a PublicPicture")
        self.pixels = pixels

    def png(self) -> bytes:
        """The picture as PNG, without metadata."""
        out = io.BytesIO()
        Image.fromarray(self.pixels).save(out, format="PNG")
        return out.getvalue()


class Pictures:
    """Fills faces, by the section `privacy` of the configuration."""

    def __init__(self, section: PrivacySection):
        self._section = section

    @property
    def mask_hold_us(self) -> int:
        """Microseconds for which a mask is held before and after a detection."""
        return round(self._section.mask_hold_s * 1e6)

    def mask(self, frame: TrackedFrame, around: Sequence[TrackedFrame]) -> PublicPicture:
        """`frame` with every place filled that may show a face in it or in the frames `around` it (the hold).

        Boxes are dilated and filled solid. Where the detector failed in any of these frames, or did not look at `frame`
        itself, all of it is filled.
        """
        pixels = frame.frame.pixels
        shown = np.array(pixels if isinstance(pixels, np.ndarray) else pixels.cpu().numpy(), dtype=np.uint8)
        height, width = shown.shape[:2]
        for other in [frame, *around]:
            same_size = (other.frame.height, other.frame.width) == (height, width)
            if other.regions is None or not same_size or not frame.detected:
                shown[:] = 0
                break
            for region in other.regions:
                x0, y0, x1, y1 = _dilate(region, self._section.mask_dilation)
                shown[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = 0
        return PublicPicture(_SEAL, shown)


def _dilate(region: tuple[float, float, float, float], factor: float) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = region
    grow_x, grow_y = (x1 - x0) * (factor - 1) / 2, (y1 - y0) * (factor - 1) / 2
    return math.floor(x0 - grow_x), math.floor(y0 - grow_y), math.ceil(x1 + grow_x), math.ceil(y1 + grow_y)
