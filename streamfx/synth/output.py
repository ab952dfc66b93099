"""A synthetic set on disk: its clips, and the ground truth about each clip and each frame.

    set.json                what the set was made from
    clips/<clip>.mp4        picture and sound
    parts/<clip>.json       the ground truth about a finished clip, until the set is complete
    clips.parquet, frames.parquet   the ground truth about all clips

A clip counts as made once its part exists, so a killed run resumes where it stopped, and several processes may add
clips to one set.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamfx.errors import SynthError
from streamfx.sink.parquet_file import UnreadableParquet, read_table, write_table
from streamfx.synth.actions import AUS
from streamfx.synth.traits import Traits
from streamfx.whole_files import whole_file, write_whole

SET_FILE, CLIPS_FILE, FRAMES_FILE = "set.json", "clips.parquet", "frames.parquet"
_CLIPS, _PARTS = "clips", "parts"
_SOUND_BITS = 64_000
_CAPTION = 16


class SetInfo(BaseModel):
    """What a set was made from; two sets with equal info hold the same clips."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[2] = 2
    """Of the drawings and of the tables' columns."""
    seed: int = Field(ge=0, lt=2**31)
    identities: int = Field(ge=1)
    clips: int = Field(ge=1)
    fps: float = Field(gt=0)
    size: int = Field(ge=16, multiple_of=2)
    """Width and height of the pictures, pixels."""
    seconds: float = Field(gt=0)
    only: tuple[Literal["frontal", "turned", "several", "occluded", "empty"], ...] = ()
    """Kinds of clip to which the set is limited; none: it has them all, each as often as `clip.KINDS` says."""


@dataclass(frozen=True)
class Column:
    """A column of a table; `kind` is `string`, `int` (int32), `float` (float32), `seconds` (float64) or `bool`."""

    name: str
    kind: str
    nullable: bool = False


def _columns(kind: str, names: str, nullable: bool = False) -> tuple[Column, ...]:
    return tuple(Column(name, kind, nullable) for name in names.split())


def _trait_columns() -> tuple[Column, ...]:
    """A column for each of a person's traits."""
    kinds = {"str": "string", "float": "float", "bool": "bool"}
    return tuple(Column(field.name, kinds[str(field.type)], field.type == "str") for field in fields(Traits))


CLIP_COLUMNS = (
    *_columns("string", "clip"),
    *_columns("int", "seed index"),
    *_columns("string", "kind"),
    *_columns("string", "expression", nullable=True),
    *_columns("float", "intensity"),
    *_columns("seconds", "apex_time_s"),
    *_columns("string", "identity sex", nullable=True),
    *_columns("int", "age_years"),
    *_columns("string", "age_group", nullable=True),
    *_columns("int", "skin_tone"),
    *_trait_columns(),
    *_columns("string", "lip_colour", nullable=True),
    *_columns("string", "light light_source background pose"),
    *_columns("int", "crf"),
    *_columns("float", "defocus noise vignette"),
    *_columns("string", "sound"),
    *_columns("float", "face_px"),
    *_columns("string", "text"),
)
"""Columns of `clips.parquet`, one row per clip.

A clip of kind `empty` shows nobody: its nullable columns are null, and its numbers about a person or a face are 0.
"""
FRAME_COLUMNS = (
    *_columns("string", "clip"),
    *_columns("int", "frame"),
    *_columns("seconds", "time_s"),
    *_columns("int", "face"),
    *_columns("string", "identity expression"),
    *_columns("float", "expression_intensity"),
    *_columns("string", "viseme"),
    *_columns("float", "blink yaw_deg pitch_deg roll_deg"),
    *_columns("bool", "occluded"),
    *_columns("float", "box_x0 box_y0 box_x1 box_y1"),
    *_columns("float", " ".join(f"lm_{i}_{axis}" for i in range(5) for axis in "xy")),
    *_columns("float", "light_x light_y light_z"),
    *_columns("float", " ".join(AUS)),
)
"""Columns of `frames.parquet`, one row per frame and visible face."""

Rows = Sequence[Mapping[str, Any]]


class SetWriter:
    """Writes one set. It keeps nothing in memory, so several writers of equal info may share a directory."""

    def __init__(self, directory: Path, info: SetInfo):
        """Open or begin the set. Raises SynthError where `directory` holds another set, or files that are not a set."""
        self._directory, self._info = directory, info
        if (directory / SET_FILE).exists():
            here = read_info(directory)
            if here != info:
                raise SynthError(
                    f"{directory} holds a set made with {_differences(here, info)}; choose another directory"
                )
        elif directory.exists() and any(directory.iterdir()):
            raise SynthError(f"{directory} holds files but no {SET_FILE}: expected a new or empty directory, or a set")
        for folder in (_CLIPS,) if self.complete else (_CLIPS, _PARTS):
            (directory / folder).mkdir(parents=True, exist_ok=True)
        if not (directory / SET_FILE).exists():
            write_whole(directory / SET_FILE, info.model_dump_json(indent=2) + "\n")

    @property
    def complete(self) -> bool:
        """Whether all clips are there and their tables are written."""
        return all((self._directory / name).exists() for name in (CLIPS_FILE, FRAMES_FILE))

    def has(self, clip: str) -> bool:
        """Whether this clip is made."""
        return self._video(clip).exists() and (self.complete or self._part(clip).exists())

    def add(
        self,
        clip_row: Mapping[str, Any],
        frame_rows: Rows,
        video: Iterable[npt.NDArray[np.uint8]],
        fps: float,
        crf: int,
        samples: npt.NDArray[np.float32],
        rate: int,
    ) -> None:
        """Write one clip: RGB pictures [T, H, W, 3], mono `samples` at `rate`, and the ground truth about both.

        Raises SynthError for rows that do not have the columns of the tables.
        """
        part = {"clip": columns_of([clip_row], CLIP_COLUMNS), "frames": columns_of(frame_rows, FRAME_COLUMNS)}
        clip = str(clip_row["clip"])
        path = self._video(clip)
        with whole_file(path) as hidden:
            write_video(hidden, video, fps, crf, samples, rate)
        # A clip that was lost from a complete set is restored; its ground truth is in the tables already.
        if not self.complete:
            write_whole(self._part(clip), json.dumps(part, separators=(",", ":")))

    def finish(self) -> None:
        """Join the ground truth of all clips into the tables. Raises SynthError while clips are missing."""
        parts = sorted((self._directory / _PARTS).glob("*.json"))
        if self.complete:
            self._clean()
            return
        if len(parts) != self._info.clips:
            raise SynthError(
                f"{self._directory}: {len(parts)} of {self._info.clips} clips are made; make the others first"
            )
        loaded = [json.loads(part.read_bytes()) for part in parts]
        for name, key, columns in ((FRAMES_FILE, "frames", FRAME_COLUMNS), (CLIPS_FILE, "clip", CLIP_COLUMNS)):
            write_truth(self._directory / name, [part[key] for part in loaded], columns)
        self._clean()

    def _clean(self) -> None:
        """Remove the parts, whose content is now in the tables, and files that killed runs left half written."""
        shutil.rmtree(self._directory / _PARTS, ignore_errors=True)
        for scratch in (self._directory / _CLIPS).glob(".*"):
            scratch.unlink()

    def _video(self, clip: str) -> Path:
        return self._directory / _CLIPS / f"{clip}.mp4"

    def _part(self, clip: str) -> Path:
        return self._directory / _PARTS / f"{clip}.json"


def write_video(
    path: Path,
    video: Iterable[npt.NDArray[np.uint8]],
    fps: float,
    crf: int,
    samples: npt.NDArray[np.float32],
    rate: int,
) -> None:
    """Write an MP4 of RGB pictures (H.264, a keyframe a second) and mono sound (AAC).

    Equal input gives equal bytes with the same build of the encoders: one thread, and no creation time.
    """
    rhythm = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        # Without `cpu-independent`, x264 now and then encodes equal pictures differently.
        options = {"preset": "veryfast", "crf": str(crf), "threads": "1", "x264-params": "scenecut=0:cpu-independent=1"}
        pictures = container.add_stream("libx264", rate=rhythm, options=options)
        pictures.pix_fmt = "yuv420p"
        pictures.gop_size = max(1, round(fps))
        sound = container.add_stream("aac", rate=rate, layout="mono")
        sound.bit_rate = _SOUND_BITS
        packets = _sound_packets(sound, samples, rate)
        for number, picture in enumerate(video):
            if number == 0:
                pictures.height, pictures.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, 1 / rhythm
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        container.mux(packets)


def read_set(directory: Path) -> tuple[SetInfo, pd.DataFrame, pd.DataFrame]:
    """Read what a finished set was made from, its clips and its frames. Raises SynthError for anything else."""
    info = read_info(directory)
    missing = [name for name in (CLIPS_FILE, FRAMES_FILE) if not (directory / name).exists()]
    if missing:
        raise SynthError(
            f"{directory}: {' and '.join(missing)} missing: the set is not finished; make it again to go on"
        )
    clips = _read_table(directory / CLIPS_FILE, CLIP_COLUMNS)
    if len(clips) != info.clips:
        raise SynthError(f"{directory / CLIPS_FILE}: expected {info.clips} clips as in {SET_FILE}, got {len(clips)}")
    lost = [clip for clip in clips["clip"] if not (directory / _CLIPS / f"{clip}.mp4").exists()]
    if lost:
        raise SynthError(
            f"{directory / _CLIPS}: {len(lost)} clips are missing, the first is {lost[0]}.mp4; make the set "
            "again to get "
            "them back"
        )
    return info, clips, _read_table(directory / FRAMES_FILE, FRAME_COLUMNS)


def contact_sheet(directory: Path, path: Path, across: int = 6, side: int = 144) -> None:
    """Write a picture of a finished set: for each expression a row of `across` identities at the moments they show it.

    Frontal clips come before others, and strong expressions before weak ones. The suffix of `path` decides the file
    type. Raises SynthError where `directory` holds no finished set.
    """
    _, clips, _ = read_set(directory)
    clips = clips[clips["expression"].notna()]
    clips = clips.sort_values(["kind", "intensity"], key=lambda of: (of != "frontal") if of.name == "kind" else -of)
    words = sorted(clips["expression"].unique())
    sheet = Image.new("RGB", (across * side, max(1, len(words)) * (side + _CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    if not words:
        pen.text((3, 2), "no clip of this set shows a face", fill="black")
    shown: dict[str, int] = {}
    for row, word in enumerate(words):
        chosen = clips[clips["expression"] == word].drop_duplicates("identity")
        # The people shown least so far go first, so that the rows show different people.
        chosen = chosen.iloc[np.argsort([shown.get(who, 0) for who in chosen["identity"]], kind="stable")[:across]]
        for column, clip in enumerate(chosen.itertuples()):
            shown[clip.identity] = shown.get(clip.identity, 0) + 1
            x, y = column * side, row * (side + _CAPTION)
            picture = _picture_at(directory / _CLIPS / f"{clip.clip}.mp4", float(clip.apex_time_s))
            sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (x, y + _CAPTION))
            pen.text((x + 3, y + 2), f"{word} {clip.intensity:.2f}  {clip.identity}", fill="black")
    sheet.save(path)


def _picture_at(path: Path, time_s: float) -> Image.Image:
    """The frame shown at `time_s`, or the last one before the end."""
    with av.open(str(path)) as container:
        picture = None
        for frame in container.decode(video=0):
            if picture is not None and frame.time > time_s:
                break
            picture = frame
        if picture is None:
            raise SynthError(f"{path} holds no picture; delete it and make the set again")
        return Image.fromarray(picture.to_ndarray(format="rgb24"))


def _sound_packets(stream: Any, samples: npt.NDArray[np.float32], rate: int) -> list[Any]:
    packets = []
    size = 1024
    for first in range(0, samples.size, size):
        block = np.ascontiguousarray(samples[None, first : first + size], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def read_info(directory: Path) -> SetInfo:
    """The settings that the set in `directory` was made with. Raises SynthError where there is no set, and for one of
    another version."""
    path = directory / SET_FILE
    try:
        return SetInfo.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SynthError(
            f"{directory} holds no set by `streamfx synth`: cannot read {SET_FILE} ({error.strerror or error})"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "(top level)"
        if where == "version":
            raise SynthError(
                f"{path}: expected version {SetInfo.model_fields['version'].default} of the drawings, got "
                f"{first['input']}; make the set again with `streamfx synth`"
            ) from error
        raise SynthError(f"{path}: {where}: {first['msg']}; expected the file that `streamfx synth` writes") from error


def _differences(here: SetInfo, wanted: SetInfo) -> str:
    there, now = here.model_dump(), wanted.model_dump()
    return ", ".join(f"{key} {_shown(there[key])} (not {_shown(now[key])})" for key in there if there[key] != now[key])


def _shown(value: Any) -> str:
    return (", ".join(value) or "all kinds") if isinstance(value, tuple) else str(value)


def columns_of(rows: Rows, columns: Sequence[Column]) -> dict[str, list[Any]]:
    """Checked values by column, as types that JSON can hold. Raises SynthError for rows that do not have the columns."""
    names = {column.name for column in columns}
    for row in rows:
        if row.keys() != names:
            missing, strange = sorted(names - row.keys()), sorted(row.keys() - names)
            raise SynthError(f"a row of a synthetic clip has columns missing ({missing}) or unknown ({strange})")
    return {column.name: [_value(column, row[column.name]) for row in rows] for column in columns}


def _value(column: Column, value: Any) -> Any:
    if value is None and column.nullable:
        return None
    expected, convert = _KINDS[column.kind]
    if not isinstance(value, expected) or (isinstance(value, (bool, np.bool_)) and column.kind != "bool"):
        raise SynthError(f"column {column.name} of a synthetic set: expected {column.kind}, got {value!r}")
    converted = convert(value)
    if isinstance(converted, float) and not np.isfinite(converted):
        raise SynthError(f"column {column.name} of a synthetic set: expected a finite number, got {value!r}")
    return converted


_NUMBERS = (int, float, np.integer, np.floating)
_KINDS: dict[str, tuple[tuple[type, ...], type]] = {
    "string": ((str,), str),
    "int": ((int, np.integer), int),
    "float": (_NUMBERS, float),
    "seconds": (_NUMBERS, float),
    "bool": ((bool, np.bool_), bool),
}
_TYPES = {"string": "object", "int": "int32", "float": "float32", "seconds": "float64", "bool": "bool"}


def write_truth(path: Path, parts: Sequence[Mapping[str, list[Any]]], columns: Sequence[Column]) -> None:
    """Write the table of `parts`, each as `columns_of` gives them."""
    frame = pd.DataFrame(
        {
            column.name: pd.Series(
                np.concatenate([np.array(part[column.name], dtype=_TYPES[column.kind]) for part in parts]),
                dtype=_TYPES[column.kind],
            )
            for column in columns
        }
    )
    write_table(path, frame, [column.name for column in columns if column.nullable])


def _read_table(path: Path, columns: Sequence[Column]) -> pd.DataFrame:
    try:
        frame = read_table(path.read_bytes())
    except (OSError, UnreadableParquet) as error:
        raise SynthError(f"{path} cannot be read as Parquet: {error}") from error
    expected, got = [column.name for column in columns], list(map(str, frame.columns))
    if got != expected:
        odd = sorted(set(expected) ^ set(got)) or "their order"
        raise SynthError(f"{path}: expected the columns of a synthetic set; they differ in {odd}")
    return frame
