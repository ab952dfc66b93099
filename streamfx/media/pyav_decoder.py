"""Pictures through PyAV (FFmpeg in the process): the default, and what the other backends are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from streamfx.config import Media
from streamfx.errors import BadChunk
from streamfx.media.chunk_media import MAX_SEGMENT_BYTES, ChunkMedia, check_size
from streamfx.media.orientation import orientation_of


class PyavPictures:
    """Decodes every frame of a chunk and converts the wanted ones to RGB."""

    def pictures(self, chunk: ChunkMedia, wanted: Sequence[int], media: Media) -> list[npt.NDArray[np.uint8]]:
        """uint8 RGB [H, W, 3], upright, for each index into `chunk.pts` in `wanted` (ascending).

        Where the codec shows nothing at a packet's time, the frame before it stands in. Raises BadChunk `corrupt`
        where a picture cannot be decoded, and `too_large` where pictures that grow on the way fill too much.
        """
        due = [chunk.pts[index] for index in wanted]
        converter = VideoReformatter()
        made: list[npt.NDArray[np.uint8]] = []
        current = None
        held = 0
        for frame in _frames(chunk, media):
            while len(made) < len(due) and due[len(made)] < frame.pts:
                made.append(_rgb(current, converter, media))
                held += made[-1].nbytes
                # The header told the size of the first one; a stream may change it at each keyframe.
                if held > MAX_SEGMENT_BYTES:
                    raise BadChunk("too_large", f"sampled frames fill more than {MAX_SEGMENT_BYTES >> 20} MiB")
            current = frame
        while len(made) < len(due):
            made.append(_rgb(current, converter, media))
        return made


def _frames(chunk: ChunkMedia, media: Media) -> Iterator[Any]:
    """Decoded frames in the order they are shown, from the first keyframe on."""
    context = chunk.video.codec_context
    if context.is_open:
        context.flush_buffers()
    else:
        context.options = {"max_pixels": str(media.max_pixels)}
        context.thread_count = media.threads
        context.thread_type = "AUTO"
    try:
        for packet in [*chunk.video_packets, None]:
            for frame in context.decode(packet):
                if frame.pts is not None and frame.pts >= chunk.pts[0]:
                    yield frame
    except (av.FFmpegError, ValueError) as error:
        raise BadChunk(
            "corrupt", f"a picture cannot be decoded: {getattr(error, 'strerror', None) or error}"
        ) from error


def _rgb(frame: Any, converter: VideoReformatter, media: Media) -> npt.NDArray[np.uint8]:
    if frame is None:
        raise BadChunk("corrupt", "the first picture does not decode")
    check_size(frame.width, frame.height, media)
    pixels: npt.NDArray[np.uint8] = orientation_of(frame).apply(converter.reformat(frame, format="rgb24").to_ndarray())
    return pixels


def first_frame(chunk: ChunkMedia, media: Media) -> Any:
    """The chunk's first shown frame, decoded alone. Raises BadChunk `corrupt` where there is none."""
    for frame in _frames(chunk, media):
        return frame
    raise BadChunk("corrupt", "the first picture does not decode")
