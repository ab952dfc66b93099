"""Odd video files as users have them, each made by a recipe: cut off, joined, without timestamps, very old codecs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

FPS = 25
RATE = 16_000


def film(
    path: Path,
    seconds: float = 4.0,
    *,
    container: str | None = None,
    codec: str = "libx264",
    group: int = 25,
    sound: bool = False,
    metadata: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    shade: int = 0,
    fps: int = FPS,
    **options: str,
) -> Path:
    """Write moving pictures of 64x48 with a keyframe every `group` frames and, on request, with a tone."""
    with av.open(str(path), "w", format=container, options=muxer or {}) as out:
        out.metadata.update(metadata or {})
        video: Any = out.add_stream(codec, rate=fps, options={"g": str(group), "bf": "0", **options})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        voice: Any = out.add_stream("mp2", rate=RATE, layout="mono") if sound else None
        for number in range(round(seconds * fps)):
            picture = np.full((48, 64, 3), (number * 3 + shade) % 256, np.uint8)
            picture[(number * 2) % 40 :][:8] = np.random.default_rng(number).integers(0, 256, (8, 64, 3), np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            if voice is not None:
                first = number * RATE // fps
                wave = np.sin(np.arange(first, (number + 1) * RATE // fps) / 5.0) * 9000
                piece = av.AudioFrame.from_ndarray(wave.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
                piece.sample_rate, piece.pts = RATE, first
                out.mux(voice.encode(piece))
        out.mux(video.encode(None))
        if voice is not None:
            out.mux(voice.encode(None))
    return path


def joined(path: Path, **recipe: Any) -> Path:
    """Write `cat a.ts a.ts`, whose clock jumps back where the second copy begins."""
    return doubled(film(path, container="mpegts", **recipe))


def cut_off(path: Path, part: float = 0.6, **recipe: Any) -> Path:
    """Write an upload that broke off after `part` of its bytes; an MP4 has its index in front and stays readable."""
    faststart = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else None
    return broken_off(film(path, muxer=faststart, **recipe), part)


def without_index(path: Path) -> Path:
    """Write an MP4 whose index would have come at the end and is missing."""
    film(path)
    body = path.read_bytes()
    path.write_bytes(body[: body.rindex(b"moov") - 4])
    return path


def sound_alone(path: Path) -> Path:
    """Write a file with sound but no pictures."""
    with av.open(str(path), "w") as out:
        voice: Any = out.add_stream("aac", rate=RATE, layout="mono")
        piece = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.float32), format="fltp", layout="mono")
        piece.sample_rate = RATE
        out.mux(voice.encode(piece))
        out.mux(voice.encode(None))
    return path


def _text(path: Path) -> Path:
    path.write_text("this is not a video\n" * 100)
    return path


def _empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _link_to_nowhere(path: Path) -> Path:
    path.symlink_to("nowhere")
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


NO_VIDEOS: dict[str, Callable[[Path], Path]] = {
    "text.mp4": _text,
    "empty.mp4": _empty,
    "folder.mp4": _folder,
    "nowhere.mp4": _link_to_nowhere,
    "pipe.mp4": _pipe,
    "voice.mp4": sound_alone,
    "indexless.mp4": without_index,
}
"""Maps a name to a function that makes something of that name that looks like a video but is not."""


def remuxed(source: Path, path: Path, **muxer: str) -> Path:
    """The same pictures and sound in another container."""
    with av.open(str(source)) as given, av.open(str(path), "w", options=muxer) as out:
        tracks: dict[int, Any] = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.size:
                packet.stream = tracks[packet.stream.index]
                out.mux(packet)
    return path


def doubled(path: Path) -> Path:
    """Append a file's content to itself: `cat a a > a`."""
    path.write_bytes(path.read_bytes() * 2)
    return path


def broken_off(path: Path, part: float = 0.6) -> Path:
    """Cut a file to the first `part` of its bytes."""
    os.truncate(path, round(path.stat().st_size * part))
    return path
