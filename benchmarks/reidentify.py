"""Who somebody is, told from what a fill leaves of a face, by a published face recogniser, beside guessing.

    python benchmarks/reidentify.py --set DIR [--people 100] [--json]

`DIR` is a set of `streamfx synth` with several clips of each identity. For each person one clip is the gallery and the
others are asked about. The recogniser (dlib's ResNet) sees the square around the face, where the face was found exactly: the
attacker knows where a mosaic is. It names the person of the nearest vector in the gallery, of faces that are shown, or,
the stronger attack, of faces that were filled in the same way. Needs `pip install dlib-bin`, and the file
dlib_face_recognition_resnet_model_v1.dat out of the package face_recognition_models (CC0).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from streamfx.privacy.fills import FILLS
from streamfx.synth.output import read_set

Pixels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]
HEIGHTS_PX = (100, 250)
"""Heights of the faces, to which the pictures are enlarged."""
GROWN, AROUND, CHIP_PX = 0.15, 0.25, 150
"""By which part of its size a face's box is filled larger, and looked at larger, on each side; the recogniser's side."""
MODEL = "models/dlib_face_recognition_resnet_model_v1.dat"
DRAWS = 2_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, required=True, help="a finished set of `streamfx synth`")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    people = faces(args.set, args.people)
    embed = recogniser()
    asked = sum(len(pictures) - 1 for pictures in people)
    result: dict[str, Any] = {"people": len(people), "asked": asked, "chance": 1 / len(people), "heights": {}}
    for height in HEIGHTS_PX:
        result["heights"][str(height)] = measure(people, height, embed)
    print(json.dumps(result, indent=1) if args.json else table(result))


def faces(directory: Path, most: int) -> list[list[tuple[Pixels, tuple[float, ...]]]]:
    """For each person the first frame of each clip that shows one uncovered face from the front, with its box."""
    _, clips, frames = read_set(directory)
    first = frames[(frames["frame"] == 0) & ~frames["occluded"] & (frames["yaw_deg"].abs() < 30)].set_index("clip")
    alone = clips[clips["kind"].isin(["frontal", "turned"]) & clips["clip"].isin(first.index)]
    people = []
    for _, own in alone.groupby("identity", sort=True):
        if len(own) >= 2 and len(people) < most:
            boxes = [
                tuple(first.loc[clip, [f"box_{name}" for name in ("x0", "y0", "x1", "y1")]]) for clip in own["clip"]
            ]
            people.append([(first_picture(directory, clip), box) for clip, box in zip(own["clip"], boxes, strict=True)])
    if len(people) < 2:
        sys.exit(f"{directory}: expected at least two people with two clips each that show one face; draw a larger set")
    return people


def first_picture(directory: Path, clip: str) -> Pixels:
    """A clip's first frame, RGB."""
    with av.open(str(directory / "clips" / f"{clip}.mp4")) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def recogniser() -> Callable[[Pixels], Vector]:
    """The function from a square picture of a face to its vector of 128 numbers."""
    try:
        import dlib
    except ImportError:
        sys.exit("expected dlib: pip install dlib-bin")
    spec = importlib.util.find_spec(
        "face_recognition_models"
    )  # importing it needs a module that setuptools has dropped
    found = [Path(place) / MODEL for place in (spec.submodule_search_locations or [])] if spec else []
    if not found or not found[0].exists():
        sys.exit("expected the weights of dlib's recogniser: pip install face_recognition_models")
    net = dlib.face_recognition_model_v1(str(found[0]))
    return lambda chip: np.array(net.compute_face_descriptor(np.ascontiguousarray(chip)))


def measure(people: Sequence[Any], height: int, embed: Callable[[Pixels], Vector]) -> dict[str, Any]:
    """By fill: the share of right names against both galleries, with a bootstrap interval over people."""
    vectors: dict[str, list[list[Vector]]] = {}
    for name in ("nothing", *FILLS):
        vectors[name] = [[embed(chip(*shown, height, name)) for shown in person] for person in people]
        print(f"{height} px, {name}", file=sys.stderr)
    return {
        name: {
            "shown_gallery": named(vectors["nothing"], vectors[name]),
            "same_gallery": named(vectors[name], vectors[name]),
        }
        for name in vectors
    }


def chip(picture: Pixels, box: tuple[float, ...], height: int, fill: str) -> Pixels:
    """What the recogniser sees of the face: enlarged, filled, and cut out."""
    scale = height / (box[3] - box[1])
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    large = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    x0, y0, x1, y1 = (value * scale for value in box)
    if fill != "nothing":
        wide, high = (x1 - x0) * GROWN, (y1 - y0) * GROWN
        left, top = max(0, round(x0 - wide)), max(0, round(y0 - high))
        FILLS[fill].apply(large, [(left, top, min(size[0], round(x1 + wide)), min(size[1], round(y1 + high)))])
    half, x, y = (y1 - y0) * (0.5 + AROUND), (x0 + x1) / 2, (y0 + y1) / 2
    around = Image.fromarray(large).crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return np.array(around.resize((CHIP_PX, CHIP_PX), Image.Resampling.BILINEAR))


def named(gallery: Sequence[Sequence[Vector]], asked: Sequence[Sequence[Vector]]) -> dict[str, Any]:
    """Rank 1: the share of clips whose nearest vector among the first clips of all people is of the same person."""
    known = np.array([person[0] for person in gallery])
    right = [list(_right(known, number, person[1:])) for number, person in enumerate(asked)]
    share = float(np.mean([one for person in right for one in person]))
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(DRAWS):
        some = random.integers(0, len(right), len(right))
        drawn.append(np.mean([one for index in some for one in right[index]]))
    return {"share": share, "interval": [float(end) for end in np.quantile(drawn, (0.025, 0.975))]}


def _right(known: npt.NDArray[np.float64], number: int, asked: Sequence[Vector]) -> Iterator[bool]:
    for vector in asked:
        yield int(np.argmin(np.linalg.norm(known - vector, axis=1))) == number


def table(result: dict[str, Any]) -> str:
    """The shares as a Markdown table."""
    lines = [f"{result['people']} people, {result['asked']} clips; guessing names {result['chance']:.1%}", ""]
    lines += ["| face | filled by | gallery of faces shown | gallery filled alike |", "|---|---|---|---|"]
    for height, fills in result["heights"].items():
        for name, found in fills.items():
            cells = [
                f"{100 * one['share']:.1f} % [{100 * one['interval'][0]:.1f}, {100 * one['interval'][1]:.1f}]"
                for one in (found["shown_gallery"], found["same_gallery"])
            ]
            lines.append(f"| {height} px | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
