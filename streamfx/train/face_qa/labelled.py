"""Labelled sets of others as pictures with facts: CelebA, RAF-DB, AffectNet, UTKFace and DISFA in their layouts.

All show real people, and their authors allow research only. Of their labels those are kept that are facts of `facts.py`;
UTKFace's race is neither kept nor asked for, nor is it in the names by which its pictures are listed.

- CelebA: as `train/attribute_folders.py` says; its own splits.
- RAF-DB, AffectNet: as `train/expression_stills.py` says; their own tests, and a tenth of the rest for validation.
- UTKFace: pictures `<age>_<sex>_<race>_<date>.jpg` or `.jpg.chip.jpg` in any folders; sex 0 is male, 1 female.
- DISFA: a list of frames as `train/au_sets.py` says, beside the folders of the pictures; half a second apart.

Where nobody says who is shown, each picture counts as a person of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamfx.errors import ConfigError
from streamfx.models.celeba import CELEBA
from streamfx.train.attribute_folders import PARTS, open_celeba
from streamfx.train.au_sets import coded_frames
from streamfx.train.expression_stills import AFFECTNET, RAF_DB, Listed, StillsData, read_stills
from streamfx.train.expression_stills import Pictures as Root
from streamfx.train.face_qa.balance import SHARES, chance, deal
from streamfx.train.face_qa.facts import ATTRIBUTES, FACTS, PRESENT, UNKNOWN, Texts, age_bands
from streamfx.train.face_qa.pictures import Pictures
from streamfx.train.face_qa.table import IMAGE_COLUMNS, TYPES

_UTKFACE = re.compile(r"(\d{1,3})_([01])_(?:\d_)?(\d{8,}\.jpe?g(?:\.chip\.jpe?g)?)", re.IGNORECASE)
_DISFA_APART = 10
"""Frames between pictures of DISFA, which has 20 a second."""


def celeba(root: Path, seed: int) -> Pictures:
    """CelebA's pictures, in its own splits. ConfigError for what is missing or wrong, here and below."""
    read = {part: open_celeba(root, part) for part in PARTS}
    labels = np.concatenate([one.labels for one in read.values()])
    facts = {"sex": np.where(labels[:, CELEBA.index("Male")] == 1, "male", "female")}
    for name, about in ATTRIBUTES.items():
        if about.celeba:
            there = labels[:, CELEBA.index(about.celeba.lstrip("-"))] == (0 if about.celeba.startswith("-") else 1)
            facts[name] = np.where(there, "yes", "no")
    files = [file for one in read.values() for file in one.files]
    splits = np.repeat(np.array([*read], object), [len(one.files) for one in read.values()])
    people = [f"celeba:{who}" for one in read.values() for who in one.people]
    return _pictures("celeba", root, files, splits, people, facts)


def raf_db(root: Path, seed: int) -> Pictures:
    """RAF-DB's aligned pictures with its seven expressions."""
    _, learned, tested = read_stills(StillsData(raf_db=Root(root=root)))
    return _stills("raf-db", root, RAF_DB, learned, tested, seed)


def affectnet(root: Path, seed: int) -> Pictures:
    """AffectNet's pictures in folders by label, without those of contempt, which is not asked for."""
    _, learned, tested = read_stills(StillsData(affectnet=Root(root=root)))
    return _stills("affectnet", root, AFFECTNET, learned, tested, seed)


def utkface(root: Path, seed: int) -> Pictures:
    """UTKFace's pictures with age and sex."""
    found = {}
    for file in sorted(root.rglob("*")):
        match = _UTKFACE.fullmatch(file.name)
        if match and file.is_file():
            found[file] = match.groups()
    if not found:
        raise ConfigError(f"{root}: expected UTKFace's pictures, such as 25_0_2_20170116174525125.jpg, found none")
    years = np.array([int(age) for age, _, _ in found.values()], np.int32)
    sexes = np.array(["male" if sex == "0" else "female" for _, sex, _ in found.values()], object)
    # The third part of a name is the race. The rest names a picture as well, but for a few, which are left out.
    names = [
        f"{file.parent.relative_to(root).as_posix()}/{age}_{sex}_*{rest}" for file, (age, sex, rest) in found.items()
    ]
    times = Counter(names)
    people = np.array([f"utkface:{_short(name)}" for name in names], object)
    facts = {"age": age_bands(years), "sex": sexes}
    every = _pictures("utkface", root, [*found], deal(people, seed), people, facts, years, names)
    return every.only(np.flatnonzero([times[name] == 1 for name in names]))


def disfa(labels: Path, seed: int) -> Pictures:
    """DISFA's frames with the presence of eight action units; `labels` is the list of frames."""
    halves = [coded_frames("disfa", labels.parent, Path(labels.name), 1, held_out, 16) for held_out in (False, True)]
    units = halves[0].units
    files = [file for half in halves for file in half.source.files]
    present = np.concatenate([half.present for half in halves])
    people = np.concatenate([half.people for half in halves]).astype(object)
    places = np.array([int(digits[-1]) if (digits := re.findall(r"\d+", file.stem)) else 0 for file in files])
    facts = {unit: np.where(present[:, column], PRESENT, "none") for column, unit in enumerate(units) if unit in FACTS}
    named = np.array([f"disfa:{who}" for who in people], object)
    return _pictures("disfa", labels.parent, files, deal(named, seed), named, facts).only(
        np.flatnonzero(places % _DISFA_APART == 0)
    )


def _stills(name: str, root: Path, labels: Sequence[str], learned: Listed, tested: Listed, seed: int) -> Pictures:
    kept = [(file, labels[label], "train") for file, label in learned if labels[label] in FACTS["expression"]]
    kept += [(file, labels[label], "test") for file, label in tested if labels[label] in FACTS["expression"]]
    splits = np.array([split for _, _, split in kept], object)
    share = SHARES["validation"] / (1 - SHARES["test"])
    splits[(chance(seed, name).random(len(kept)) < share) & (splits == "train")] = "validation"
    files = [file for file, _, _ in kept]
    people = [f"{name}:{_short(file.relative_to(root).as_posix())}" for file in files]
    return _pictures(
        name, root, files, splits, people, {"expression": np.array([label for _, label, _ in kept], object)}
    )


def _pictures(
    name: str,
    root: Path,
    files: Sequence[Path],
    splits: Texts,
    people: Sequence[str] | Texts,
    facts: Mapping[str, Texts],
    years: npt.NDArray[np.int32] | None = None,
    names: Sequence[str] | None = None,
) -> Pictures:
    """Pictures of a set of the name; `names` are those by which files are listed, if not by their own."""
    count = len(files)
    listed = names or [file.relative_to(root).as_posix() for file in files]
    columns: dict[str, npt.NDArray[np.generic]] = {
        column: np.full(count, "" if kind == "string" else 0, TYPES[kind]) for column, kind in IMAGE_COLUMNS.items()
    }
    columns |= {
        "image_id": np.array([f"{name}/{one}" for one in listed], object),
        "split": splits,
        "person": np.asarray(people, object),
        "source": np.full(count, name, object),
        "file": np.array(listed, object),
        "frame_index": np.full(count, -1, np.int32),
        "time_s": np.full(count, -1, np.float32),
        "age_years": np.full(count, -1, np.int32) if years is None else years,
        "digest": np.array([_digest(file) for file in files], object),
    }
    nothing = np.full(count, UNKNOWN, object)
    return Pictures(columns, {fact: np.asarray(facts.get(fact, nothing), object) for fact in FACTS})


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{file}: expected a picture, cannot read it: {error.strerror or error}") from error


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


LABELLED: Mapping[str, Callable[[Path, int], Pictures]] = {
    "celeba": celeba, "raf-db": raf_db, "affectnet": affectnet, "utkface": utkface, "disfa": disfa
}  # fmt: skip
"""Name of a set -> what reads it, given its place and a seed for what it does not split itself."""
LICENCES: Mapping[str, str] = {
    "celeba": "research only, not commercial, by its authors' agreement",
    "raf-db": "research only, not commercial, on request of its authors",
    "affectnet": "research only, by a signed agreement with its authors",
    "utkface": "research only, not commercial; the copyright is that of the pictures' owners",
    "disfa": "research only, by a signed agreement with its authors",
}
"""What their authors allow; read their own terms before any use."""
