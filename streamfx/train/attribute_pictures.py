"""Pictures with attributes to train on: the frames of synthetic sets, kept whole in one cache, with what is true of them.

Boxes and eyes are there to cut faces for ANet, as the line does with those of its detector, and to measure the LNets;
the LNets themselves never learn from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.errors import ConfigError, SynthError
from streamfx.models.celeba import CELEBA
from streamfx.pipeline import find_operator
from streamfx.synth.output import read_set
from streamfx.terminal import ProgressBar
from streamfx.train.attribute_truth import TABLE, truth_of
from streamfx.train.kept_array import kept_array
from streamfx.train.recipe import digest

_FORMAT = 2
_SAVE_EVERY = 256
_STORED = "yuv420p"
_BOX = ["box_x0", "box_y0", "box_x1", "box_y1"]
_EYES = ["lm_0_x", "lm_0_y", "lm_1_x", "lm_1_y"]
GROUPS = ("sex", "age_group", "skin_tone", "kind")
"""Columns of `clips.parquet` that are kept, by which gaps are measured."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Frames:
    """All frames of sets with square pictures of one size, as their videos have them: YUV 4:2:0, half of what RGB takes.

    `sets` are uint8 [frames, S * 3 / 2, S], mapped from the disk. They keep their size, since a face of a net's side is cut
    out of them.
    """

    sets: tuple[npt.NDArray[np.uint8], ...]

    @property
    def size(self) -> int:
        """The side of the pictures in pixels."""
        return int(self.sets[0].shape[2])

    def __len__(self) -> int:
        return sum(map(len, self.sets))

    def rgb(self, row: int) -> npt.NDArray[np.uint8]:
        """The frame with this number, counted through all sets: uint8 RGB [S, S, 3]."""
        for frames in self.sets:
            if row < len(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[row]), format=_STORED)
                shown: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
                return shown
            row -= len(frames)
        raise IndexError(row)


@dataclass(frozen=True)
class Pictures:
    """Frames that show one labelled face, or nobody.

    `stored` are all frames of their sets, in which `rows` [n] are these; `labels` int8 [n, 40] in CelebA's order (1,
    0, -1 unknown); `people` int64 [n], numbered from 0, -1 where nobody is shown; `boxes` float32 [n, 4] as x0, y0, x1,
    y1 in pixels, NaN where nobody is shown, and `rolls` [n] in degrees; `groups` maps each of GROUPS to a word for each.
    """

    stored: Frames
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int8]
    people: npt.NDArray[np.int64]
    boxes: Floats
    rolls: Floats
    groups: dict[str, npt.NDArray[np.object_]]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """Which of them show nobody."""
        return self.people < 0

    def truth(self) -> str:
        """A digest of what is known of them, and of their order."""
        known = (self.rows, self.labels, self.people, self.boxes, self.rolls)
        return hashlib.sha256(b"".join(np.ascontiguousarray(values).tobytes() for values in known)).hexdigest()

    def pixels(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> Tensor:
        """uint8 [len(numbers), S, S, 3]."""
        return torch.from_numpy(np.stack([self.stored.rgb(int(self.rows[number])) for number in numbers]))

    def some(self, which: npt.NDArray[np.bool_]) -> Pictures:
        """Those of them for which `which` [n] holds."""
        groups = {name: values[which] for name, values in self.groups.items()}
        people = self.people[which]
        return Pictures(
            self.stored, self.rows[which], self.labels[which], people, self.boxes[which], self.rolls[which], groups
        )

    def faces(self) -> Floats:
        """The squares that the line would cut, float32 [n, 4]: middle x and y and side in pixels, roll in degrees."""
        x0, y0, x1, y1 = self.boxes.T
        sides = np.maximum(x1 - x0, y1 - y0) * crop_margin()
        return np.stack([(x0 + x1) / 2, (y0 + y1) / 2, sides, self.rolls], axis=1).astype(np.float32)


def crop_margin() -> float:
    """Side of the line's crops in units of a face's longer side."""
    margin: float = find_operator("faces").Config().margin  # type: ignore[attr-defined]
    return margin


def open_pictures(folders: Sequence[Path], cache: Path) -> Pictures:
    """The pictures of synthetic sets of one size, made once and kept in `cache`; a killed call can be repeated.

    Raises SynthError for a folder without a finished set, ConfigError for sets whose pictures differ in size.
    """
    parts = [_prepare(folder, cache) for folder in folders]
    if len({part.stored.size for part in parts}) > 1:
        raise ConfigError("data: expected sets with pictures of one size, got several; make them with the same --size")
    if len(parts) == 1:
        return parts[0]
    rows, people, first_row, first_person = [], [], 0, 0
    for part in parts:
        rows.append(part.rows + first_row)
        people.append(np.where(part.people < 0, -1, part.people + first_person))
        first_row, first_person = first_row + len(part.stored), first_person + int(part.people.max(initial=-1)) + 1
    return Pictures(
        Frames(tuple(frames for part in parts for frames in part.stored.sets)),
        np.concatenate(rows),
        np.concatenate([part.labels for part in parts]),
        np.concatenate(people),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.rolls for part in parts]),
        {name: np.concatenate([part.groups[name] for part in parts]) for name in GROUPS},
    )


def _prepare(folder: Path, cache: Path) -> Pictures:
    info, clips, frames = read_set(folder)
    count = round(info.fps * info.seconds)
    place = cache / f"{folder.resolve().name}-pictures-{digest([_FORMAT, info.model_dump()])}"
    stored = _decoded(folder, place / "pictures.npy", list(clips["clip"]), count, info.size)
    clips = clips.assign(number=np.arange(len(clips)))
    shown = frames[frames["face"] == 0].drop(columns=["identity", "expression"]).merge(clips, on="clip")
    shown["row"] = shown["number"] * count + shown["frame"]
    nobody = clips[clips["kind"] == "empty"]["number"].to_numpy(np.int64)
    empty_rows = (nobody[:, None] * count + np.arange(count)).ravel()
    absent = len(empty_rows)
    names = {name: number for number, name in enumerate(sorted(set(shown["identity"])))}
    eyes = shown[_EYES].to_numpy(np.float32)
    rolls = np.degrees(np.arctan2(eyes[:, 3] - eyes[:, 1], eyes[:, 2] - eyes[:, 0]))
    # As in the tracker, the roll is 0 where the eyes are not in order.
    rolls = np.where(eyes[:, 2] > eyes[:, 0], np.clip(rolls, -45, 45), 0)
    none = np.zeros((absent, len(CELEBA)), np.int8)
    none[:, [i for i, name in enumerate(CELEBA) if name not in TABLE]] = -1
    groups = {
        name: np.concatenate([shown[name].astype(str).to_numpy(object), np.full(absent, "", object)]) for name in GROUPS
    }
    return Pictures(
        Frames((stored,)),
        np.concatenate([shown["row"].to_numpy(np.int64), empty_rows]),
        np.concatenate([truth_of(shown), none]),
        np.concatenate([shown["identity"].map(names).to_numpy(np.int64), np.full(absent, -1)]),
        np.concatenate([shown[_BOX].to_numpy(np.float32), np.full((absent, 4), np.nan, np.float32)]),
        np.concatenate([rolls, np.zeros(absent)]).astype(np.float32),
        groups,
    )


def _decoded(folder: Path, path: Path, clips: list[str], count: int, size: int) -> npt.NDArray[np.uint8]:
    """All frames of a set in one array on the disk, as in `Frames`, clip by clip."""

    def decode(out: npt.NDArray[np.uint8], first: int) -> Iterator[int]:
        with ProgressBar(" clips", len(clips), first, f"reading {folder.name}") as bar:
            for number in range(first, len(clips)):
                video = folder / "clips" / f"{clips[number]}.mp4"
                try:
                    with av.open(str(video)) as container:
                        for at, frame in enumerate(container.decode(video=0)):
                            if at < count:
                                out[number * count + at] = frame.to_ndarray(format=_STORED)
                except (av.FFmpegError, ValueError) as error:
                    raise SynthError(f"cannot read the clip {video}: {error}; make the set again") from error
                bar.update()
                yield number + 1

    return kept_array(path, np.uint8, (len(clips) * count, size * 3 // 2, size), len(clips), decode, _SAVE_EVERY)


def cut_squares(pixels: Tensor, squares: Tensor, views: Tensor, side: int) -> Tensor:
    """float32 [N, 3, side, side] in 0..1: a square of each picture, uint8 [N, S, S, 3], black outside the picture.

    `squares` [N, 4] are middle x and y, side (pixels) and roll (degrees); `views` [N or 1, 2, 3] are maps from the new
    picture to the square, both with coordinates in -1..1 (`train/augment.View`).
    """
    size = pixels.shape[1]
    x, y, length, roll = squares.unbind(dim=1)
    cos, sin = (roll.deg2rad().cos() * length / size), (roll.deg2rad().sin() * length / size)
    top = torch.stack((cos, -sin, 2 * x / size - 1), dim=1)
    low = torch.stack((sin, cos, 2 * y / size - 1), dim=1)
    outer = torch.stack((top, low), dim=1)
    views = views.expand(len(pixels), -1, -1)
    maps = outer[:, :, :2] @ views
    maps = torch.cat((maps[:, :, :2], maps[:, :, 2:] + outer[:, :, 2:]), dim=2)
    grid = F.affine_grid(maps, [len(pixels), 3, side, side], align_corners=False)
    return F.grid_sample(pixels.permute(0, 3, 1, 2).float() / 255, grid, mode="bilinear", align_corners=False)


def whole_squares(pictures: Pictures) -> Floats:
    """float32 [n, 4]: each picture as a whole, for `cut_squares`."""
    size = pictures.stored.size
    return np.tile(np.array([size / 2, size / 2, size, 0], np.float32), (len(pictures), 1))
