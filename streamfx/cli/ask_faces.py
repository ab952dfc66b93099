"""The faces in one picture or video as the line sees them, each in the window where it is seen best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from streamfx.config.media import Media
from streamfx.errors import BadChunk, EvaluationError
from streamfx.media.decode import open_decoder
from streamfx.models.ask import frame_asked
from streamfx.operator import FaceOperator, WindowOperator
from streamfx.pipeline import find_operator
from streamfx.records import MICROSECONDS, CropBox, Frame, Segment, Window
from streamfx.source.inputs import find_streams
from streamfx.terminal import ProgressBar, say
from streamfx.train.scorer import offline_context
from streamfx.train.stills import read_picture

_STREAM = "asked"
_WINDOW_US = 2 * MICROSECONDS
_SAMPLE_FPS = 8.0


@dataclass(frozen=True)
class SeenFace:
    """A face and where it is seen best. `box` is x0, y0, x1, y1, pixels of the frame; `time_s` counts from the beginning, and
    is None for a picture."""

    window: Window
    box: tuple[int, int, int, int]
    time_s: float | None


def faces_in(source: Path) -> list[SeenFace]:
    """The faces, at least one, in the order in which they appear. Raises EvaluationError or SourceError for a file that is
    neither a picture nor a video that can be read, or in which there is no face."""
    is_picture = _is_picture(source)
    period_us = _WINDOW_US if is_picture else round(MICROSECONDS / _SAMPLE_FPS)
    context = offline_context(period_us, None)
    faces_kind: Any = find_operator("faces")
    windows_kind: Any = find_operator("windows")
    faces: FaceOperator = faces_kind(faces_kind.Config(detect_every=1 if is_picture else 2), context)
    # Of a picture, one sample fills a whole window.
    windows: WindowOperator = windows_kind(windows_kind.Config(hop_s=2.0 if is_picture else 1.0), context)
    best: dict[tuple[int, int], Window] = {}
    boxes: dict[tuple[int, int], dict[int, CropBox]] = {}
    first_us = None
    for segment in _picture(source) if is_picture else _film(source):
        first_us = segment.start_us if first_us is None else first_us
        tracked = faces.track(_STREAM, 0, segment)
        if any(frame.regions is None for frame in tracked):
            raise EvaluationError("the face detector failed; the log says why")
        for frame in tracked:
            for face in frame.faces:
                boxes.setdefault((face.birth_us, face.birth_index), {})[frame.frame.sample_us] = face.box
        _keep(best, windows.add(_STREAM, 0, segment, tracked))
    _keep(best, windows.end_stream(_STREAM, 0))
    faces.close()
    windows.close()
    found = []
    for name, window in sorted(best.items()):
        segments = len(window.present)
        at_us = window.start_us + (2 * frame_asked(window.present) + 1) * _WINDOW_US // (2 * segments)
        near = min(boxes[name], key=lambda sample_us: abs(sample_us - at_us))
        time_s = None if is_picture else max(round((at_us - (first_us or 0)) / MICROSECONDS, 3), 0.0)
        found.append(SeenFace(window, _corners(boxes[name][near]), time_s))
    if not found:
        raise EvaluationError(
            f"{source}: no face found in it; expected one at least 20 pixels high, in a video for a second"
        )
    return found


def _keep(best: dict[tuple[int, int], Window], windows: list[Window]) -> None:
    """Of each track the window in which its face is largest, in as many frames and as surely as can be."""
    for window in windows:
        name = window.birth_us, window.birth_index
        if name not in best or _clearness(window) > _clearness(best[name]):
            best[name] = window


def _clearness(window: Window) -> float:
    return window.face_score * window.face_height_px * float(window.present.mean())


def _corners(box: CropBox) -> tuple[int, int, int, int]:
    half = box.side / 2
    x0, y0 = max(0, round(box.center_x - half)), max(0, round(box.center_y - half))
    return x0, y0, min(box.frame_width, round(box.center_x + half)), min(box.frame_height, round(box.center_y + half))


def _is_picture(source: Path) -> bool:
    try:
        with Image.open(source):
            return True
    except Image.DecompressionBombError as error:
        raise EvaluationError(f"{source}: not a readable picture: {error}") from error
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return False


def _picture(source: Path) -> Iterator[Segment]:
    frame = Frame(time_us=0, duration_us=_WINDOW_US, sample_us=0, pixels=read_picture(source))
    yield Segment(0, _WINDOW_US, [frame], None, 1)


def _film(source: Path) -> Iterator[Segment]:
    decoder = open_decoder(Media(sample_fps=_SAMPLE_FPS))
    [stream] = find_streams([source], 2.0)
    with ProgressBar(" chunks", None, 0, "looking for faces") as bar:
        for chunk in stream.chunks():
            bar.update()
            if chunk.fault is not None:
                say(f"{source}: {chunk.fault.detail}; what is left is looked at")
            elif chunk.body:
                try:
                    yield decoder.decode(chunk.body, chunk.start_us)
                except BadChunk as bad:
                    say(f"{source}: a part of it cannot be decoded: {bad}; what is left is looked at")
