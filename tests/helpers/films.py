"""Small films of moving white squares, which stand for faces, and a detector that sees exactly those."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from streamfx.detection.centerface import Detection

Pixels = npt.NDArray[np.uint8]
WIDTH, HEIGHT, FPS, SIDE = 320, 192, 25, 40


class SeesWhite:
    """Finds each white square, in pictures of any size, in the looks (counted from 0) that `blind` does not name."""

    def __init__(self, blind: Callable[[int], bool] = lambda look: False):
        self._blind = blind
        self.looks = 0

    def detect(self, picture: Pixels, threshold: float) -> list[Detection]:
        self.looks += 1
        if self._blind(self.looks - 1):
            return []
        labels, _ = ndimage.label(picture.min(axis=2) > 200)
        found = []
        for rows, columns in ndimage.find_objects(labels):
            x0, y0, x1, y1 = float(columns.start), float(rows.start), float(columns.stop), float(rows.stop)
            found.append(Detection(x0, y0, x1, y1, 1.0, (((x0 + x1) / 2, (y0 + y1) / 2),) * 5))
        return found


class Fails:
    """A detector that raises in the looks that `when` names."""

    def __init__(self, when: Callable[[int], bool] = lambda look: True):
        self._when = when
        self._sees = SeesWhite()

    def detect(self, picture: Pixels, threshold: float) -> list[Detection]:
        if self._when(self._sees.looks):
            self._sees.looks += 1
            raise RuntimeError("out of memory")
        return self._sees.detect(picture, threshold)


def square_at(number: int) -> tuple[int, int]:
    """Left and top of the square in a frame: it moves to the right."""
    return 40 + 3 * number, 70


def picture(number: int, shown: bool = True, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Pixels:
    """A grey picture with a white square, if it is shown."""
    pixels = np.full((size[1], size[0], 3), 120, np.uint8)
    if shown:
        x, y = square_at(number)
        pixels[y : y + SIDE, x : x + SIDE] = 255
    return pixels


def street(number: int, step_px: int) -> Pixels:
    """Frame `number` of a grey street without a face, on which a white number plate moves to the right."""
    picture = np.full((160, 320, 3), 90, np.uint8)
    left = 20 + step_px * number
    picture[100:120, left : left + 60] = 255
    return picture


def write_film(path: Path, pictures: Iterable[Pixels], times: Iterable[int] | None = None, **more: Any) -> Path:
    """Encode pictures with their times in milliseconds (25 a second without); `more`: rotation, metadata, codec."""
    with av.open(str(path), "w") as out:
        out.metadata.update(more.get("metadata", {}))
        stream: Any = None
        for pixels, time_ms in zip(pictures, times or _steady(), strict=False):
            if stream is None:
                stream = out.add_stream(more.get("codec", "libx264"), rate=FPS, options={"crf": "10", "g": "10"})
                stream.width, stream.height = pixels.shape[1], pixels.shape[0]
                stream.pix_fmt = "yuv444p" if pixels.shape[0] % 2 or pixels.shape[1] % 2 else "yuv420p"
                stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
                if "rotation" in more:
                    stream.set_display_rotation(more["rotation"])
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _steady() -> Iterator[int]:
    return (number * 1000 // FPS for number in itertools.count())


def read_film(path: Path) -> tuple[list[Pixels], list[float]]:
    """The pictures of a film and their times in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [float(f.pts * f.time_base) for f in frames]
