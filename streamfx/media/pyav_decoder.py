"""Pictures through PyAV (FFmpeg in the process): the default, and what the other backends are compared with."""

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
from streamfx.media.screen import Screen

_Shown = tuple[Any, Fraction]


class PyavPictures:
    """Decodes every frame of a chunk and converts the wanted ones to RGB."""

    def pictures(self, chunk: ChunkMedia, wanted: Sequence[int], media: Media) -> list[npt.NDArray[np.uint8]]:
        """uint8 RGB [H, W, 3], as `Screen` shows them, for each index into `chunk.pts` in `wanted` (ascending).

        Where the codec shows nothing at a packet's time, the frame before it stands in. Raises BadChunk `corrupt`
        where a picture cannot be decoded, and `too_large` where pictures that grow on the way fill too much.
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
                # The header told the size of the first one; a stream may change it at each keyframe.
                if held > MAX_SEGMENT_BYTES:
                    raise BadChunk("too_large", f"sampled frames fill more than {MAX_SEGMENT_BYTES >> 20} MiB")
            current = frame, aspect
        while len(made) < len(due):
            made.append(_rgb(current, screen, media))
        return made


def _frames(chunk: ChunkMedia, media: Media) -> Iterator[_Shown]:
    """Decoded frames in the order they are shown, from the first keyframe on, with the aspect of their pixels."""
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
        raise BadChunk("corrupt", "the first picture does not decode")
    frame, aspect = shown
    check_size(frame.width, frame.height, media)
    return screen.rgb(frame, aspect)


def first_frame(chunk: ChunkMedia, media: Media) -> _Shown:
    """The chunk's first shown frame, decoded alone, with the aspect of its pixels. Raises BadChunk `corrupt`
    where there is none."""
    for shown in _frames(chunk, media):
        return shown
    raise BadChunk("corrupt", "the first picture does not decode")
