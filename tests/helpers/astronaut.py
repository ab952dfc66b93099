"""A clip with sound made from one public-domain picture, NASA's astronaut Eileen Collins, moved and zoomed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from skimage import data

FPS, SIZE, RATE = 25, 384, 16_000


def two_faces(path: Path) -> Path:
    """Write a picture of two faces beside each other; returns its path."""
    face = data.astronaut()
    Image.fromarray(np.concatenate((face, face[:, ::-1]), axis=1)).save(path)
    return path


def make_video(path: Path, seconds: int = 8, keyframe_s: int = 1, mirrored: bool = False) -> None:
    """Write a clip of one face of about 120 pixels with a tone that swells three times a second, and a keyframe every
    `keyframe_s` seconds, so that it can be cut there without being encoded anew.

    A mirrored clip has a deeper tone, too: nothing of its face or voice is in a clip that is not mirrored."""
    picture = Image.fromarray(data.astronaut()[:, ::-1] if mirrored else data.astronaut())
    left, hertz = (112, 180) if mirrored else (100, 220)
    beside = path.with_suffix(".part.mp4")
    with av.open(str(beside), "w") as container:
        options = {"g": str(keyframe_s * FPS), "sc_threshold": "0"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for i in range(FPS * seconds):
            turn = 2 * np.pi * i / (FPS * 8)
            side = 300 + 60 * np.cos(turn)
            x, y = left + 30 * np.sin(turn), 10 + 10 * np.sin(2 * turn)
            view = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side))
            container.mux(video.encode(av.VideoFrame.from_image(view)))
        time_s = np.arange(RATE * seconds) / RATE
        tone = (0.2 * np.sin(2 * np.pi * hertz * time_s) * (1 + np.sin(2 * np.pi * 3 * time_s)) / 2).astype(np.float32)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            container.mux(sound.encode(frame))
        container.mux(video.encode())
        container.mux(sound.encode())
    beside.rename(path)
