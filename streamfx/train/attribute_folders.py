"""Reads CelebA and LFWA in the folder layouts that their users have. Both are for research only, by their authors' terms.

CelebA, from its root:
- pictures: `Img/img_align_celeba/<name>.jpg`, `img_align_celeba/…`, or whole ones in `Img/img_celeba/…`, `img_celeba/…`;
- attributes: `Anno/list_attr_celeba.txt` or `list_attr_celeba.txt`: a count, the forty names, then `<name>.jpg` with 1 or
  -1 for each;
- people: `Anno/identity_CelebA.txt` or `identity_CelebA.txt`: `<name>.jpg <number>`;
- parts: `Eval/list_eval_partition.txt` or `list_eval_partition.txt`: `<name>.jpg` with 0 train, 1 validation, 2 test.

LFWA, from its root:
- pictures: `lfw/<person>/<person>_<number, 4 digits>.jpg`;
- attributes: `lfw_att_40.mat` with `AttrName`, `label` [pictures, 40] and `name` (paths, with backslashes);
- parts: `indices_train_test.mat` with `indices_img_train` and `indices_img_test`, counted from 1.

LFWA's two files are MATLAB's of version 7.3, which `h5py` reads; older ones are read without it.

Whatever is wrong in a list is one ConfigError that names the file, the line, and what was expected there.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfx.errors import ConfigError, MissingComponent
from streamfx.models.celeba import CELEBA
from streamfx.processes import Pool

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class LabelledPictures:
    """Files with `labels` int8 [files, 40] in CelebA's order (1 or 0) and `people`, a name each."""

    files: tuple[Path, ...]
    labels: npt.NDArray[np.int8]
    people: tuple[str, ...]


def open_celeba(root: Path, part: str = "test") -> LabelledPictures:
    """The pictures of one of CelebA's PARTS. ConfigError names what is missing or wrong."""
    number = str(_part(part))
    labels = _attributes(*_lines(root, "list_attr_celeba.txt", "Anno"))
    parts = _rows(*_lines(root, "list_eval_partition.txt", "Eval"), "[012]", "one of 0, 1 and 2")
    people = _rows(*_lines(root, "identity_CelebA.txt", "Anno"), "[0-9]+", "the number of a person")
    for name, listed in (("list_eval_partition.txt", parts), ("identity_CelebA.txt", people)):
        absent = [picture for picture in labels if picture not in listed]
        if absent:
            raise ConfigError(
                f"{root}: {name}: expected all pictures of list_attr_celeba.txt, {len(absent)} are missing, such as "
                f"{absent[0]}"
            )
    folder = _folder(root, "Img/img_align_celeba", "img_align_celeba", "Img/img_celeba", "img_celeba")
    chosen = [picture for picture in labels if parts[picture] == [number]]
    found = np.array([[value == "1" for value in labels[picture]] for picture in chosen], np.int8)
    return _some(root, [folder / picture for picture in chosen], found, [people[one][0] for one in chosen], part)


def open_lfwa(root: Path, part: str = "test") -> LabelledPictures:
    """The pictures of one part of LFWA, `train` or `test`. ConfigError names what is missing or wrong; MissingComponent
    where h5py is needed and absent."""
    if part not in ("train", "test"):
        raise ConfigError(f"LFWA: expected the part train or test, got {part!r}")
    path, indices = root / "lfw_att_40.mat", root / "indices_train_test.mat"
    about = _matlab(path, "AttrName", "label", "name")
    names, files = _texts(about["AttrName"]), _texts(about["name"])
    order = [_alike(name) for name in names]
    absent = [name for name in CELEBA if _alike(name) not in order]
    if absent:
        raise ConfigError(f"{path}: AttrName: expected CelebA's forty attributes, without: {', '.join(absent)}")
    labels = _numbers(path, "label", about["label"])
    if labels.shape != (len(files), len(names)) or not np.isin(labels, (0, 1)).all():
        raise ConfigError(
            f"{path}: label: expected 0 and 1 for {len(files)} names and {len(names)} attributes, got "
            f"{' x '.join(map(str, labels.shape))} numbers, of them {np.isin(labels, (0, 1)).sum()} that are 0 or 1"
        )
    key = f"indices_img_{part}"
    chosen = _numbers(indices, key, _matlab(indices, key)[key]).ravel()
    if not np.isin(chosen, np.arange(1, len(files) + 1)).all():
        raise ConfigError(f"{indices}: {key}: expected whole numbers from 1 to {len(files)}, got others")
    numbers = chosen.astype(np.int64) - 1
    paths = [files[number].replace("\\", "/") for number in numbers]
    return _some(
        root,
        [root / "lfw" / path for path in paths],
        labels[numbers][:, [order.index(_alike(name)) for name in CELEBA]].astype(np.int8),
        [p.rpartition("/")[0] for p in paths],
        part,
    )


def _alike(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "").replace("'", "")


def _part(part: str) -> int:
    if part not in PARTS:
        raise ConfigError(f"CelebA: expected one of the parts {', '.join(PARTS)}, got {part!r}")
    return PARTS.index(part)


def _lines(root: Path, name: str, below: str) -> tuple[Path, dict[int, list[str]]]:
    """Where a list is, and the words of each of its lines, by its number; without empty lines."""
    for path in (root / below / name, root / name):
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path}: expected a list as text in UTF-8: {error}") from error
            return path, {number: words for number, line in enumerate(lines, 1) if (words := line.split())}
    raise ConfigError(f"{root}: expected {below}/{name} or {name} in it, found neither; see train/attribute_folders.py")


def _attributes(path: Path, lines: Mapping[int, list[str]]) -> dict[str, list[str]]:
    """The forty words of each picture, `1` or `-1`, of a list that begins with their count and the forty names."""
    numbers = list(lines)
    count, names = ([lines[number] for number in numbers[:2]] + [[], []])[:2]
    if len(count) != 1 or not re.fullmatch("[0-9]{1,9}", count[0]):
        raise ConfigError(f"{path}: expected the number of pictures alone in its first line, got {_shown(count)}")
    if tuple(names) != CELEBA:
        raise ConfigError(
            f"{path}: expected the forty names in CelebA's order in its second line, got {len(names)} names that differ"
        )
    rows = _rows(path, {number: lines[number] for number in numbers[2:]}, "-?1", "forty of 1 and -1", len(CELEBA))
    if len(rows) != int(count[0]):
        raise ConfigError(f"{path}: expected {_shown(count)} pictures, as its first line says, got {len(rows)}")
    return rows


def _rows(
    path: Path, lines: Mapping[int, list[str]], pattern: str, words: str, columns: int = 1
) -> dict[str, list[str]]:
    """Name of each picture -> what its line says: `columns` words that fit `pattern`, which `words` describes."""
    rows: dict[str, list[str]] = {}
    for number, (name, *given) in lines.items():
        fits = len(given) == columns and all(re.fullmatch(pattern, value) for value in given)
        if not fits or os.path.basename(name) != name:
            raise ConfigError(
                f"{path}, line {number}: expected the name of a picture and {words}, got {_shown([name, *given])}"
            )
        if name in rows:
            raise ConfigError(f"{path}, line {number}: expected each picture once, got {_shown([name])} again")
        rows[name] = given
    return rows


def _shown(words: list[str]) -> str:
    text = " ".join(words)
    return repr(text if len(text) <= 40 else f"{text[:40]} ...") + (f", {len(words)} words" if len(words) > 1 else "")


def _folder(root: Path, *names: str) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise ConfigError(f"{root}: expected the folder {' or '.join(names)} in it, found none")


def _some(
    root: Path, files: list[Path], labels: npt.NDArray[np.int8], people: list[str], part: str
) -> LabelledPictures:
    if not files:
        raise ConfigError(f"{root}: expected pictures of the part {part!r}, found none")
    lost = [file for file in files if not os.path.isfile(file)]  # which takes any text for a name
    if lost:
        raise ConfigError(
            f"{root}: {len(lost)} of {len(files)} pictures are missing, such as {lost[0]}; unpack them there"
        )
    return LabelledPictures(tuple(files), labels, tuple(people))


def _matlab(path: Path, *names: str) -> dict[str, Any]:
    """Variables of a MATLAB file, with rows first and text as text.

    It is read in a process of its own, because damaged bytes can make the readers, which are C, end theirs.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "scipy.io"])
    try:
        with Pool(1, context) as pool:
            return pool.submit(_variables, str(path), names).result()
    except MissingComponent:
        raise
    except Exception as error:  # the readers let through whatever a damaged file makes them trip over
        wanted = ", ".join(names)
        raise ConfigError(f"{path}: expected a MATLAB file with {wanted}: {type(error).__name__}: {error}") from error


def _variables(path: str, names: tuple[str, ...]) -> dict[str, Any]:
    import scipy.io

    try:
        raw = scipy.io.loadmat(path, squeeze_me=True)
    except NotImplementedError:  # how scipy says that it is of version 7.3
        return _of_version_73(path, names)
    return {name: raw[name] for name in names}


def _of_version_73(path: str, names: tuple[str, ...]) -> dict[str, Any]:
    if importlib.util.find_spec("h5py") is None:
        raise MissingComponent(
            f"{path} is a MATLAB file of version 7.3, which h5py reads: pip install h5py, or save it again in MATLAB or "
            "Octave with the option -v7"
        )
    import h5py  # type: ignore[import-not-found]

    with h5py.File(path) as file:
        return {name: _hdf5(file, file[name]) for name in names}


def _hdf5(file: Any, held: Any) -> Any:
    """MATLAB stores columns first, and cells of text as references to arrays of character codes."""
    values = held[()]
    if values.dtype.kind == "O":
        return ["".join(chr(code) for code in np.ravel(file[one][()])) for one in np.ravel(values)]
    return np.squeeze(values.T)


def _texts(values: Any) -> list[str]:
    return [str(value).strip() for value in np.ravel(np.asarray(values, object))]


def _numbers(path: Path, name: str, values: Any) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(values, np.float64)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {name}: expected numbers: {error}") from error
