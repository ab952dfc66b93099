"""Films that may leave: H.264 in MP4, as browsers play it. They are made of nothing but `PublicPicture`s."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import av

from streamfx.errors import PrivacyRefusal
from streamfx.privacy.pictures import PublicPicture

_X264 = {"preset": "veryfast", "crf": "20", "x264-params": "cpu-independent=1"}
"""Without `cpu-independent`, x264 now and then encodes equal pictures differently, and a replay could not be compared."""
_BITEXACT = {"fflags": "+bitexact"}
"""The writer leaves no name and no version of itself."""
_INDEX_FIRST = {"movflags": "+faststart"}
"""The index goes before the pictures, which takes a file that can be read again."""
_BT709, _LIMITED = 1, 1
_SEAL = object()


class PublicFilm:
    """A film that may leave: `body` is an MP4 file, and `filled` the share of all its pixels that was filled."""

    __slots__ = ("body", "filled")

    def __init__(self, seal: object, body: bytes, filled: float):
        if seal is not _SEAL:
            raise PrivacyRefusal("only streamfx.privacy.films makes a PublicFilm")
        self.body = body
        self.filled = filled


def encode_film(pictures: Iterable[tuple[PublicPicture, int, int]], time_base: Fraction, rate: Fraction) -> PublicFilm:
    """The film of at least one picture of one size, each with the time from which it is shown and for how long, as
    `Mp4Writer` takes them."""
    out, count, filled = io.BytesIO(), 0, 0.0
    with Mp4Writer(out, time_base, rate) as writer:
        for picture, ticks, duration in pictures:
            writer.add(picture, ticks, duration)
            count, filled = count + 1, filled + picture.filled
    return PublicFilm(_SEAL, out.getvalue(), filled / count)


class Mp4Writer:
    """Encodes pictures of one size, 4:2:0, with their own times. An odd last column or row is cut off.

    `time_base` is the unit of the times in seconds, `rate` roughly the frames a second.
    """

    def __init__(self, out: Path | BinaryIO, time_base: Fraction, rate: Fraction):
        in_file = isinstance(out, Path)
        options = _BITEXACT | (_INDEX_FIRST if in_file else {})
        self._container = av.open(str(out) if in_file else out, "w", format="mp4", options=options)
        self._time_base, self._rate = time_base, rate
        self._stream: Any = None
        self._durations: dict[int, int] = {}

    def add(self, picture: PublicPicture, ticks: int, duration: int) -> None:
        """The next picture, shown from `ticks` on, which must grow, for about `duration`: both in `time_base`."""
        if self._stream is None:
            self._stream = self._open(picture)
        width, height = self._stream.width, self._stream.height
        frame = av.VideoFrame.from_ndarray(picture.pixels[:height, :width].copy(), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED
        )
        frame.pts, frame.time_base = ticks, self._time_base
        self._durations[ticks] = duration
        self._mux(self._stream.encode(frame))

    def _open(self, picture: PublicPicture) -> Any:
        height, width = picture.pixels.shape[:2]
        stream: Any = self._container.add_stream("libx264", rate=self._rate, options=_X264)
        stream.width, stream.height, stream.pix_fmt = width // 2 * 2, height // 2 * 2, "yuv420p"
        context = stream.codec_context
        stream.time_base = context.time_base = self._time_base
        context.color_range, context.colorspace = _LIMITED, _BT709
        context.color_primaries, context.color_trc = _BT709, _BT709
        return stream

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            # The encoder only knows the nominal rate; the last picture has no successor that would show its duration.
            packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None and self._stream is not None:
                self._mux(self._stream.encode(None))
        finally:
            self._container.close()
