"""Converts decoded frames to what a screen shows: de-interlaced, with standard range, in proportion and upright."""

from __future__ import annotations

import logging
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from av.video.reformatter import VideoReformatter

from streamfx.config.media import Media
from streamfx.media.hdr import HDR_TRANSFERS, to_sdr
from streamfx.media.orientation import orientation_of
from streamfx.media.pixel_aspect import SQUARE, shown_size

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]


class Wholeness:
    """Whether frames that come one after the other are whole, or show what the decoder invented: from a damaged one on none
    is, up to the next keyframe, since they are made from each other."""

    def __init__(self) -> None:
        self._whole = True

    def of(self, frame: Any) -> bool:
        """Whether the next frame is whole."""
        self._whole = not frame.is_corrupt and (self._whole or bool(frame.key_frame))
        return self._whole


class Screen:
    """Makes RGB pictures of one chunk's PyAV frames. If a frame `is_plain`, it is only converted and rotated."""

    def __init__(self, media: Media):
        self._converter: Any = VideoReformatter()
        self._max_pixels, self._threads = media.max_pixels, media.threads

    def rgb(self, frame: Any, aspect: Fraction) -> Pixels:
        """The uint8 RGB picture [H, W, 3] of a frame with this pixel aspect ratio; at most `media.max_pixels` if stretched.

        swscale uses the frame's own tags for matrix and range, and BT.601 if there are none.
        """
        if is_hdr(frame):
            _log_once("HDR pictures are converted to the standard dynamic range")
            coded: npt.NDArray[np.uint16] = self._converted(frame, "rgb48le")
            pixels: Pixels = to_sdr(coded, frame.color_trc, frame.color_primaries)
        else:
            pixels = self._converted(frame, "rgb24")
        if frame.interlaced_frame:
            _log_once("interlaced pictures are de-interlaced")
            pixels = first_field(pixels)
        height, width = pixels.shape[:2]
        size = shown_size(width, height, aspect, self._max_pixels)
        if size != (width, height):
            _log_once("pictures whose pixels are not square are stretched to their proportions")
            pixels = _resized(pixels, *size)
        upright: Pixels = orientation_of(frame).apply(pixels)
        return upright

    def _converted(self, frame: Any, pixel_format: str) -> Any:
        # By default as many threads as cores convert a picture, and each waits for the others where cores are busy.
        return self._converter.reformat(frame, format=pixel_format, threads=self._threads).to_ndarray()


def is_hdr(frame: Any) -> bool:
    """Whether a frame's transfer function is PQ or HLG."""
    return frame.color_trc in HDR_TRANSFERS


def is_plain(frame: Any, aspect: Fraction) -> bool:
    """Whether a frame is progressive, has square pixels and is not HDR, so that at most its orientation is changed."""
    return aspect == SQUARE and not frame.interlaced_frame and not is_hdr(frame)


def first_field(pixels: Pixels) -> Pixels:
    """De-interlace a picture: keep the even lines, and replace each odd line by the mean of its neighbours.

    No other frame is needed, so a frame looks the same wherever its stream is cut.
    """
    made = pixels.copy()
    above, below = pixels[0:-2:2].astype(np.uint16), pixels[2::2]
    made[1 : 2 * len(below) : 2] = (above + below + 1) // 2
    if len(pixels) % 2 == 0:
        made[-1] = pixels[-2]
    return made


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(picture, (height, width), mode="bicubic", antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


@lru_cache(maxsize=16)
def _log_once(message: str) -> None:
    """Log each message once and not for each frame."""
    log.info("%s", message)
