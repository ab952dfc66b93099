"""Synthetic sets as training examples, cut by the line's own decoder and window operator and kept on disk.

Only the boxes come from the ground truth instead of the detector. Augmentation imitates a detector's errors, for which
frames are stored with a margin around the crop.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from streamfx.config.media import Media
from streamfx.errors import BadChunk, SynthError
from streamfx.media.audio import MEL_BINS, ROWS
from streamfx.media.decode import open_decoder
from streamfx.nets.mma_dfer import FRAMES, LABELS_7
from streamfx.operator import WindowOperator
from streamfx.pipeline import find_operator
from streamfx.processes import Pool
from streamfx.records import MICROSECONDS, CropBox, FaceInFrame, Frame, TrackedFrame
from streamfx.sink.parquet_file import read_table
from streamfx.synth.output import SetInfo, read_info
from streamfx.terminal import ProgressBar
from streamfx.train.examples import AUS, FrameTruth, Pixels
from streamfx.train.recipe import SYNTHETIC_SOUND, digest
from streamfx.train.scorer import offline_context
from streamfx.whole_files import whole_file

MARGIN = 1.25
"""Side of a stored frame as a multiple of the side of the face's crop."""
WINDOW_S = 2.0
"""Length of a window, seconds."""
APEX_JITTER_S = 0.25
"""How far a window's middle may lie from the expression's apex, seconds."""

_FORMAT = 1
_AU_COLUMNS = [f"au_{number:02d}" for number in AUS]
_BOX = ["box_x0", "box_y0", "box_x1", "box_y1"]
_EYES = ["lm_0_x", "lm_0_y", "lm_1_x", "lm_1_y"]
_NEUTRAL = LABELS_7.index("neutral")
_KEPT = len(AUS) + 2
"""Number of ground-truth values kept per frame: action units, expression class and intensity. Box and eyes follow."""
_Row = npt.NDArray[np.float32]
_Truth = dict[int, _Row]
"""Rows by frame number."""
_WAITING, _DONE, _NO_FACE = 0, 1, 2
_BASE_US = 1_000_000 * MICROSECONDS
"""Event time at which windows begin, a multiple of their length."""


@dataclass(frozen=True)
class Kept:
    """What is kept of each window: the frames of these segments, and whether its sound. `PreparedSet` then counts the
    frames by their place among those that are kept."""

    segments: tuple[int, ...] = tuple(range(FRAMES))
    sound: bool = True


WINDOWS = Kept()
"""Whole windows."""


class PreparedSet:
    """The examples of one synthetic set, mapped into memory. `groups` has the columns of `clips.parquet`."""

    labels: tuple[str, ...] = LABELS_7
    margin = MARGIN

    def __init__(self, folder: Path, clips: pd.DataFrame):
        state = np.load(folder / "state.npy")
        self._rows = np.flatnonzero(state == _DONE)
        self.groups = clips.iloc[self._rows].reset_index(drop=True)
        self.targets: npt.NDArray[np.int64] = self.groups["expression"].map(LABELS_7.index).to_numpy(np.int64)
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _SHAPES if _is_kept(folder, name)}
        self._frames, self._truth, self._sound = arrays["frames"], arrays["truth"], arrays.get("sound")
        self.pixels = int(self._frames.shape[2])

    def __len__(self) -> int:
        return len(self._rows)

    def frames(self, number: int, at: Sequence[int], rng: np.random.Generator | None) -> Pixels:
        """See `Examples`; there is one frame per segment."""
        pixels: Pixels = self._frames[self._rows[number], list(at)]
        return pixels

    def sound(self, number: int) -> npt.NDArray[np.float32]:
        """See `Examples`; not for a set whose sound was not kept."""
        assert self._sound is not None
        return np.asarray(self._sound[self._rows[number]], np.float32)

    def truth(self, number: int, at: Sequence[int]) -> FrameTruth:
        """See `Examples`."""
        rows = np.asarray(self._truth[self._rows[number], list(at)], np.float32)
        shown = np.zeros((len(rows), len(LABELS_7)), np.float32)
        shown[np.arange(len(rows)), rows[:, -2].astype(int)] = rows[:, -1]
        shown[:, _NEUTRAL] += 1 - rows[:, -1]
        return FrameTruth(rows[:, : len(AUS)], shown)


_SHAPES: Mapping[str, Callable[[int, int], tuple[int, ...]]] = {
    "frames": lambda frames, pixels: (frames, pixels, pixels, 3),
    "sound": lambda frames, pixels: (ROWS, MEL_BINS),
    "truth": lambda frames, pixels: (frames, _KEPT),
}
"""Arrays kept for each example: pictures; filter bank; action units, expression class and intensity by frame."""
_TYPES = {"frames": np.uint8, "sound": np.float32, "truth": np.float32}


def _is_kept(folder: Path, name: str) -> bool:
    return (folder / f"{name}.npy").exists()


def prepare(set_dir: Path, cache: Path, image_size: int, processes: int = 1, kept: Kept = WINDOWS) -> PreparedSet:
    """The examples of the synthetic set in `set_dir` for faces of `image_size` pixels, made once and kept in `cache`.

    A clip is an example if it has an expression and its face is visible in half of the window's frames. The window is
    the 2 s around the apex, moved by up to APEX_JITTER_S; the clip's name decides how far. A killed call can be
    repeated. Raises SynthError for a folder without a finished set, for a clip that cannot be decoded, and for a
    `cache` that cannot be written.
    """
    clips, info = _read_set(set_dir)
    pixels = round(image_size * MARGIN)
    listed = hashlib.sha256((set_dir / "clips.parquet").read_bytes()).hexdigest()
    parts = [_FORMAT, info.model_dump(mode="json"), listed, MARGIN, *([] if kept == WINDOWS else [asdict(kept)])]
    folder = cache / f"{set_dir.resolve().name}-{image_size}-{digest(parts)}"
    try:
        _allocate(folder, len(clips), pixels, kept)
    except OSError as error:
        raise SynthError(f"{folder}: cannot be written: {error.strerror or error}; name another cache") from error
    state = np.lib.format.open_memmap(folder / "state.npy", mode="r+")
    waiting = [int(number) for number in np.flatnonzero(state == _WAITING)]
    if waiting:
        with ProgressBar(" clips", len(clips), len(clips) - len(waiting), f"cutting {set_dir.name}") as bar:
            for number, found in _cut_all(set_dir, folder, pixels, kept, waiting, processes):
                state[number] = _DONE if found else _NO_FACE
                bar.update()
        state.flush()
    prepared = PreparedSet(folder, clips)
    if not len(prepared):
        raise SynthError(f"{set_dir}: expected clips that show a labelled face, got none; make another set")
    return prepared


def _read_set(set_dir: Path) -> tuple[pd.DataFrame, SetInfo]:
    """The rows of labelled clips, and the settings that the set was made with."""
    info = read_info(set_dir)
    try:
        clips = read_table((set_dir / "clips.parquet").read_bytes())
        clips = clips[clips["expression"].notna()].reset_index(drop=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SynthError(f"{set_dir}: expected a set as `streamfx synth` writes it: {error}") from error
    strange = sorted(set(clips["expression"]) - set(LABELS_7))
    if strange:
        raise SynthError(
            f"{set_dir}/clips.parquet: expression: expected {', '.join(LABELS_7)}, got {', '.join(strange)}"
        )
    return clips, info


def _allocate(folder: Path, clips: int, pixels: int, kept: Kept) -> None:
    """Create the arrays; `state.npy`, created last, marks them as complete."""
    if (folder / "state.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in _SHAPES.items():
        if name != "sound" or kept.sound:
            size = (clips, *shape(len(kept.segments), pixels))
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", _TYPES[name], size)
    with whole_file(folder / "state.npy") as hidden, hidden.open("wb") as file:
        np.save(file, np.full(clips, _WAITING, np.uint8))


def _cut_all(
    set_dir: Path, folder: Path, pixels: int, kept: Kept, numbers: Sequence[int], processes: int
) -> Iterable[tuple[int, bool]]:
    if processes == 1:
        cutter = _Cutter(set_dir, folder, pixels, kept)
        yield from ((number, cutter.cut(number)) for number in numbers)
        return
    # Forking a process whose torch has threads may hang.
    spawn = multiprocessing.get_context("spawn")
    with Pool(processes, spawn, _start_process, (set_dir, folder, pixels, kept)) as pool:
        yield from zip(numbers, pool.map(_cut_one, numbers, chunksize=4), strict=True)


_in_process: _Cutter


def _start_process(set_dir: Path, folder: Path, pixels: int, kept: Kept) -> None:
    global _in_process
    torch.set_num_threads(1)
    _in_process = _Cutter(set_dir, folder, pixels, kept)


def _cut_one(number: int) -> bool:
    return _in_process.cut(number)


class _Cutter:
    """Cuts the clips of one set with one process's own decoder and operators, and writes them into the arrays."""

    def __init__(self, set_dir: Path, folder: Path, pixels: int, kept: Kept):
        self._set_dir, self._segments = set_dir, list(kept.segments)
        self._clips, info = _read_set(set_dir)
        self._fps, self._seconds = info.fps, info.seconds
        self._truth = _read_truth(set_dir / "frames.parquet")
        self._decoder = open_decoder(Media(backend="pyav", sample_fps=FRAMES / WINDOW_S))
        faces: Any = find_operator("faces")
        windows: Any = find_operator("windows")
        self._side = faces.Config().margin * MARGIN
        config = windows.Config(length_s=WINDOW_S, hop_s=WINDOW_S, crop_px=pixels)
        period_us = round(WINDOW_S / FRAMES * MICROSECONDS)
        self._windows: WindowOperator = windows(config, offline_context(period_us, SYNTHETIC_SOUND))
        self._out = {
            name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+")
            for name in _SHAPES
            if _is_kept(folder, name)
        }

    def cut(self, number: int) -> bool:
        """Write one example into the arrays; False where the face is not seen often enough."""
        row = self._clips.iloc[number]
        clip = str(row["clip"])
        truth = self._truth.get(clip)
        if truth is None:
            return False
        path = self._set_dir / "clips" / f"{clip}.mp4"
        start_us = _BASE_US - self._window_start_us(clip, float(row["apex_time_s"]))
        try:
            segment = self._decoder.decode(path.read_bytes(), start_us)
        except (OSError, BadChunk) as error:
            raise SynthError(f"cannot read the clip {path}: {error}; make the set again") from error
        tracked = [self._tracked(frame, truth, start_us) for frame in segment.frames if self._inside(frame)]
        seen = [one for one in tracked if one is not None]
        windows = self._windows.add(clip, 0, segment, [one for one, _ in seen])
        windows += self._windows.end_stream(clip, 0)
        window = next((w for w in windows if w.start_us == _BASE_US), None)
        if window is None:
            return False
        self._out["frames"][number] = window.frames[self._segments]
        if "sound" in self._out:
            self._out["sound"][number] = window.fbank
        # A frame that replaces one without a face brings its own ground truth.
        order = np.maximum(np.cumsum(window.present) - 1, 0)
        self._out["truth"][number] = np.stack([seen[order[at]][1] for at in self._segments])[:, :_KEPT]
        return True

    def _window_start_us(self, clip: str, apex_s: float) -> int:
        """Start of the window within the clip, microseconds."""
        share = int(hashlib.sha256(clip.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
        start_s = apex_s - WINDOW_S / 2 + (2 * share - 1) * APEX_JITTER_S
        return round(min(max(start_s, 0.0), max(self._seconds - WINDOW_S, 0.0)) * MICROSECONDS)

    @staticmethod
    def _inside(frame: Frame) -> bool:
        return 0 <= frame.sample_us - _BASE_US < WINDOW_S * MICROSECONDS

    def _tracked(self, frame: Frame, truth: _Truth, start_us: int) -> tuple[TrackedFrame, _Row] | None:
        """The frame with the labelled face, boxed as in the line, and its ground truth; None without a visible face."""
        row = truth.get(round((frame.time_us - start_us) * self._fps / MICROSECONDS))
        if row is None:
            return None
        x0, y0, x1, y1, lx, ly, rx, ry = (float(value) for value in row[_KEPT:])
        # As in the tracker, the eyes give the roll; it is 0 where they are not in order, as in a profile.
        roll = float(np.degrees(np.arctan2(ry - ly, rx - lx))) if rx > lx else 0.0
        side = max(x1 - x0, y1 - y0) * self._side
        box = CropBox((x0 + x1) / 2, (y0 + y1) / 2, side, float(np.clip(roll, -45, 45)), frame.width, frame.height)
        return TrackedFrame(0, frame, [FaceInFrame(0, 0, box, 1.0, y1 - y0, True)], []), row


def _read_truth(path: Path) -> dict[str, _Truth]:
    """Ground truth of the labelled face in each frame, by clip."""
    columns = ["clip", "frame", "face", "expression", "expression_intensity", *_AU_COLUMNS, *_BOX, *_EYES]
    try:
        table = read_table(path.read_bytes(), columns)
    except (OSError, ValueError, KeyError) as error:
        raise SynthError(
            f"{path}: expected the ground truth of each frame, as `streamfx synth` writes it: {error}"
        ) from error
    table = table[table["face"] == 0]
    table["class"] = table["expression"].map(LABELS_7.index)
    table["expression_intensity"] = table["expression_intensity"].clip(0, 1)
    truth: dict[str, _Truth] = {}
    values = table[[*_AU_COLUMNS, "class", "expression_intensity", *_BOX, *_EYES]].to_numpy(np.float32)
    for clip, frame, row in zip(table["clip"], table["frame"], values, strict=True):
        truth.setdefault(str(clip), {})[int(frame)] = row
    return truth
