"""Pictures that may leave: every place that may show a face is filled. Only this makes a `PublicPicture`."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from streamfx.config.privacy import PrivacySection
from streamfx.errors import PrivacyRefusal
from streamfx.privacy.fills import SOLID, Fill
from streamfx.privacy.surrogates import Surrogate, paint_inside
from streamfx.records import TrackedFrame

Region = tuple[float, float, float, float]

_SEAL = object()


class PublicPicture:
    """A picture in which every face is filled. `pixels` uint8 RGB [H, W, 3]; `filled` is the share of them that was, and
    `painted` the number of drawn faces inside the fill."""

    __slots__ = ("filled", "painted", "pixels")

    def __init__(self, seal: object, pixels: npt.NDArray[np.uint8], filled: float, painted: int = 0):
        if seal is not _SEAL:
            raise PrivacyRefusal("only streamfx.privacy.pictures makes a PublicPicture")
        self.pixels = pixels
        self.filled = filled
        self.painted = painted

    def png(self) -> bytes:
        """The picture as PNG, without metadata."""
        out = io.BytesIO()
        Image.fromarray(self.pixels).save(out, format="PNG")
        return out.getvalue()


def fill_regions(
    pixels: npt.NDArray[np.uint8],
    regions: Sequence[Region] | None,
    fill: Fill = SOLID,
    surrogates: Sequence[Surrogate] = (),
) -> PublicPicture:
    """A copy of a picture, uint8 RGB [H, W, 3], with these regions (x0, y0, x1, y1, pixels) filled; None: all of it,
    and that solid whatever `fill` is.

    Once all are filled, the faces of `surrogates` are painted inside theirs. PrivacyRefusal for these with another fill than
    solid, which would leave something of the person beside them.
    """
    shown = np.array(pixels, dtype=np.uint8)
    height, width = shown.shape[:2]
    if regions is None:
        shown[:] = 0
        return PublicPicture(_SEAL, shown, 1.0)
    if surrogates and fill is not SOLID:
        raise PrivacyRefusal(f"drawn faces are painted into a solid fill alone, not into {fill.name!r}")
    boxes = [
        (max(0, math.floor(x0)), max(0, math.floor(y0)), min(width, math.ceil(x1)), min(height, math.ceil(y1)))
        for x0, y0, x1, y1 in regions
    ]
    changed = fill.apply(shown, [box for box in boxes if box[0] < box[2] and box[1] < box[3]])
    painted = 0
    for one in surrogates:
        x0, y0, x1, y1 = boxes[one.region]
        if x0 < x1 and y0 < y1:
            painted += paint_inside(shown, boxes[one.region], one)
    return PublicPicture(_SEAL, shown, float(changed.mean()), painted)


class Pictures:
    """Fills faces solid, by the section `privacy` of the configuration."""

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
        shown = pixels if isinstance(pixels, np.ndarray) else pixels.cpu().numpy()
        size = frame.frame.height, frame.frame.width
        known = [
            other.regions if (other.frame.height, other.frame.width) == size else None for other in (frame, *around)
        ]
        if not frame.detected or None in known:
            return fill_regions(shown, None)
        regions = [region for some in known if some is not None for region in some]
        return fill_regions(shown, [_dilate(region, self._section.mask_dilation) for region in regions])


def _dilate(region: Region, factor: float) -> Region:
    x0, y0, x1, y1 = region
    grow_x, grow_y = (x1 - x0) * (factor - 1) / 2, (y1 - y0) * (factor - 1) / 2
    return x0 - grow_x, y0 - grow_y, x1 + grow_x, y1 + grow_y
