"""Recipes of videos with odd sound: several tracks, many channels, any rate, tracks that start late."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

FPS = 25
Samples = npt.NDArray[np.int16]


def voice(rate: int, seconds: float, hertz: float = 300.0) -> Samples:
    """A voice-like tone with harmonics, int16 [samples]."""
    t = np.arange(round(rate * seconds)) / rate
    wave = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in (1, 2, 3, 4, 5)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    return np.rint(wave * 6000).astype(np.int16)


@dataclass
class Track:
    """A sound track: `speaks` are the channels of `layout` that hold a voice; the others are digital silence."""

    layout: str = "mono"
    speaks: Sequence[int] = (0,)
    rate: int = 16_000
    codec: str = "flac"
    hertz: float = 300.0
    starts_s: float = 0.0
    disposition: str | None = None

    def samples(self, seconds: float) -> Samples:
        """int16 [channels, samples]."""
        wave = voice(self.rate, seconds - self.starts_s, self.hertz)
        silent = np.zeros_like(wave)
        channels = av.AudioLayout(self.layout).nb_channels
        return np.stack([wave if channel in self.speaks else silent for channel in range(channels)])


SILENT = Track(speaks=())


def write_video(
    path: Path | io.BytesIO, tracks: Sequence[Track], seconds: float = 4.0, container: str = "matroska"
) -> None:
    """Write small moving pictures with a keyframe each second, and these sound tracks in this order."""
    with av.open(path if isinstance(path, io.BytesIO) else str(path), "w", format=container) as out:
        video = out.add_stream("libx264", rate=FPS, options={"g": str(FPS), "bf": "0", "threads": "1"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        streams = []
        for track in tracks:
            stream = out.add_stream(track.codec, rate=track.rate)
            stream.codec_context.layout = track.layout
            if track.disposition:
                stream.disposition = getattr(av.stream.Disposition, track.disposition)
            streams.append(stream)
        packets: list[Any] = []
        for number in range(round(FPS * seconds)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number % 250, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            packets += video.encode(frame)
        packets += video.encode(None)
        for track, stream in zip(tracks, streams, strict=True):
            packets += _encoded(track, stream, seconds)
        packets = [packet for packet in packets if packet.dts is not None]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)


def _encoded(track: Track, stream: Any, seconds: float) -> list[Any]:
    interleaved = np.ascontiguousarray(track.samples(seconds).T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=track.layout)
    frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
    frame.pts = round(track.starts_s * track.rate)
    return [*stream.encode(frame), *stream.encode(None)]
