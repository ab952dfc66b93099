"""Decoding with PyAV (FFmpeg in the process), the default backend and the reference for the other backends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from streamfx.config.media import Media
from streamfx.errors import BadChunk
from streamfx.media.chunk_media import MAX_SEGMENT_BYTES, ChunkMedia, check_size, ffmpeg_pixels
from streamfx.media.screen import Screen, Wholeness

_Shown = tuple[Any, Fraction]


class PyavPictures:
    """Decodes every frame of a chunk and converts the wanted ones to RGB."""

    def pictures(self, chunk: ChunkMedia, wanted: Sequence[int], media: Media) -> list[npt.NDArray[np.uint8]]:
        """The frames with the (ascending) indices `wanted` into `chunk.pts`: uint8 RGB [H, W, 3] as `Screen` makes it.

        If the codec gives no frame for a packet's time, the frame before it is used. Raises BadChunk `corrupt` if a
        picture cannot be decoded, and `too_large` if the pictures become larger within the chunk and need too much
        memory.
        """
        due = [chunk.pts[index] for index in wanted]
        screen = Screen(media.max_pixels)
        made: list[npt.NDArray[np.uint8]] = []
        current: _Shown | None = None
        held = 0
        for frame, aspect in _frames(chunk, media):
            while len(made) < len(due) and due[len(made)] < frame.pts:
                made.append(_rgb(current, screen, media))
                held += made[-1].nbytes
                # The header declares the size of the first frame, but a stream may change it at each keyframe.
                if held > MAX_SEGMENT_BYTES:
                    raise BadChunk("too_large", f"the sampled frames need more than {MAX_SEGMENT_BYTES >> 20} MiB")
            current = frame, aspect
        while len(made) < len(due):
            made.append(_rgb(current, screen, media))
        return made


def every_frame(chunk: ChunkMedia, media: Media) -> Iterator[tuple[int, bool, npt.NDArray[np.uint8]]]:
    """Each frame that the chunk shows and the codec gives, in order: its index into `chunk.pts`, whether all of its
    picture was there, and uint8 RGB [H, W, 3] as `Screen` makes it. One picture is held at a time. Raises BadChunk
    `corrupt` if a picture cannot be decoded."""
    numbers = {pts: number for number, pts in enumerate(chunk.pts)}
    screen, wholeness = Screen(media.max_pixels), Wholeness()
    for shown in _frames(chunk, media):
        whole = wholeness.of(shown[0])
        number = numbers.pop(shown[0].pts, None)
        if number is not None:
            yield number, whole, _rgb(shown, screen, media)


def _frames(chunk: ChunkMedia, media: Media) -> Iterator[_Shown]:
    """Decoded frames in presentation order, from the first keyframe on, with the aspect ratio of their pixels."""
    context = chunk.video.codec_context
    if context.is_open:
        context.flush_buffers()
    else:
        context.options = {"max_pixels": ffmpeg_pixels(media)}
        context.thread_count = media.threads
        context.thread_type = "AUTO"
    try:
        for packet in [*chunk.video_packets, None]:
            for frame in context.decode(packet):
                if frame.pts is not None and frame.pts >= chunk.pts[0]:
                    yield frame, chunk.aspect.now
    except (av.FFmpegError, ValueError) as error:
        raise BadChunk(
            "corrupt", f"a picture cannot be decoded: {getattr(error, 'strerror', None) or error}"
        ) from error


def _rgb(shown: _Shown | None, screen: Screen, media: Media) -> npt.NDArray[np.uint8]:
    if shown is None:
        raise BadChunk("corrupt", "the first picture cannot be decoded")
    frame, aspect = shown
    check_size(frame.width, frame.height, media)
    return screen.rgb(frame, aspect)


def first_frame(chunk: ChunkMedia, media: Media) -> _Shown:
    """The first frame that the chunk shows, with the aspect ratio of its pixels; no further frame is decoded.

    Raises BadChunk `corrupt` if it cannot be decoded.
    """
    for shown in _frames(chunk, media):
        return shown
    raise BadChunk("corrupt", "the first picture cannot be decoded")
