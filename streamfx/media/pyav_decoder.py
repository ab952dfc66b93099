"""Decoding with PyAV (FFmpeg in the process), the default backend and the reference for the other backends.

Of a chunk only what the sampled frames need is decoded: nothing after the last of them, and none of the frames between
that no other frame is made from. Of an undamaged chunk these are the very frames that decoding everything gives. Damage in
what is left out is not seen, and does not make a chunk `corrupt`; a damaged header may also call a frame unneeded that others
were made from, and then those differ. The same bytes always give the same frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from streamfx.config.media import Media
from streamfx.errors import BadChunk
from streamfx.media.chunk_media import MAX_SEGMENT_BYTES, ChunkMedia, check_size, ffmpeg_pixels
from streamfx.media.hevc import has_one_layer
from streamfx.media.screen import Screen, Wholeness

LEAVES_OUT = frozenset(("h264", "mpeg1video", "mpeg2video", "mpeg4"))
"""Codecs whose frames say for certain that nothing is made from them, and in which nothing else outlasts them; HEVC is one
where there is one temporal layer. VP8 and VP9 keep probabilities and maps from such frames, and FFmpeg's decoder for
AV1 cannot be told between two frames."""

_Shown = tuple[Any, Fraction]
_Pixels = npt.NDArray[np.uint8]


class PyavPictures:
    """Decodes the frames of a chunk that are wanted, and what they are made from, and converts the former to RGB."""

    def pictures(self, chunk: ChunkMedia, wanted: Sequence[int], media: Media) -> list[_Pixels]:
        """The frames with the (ascending) indices `wanted` into `chunk.pts`: uint8 RGB [H, W, 3] as `Screen` makes it.

        If the codec gives no frame for a packet's time, the frame before it is used. Raises BadChunk `corrupt` if a
        picture that is decoded cannot be, and `too_large` if the pictures become larger within the chunk and need too
        much memory.
        """
        due = [chunk.pts[index] for index in wanted]
        sparing = _spared(chunk, due, media)
        return _of_all(chunk, due, media) if sparing is None else sparing


class _Album:
    """The pictures of one chunk's frames as they are made, within the bounds of memory."""

    def __init__(self, media: Media):
        self.made: list[_Pixels] = []
        self._media, self._screen, self._held = media, Screen(media), 0

    def add(self, shown: _Shown | None) -> None:
        """Convert the next wanted frame."""
        self.made.append(_rgb(shown, self._screen, self._media))
        self._held += self.made[-1].nbytes
        # The header declares the size of the first frame, but a stream may change it at each keyframe.
        if self._held > MAX_SEGMENT_BYTES:
            raise BadChunk("too_large", f"the sampled frames need more than {MAX_SEGMENT_BYTES >> 20} MiB")


def _spared(chunk: ChunkMedia, due: Sequence[int], media: Media) -> list[_Pixels] | None:
    """The frames shown at the times `due`, by decoding no more than they need. None where that cannot be relied on: then
    everything is to be decoded.

    That is so where a time has no frame of its own, where frames come out of order or damaged, and with fields, which
    may lie in a packet each.
    """
    times = [packet.pts for packet in chunk.video_packets]
    if not due or len(set(times)) != len(times):
        return None
    wanted, album = set(due), _Album(media)
    needed = chunk.video_packets[: 1 + max(number for number, time in enumerate(times) if time in wanted)]
    try:
        for frame in _frames(chunk, media, needed, wanted):
            if frame.interlaced_frame or frame.is_corrupt or frame.pts > due[len(album.made)]:
                return None
            if frame.pts == due[len(album.made)]:
                album.add((frame, chunk.aspect.now))
                if len(album.made) == len(due):
                    return album.made
    except BadChunk:
        pass
    return None


def _of_all(chunk: ChunkMedia, due: Sequence[int], media: Media) -> list[_Pixels]:
    """The frames shown at the times `due`, out of all frames of the chunk."""
    album = _Album(media)
    current: _Shown | None = None
    for frame in _frames(chunk, media, chunk.video_packets):
        while len(album.made) < len(due) and due[len(album.made)] < frame.pts:
            album.add(current)
        current = frame, chunk.aspect.now
    while len(album.made) < len(due):
        album.add(current)
    return album.made


def every_frame(chunk: ChunkMedia, media: Media) -> Iterator[tuple[int, bool, _Pixels]]:
    """Each frame that the chunk shows and the codec gives, in order: its index into `chunk.pts`, whether all of its
    picture was there, and uint8 RGB [H, W, 3] as `Screen` makes it. One picture is held at a time. Raises BadChunk
    `corrupt` if a picture cannot be decoded."""
    numbers = {pts: number for number, pts in enumerate(chunk.pts)}
    screen, wholeness = Screen(media), Wholeness()
    for frame in _frames(chunk, media, chunk.video_packets):
        whole = wholeness.of(frame)
        number = numbers.pop(frame.pts, None)
        if number is not None:
            yield number, whole, _rgb((frame, chunk.aspect.now), screen, media)


def _frames(chunk: ChunkMedia, media: Media, packets: Sequence[Any], wanted: set[int] | None = None) -> Iterator[Any]:
    """The frames of the packets in presentation order, from the first keyframe on; `chunk.aspect` is that of the frame
    given last. Frames that are not at the times `wanted` are left out where the codec allows it."""
    context = chunk.video.codec_context
    if context.is_open:
        context.flush_buffers()
    else:
        context.options = {"max_pixels": ffmpeg_pixels(media)}
        context.thread_count = media.threads
        context.thread_type = "AUTO"
    spares = wanted if wanted and _leaves_out(context, packets) else None
    try:
        for packet in [*packets, None]:
            # FFmpeg hands this to the thread that decodes the packet, so it holds for this packet alone.
            context.skip_frame = "DEFAULT" if spares is None or packet is None or packet.pts in spares else "NONREF"
            for frame in context.decode(packet):
                if frame.pts is not None and frame.pts >= chunk.pts[0]:
                    yield frame
    except (av.FFmpegError, ValueError) as error:
        raise BadChunk(
            "corrupt", f"a picture cannot be decoded: {getattr(error, 'strerror', None) or error}"
        ) from error


def _leaves_out(context: Any, packets: Iterable[Any]) -> bool:
    """Whether what the packets say of frames that nothing is made from can be relied on."""
    name = context.codec.canonical_name
    return name in LEAVES_OUT or (name == "hevc" and has_one_layer(context.extradata, packets))


def _rgb(shown: _Shown | None, screen: Screen, media: Media) -> _Pixels:
    if shown is None:
        raise BadChunk("corrupt", "the first picture cannot be decoded")
    frame, aspect = shown
    check_size(frame.width, frame.height, media)
    return screen.rgb(frame, aspect)


def first_frame(chunk: ChunkMedia, media: Media) -> _Shown:
    """The first frame that the chunk shows, with the aspect ratio of its pixels; no further frame is decoded.

    Raises BadChunk `corrupt` if it cannot be decoded.
    """
    for frame in _frames(chunk, media, chunk.video_packets):
        return frame, chunk.aspect.now
    raise BadChunk("corrupt", "the first picture cannot be decoded")
