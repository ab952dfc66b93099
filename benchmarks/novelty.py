"""What `expression_novelty` says of faces that a model should and should not know, and whether covers change the name.

The faces are those of real_faces.py, cut as the line cuts them and then damaged in their windows; the pictures without
a face are scikit-image's. `--set` adds the windows of a drawn set. Not a timing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from real_faces import collect, flat, of_skimage, pictures

from streamfx.train.evaluate import with_frames
from streamfx.train.labelled import synthetic_samples
from streamfx.train.scorer import Scorer
from streamfx.train.stills import StillCutter

Pixels = npt.NDArray[np.uint8]
FACES = 60
"""So many of the real faces are drawn, by SEED."""
SEED = 0
SMALL_PX = 14
FILL = 128
FACELESS = (
    "brick.png", "cell.png", "chessboard_RGB.png", "clock_motion.png", "coffee.png", "coins.png", "color.png",
    "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png",
    "page.png", "phantom.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip


def _covered(top: float, bottom: float, left: float, right: float) -> Callable[[Pixels], Pixels]:
    """Fills a rectangle of the crop, given in shares of its side, with grey."""

    def change(frame: Pixels) -> Pixels:
        side = len(frame)
        changed = frame.copy()
        changed[round(top * side) : round(bottom * side), round(left * side) : round(right * side)] = FILL
        return changed

    return change


def _small(frame: Pixels) -> Pixels:
    picture = Image.fromarray(frame)
    small = picture.resize((SMALL_PX, SMALL_PX), Image.Resampling.BOX)
    return np.asarray(small.resize(picture.size, Image.Resampling.BILINEAR))


DAMAGES: Mapping[str, Callable[[Pixels], Pixels]] = {
    "as the line crops them": lambda frame: frame,
    "mouth covered": _covered(0.6, 0.9, 0.2, 0.8),
    "eyes covered": _covered(0.28, 0.48, 0.1, 0.9),
    "half of the face covered": _covered(0.0, 1.0, 0.5, 1.0),
    f"shrunk to {SMALL_PX} px": _small,
    "turned by 90 degrees": lambda frame: np.rot90(frame).copy(),
    "upside down": lambda frame: frame[::-1, ::-1].copy(),
}
"""Maps what is done to the faces to a function on one frame, uint8 RGB [S, S, 3]."""


def spread(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Median and quartiles of the novelty."""
    values = [float(answer["expression_novelty"]) for answer in answers]
    low, middle, high = (round(float(value), 3) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return {"n": len(values), "median": middle, "quartiles": [low, high]}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, and return the raw numbers."""
    faces = collect(pictures(args.cache))
    drawn = np.random.default_rng(SEED).permutation(len(faces))[:FACES]
    with StillCutter() as cutter:
        windows = [cutter.cut(faces[i].wide).window for i in sorted(drawn.tolist())]
        faceless = [cutter.cut(flat(Image.open(of_skimage(name)))).window for name in FACELESS]
    with Scorer(args.model) as scorer:
        answers = {name: scorer.answers(with_frames(w, change) for w in windows) for name, change in DAMAGES.items()}
        whole = [answer["expression"] for answer in next(iter(answers.values()))]
        result: dict[str, Any] = {"model": scorer.info.name, "model_version": scorer.info.version, "faces": {}}
        for name, ones in answers.items():
            same = np.mean([answer["expression"] == was for answer, was in zip(ones, whole, strict=True)])
            result["faces"][name] = spread(ones) | {"same_expression": round(float(same), 3)}
        result["without a face"] = spread(scorer.answers(faceless))
        assert scorer.info.image_size is not None
        for folder in args.set:
            samples = synthetic_samples(folder, args.examples, scorer.info.image_size)
            result[f"drawings, {folder.name}"] = spread(scorer.answers(sample.window for sample in samples))
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model that tells its novelty: a directory, or the name of a shipped one")
    parser.add_argument("--set", type=Path, action="append", default=[], help="a drawn set; may be given again")
    parser.add_argument("--cache", type=Path, default=Path("out/real-faces"), help="folder of the fetched packages")
    parser.add_argument("--examples", type=Path, default=Path("out/examples"), help="what was cut from the drawn sets")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as one line of JSON")
    args = parser.parse_args()
    print(json.dumps(measure(args), indent=None if args.json else 1))


if __name__ == "__main__":
    main()
