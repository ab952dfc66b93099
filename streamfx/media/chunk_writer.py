"""Writes one chunk as fragmented MP4 on the clock of the whole stream, so that chunks join without gaps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from streamfx.media.downmix import FLAC_LAYOUTS
from streamfx.media.pixel_aspect import PixelAspect
from streamfx.media.sampling import shown_us
from streamfx.records import MICROSECONDS

CLOCK_START_US = 10 * MICROSECONDS
"""Time of the stream's first frame on the clock of its chunks. It is above zero because decoding times come earlier
than presentation times and must not be negative."""
CONTENT_TYPE = "video/mp4"
_TIME_BASE = Fraction(1, MICROSECONDS)
# One fragment per chunk, with decoding times as given and without an edit list, by which a reader would shift them.
_MUXER = {
    "movflags": "frag_custom+empty_moov+default_base_moof+frag_discont+skip_trailer",
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",
    "fflags": "+bitexact",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A packet of the video track, shown from `time_us` on the stream's clock."""

    packet: Any
    time_us: int


@dataclass(frozen=True, slots=True)
class Group:
    """The pictures of one chunk in decoding order, and the interval on the stream's clock that the chunk covers.

    `template` is the PyAV stream that the packets belong to. It must still be open when the chunk is written.
    """

    template: Any
    pictures: list[Picture]
    start_us: int
    end_us: int
    last: bool


@dataclass(frozen=True, slots=True)
class SoundPiece:
    """Sound as int16 [channels, samples] with 1 to 8 channels in the order of `downmix.FLAC_LAYOUTS`. Its first sample
    has the number `first` on the stream's clock."""

    first: int
    rate: int
    samples: npt.NDArray[np.int16]


def write_chunk(group: Group, sound: SoundPiece | None) -> bytes:
    """The chunk's body. Each packet's duration, including the last one's, is the time for which its frame is shown (at
    most MAX_SHOWN_US)."""
    body = io.BytesIO()
    with av.open(body, "w", format="mp4", options=_MUXER) as container:
        video = container.add_stream_from_template(group.template)
        video.time_base = _TIME_BASE
        # The codec's headers may change within the chunk; their first value must not override the later ones.
        video.codec_context.sample_aspect_ratio = PixelAspect(group.template).by_container or Fraction(0)
        voice = None if sound is None else _sound_stream(container, sound)
        for picture, decode_us, duration_us in _decode_times(group.pictures, group.end_us):
            packet = picture.packet
            packet.stream, packet.time_base = video, _TIME_BASE
            packet.pts, packet.dts, packet.duration = picture.time_us, decode_us, duration_us
            container.mux(packet)
        if voice is not None and sound is not None:
            for packet in _sound_packets(voice, sound):
                container.mux(packet)
    return body.getvalue()


def _decode_times(pictures: Sequence[Picture], end_us: int) -> list[tuple[Picture, int, int]]:
    """Each picture with its decoding time and duration.

    MP4 stores durations as the steps between decoding times, which we may choose. Each step is the time for which the
    frame is shown, and the first decoding time is the latest one with which every frame is decoded before it is shown.
    """
    times = sorted({picture.time_us for picture in pictures})
    shown = dict(zip(times, shown_us(times, end_us - times[-1]), strict=True))
    steps = [max(1, shown[picture.time_us]) for picture in pictures]
    elapsed = [0, *accumulate(steps)]
    start_us = min(picture.time_us - before for picture, before in zip(pictures, elapsed, strict=False))
    return [(picture, start_us + elapsed[i], steps[i]) for i, picture in enumerate(pictures)]


def _sound_stream(container: Any, sound: SoundPiece) -> Any:
    stream = container.add_stream("flac", rate=sound.rate, options={"flags": "+bitexact"})
    stream.codec_context.layout = _layout(sound)
    stream.codec_context.format = "s16"
    stream.time_base = Fraction(1, sound.rate)
    return stream


def _sound_packets(stream: Any, sound: SoundPiece) -> list[Any]:
    interleaved = np.ascontiguousarray(sound.samples.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=_layout(sound))
    frame.sample_rate, frame.pts, frame.time_base = sound.rate, sound.first, Fraction(1, sound.rate)
    return [*stream.encode(frame), *stream.encode(None)]


def _layout(sound: SoundPiece) -> str:
    return FLAC_LAYOUTS[len(sound.samples) - 1]
