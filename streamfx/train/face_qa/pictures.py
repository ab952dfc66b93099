"""Pictures with facts and splits: the frames of drawn sets, four at most of each clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.errors import SynthError
from streamfx.synth.output import SetInfo, read_set
from streamfx.train.face_qa.balance import chance, deal
from streamfx.train.face_qa.facts import FACTS, Texts, drawn_facts
from streamfx.train.face_qa.table import FACT, IMAGE_COLUMNS, SPLITS

FRAMES_PER_CLIP, APART_S = 4, 0.5
"""How many frames of a clip are pictures at most, and how far apart they are at least: neighbours teach nothing new."""


@dataclass(frozen=True)
class Pictures:
    """Pictures in order: `columns` are IMAGE_COLUMNS, `facts` one array of text for each of FACTS."""

    columns: Mapping[str, npt.NDArray[np.generic]]
    facts: Mapping[str, Texts]

    def __len__(self) -> int:
        return len(self.columns["image_id"])

    def all_columns(self) -> tuple[dict[str, npt.NDArray[np.generic]], dict[str, str]]:
        """The columns of `images.parquet`, facts included, and their kinds."""
        facts = {FACT + name: values for name, values in self.facts.items()}
        return {**self.columns, **facts}, {**IMAGE_COLUMNS, **dict.fromkeys(facts, "string")}

    def only(self, chosen: npt.NDArray[np.generic]) -> Pictures:
        """The pictures of these numbers, or where the mask holds."""
        return Pictures(
            {name: values[chosen] for name, values in self.columns.items()},
            {name: values[chosen] for name, values in self.facts.items()},
        )


def join(parts: Sequence[Pictures]) -> Pictures:
    """All pictures, one set after the other."""
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in IMAGE_COLUMNS}
    return Pictures(columns, {name: np.concatenate([part.facts[name] for part in parts]) for name in FACTS})


def drawn_pictures(root: Path, split: str | None, seed: int, without: Sequence[str] = ()) -> Pictures:
    """Frames of the labelled face of a drawn set, all in `split`, or dealt to the splits by people; `without` names
    splits that get none. SynthError where `root` holds no finished set, or one that shows nobody."""
    info, clips, frames = read_set(root)
    everybody = frames["identity"].astype(object).to_numpy()
    splits = np.full(len(frames), split, object) if split else deal(everybody, seed, without)
    frames = frames.assign(split=splits)
    # A clip may show others beside the labelled face: people of another split must not be seen in it.
    frames = frames[frames.groupby("clip")["split"].transform("nunique") == 1]
    frames = frames[frames["face"] == 0]
    frames = frames[_spread(frames, info, seed)]
    new = [name for name in clips.columns if name == "clip" or name not in frames.columns]
    frames = frames.merge(clips[new], on="clip", how="inner").reset_index(drop=True)
    if frames.empty:
        raise SynthError(f"{root}: expected clips that show a face, got none; make another set")
    people = frames["identity"].astype(object).to_numpy()
    clip, frame = frames["clip"].astype(object).to_numpy(), frames["frame"].to_numpy(np.int32)
    count = len(frames)
    columns: dict[str, npt.NDArray[np.generic]] = {
        "image_id": np.array([f"{name}/{number}" for name, number in zip(clip, frame, strict=True)], object),
        "split": frames["split"].astype(object).to_numpy(),
        "person": people,
        "source": np.full(count, root.resolve().name, object),
        "clip": clip,
        "frame_index": frame,
        "time_s": frames["time_s"].to_numpy(np.float32),
        "file": np.array([f"clips/{name}.mp4" for name in clip], object),
        **{f"box_{edge}": frames[f"box_{edge}"].to_numpy(np.float32) for edge in ("x0", "y0", "x1", "y1")},
        **{f"eye_{eye}_{axis}": frames[f"lm_{eye}_{axis}"].to_numpy(np.float32) for eye in (0, 1) for axis in "xy"},
        "age_years": frames["age_years"].to_numpy(np.int32),
        "digest": np.full(count, "", object),
    }
    return Pictures(columns, drawn_facts(frames))


def _spread(frames: pd.DataFrame, info: SetInfo, seed: int) -> npt.NDArray[np.bool_]:
    """Which frames are kept: of each clip at most FRAMES_PER_CLIP, evenly spread, from a random first one on."""
    length = round(info.seconds * info.fps)
    step = max(int(np.ceil(APART_S * info.fps)), length // FRAMES_PER_CLIP, 1)
    names, clip = np.unique(frames["clip"].astype(object).to_numpy(), return_inverse=True)
    spare = max(length - step * (FRAMES_PER_CLIP - 1), 1)
    first = chance(seed, "frames").integers(min(spare, step), size=len(names))
    place = frames["frame"].to_numpy(np.int64) - first[clip]
    kept: npt.NDArray[np.bool_] = (place >= 0) & (place % step == 0) & (place < step * FRAMES_PER_CLIP)
    return kept


def without_doubles(pictures: Pictures) -> Pictures:
    """The pictures without further copies of a file: one in the test is kept rather than one in training."""
    keep = sorted(range(len(pictures)), key=lambda number: -SPLITS.index(str(pictures.columns["split"][number])))
    seen: set[str] = set()
    kept = []
    for number in keep:
        digest = str(pictures.columns["digest"][number])
        if not digest or digest not in seen:
            kept.append(number)
            seen.add(digest)
    return pictures.only(np.array(sorted(kept), np.int64))
