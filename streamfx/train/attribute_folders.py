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
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfx.errors import ConfigError, MissingComponent
from streamfx.models.celeba import CELEBA

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class LabelledPictures:
    """Files with `labels` int8 [files, 40] in CelebA's order (1 or 0) and `people`, a name each."""

    files: tuple[Path, ...]
    labels: npt.NDArray[np.int8]
    people: tuple[str, ...]


def open_celeba(root: Path, part: str = "test") -> LabelledPictures:
    """The pictures of one of CelebA's PARTS. ConfigError names what is missing or wrong."""
    lines = _lines(root, "list_attr_celeba.txt", "Anno")
    names = tuple(lines[1].split()) if len(lines) > 1 else ()
    if names != CELEBA:
        raise ConfigError(
            f"{root}: list_attr_celeba.txt: expected the forty names in CelebA's order in its second line, got "
            f"{len(names)} names that differ"
        )
    wanted = _part(part)
    parts = dict(line.split()[:2] for line in _lines(root, "list_eval_partition.txt", "Eval"))
    people = dict(line.split()[:2] for line in _lines(root, "identity_CelebA.txt", "Anno"))
    folder = _folder(root, "Img/img_align_celeba", "img_align_celeba", "Img/img_celeba", "img_celeba")
    files, labels, who = [], [], []
    for number, line in enumerate(lines[2:], 3):
        name, *given = line.split()
        if len(given) != len(CELEBA) or set(given) - {"1", "-1"}:
            raise ConfigError(f"{root}: list_attr_celeba.txt, line {number}: expected a name and forty of 1 and -1")
        if parts.get(name) == str(wanted):
            files.append(folder / name)
            labels.append([value == "1" for value in given])
            who.append(people.get(name, name))
    return _some(root, files, np.array(labels, np.int8), who, part)


def open_lfwa(root: Path, part: str = "test") -> LabelledPictures:
    """The pictures of one part of LFWA, `train` or `test`. ConfigError names what is missing or wrong; MissingComponent
    where h5py is needed and absent."""
    if part not in ("train", "test"):
        raise ConfigError(f"LFWA: expected the part train or test, got {part!r}")
    about = _matlab(root / "lfw_att_40.mat", "AttrName", "label", "name")
    chosen = _matlab(root / "indices_train_test.mat", f"indices_img_{part}")[f"indices_img_{part}"]
    names, labels = [str(name).strip() for name in about["AttrName"]], np.asarray(about["label"])
    order = [_alike(name) for name in names]
    absent = [name for name in CELEBA if _alike(name) not in order]
    if absent or labels.shape != (len(about["name"]), len(names)):
        raise ConfigError(
            f"{root / 'lfw_att_40.mat'}: expected CelebA's forty attributes, without: {', '.join(absent)}"
        )
    labels = labels[:, [order.index(_alike(name)) for name in CELEBA]]
    numbers = np.asarray(chosen).astype(int).ravel() - 1
    paths = [str(about["name"][number]).replace("\\", "/") for number in numbers]
    return _some(
        root,
        [root / "lfw" / path for path in paths],
        labels[numbers].astype(np.int8),
        [p.rpartition("/")[0] for p in paths],
        part,
    )


def _alike(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "").replace("'", "")


def _part(part: str) -> int:
    if part not in PARTS:
        raise ConfigError(f"CelebA: expected one of the parts {', '.join(PARTS)}, got {part!r}")
    return PARTS.index(part)


def _lines(root: Path, name: str, below: str) -> list[str]:
    for path in (root / below / name, root / name):
        if path.is_file():
            return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    raise ConfigError(f"{root}: expected {below}/{name} or {name} in it, found neither; see train/attribute_folders.py")


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
    lost = [file for file in files if not file.is_file()]
    if lost:
        raise ConfigError(
            f"{root}: {len(lost)} of {len(files)} pictures are missing, such as {lost[0]}; unpack them there"
        )
    return LabelledPictures(tuple(files), labels, tuple(people))


def _matlab(path: Path, *names: str) -> dict[str, Any]:
    """Variables of a MATLAB file, with rows first and text as text."""
    import scipy.io

    try:
        raw = scipy.io.loadmat(str(path), squeeze_me=True)
        return {name: raw[name] for name in names}
    except NotImplementedError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: expected a MATLAB file with {', '.join(names)}: {error}") from error
    if importlib.util.find_spec("h5py") is None:
        raise MissingComponent(f"{path} is a MATLAB file of version 7.3, which h5py reads: pip install h5py")
    import h5py  # type: ignore[import-not-found]

    try:
        with h5py.File(path) as file:
            return {name: _hdf5(file, file[name]) for name in names}
    except (OSError, KeyError) as error:
        raise ConfigError(f"{path}: expected a MATLAB file with {', '.join(names)}: {error}") from error


def _hdf5(file: Any, held: Any) -> Any:
    """MATLAB stores columns first, and cells of text as references to arrays of character codes."""
    values = held[()]
    if values.dtype.kind == "O":
        return ["".join(chr(code) for code in np.ravel(file[one][()])) for one in np.ravel(values)]
    return np.squeeze(values.T)
