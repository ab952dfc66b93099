"""Label sets of action units, folds of people, and examples: frames of the drawings, or of BP4D, BP4D+ and DISFA."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from streamfx.errors import ConfigError, EvaluationError
from streamfx.synth.actions import AUS
from streamfx.train.examples import Pixels
from streamfx.train.stills import read_picture
from streamfx.train.synthetic import Kept, PreparedSet, prepare

FRAMES_KEPT = (2, 6, 10, 14)
"""Segments of a drawn clip's window whose frames are examples, half a second apart: neighbours teach nothing new."""
PRESENT = 1.0
"""Intensity from which a drawn unit counts as present."""
BP4D_UNITS = tuple(f"au_{unit:02d}" for unit in (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24))
"""Units of BP4D and BP4D+, in the order of the authors' heads."""
DISFA_UNITS = tuple(f"au_{unit:02d}" for unit in (1, 2, 4, 6, 9, 12, 25, 26))
"""Units of DISFA, in the order of the authors' heads; coders' intensities of 2 and more are positive."""


@dataclass(frozen=True)
class AuSet:
    """A data set: its units in order, and the people who are held out in each fold, numbered from 1."""

    units: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]

    @property
    def people(self) -> tuple[str, ...]:
        """All people, sorted; the identity head has one output for each."""
        return tuple(sorted(person for fold in self.folds for person in fold))


def _people(text: str) -> tuple[str, ...]:
    return tuple(text.split())


AU_SETS: Mapping[str, AuSet] = {
    "bp4d": AuSet(
        BP4D_UNITS,
        (
            _people("F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014"),
            _people("F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018"),
            _people("F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015"),
        ),
    ),
    "bp4d_plus": AuSet(
        BP4D_UNITS,
        (
            _people(
                "M040 F072 M015 M029 M003 F076 F053 F026 F044 F066 F057 F061 F071 M050 M033 F079 F020 M025 F014 F004 "
                "F013 M017 F033 M042 M004 F038 F019 M036 M026 M048 F039 F046 M051 F047 M020"
            ),
            _people(
                "F074 F012 F034 M001 F056 F075 M009 M038 F024 M047 F016 M045 M034 M022 F060 M011 M044 M046 M005 M028 "
                "F077 F028 M055 M019 F032 F030 M037 M043 F031 F022 M023 M018 M016 F065 M052"
            ),
            _people(
                "F029 F054 F064 F045 F009 F040 F008 M041 F063 M056 M024 F001 F080 M010 F062 F035 M054 F052 F027 F043 "
                "F042 F050 M057 F078 F058 F017 M035 M030 M027 F021 M031 F069 F002 M008 F068"
            ),
            _people(
                "M058 F037 F010 F023 M007 M002 F025 F073 F048 F041 F051 F011 M032 F005 M021 F018 M013 M049 M014 F070 "
                "F006 F067 M039 M006 F059 F003 F007 F049 M053 F081 F055 M012 F082 F015 F036"
            ),
        ),
    ),
    "disfa": AuSet(
        DISFA_UNITS,
        (
            _people("SN001 SN002 SN009 SN010 SN016 SN026 SN027 SN030 SN032"),
            _people("SN006 SN011 SN012 SN013 SN018 SN021 SN024 SN028 SN031"),
            _people("SN003 SN004 SN005 SN007 SN008 SN017 SN023 SN025 SN029"),
        ),
    ),
}
"""Units and folds by the key of a recipe: the three folds that are common for BP4D and DISFA, and the authors' four of
BP4D+ (from their README)."""
_PERSON = re.compile(r"(SN|F|M)(\d{2,3})(?!\d)")


@dataclass(frozen=True)
class AuExamples:
    """Frames with their action units.

    `present` bool [n, units]; `intensity` float32 [n, 19] in 0..5, in the order of AUS, None where nobody coded it;
    `people` and `clips` name who is seen and in which recording; `groups` has a row for each frame.
    """

    units: tuple[str, ...]
    present: npt.NDArray[np.bool_]
    intensity: npt.NDArray[np.float32] | None
    people: npt.NDArray[np.str_]
    clips: npt.NDArray[np.str_]
    groups: pd.DataFrame = field(repr=False)
    margin: float
    source: Any = field(repr=False)
    """What the pictures are read from: sets with the places of frames, or files with their side."""

    def __len__(self) -> int:
        return len(self.people)

    def stored(self, numbers: Sequence[int]) -> Pixels:
        """uint8 RGB [k, pixels, pixels, 3]: the frames as they are stored, with `margin` around the face."""
        return self.source.read(numbers)  # type: ignore[no-any-return]

    def only(self, numbers: npt.NDArray[np.int64]) -> AuExamples:
        """The examples of these numbers."""
        return AuExamples(
            self.units,
            self.present[numbers],
            None if self.intensity is None else self.intensity[numbers],
            self.people[numbers],
            self.clips[numbers],
            self.groups.iloc[numbers].reset_index(drop=True),
            self.margin,
            _Some(self.source, numbers),
        )


@dataclass(frozen=True)
class _Some:
    source: Any
    numbers: npt.NDArray[np.int64]

    def read(self, numbers: Sequence[int]) -> Pixels:
        return self.source.read([int(self.numbers[number]) for number in numbers])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Drawn:
    sets: Sequence[PreparedSet]
    places: npt.NDArray[np.int64]
    """[n, 3]: set, clip and frame."""

    def read(self, numbers: Sequence[int]) -> Pixels:
        rows = (self.places[number].tolist() for number in numbers)
        return np.concatenate([self.sets[part].frames(clip, [frame], None) for part, clip, frame in rows])


@dataclass(frozen=True)
class _Files:
    files: Sequence[Path]
    side: int

    def read(self, numbers: Sequence[int]) -> Pixels:
        return np.stack([picture(self.files[number], self.side) for number in numbers])


def picture(file: Path, side: int) -> Pixels:
    """uint8 RGB [side, side, 3], resized straight to it; ConfigError where the file is no picture."""
    try:
        read = Image.fromarray(read_picture(file))
    except EvaluationError as error:
        raise ConfigError(str(error)) from error
    return np.asarray(read.resize((side, side), Image.Resampling.BILINEAR))


def drawn_frames(
    folders: Sequence[Path], cache: Path, image_size: int, processes: int, units: tuple[str, ...] = AUS
) -> AuExamples:
    """Four frames of each labelled clip of synthetic sets, cut once and kept in `cache`; see `synthetic.prepare`."""
    sets = [prepare(one, cache, image_size, processes, Kept(FRAMES_KEPT, sound=False)) for one in folders]
    frames = range(len(FRAMES_KEPT))
    places = np.array(
        [(part, clip, frame) for part, one in enumerate(sets) for clip in range(len(one)) for frame in frames]
    )
    intensity = np.concatenate([one.truth(clip, frames).action_units for one in sets for clip in range(len(one))])
    groups = pd.concat([one.groups for one in sets], ignore_index=True)
    groups = groups.iloc[np.repeat(np.arange(len(groups)), len(frames))].reset_index(drop=True)
    return AuExamples(
        units,
        intensity[:, [AUS.index(unit) for unit in units]] >= PRESENT,
        intensity,
        groups["identity"].to_numpy(str),
        groups["clip"].to_numpy(str),
        groups,
        sets[0].margin,
        _Drawn(sets, places),
    )


def coded_frames(kind: str, root: Path, labels: Path, fold: int, held_out: bool, image_size: int) -> AuExamples:
    """The frames of a fold of `kind` (a key of AU_SETS): of the held-out people, or of all others.

    `labels`, relative to `root`, has a line of JSON for each frame, `{"img_path": "F001/T1/2440.jpg", "AUs": [6, 12]}`
    as the authors write it: a picture of the face alone, relative to `root`, and the units that act. Who it is, is read
    from the path. Raises ConfigError for what is missing or wrong, with file and line.
    """
    about, file = AU_SETS[kind], root / labels
    if not 1 <= fold <= len(about.folds):
        raise ConfigError(f"data.{kind}.fold: expected 1 to {len(about.folds)}, got {fold}")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data.{kind}.labels: cannot read {file}: {error}; name the list of frames") from error
    files, people, present = list[Path](), list[str](), list[list[bool]]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        path, units = _coded(where, line)
        person = _person(where, path, about)
        if (person in about.folds[fold - 1]) == held_out:
            files.append(root / path)
            people.append(person)
            present.append([int(unit[3:]) in units for unit in about.units])
    if not files:
        role = "held out in" if held_out else "to train on in"
        raise ConfigError(f"{file}: expected frames of people {role} fold {fold}, found none")
    missing = next((path for path in files if not path.is_file()), None)
    if missing is not None:
        raise ConfigError(f"{file}: expected the picture {missing}, found none; is `root` the folder of the pictures?")
    clips = np.array([str(path.parent) for path in files])
    who = np.array(people)
    return AuExamples(
        about.units,
        np.array(present),
        None,
        who,
        clips,
        pd.DataFrame({"identity": who}),
        1.0,
        _Files(files, image_size),
    )


def _coded(where: str, line: str) -> tuple[str, set[int]]:
    try:
        row = json.loads(line)
        path, units = row["img_path"], row["AUs"]
        if not isinstance(path, str) or not all(type(unit) is int for unit in units):
            raise TypeError(f"got {row}")
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{where}: expected JSON such as {{"img_path": "F001/T1/2440.jpg", "AUs": [6, 12]}}: {error}'
        ) from error
    return path.lstrip("/"), set(units)


def _person(where: str, path: str, about: AuSet) -> str:
    for letters, digits in _PERSON.findall(path):
        person = f"{letters}{int(digits):03d}"
        if person in about.people:
            return person
    raise ConfigError(f"{where}: expected a person of the set, such as {about.people[0]}, in the path {path!r}")
