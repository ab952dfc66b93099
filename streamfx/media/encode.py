"""Encodes a video that cannot be cut without encoding, to H.264 with one group of pictures per chunk.

Pictures are turned upright and de-interlaced. Pixels that are not square stay so, and the stream declares their aspect
ratio. HDR keeps its 10 bits and its tags.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av

from streamfx.media.chunk_writer import CLOCK_START_US, Group, Picture
from streamfx.media.orientation import Orientation, orientation_of
from streamfx.media.pixel_aspect import SQUARE, PixelAspect
from streamfx.media.screen import is_hdr
from streamfx.media.video_file import Borders, microseconds
from streamfx.records import MICROSECONDS

_TIME_BASE = Fraction(1, MICROSECONDS)
# The same file must give the same chunks. x264's output depends on the number of threads, and it was seen to differ
# between runs with the macroblock tree and B-frames enabled.
_X264 = {
    "preset": "veryfast",
    "crf": "18",
    "threads": "4",
    "x264-params": "keyint=infinite:scenecut=0:bframes=0:no-mbtree=1",
}


def encoded_groups(
    frames: Iterable[Any],
    aspect: PixelAspect,
    chunk_us: int,
    shift_us: int,
    end_us: int | None = None,
    step_us: int = 1,
) -> Iterator[Group]:
    """Encode frames, given in presentation order, in groups of `chunk_us`.

    The last group ends at `end_us` if that is given. `aspect` belongs to the track whose decoder gives the frames. A
    frame without a time follows at the same distance as the frame before it, which at the beginning is `step_us`. A
    change of the picture's size or aspect ratio also starts a group. With an odd width or height, the last column or
    row is cut off.
    """
    borders = Borders(CLOCK_START_US, chunk_us)
    encoder: _Encoder | None = None
    time_us = CLOCK_START_US - step_us
    for frame in frames:
        frame_us = time_us + step_us if frame.pts is None else microseconds(frame.pts, frame.time_base) + shift_us
        if frame_us <= time_us:
            continue
        if encoder is not None and (
            borders.overshoot_us(frame_us) >= 0 or encoder.geometry != _geometry(frame, aspect.now)
        ):
            yield encoder.finish(frame_us, last=False)
            borders.cut(frame_us)
            encoder = None
        encoder = encoder or _Encoder(_geometry(frame, aspect.now), frame_us)
        encoder.add(frame, frame_us)
        step_us, time_us = max(1, frame_us - time_us), frame_us
    if encoder is not None:
        yield encoder.finish(max(end_us or time_us + step_us, time_us + 1), last=True)


def pictures_shown(packets: Iterable[Any], video: Any) -> Iterator[Any]:
    """The decoded frames in presentation order. Packets that cannot be decoded are skipped."""
    if not video.codec_context.is_open:
        video.thread_type = "AUTO"
    for packet in packets:
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue


class _Geometry(NamedTuple):
    width: int
    height: int
    pixel_format: str
    orientation: Orientation
    aspect: Fraction
    hdr: bool


def _geometry(frame: Any, aspect: Fraction) -> _Geometry:
    return _Geometry(frame.width, frame.height, frame.format.name, orientation_of(frame), aspect, is_hdr(frame))


class _Encoder:
    """Encodes one group. The stream belongs to a temporary container, which only serves as a template."""

    def __init__(self, geometry: _Geometry, start_us: int):
        self.geometry = geometry
        self._start_us = start_us
        self._graphs: dict[bool, Any] = {}
        self._scratch = av.open(io.BytesIO(), "w", format="mp4")
        self._stream: Any = None
        self._packets: list[Any] = []

    def add(self, frame: Any, time_us: int) -> None:
        frame.pts, frame.time_base = time_us, _TIME_BASE
        # Broadcasts mix progressive and interlaced frames, so there is one filter graph for each kind.
        interlaced = frame.interlaced_frame
        if interlaced not in self._graphs:
            self._graphs[interlaced] = _upright_and_even(self.geometry, interlaced)
        self._graphs[interlaced].vpush(frame)
        picture = self._graphs[interlaced].vpull()
        picture.pict_type = 0
        if self._stream is None:
            self._stream = self._open(picture)
        self._packets += self._stream.encode(picture)

    def finish(self, end_us: int, last: bool) -> Group:
        packets = [*self._packets, *self._stream.encode(None)]
        pictures = [Picture(packet, microseconds(packet.pts, packet.time_base)) for packet in packets]
        return Group(self._stream, pictures, self._start_us, end_us, last)

    def _open(self, picture: Any) -> Any:
        stream = self._scratch.add_stream("libx264", rate=30, options=_X264)
        context = stream.codec_context
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.format.name
        stream.time_base = context.time_base = _TIME_BASE
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(context, name, getattr(picture, name))
        aspect = self.geometry.aspect
        if aspect != SQUARE:
            context.sample_aspect_ratio = 1 / aspect if self.geometry.orientation.transpose else aspect
        self._scratch.start_encoding()
        return stream


def _upright_and_even(geometry: _Geometry, interlaced: bool) -> Any:
    """A filter graph that makes upright 4:2:0 pictures with even sides, which every H.264 decoder can read.

    Of an interlaced frame, the first field is used, because the frame's timestamp is that of its first field. The
    missing lines are interpolated.
    """
    graph = av.filter.Graph()
    width, height = geometry.width, geometry.height
    steps = [graph.add_buffer(width=width, height=height, format=geometry.pixel_format, time_base=_TIME_BASE)]
    if interlaced:
        steps += [graph.add("field", "type=top"), graph.add("scale", f"{width}:{height}:flags=bicubic")]
    for name in geometry.orientation.filters:
        steps.append(graph.add(name, "dir=0" if name == "transpose" else None))
    steps.append(graph.add("crop", "trunc(iw/2)*2:trunc(ih/2)*2:0:0"))
    steps.append(graph.add("format", "yuv420p10le" if geometry.hdr else "yuv420p"))
    steps.append(graph.add("buffersink"))
    graph.link_nodes(*steps).configure()
    return graph
