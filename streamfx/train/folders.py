"""Reads DFEW and MAFW in the folder layouts that their users have.

DFEW, from its root:
- frames, already cut to the face: `Clip/clip_224x224/<name, 5 digits>/*.jpg` or `clip_224x224/<name, 5 digits>/*.jpg`,
  ordered by the last number in their names;
- sound: `wav/<name, 5 digits>.wav`;
- fold lists: CSV with the columns `video_name,label`, e.g. `EmoLabel_DataSplit/train(single-labeled)/set_1.csv`. Names
  may have an ending such as `.mp4`. Labels are 1 happy, 2 sad, 3 neutral, 4 angry, 5 surprise, 6 disgust, 7 fear.

MAFW, from its root:
- whole frames, in which this module finds the face: `frames/<name>/*.{jpg,png}` or `data/frames/<name>/*`;
- sound: `wav/<name>.wav` or `data/wav/<name>.wav`;
- fold lists: text, on each line `path label`, or `path frames label` as MMA-DFER's authors have it. The stem of `path`
  is the clip's name; the label is a number 0..10 in the order of LABELS_11, or one of its words.

A clip without a WAV file is a clip without sound. Hidden files, such as those that macOS adds, are ignored.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from streamfx.errors import ConfigError, EvaluationError
from streamfx.media.audio import log_mel, missing_sound
from streamfx.media.downmix import Gains, gains_of, mix
from streamfx.media.resample import resampled
from streamfx.media.sound import raw_samples, to_float32
from streamfx.models.contract import FAITHFUL, SoundInput
from streamfx.nets.mma_dfer import FRAMES, LABELS_7, LABELS_11
from streamfx.operator import FaceOperator
from streamfx.pipeline import find_operator
from streamfx.records import MICROSECONDS, Frame, Segment
from streamfx.train.examples import FrameTruth, Pixels
from streamfx.train.recipe import Folders
from streamfx.train.scorer import offline_context
from streamfx.train.stills import read_picture
from streamfx.whole_files import write_whole

_PICTURES = {".jpg", ".jpeg", ".png", ".bmp"}
Square = tuple[float, float, float]
"""Centre x, centre y and side, pixels."""


class FolderSet:
    """The clips of one fold list: frame folders and WAV files by name. Pictures and sound are read on demand.

    `boxes` says where in a clip's frames the face is; without it frames are taken whole. A frame becomes a square of
    `pixels` by plain bilinear resizing. Raises ConfigError for a list or folder that is not there.
    """

    margin = 1.0

    def __init__(
        self,
        labels: tuple[str, ...],
        clips: Sequence[tuple[str, int]],
        frames: Path,
        wav: Path,
        pixels: int,
        boxes: ClipBoxes | None = None,
        sound: SoundInput = FAITHFUL,
    ):
        self.labels, self.pixels = labels, pixels
        self.targets: npt.NDArray[np.int64] = np.array([target for _, target in clips], np.int64)
        self.names = [name for name, _ in clips]
        self._frames, self._wav, self._boxes, self._heard = frames, wav, boxes, sound
        missing = [name for name in self.names if not (frames / name).is_dir()]
        if missing:
            raise ConfigError(
                f"{frames}: no frames for {len(missing)} of {len(clips)} clips in the list, such as {missing[0]!r}; "
                "unpack the data set there or give another list"
            )

    def __len__(self) -> int:
        return len(self.names)

    def frames(self, number: int, at: Sequence[int], rng: np.random.Generator | None) -> Pixels:
        """See `Examples`."""
        folder = self._frames / self.names[number]
        files = ordered_pictures(folder)
        chosen = [files[segment_frame(len(files), segment, rng)] for segment in at]
        square = self._boxes.of(folder, files) if self._boxes else None
        return np.stack([_picture(file, square, self.pixels) for file in chosen])

    def sound(self, number: int) -> npt.NDArray[np.float32]:
        """See `Examples`. Sound keeps the file's own rate, as in the authors' code, unless `sound` names another."""
        path = self._wav / f"{self.names[number]}.wav"
        if not path.exists():
            return missing_sound()
        samples, rate, gains = read_wav(path)
        if self._heard.channels == "first":
            # As in the authors' code, the mean that is subtracted is that of all channels.
            heard = samples if self._heard.rate_hz in (None, rate) else samples[0]
        else:
            heard = mix(samples, gains)
        return log_mel(*resampled(heard, rate, self._heard.rate_hz))

    def truth(self, number: int, at: Sequence[int]) -> FrameTruth:
        """Always raises ConfigError: these data sets have no labels of single frames."""
        raise ConfigError("only synthetic data have labels of single frames; use data.synthetic")


def open_dfew(folders: Folders, fold: Path, image_size: int, sound: SoundInput = FAITHFUL) -> FolderSet:
    """The clips of one of DFEW's fold lists; `sound` says how a model hears their WAV files."""
    frames = _first(folders.root, "Clip/clip_224x224", "clip_224x224")
    try:
        with (folders.root / fold).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
        clips = [(Path(row["video_name"]).stem.zfill(5), _in_range(int(row["label"]) - 1, LABELS_7)) for row in rows]
    # The csv module gives None for the columns that a short row lacks.
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ConfigError(
            f"{folders.root / fold}: expected a CSV with video_name,label and labels 1..7: "
            f"{type(error).__name__}: {error}"
        ) from error
    return FolderSet(LABELS_7, _some(clips, fold), frames, folders.root / "wav", image_size, sound=sound)


def open_mafw(folders: Folders, fold: Path, image_size: int, sound: SoundInput = FAITHFUL) -> FolderSet:
    """The clips of one of MAFW's fold lists; `sound` says how a model hears their WAV files."""
    frames = _first(folders.root, "frames", "data/frames")
    clips = []
    try:
        for line in (folders.root / fold).read_text(encoding="utf-8-sig").splitlines():
            if line.strip():
                path, *_, label = line.split()
                word = label.lower()
                number = LABELS_11.index(word) if word in LABELS_11 else int(label)
                clips.append((Path(path).stem, _in_range(number, LABELS_11)))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folders.root / fold}: expected lines `path label` with labels 0..10 or words: {error}"
        ) from error
    boxes = ClipBoxes(folders.cache or folders.root / "face_boxes")
    return FolderSet(LABELS_11, _some(clips, fold), frames, frames.parent / "wav", image_size, boxes, sound)


def segment_frame(frames: int, segment: int, rng: np.random.Generator | None) -> int:
    """Number of the frame that represents one of a clip's 16 equal segments, as MMA-DFER's authors choose it.

    With `rng` it is a random frame of the segment, else frame int(frames / 32 + segment * frames / 16). A clip of 16
    frames or fewer gives all its frames, then repeats the last one.
    """
    if frames <= FRAMES:
        return min(segment, frames - 1)
    if rng is None:
        return int(frames / (2 * FRAMES) + segment * frames / FRAMES)
    length = frames // FRAMES
    return segment * length + int(rng.integers(length))


class ClipBoxes:
    """The square around the face of each clip, found once by the operator `faces` and kept in `folder` as JSON.

    It encloses the faces in up to 16 frames. Without a face it is the middle half of the short side.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._faces: FaceOperator | None = None

    def __getstate__(self) -> Path:
        return self._folder

    def __setstate__(self, folder: Path) -> None:
        self.__init__(folder)  # type: ignore[misc]

    def of(self, clip: Path, files: Sequence[Path]) -> Square:
        """The square of the clip whose frames are `files`."""
        kept = self._folder / f"{clip.name}.json"
        try:
            x, y, side = json.loads(kept.read_text(encoding="utf-8"))
            # A stored value that is not a square of finite numbers is computed again.
            if math.isfinite(x + y + side) and side > 0:
                return float(x), float(y), float(side)
        except (OSError, ValueError, TypeError):
            pass
        square = self._find(files)
        try:
            write_whole(kept, json.dumps(square))
        except OSError as error:
            raise ConfigError(
                f"{self._folder}: the positions of faces cannot be kept there: {error.strerror or error}; name another "
                "folder (data.mafw.cache in a recipe, --cache of `evaluate`)"
            ) from error
        return square

    def _find(self, files: Sequence[Path]) -> Square:
        numbers = sorted({segment_frame(len(files), segment, None) for segment in range(FRAMES)})
        pictures = [np.asarray(_open(files[number])) for number in numbers]
        found = [box for picture in pictures for box in self._look(picture)]
        if not found:
            height, width = pictures[0].shape[:2]
            return width / 2, height / 2, min(height, width) / 2
        x0, y0 = min(x - side / 2 for x, _, side in found), min(y - side / 2 for _, y, side in found)
        x1, y1 = max(x + side / 2 for x, _, side in found), max(y + side / 2 for _, y, side in found)
        return (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0)

    def _look(self, picture: Pixels) -> list[Square]:
        """The faces of one picture. Each picture is a stream of its own, so that the detector looks at every one."""
        if self._faces is None:
            faces: Any = find_operator("faces")
            self._faces = faces(faces.Config(detect_every=1), offline_context(MICROSECONDS))
        frame = Frame(0, MICROSECONDS, 0, picture)
        tracked = self._faces.track("clip", 0, Segment(0, MICROSECONDS, [frame], None, 1))
        self._faces.end_stream("clip")
        return [(f.box.center_x, f.box.center_y, f.box.side) for one in tracked for f in one.faces]


@lru_cache(maxsize=4096)
def ordered_pictures(folder: Path) -> tuple[Path, ...]:
    """The pictures in a folder by the last number in their names; ConfigError where there are none."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in _PICTURES and not file.name.startswith(".")]
    if not files:
        raise ConfigError(f"{folder}: expected the frames of a clip as pictures, found none")
    return tuple(sorted(files, key=lambda file: (int((re.findall(r"\d+", file.stem) or ["0"])[-1]), file.name)))


def read_wav(path: Path) -> tuple[npt.NDArray[np.float32], int, Gains]:
    """Read float32 [channels, samples] in -1..1, the rate (Hz), and each channel's gain in a mix.

    Raises ConfigError for a file that cannot be read as sound.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            pieces = [to_float32(raw_samples(frame)) for frame in container.decode(audio=0)]
            voice = container.streams.audio[0]
            return np.concatenate(pieces, axis=1), voice.rate, gains_of(voice.layout)
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as sound: {error}; replace or remove it") from error


def _open(file: Path) -> Image.Image:
    try:
        return Image.fromarray(read_picture(file))
    except EvaluationError as error:
        raise ConfigError(f"{error}; replace it") from error


def _picture(file: Path, square: Square | None, pixels: int) -> Pixels:
    picture = _open(file)
    size = (pixels, pixels)
    if square is None:
        return np.asarray(picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR))
    x, y, side = square
    corners = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    # The crop is black outside the frame, as in the line.
    whole = picture.crop(tuple(round(corner) for corner in corners))  # type: ignore[arg-type]
    return np.asarray(whole.resize(size, Image.Resampling.BILINEAR))


def _first(root: Path, *names: str) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise ConfigError(f"{root}: expected the folder {' or '.join(names)} in it, found none; see streamfx.train.folders")


def _in_range(label: int, labels: Sequence[str]) -> int:
    if not 0 <= label < len(labels):
        raise ValueError(f"expected a label in 0..{len(labels) - 1}, got {label}")
    return label


def _some(clips: list[tuple[str, int]], fold: Path) -> list[tuple[str, int]]:
    if not clips:
        raise ConfigError(f"{fold}: expected at least one clip in the fold list, got none")
    return clips
