"""Encodes a video that cannot be cut as it is: H.264, one group of pictures a chunk, the right way up."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

from streamfx.media.chunk_writer import CLOCK_START_US, Group, Picture
from streamfx.media.orientation import Orientation, orientation_of
from streamfx.media.video_file import Borders, microseconds
from streamfx.records import MICROSECONDS

_TIME_BASE = Fraction(1, MICROSECONDS)
# The same file must give the same chunks: x264's output depends on the number of threads, and was seen to differ from
# run to run where the macroblock tree and B-frames are on.
_X264 = {
    "preset": "veryfast",
    "crf": "18",
    "threads": "4",
    "x264-params": "keyint=infinite:scenecut=0:bframes=0:no-mbtree=1",
}


def encoded_groups(
    frames: Iterable[Any], chunk_us: int, shift_us: int, end_us: int | None = None, step_us: int = 1
) -> Iterator[Group]:
    """Encode frames, in the order they are shown, in groups of `chunk_us`, the last up to `end_us` where that is known.

    Frames without a time follow each other as those before did, from the first on by `step_us`. A change of the picture's
    size also starts a group. An odd width or height loses its last column or row.
    """
    borders = Borders(CLOCK_START_US, chunk_us)
    encoder: _Encoder | None = None
    time_us = CLOCK_START_US - step_us
    for frame in frames:
        frame_us = time_us + step_us if frame.pts is None else microseconds(frame.pts, frame.time_base) + shift_us
        if frame_us <= time_us:
            continue
        if encoder is not None and (borders.overshoot_us(frame_us) >= 0 or encoder.geometry != _geometry(frame)):
            yield encoder.finish(frame_us, last=False)
            borders.cut(frame_us)
            encoder = None
        encoder = encoder or _Encoder(frame, frame_us)
        encoder.add(frame, frame_us)
        step_us, time_us = max(1, frame_us - time_us), frame_us
    if encoder is not None:
        yield encoder.finish(max(end_us or time_us + step_us, time_us + 1), last=True)


def pictures_shown(packets: Iterable[Any], video: Any) -> Iterator[Any]:
    """Frames in the order they are shown; packets that cannot be decoded are left out."""
    if not video.codec_context.is_open:
        video.thread_type = "AUTO"
    for packet in packets:
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue


def _geometry(frame: Any) -> tuple[int, int, str, Orientation]:
    return frame.width, frame.height, frame.format.name, orientation_of(frame)


class _Encoder:
    """One group on its way. The stream lives in a container of its own, which serves as template and is thrown away."""

    def __init__(self, first: Any, start_us: int):
        self.geometry = _geometry(first)
        self._start_us = start_us
        self._graph = _upright_and_even(*self.geometry)
        self._scratch = av.open(io.BytesIO(), "w", format="mp4")
        self._stream: Any = None
        self._packets: list[Any] = []

    def add(self, frame: Any, time_us: int) -> None:
        frame.pts, frame.time_base = time_us, _TIME_BASE
        self._graph.vpush(frame)
        picture = self._graph.vpull()
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
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        stream.time_base = context.time_base = _TIME_BASE
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(context, name, getattr(picture, name))
        self._scratch.start_encoding()
        return stream


def _upright_and_even(width: int, height: int, pixel_format: str, orientation: Orientation) -> Any:
    """A filter graph to upright 4:2:0 pictures with even sides, as H.264 decoders everywhere can read them."""
    graph = av.filter.Graph()
    steps = [graph.add_buffer(width=width, height=height, format=pixel_format, time_base=_TIME_BASE)]
    for name in orientation.filters:
        steps.append(graph.add(name, "dir=0" if name == "transpose" else None))
    steps.append(graph.add("crop", "trunc(iw/2)*2:trunc(ih/2)*2:0:0"))
    steps.append(graph.add("format", "yuv420p"))
    steps.append(graph.add("buffersink"))
    graph.link_nodes(*steps).configure()
    return graph
