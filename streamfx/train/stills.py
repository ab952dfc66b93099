"""Folders of stills by expression, `class/picture.png`, as windows: each still is 16 equal frames without sound."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from streamfx.errors import EvaluationError
from streamfx.nets.mma_dfer import LABELS_11
from streamfx.operator import FaceOperator, WindowOperator
from streamfx.pipeline import find_operator
from streamfx.records import MICROSECONDS, CropBox, FaceInFrame, Frame, Segment, TrackedFrame, Window
from streamfx.train.scorer import offline_context

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
"""Suffixes of the files that are read as pictures."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Maps an EXIF orientation to the transformation that makes the picture upright (Exif 2.32, 4.6.4 A)."""
SYNONYMS = {
    "happiness": "happy happily joy joyful smile smiling",
    "sadness": "sad unhappy sorrow",
    "neutral": "neutrality none",
    "anger": "angry",
    "surprise": "surprised amazed",
    "disgust": "disgusted",
    "fear": "fearful afraid scared",
    "contempt": "contemptuous",
    "anxiety": "anxious",
    "helplessness": "helpless",
    "disappointment": "disappointed",
}
"""Maps each label to other words by which its folder may be called."""
DETECT_PX = 160
"""Smaller pictures are enlarged to this longer side before face detection.

CenterFace then finds a face in all of 92 grey 48 x 48 px crops of 23 real faces, cut at 0.85 to 1.1 of its box's
height.
"""
WHOLE_PX = 2048
"""Longest side of a picture that is used whole; larger ones are shrunk, as a thin one made square could fill memory."""
WINDOW_US = 2 * MICROSECONDS

_WORDS = {word: label for label in LABELS_11 for word in (label, *SYNONYMS[label].split())}
_STREAM = "still"

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class StillFolder:
    """Content of a folder of stills: pictures with their labels, sorted, and the folders that were left out.

    `skipped` maps the name of each folder whose class the model does not know to the number of its pictures.
    """

    pictures: tuple[tuple[Path, str], ...]
    skipped: dict[str, int]


def read_still_folder(folder: Path, labels: Sequence[str]) -> StillFolder:
    """List `folder`, whose subfolders are named after expressions: the labels' words and their SYNONYMS, in any case,
    with or without numbers and signs around them (`3_Happy`, `sad (2)`). Hidden files and folders are ignored.

    A known expression that is not among the model's `labels` is skipped. Raises EvaluationError for a subfolder that
    names no expression, with the names that are known, and where no picture is left.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: expected a folder of pictures, class/*.png, found no folder")
    classes = [path for path in _entries(folder) if path.is_dir()]
    unknown = [path.name for path in classes if _label_of(path) is None]
    if unknown or not classes:
        known = "; ".join(f"{label} ({', '.join(SYNONYMS[label].split())})" for label in labels if label in SYNONYMS)
        found = f"found {', '.join(map(repr, unknown))}" if unknown else "found none"
        raise EvaluationError(f"{folder}: expected subfolders named after expressions, {found}; known are: {known}")
    pictures: list[tuple[Path, str]] = []
    skipped = {}
    for path in classes:
        files = [file for file in _entries(path) if file.suffix.lower() in SUFFIXES and file.is_file()]
        label = _label_of(path)
        if label in labels:
            pictures += [(file, label) for file in files if label is not None]
        else:
            skipped[path.name] = len(files)
    if not pictures:
        raise EvaluationError(
            f"{folder}: expected pictures ({', '.join(sorted(SUFFIXES))}) of at least one of "
            f"{', '.join(labels)}, found none"
        )
    return StillFolder(tuple(pictures), skipped)


def read_picture(file: Path | BytesIO) -> Pixels:
    """The picture upright as uint8 RGB [H, W, 3]; grey ones become RGB. Raises EvaluationError if unreadable."""
    try:
        with Image.open(file) as picture:
            if picture.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
                return np.repeat((np.asarray(picture, np.float32) / 257).astype(np.uint8)[..., None], 3, axis=2)
            turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
            return np.asarray((picture if turn is None else picture.transpose(turn)).convert("RGB"))
    except (
        OSError,
        UnidentifiedImageError,
        ValueError,
        SyntaxError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        named = "a picture" if isinstance(file, BytesIO) else file
        raise EvaluationError(f"{named}: not a readable picture: {error}") from error


@dataclass(frozen=True)
class CutStill:
    """A still as a window. `face_found`: a face was detected. `whole`: the window shows the picture as it is."""

    window: Window
    face_found: bool
    whole: bool


class StillCutter:
    """Makes windows from pictures with the operators `faces` and `windows`, as the line would from a motionless video.

    The largest face is cut out as the line cuts it. A picture is used whole if no face is found in it, or if it is
    itself a crop so tight that the line's crop would be larger: the net then sees a little less of the head than in the
    line's crops, but no border, which it never saw in training. A whole picture that is not square is made square by
    repeating its edges.
    """

    def __init__(self) -> None:
        faces: Any = find_operator("faces")
        windows: Any = find_operator("windows")
        # One sample then fills the whole window, and the detector sees each still once.
        context = offline_context(sample_period_us=WINDOW_US)
        self._faces: FaceOperator = faces(faces.Config(detect_every=1), context)
        length_s = WINDOW_US / MICROSECONDS
        self._windows: WindowOperator = windows(windows.Config(length_s=length_s, hop_s=length_s), context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._faces.close()
        self._windows.close()

    def cut(self, picture: Pixels) -> CutStill:
        """The window of a uint8 RGB picture [H, W, 3]."""
        tracked = self._look(_enlarged(picture))
        face = max(tracked.faces, key=lambda one: one.height_px, default=None)
        whole = face is None or face.box.side > min(tracked.frame.height, tracked.frame.width)
        if face is None or whole:
            square = _squared(picture)
            tracked = replace(tracked, frame=_frame(square))
            side = len(square)
            box = CropBox(side / 2, side / 2, float(side), 0.0, side, side)
            shown = FaceInFrame(0, 0, box, 0.0, float(side), False)
        else:
            shown = face
        return CutStill(self._window(replace(tracked, faces=[shown])), face is not None, whole)

    def _look(self, pixels: Pixels) -> TrackedFrame:
        [tracked] = self._faces.track(_STREAM, 0, _segment(_frame(pixels)))
        self._faces.end_stream(_STREAM)
        if tracked.regions is None:
            raise EvaluationError("the face detector failed; the log says why")
        return tracked

    def _window(self, tracked: TrackedFrame) -> Window:
        [window] = self._windows.add(_STREAM, 0, _segment(tracked.frame), [tracked])
        self._windows.end_stream(_STREAM, 0)
        return window


def _entries(folder: Path) -> list[Path]:
    """Entries of a folder, sorted, without hidden ones."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise EvaluationError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _label_of(folder: Path) -> str | None:
    return _WORDS.get(re.sub(r"^[\W\d_]+|[\W\d_]+$", "", folder.name).lower())


def _frame(pixels: Pixels) -> Frame:
    return Frame(time_us=0, duration_us=WINDOW_US, sample_us=0, pixels=pixels)


def _segment(frame: Frame) -> Segment:
    return Segment(start_us=0, end_us=WINDOW_US, frames=[frame], sound=None, frames_decoded=1)


def _enlarged(picture: Pixels) -> Pixels:
    """The picture, enlarged to DETECT_PX on the longer side if smaller."""
    height, width = picture.shape[:2]
    factor = DETECT_PX / max(height, width)
    if factor <= 1:
        return picture
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _squared(picture: Pixels) -> Pixels:
    """The picture made square by repeating the edges of its shorter direction; at most WHOLE_PX on a side."""
    if max(picture.shape[:2]) > WHOLE_PX:
        smaller = Image.fromarray(picture)
        smaller.thumbnail((WHOLE_PX, WHOLE_PX), Image.Resampling.BILINEAR)
        picture = np.asarray(smaller)
    height, width = picture.shape[:2]
    side = max(height, width)
    rows, columns = side - height, side - width
    around = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
    return np.pad(picture, around, mode="edge")
