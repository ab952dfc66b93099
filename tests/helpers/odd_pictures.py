"""Odd videos as users have them: several tracks, pixels that are not square, interlaced fields, high dynamic range.

The pictures show one bright disc on a dark ground, so that a test can measure what a screen would show: a round disc.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

FPS = 25
GROUND, DISC = (40, 60, 90), (220, 190, 160)
Pixels = npt.NDArray[np.uint8]

# ITU-T H.273's names, as x264 and x265 take them.
PQ_TAGS = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
HLG_TAGS = "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"


@dataclass
class Track:
    """A video track. `picture(n)` makes frame n as coded, in RGB; `aspect` is the pixel aspect in the codec's headers.

    With `fields`, frame n is woven of the even lines of picture 2n and the odd lines of picture 2n + 1, and flagged.
    `signal` turns RGB into the 16-bit signals of an HDR picture, coded in 10 bits. `default` marks the track. `matrix`
    and `full_range` convert RGB to YUV; `options` tag the result.
    """

    picture: Callable[[int], Pixels]
    codec: str = "libx264"
    aspect: Fraction | None = None
    rotation: float | None = None
    fields: bool = False
    signal: Callable[[Pixels], npt.NDArray[np.uint16]] | None = None
    default: bool = True
    matrix: str | None = None
    full_range: bool = False
    options: dict[str, str] = field(default_factory=dict)


def write_video(target: Path | io.BytesIO, tracks: Sequence[Track], container: str = "mp4", frames: int = 50) -> None:
    """Encode the tracks, each `frames` long, 25 frames a second, with a keyframe each half second."""
    with av.open(target if isinstance(target, io.BytesIO) else str(target), "w", format=container) as out:
        streams = [_stream(out, track) for track in tracks]
        for number in range(frames):
            for track, stream in zip(tracks, streams, strict=True):
                frame = _frame(track, number)
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))


def video(track: Track, container: str = "mp4", frames: int = 50) -> bytes:
    """The bytes of a video of one track."""
    body = io.BytesIO()
    write_video(body, [track], container, frames)
    return body.getvalue()


def spliced(track: Track, before: Fraction, after: Fraction) -> bytes:
    """An MPEG-TS of 50 frames whose headers change the pixel aspect at frame 25."""
    body = io.BytesIO()
    with av.open(body, "w", format="mpegts") as out:
        streams = []
        scratch = av.open(io.BytesIO(), "w", format="mpegts")
        for number, aspect in enumerate((before, after)):
            stream = _stream(out if number == 0 else scratch, replace(track, aspect=aspect))
            streams.append(stream)
            for n in range(25 * number, 25 * number + 25):
                frame = _frame(track, n)
                frame.pts, frame.time_base = n, Fraction(1, FPS)
                _onto(out, streams[0], stream.encode(frame))
            _onto(out, streams[0], stream.encode(None))
    return body.getvalue()


def _onto(out: Any, stream: Any, packets: list[Any]) -> None:
    for packet in packets:
        packet.stream = stream
        out.mux(packet)


def with_pasp(body: bytes, wide: int, high: int) -> bytes:
    """An MP4 whose container states another pixel aspect; `body` must already state one."""
    at = body.index(b"pasp") + 4
    return body[:at] + wide.to_bytes(4, "big") + high.to_bytes(4, "big") + body[at + 8 :]


def disc(width: int, height: int, aspect: Fraction = Fraction(1), at: tuple[float, float] = (0.5, 0.5)) -> Pixels:
    """A coded picture of a disc that is round where pixels have this aspect; `at` is its middle in 0..1."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    across = (x - at[0] * width) * float(aspect)
    radius = 0.35 * min(width * float(aspect), height)
    inside = np.clip(radius - np.hypot(across, y - at[1] * height) + 0.5, 0, 1)[..., None]
    return np.rint(np.array(GROUND) * (1 - inside) + np.array(DISC) * inside).astype(np.uint8)


def roundness(pixels: Any) -> float:
    """Width divided by height of the disc in a picture."""
    inside = np.asarray(pixels)[..., 0] > (GROUND[0] + DISC[0]) / 2
    return float(inside.any(0).sum() / inside.any(1).sum())


def combs(pixels: Any) -> float:
    """Difference of neighbouring lines relative to that of lines of one field; over 1 where a moving edge has combs."""
    lines = np.asarray(pixels).astype(float)
    neighbours, field_lines = np.abs(np.diff(lines, axis=0)), np.abs(lines[2:] - lines[:-2])
    return float(neighbours.mean() / field_lines.mean())


def pq(picture: Pixels) -> npt.NDArray[np.uint16]:
    """A standard picture in PQ with its white at 203 cd/m2."""
    y = (203 * _wide(picture) / 10_000) ** (2610 / 16384)
    return _u16(((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32))


def hlg(picture: Pixels) -> npt.NDArray[np.uint16]:
    """A standard picture in HLG with its white at 203 of the display's 1000 cd/m2."""
    light = 0.203 * _wide(picture)
    luminance = (light @ [0.2627, 0.6780, 0.0593])[..., None]
    scene = light * np.maximum(luminance, 1e-9) ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return _u16(np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c))


def _wide(picture: Pixels) -> npt.NDArray[np.float64]:
    """The linear light of a BT.709 picture in BT.2020's primaries."""
    matrix = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    light: npt.NDArray[np.float64] = np.clip((picture / 255.0) ** 2.4 @ matrix.T, 0, 1)
    return light


def _u16(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    return np.rint(np.clip(signal, 0, 1) * 65535).astype(np.uint16)


def _stream(out: Any, track: Track) -> Any:
    options = {"g": "12", "bf": "0", **track.options}
    if track.fields:
        options |= {"flags": "+ildct+ilme"}
    if track.codec == "mpeg2video":
        options |= {"b": "8000000", "maxrate": "8000000", "bufsize": "2000000"}
    elif track.codec == "libx264":
        options |= {"crf": "10"}
    stream = out.add_stream(track.codec, rate=FPS, options=options)
    height, width = track.picture(0).shape[:2]
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuv420p" if track.signal is None else "yuv420p10le"
    stream.codec_context.time_base = Fraction(1, FPS)
    if track.aspect is not None:
        stream.codec_context.sample_aspect_ratio = track.aspect
    if track.rotation is not None:
        stream.set_display_rotation(track.rotation)
    stream.disposition = Disposition.default if track.default else Disposition(0)
    return stream


def _frame(track: Track, number: int) -> Any:
    if track.fields:
        return _woven(track.picture(2 * number), track.picture(2 * number + 1))
    if track.signal is None:
        rgb = av.VideoFrame.from_ndarray(track.picture(number), format="rgb24")
        if track.matrix is None:
            return rgb
        span = "JPEG" if track.full_range else "MPEG"
        return rgb.reformat(format="yuv420p", dst_colorspace=track.matrix, dst_color_range=span)
    wide = av.VideoFrame.from_ndarray(track.signal(track.picture(number)), format="rgb48le")
    return wide.reformat(format="yuv420p10le", src_colorspace="bt2020", dst_colorspace="bt2020")


def _woven(first: Pixels, second: Pixels) -> Any:
    """A 4:2:0 frame of two moments, in which each field has its own colours."""
    height, width = first.shape[:2]
    fields = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(lines), format="rgb24").to_ndarray(format="yuv420p")
        for lines in (first[0::2], second[1::2])
    ]
    woven = np.empty((height * 3 // 2, width), np.uint8)
    for parity, lines in enumerate(fields):
        woven[parity:height:2] = lines[: height // 2]
        colours = woven[height:].reshape(2, height // 2, width // 2)
        colours[:, parity::2] = lines[height // 2 :].reshape(2, height // 4, width // 2)
    return av.VideoFrame.from_ndarray(woven, format="yuv420p")


def squeezed(source: Path, target: Path, aspect: Fraction) -> None:
    """Write a video with the same sound, re-encoded with this pixel aspect, which its headers state."""
    with av.open(str(source)) as film, av.open(str(target), "w") as out:
        video, sound = film.streams.video[0], film.streams.audio[0]
        width, height = int(video.width / max(aspect, 1)) // 2 * 2, int(video.height * min(aspect, 1)) // 2 * 2
        coded = out.add_stream("libx264", rate=video.average_rate, options={"crf": "12", "g": "25", "bf": "0"})
        coded.width, coded.height, coded.pix_fmt = width, height, "yuv420p"
        coded.codec_context.sample_aspect_ratio = aspect
        copied = out.add_stream_from_template(sound)
        for packet in film.demux(video, sound):
            if packet.size and packet.stream is sound:
                packet.stream = copied
                out.mux(packet)
            elif packet.stream is video:
                for frame in packet.decode():
                    small = frame.reformat(width, height, "yuv420p", interpolation="BICUBIC")
                    small.pict_type = 0
                    out.mux(coded.encode(small))
        out.mux(coded.encode(None))
