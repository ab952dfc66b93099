"""Reads every frame of a video file, as a screen would show it, on a clock that only moves forward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from streamfx.config.media import Media
from streamfx.errors import BadChunk, SourceError
from streamfx.media.chunk_media import check_size, ffmpeg_pixels
from streamfx.media.pixel_aspect import PixelAspect
from streamfx.media.screen import Screen, Wholeness
from streamfx.media.video_file import check_pictures, open_video, pictures_in, plan_cuts, video_of
from streamfx.records import MICROSECONDS

Pixels = npt.NDArray[np.uint8]
LEAST_SIDE = 16
"""Smallest width and height of a film, pixels."""


@dataclass(frozen=True, slots=True)
class FilmFrame:
    """One frame: `pixels` uint8 RGB [H, W, 3], upright, in proportion, standard range.

    It is shown from `ticks` on, counted from the first frame, for `duration`, both in units of the film's `time_base`;
    the durations of all frames but the last follow from their times. `whole` is False where the decoder had to invent
    a part of the picture.
    """

    ticks: int
    duration: int
    whole: bool
    pixels: Pixels = field(repr=False)


class Film:
    """A video file that was checked: it can be decoded and holds as much film as it declares.

    `time_base` is the unit of its clock in seconds, `rate` roughly its frames a second, `width` and `height` are those
    of its frames in pixels. Raises SourceError for a file
    that is no video, or that breaks off.
    """

    def __init__(self, path: Path):
        check_pictures(path)
        plan = plan_cuts(path, 10 * MICROSECONDS)
        if plan.missing_us is not None:
            missing = (
                f"{plan.missing_us / MICROSECONDS:.1f} s of it are missing" if plan.missing_us else "it breaks off"
            )
            raise SourceError(f"{path}: expected a whole film, but {missing}; copy or record it again, or repair it")
        self.path = path
        self._state = self._now()
        with open_video(path) as container:
            video = video_of(container, path)
            self.time_base = Fraction(video.time_base)
            self.rate = Fraction(video.average_rate or video.guessed_rate or 25).limit_denominator(1001)
        first = next(self.frames(), None)
        if first is None:
            raise SourceError(f"{path}: expected a film, but FFmpeg shows no frame of it")
        self.height, self.width = first.pixels.shape[:2]

    def frames(self) -> Iterator[FilmFrame]:
        """Every frame in the order it is shown. A second call gives the same frames again.

        Each keeps its time; where a file has none, or jumps back, a frame follows at the distance of the one before.
        Pictures that change their size get that of the first. Raises SourceError where a picture cannot be decoded, or
        the file is not the one that was checked.
        """
        media = Media()
        screen, wholeness = Screen(media), Wholeness()
        clock = _Clock(max(1, round(1 / (self.rate * self.time_base))))
        size: tuple[int, int] | None = None
        self._check_unchanged()
        with open_video(self.path) as container:
            video = video_of(container, self.path)
            video.codec_context.options = {"max_pixels": ffmpeg_pixels(media)}
            video.thread_type = "AUTO"
            aspect = PixelAspect(video)
            for frame in self._decoded(container, video):
                self._check(frame, media)
                pixels = screen.rgb(frame, aspect.now)
                size = size or (pixels.shape[1], pixels.shape[0])
                ticks = clock.ticks(frame.pts)
                yield FilmFrame(ticks, frame.duration or clock.step, wholeness.of(frame), fitted(pixels, size))
        self._check_unchanged()

    def _now(self) -> tuple[int, int, int]:
        found = self.path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _check_unchanged(self) -> None:
        if self._now() != self._state:
            raise SourceError(
                f"{self.path}: it has changed while it was read; give the command again once it is at rest"
            )

    def _decoded(self, container: Any, video: Any) -> Iterator[Any]:
        """Decoded frames. What cannot be decoded before the first picture, as after a cut inside a group, is skipped."""
        begun = False
        for packet in _with_end(pictures_in(container.demux(video), video)):
            try:
                frames = video.codec_context.decode(packet)
            except av.error.InvalidDataError as error:
                if begun:
                    raise SourceError(
                        f"{self.path}: a picture in it cannot be decoded; repair the file, or cut the damaged part out"
                    ) from error
                continue
            begun = begun or bool(frames)
            yield from frames

    def _check(self, frame: Any, media: Media) -> None:
        try:
            check_size(frame.width, frame.height, media)
        except BadChunk as error:
            raise SourceError(f"{self.path}: {error.detail}") from error
        if min(frame.width, frame.height) < LEAST_SIDE:
            raise SourceError(
                f"{self.path}: expected pictures of at least {LEAST_SIDE} pixels a side, got {frame.width}x{frame.height}"
            )


def fitted(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The picture with this width and height."""
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _with_end(packets: Iterator[Any]) -> Iterator[Any]:
    """The packets, and at last None, which asks a decoder for what it still holds."""
    yield from packets
    yield None


class _Clock:
    """Turns timestamps into ticks from 0 on that always grow; `step` is the distance where nothing better is known."""

    def __init__(self, step: int):
        self.step = step
        self._shift: int | None = None
        self._last = -step

    def ticks(self, pts: int | None) -> int:
        if pts is None:
            now = self._last + self.step
        else:
            if self._shift is None or pts + self._shift <= self._last:
                self._shift = self._last + self.step - pts
            now = pts + self._shift
            self.step = max(1, now - self._last) if self._last >= 0 else self.step
        self._last = now
        return now
