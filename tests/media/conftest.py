"""Small test videos: moving pictures with a tone, in every form that the cutter and the decoder must accept."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers.lacking import lacks

SHARED_CLIPS = Path(__file__).parents[3] / "shared" / "data" / "clips"


@dataclass
class Clip:
    """A recipe for a video file. `times_ms` gives each frame's time where the rate varies."""

    container: str = "mp4"
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] = (64, 48)
    fps: int = 25
    seconds: float = 6.0
    times_ms: Sequence[int] | None = None
    sound: str | None = "aac"
    sound_rate: int = 44100
    loudness: float = 0.3
    rotation: float | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def picture(number: int, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Frame `number`: a moving gradient with one bright corner, so that every frame differs from every other."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    rgb = np.stack([(x * 3 + number * 5) % 256, (y * 4 + number * 3) % 256, (x + y + number * 7) % 256], axis=2)
    rgb[: height // 4, : width // 4] = 255
    return rgb.astype(np.uint8)


def waveform(rate: int, seconds: float, loudness: float) -> np.ndarray[Any, Any]:
    """int16 [2, samples]: a rising tone left, noise right."""
    t = np.arange(round(rate * seconds)) / rate
    left = np.sin(2 * np.pi * (200 + 100 * t) * t)
    right = np.random.default_rng(7).standard_normal(t.size).clip(-3, 3) / 3
    return np.rint(np.stack([left + 0.2 * right, right]) * loudness * 32767 / 1.2).astype(np.int16)


def write_clip(clip: Clip, path: Path | io.BytesIO) -> None:
    """Encode the recipe into a file."""
    with av.open(path if isinstance(path, io.BytesIO) else str(path), "w", format=clip.container) as out:
        out.metadata.update(clip.metadata)
        video = out.add_stream(clip.codec, rate=clip.fps, options=clip.options)
        video.width, video.height = clip.size
        video.pix_fmt = "yuv444p" if clip.size[0] % 2 or clip.size[1] % 2 else "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000) if clip.times_ms else Fraction(1, clip.fps)
        if clip.rotation is not None:
            video.set_display_rotation(clip.rotation)
        voice = out.add_stream(clip.sound, rate=clip.sound_rate) if clip.sound else None
        times = clip.times_ms or range(round(clip.fps * clip.seconds))
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, clip.size), format="rgb24")
            frame.pts, frame.time_base = time, video.codec_context.time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if voice is not None:
            samples = np.ascontiguousarray(waveform(clip.sound_rate, clip.seconds, clip.loudness).T).reshape(1, -1)
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            sound.sample_rate, sound.pts, sound.time_base = clip.sound_rate, 0, Fraction(1, clip.sound_rate)
            out.mux(voice.encode(sound))
            out.mux(voice.encode(None))


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip into the test's folder; keyword arguments are those of Clip."""

    def make(**recipe: Any) -> Path:
        clip = Clip(**recipe)
        path = tmp_path / f"clip-{len(list(tmp_path.iterdir()))}.{clip.container}"
        write_clip(clip, path)
        return path

    return make


@pytest.fixture
def chunk_body() -> Callable[..., bytes]:
    """The bytes of a clip as a chunk from a third party; keyword arguments are those of Clip."""

    def make(**recipe: Any) -> bytes:
        body = io.BytesIO()
        write_clip(Clip(**{"container": "mpegts", "seconds": 2.0, **recipe}), body)
        return body.getvalue()

    return make


@pytest.fixture
def tone() -> Callable[[int, float, float], np.ndarray[Any, Any]]:
    """The sound of the clips: (rate, seconds, loudness) -> int16 [2, samples]."""
    return waveform


@pytest.fixture
def two_sizes(tmp_path: Path) -> Callable[[int], Path]:
    """Write a 2 s MPEG-TS file whose pictures change from 64x48 to 96x80 after 1 s; the argument is the GOP length."""

    def make(group: int) -> Path:
        path = tmp_path / f"sizes-{group}.ts"
        with av.open(str(path), "w", format="mpegts") as out:
            video = out.add_stream("libx264", rate=25, options={"g": str(group), "bf": "0"})
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            second: Any = av.CodecContext.create("libx264", "w")
            second.width, second.height, second.pix_fmt = 96, 80, "yuv420p"
            second.time_base, second.framerate = Fraction(1, 25), Fraction(25)
            second.options = {"g": str(group), "bf": "0"}
            for encoder, start in ((video.codec_context, 0), (second, 25)):
                for number in range(start, start + 25):
                    frame = av.VideoFrame.from_ndarray(picture(number, (encoder.width, encoder.height)), format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, 25)
                    out.mux(_onto(video, encoder.encode(frame)))
                out.mux(_onto(video, encoder.encode(None)))
        return path

    return make


def _onto(stream: Any, packets: list[Any]) -> list[Any]:
    for packet in packets:
        packet.stream = stream
    return packets


@pytest.fixture
def shared_clips() -> list[Path]:
    """The real clips beside the checkout; the test is skipped without them."""
    clips = sorted(SHARED_CLIPS.glob("*.m*"))
    if not clips:
        lacks("the real clips", "the development folder's shared/data/clips beside the checkout")
    return clips
