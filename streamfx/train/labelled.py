"""Labelled sets as samples to evaluate on: each example as the net sees it, and the groups that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamfx.media.audio import missing_sound
from streamfx.models.contract import FAITHFUL, SoundInput
from streamfx.nets.mma_dfer import FRAMES
from streamfx.records import MICROSECONDS, Window
from streamfx.train.evaluate import Sample
from streamfx.train.examples import Examples, Pixels
from streamfx.train.folders import open_dfew, open_mafw
from streamfx.train.recipe import Folders, digest
from streamfx.train.synthetic import prepare

BUCKETS: Mapping[str, tuple[str, tuple[tuple[float, str], ...], str]] = {
    "skin": ("skin_tone", ((4, "light"), (7, "medium")), "dark"),
    "compression": ("crf", ((23, "crf 0-23"), (30, "crf 24-30")), "crf 31-51"),
    "face_size": ("face_px", ((64, "0-64 px"), (128, "64-128 px")), "over 128 px"),
}
"""Maps each group to its column, (largest value, name) of each bucket in ascending order, and the last bucket's name.

`skin_tone` is on the Monk scale, 1 (lightest) to 10.
"""
WORDS = ("sex", "age_group", "light", "pose", "sound", "kind")
"""Columns whose values are used as groups unchanged."""


def synthetic_samples(set_dir: Path, cache: Path, image_size: int) -> Sequence[Sample]:
    """The examples of the synthetic set in `set_dir`, cut for frames of `image_size` pixels and kept in `cache`.

    Raises SynthError for a folder without a finished synthetic set.
    """
    prepared = prepare(set_dir, cache, image_size)
    rows = prepared.groups.to_dict("records")
    return Samples(prepared, [groups_of(row) for row in rows], [str(row["identity"]) for row in rows])


def dfew_samples(root: Path, fold: Path, image_size: int, sound: SoundInput = FAITHFUL) -> Sequence[Sample]:
    """The clips of one of DFEW's fold lists (relative to `root`); `sound` says how a model hears their WAV files.

    Raises ConfigError where the layout of the folder or the list is wrong.
    """
    return Samples(open_dfew(Folders(root=root, train=fold), fold, image_size, sound))


def mafw_samples(
    root: Path, fold: Path, cache: Path, image_size: int, sound: SoundInput = FAITHFUL
) -> Sequence[Sample]:
    """The clips of one of MAFW's fold lists (relative to `root`).

    The positions of their faces are determined once and kept in `cache`, since a data set's folder may be read-only.
    Raises ConfigError where the layout of the folder or the list is wrong.
    """
    boxes = cache / f"mafw-faces-{digest(str(root.resolve()))}"
    return Samples(open_mafw(Folders(root=root, train=fold, cache=boxes), fold, image_size, sound))


class Samples(Sequence[Sample]):
    """Examples as samples, read on demand. `groups` has the groups of each example, and `people` who is seen in it;
    None means no groups, and that this is not known."""

    def __init__(
        self,
        examples: Examples,
        groups: Sequence[Mapping[str, str]] | None = None,
        people: Sequence[str] | None = None,
    ):
        self._examples = examples
        self._groups = groups
        self._people = people

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number %= len(self)
        label = self._examples.labels[int(self._examples.targets[number])]
        return Sample(
            window_of(self._examples, number),
            label,
            self._groups[number] if self._groups else {},
            self._people[number] if self._people else None,
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))


def groups_of(row: Mapping[Any, Any]) -> dict[str, str]:
    """The groups of a clip, from its row of `clips.parquet`; null values give no group."""
    groups = {name: str(row[name]) for name in WORDS if row.get(name) is not None}
    for name, (column, steps, above) in BUCKETS.items():
        if row.get(column) is not None and not np.isnan(row[column]):
            groups[name] = next((word for most, word in steps if row[column] <= most), above)
    return groups


def window_of(examples: Examples, number: int) -> Window:
    """The window that the line would make of an example: the plain crop from the middle of its frames."""
    frames = _middle(examples.frames(number, range(FRAMES), None), examples.margin)
    fbank = examples.sound(number)
    return Window(
        stream_id=str(number),
        birth_us=0,
        birth_index=0,
        start_us=0,
        end_us=2 * MICROSECONDS,
        frames=frames,
        fbank=fbank,
        present=np.ones(FRAMES, bool),
        audio_present=not np.array_equal(fbank, missing_sound()),
        face_score=1.0,
        face_height_px=frames.shape[1] / examples.margin,
        closed_by=0,
        offsets=(0, 0),
    )


def _middle(frames: Pixels, margin: float) -> Pixels:
    pixels = frames.shape[1]
    side = round(pixels / margin)
    start = (pixels - side) // 2
    return np.ascontiguousarray(frames[:, start : start + side, start : start + side])
