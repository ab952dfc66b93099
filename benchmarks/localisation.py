#!/usr/bin/env python3
"""Where the LNets and CenterFace see the face in drawn pictures, side by side.

    python benchmarks/localisation.py --set out/synth/people-held-out --empty out/synth/nobody --json

For each detector, over pictures with one labelled face: the share in which a found box overlaps the true one by more
than half (intersection over union), by kind of clip too, and the share in which its middle lies in the true box. Over
pictures that show nobody: found faces a picture. The LNets learned from attribute tags alone; their box is a square, and
nothing told them how large a box is.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from streamfx_operators.lnet_detector import shared_lnet_detector

from streamfx.detection.centerface import GRAIN, Detection, Detector, shared_detector
from streamfx.errors import StreamfxError
from streamfx.models.attributes import METHODS
from streamfx.train.attribute_pictures import Pictures, open_pictures

THRESHOLD = 0.5


def found_by(detector: Detector, picture: np.ndarray[Any, Any], grain: bool) -> list[Detection]:
    """Detections in pixels of the picture; CenterFace wants sides that are multiples of GRAIN."""
    side = picture.shape[0]
    if not grain:
        return detector.detect(picture, THRESHOLD)
    size = max(GRAIN, round(side / GRAIN) * GRAIN)
    shown = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))
    factor = side / size
    return [
        Detection(d.x0 * factor, d.y0 * factor, d.x1 * factor, d.y1 * factor, d.score, d.landmarks)
        for d in detector.detect(shown, THRESHOLD)
    ]


def overlap(box: Detection, truth: np.ndarray[Any, Any]) -> float:
    """Intersection over union."""
    width = min(box.x1, truth[2]) - max(box.x0, truth[0])
    height = min(box.y1, truth[3]) - max(box.y0, truth[1])
    both = max(0.0, width) * max(0.0, height)
    areas = (box.x1 - box.x0) * (box.y1 - box.y0) + (truth[2] - truth[0]) * (truth[3] - truth[1])
    return float(both / (areas - both))


def measure(detector: Detector, pictures: Pictures, empty: Pictures, grain: bool) -> dict[str, Any]:
    hits: dict[str, list[tuple[float, bool]]] = {}
    begun = time.process_time()
    for number in range(len(pictures)):
        truth = pictures.boxes[number]
        found = found_by(detector, pictures.pixels([number])[0].numpy(), grain)
        best = max((overlap(box, truth) for box in found), default=0.0)
        inside = any(
            truth[0] <= (d.x0 + d.x1) / 2 <= truth[2] and truth[1] <= (d.y0 + d.y1) / 2 <= truth[3] for d in found
        )
        hits.setdefault(str(pictures.groups["kind"][number]), []).append((best, inside))
    seconds = time.process_time() - begun
    every = [one for some in hits.values() for one in some]
    false = [len(found_by(detector, empty.pixels([number])[0].numpy(), grain)) for number in range(len(empty))]
    return {
        "pictures": len(every),
        "recall_iou_half": round(float(np.mean([best > 0.5 for best, _ in every])), 4),
        "middle_in_face": round(float(np.mean([inside for _, inside in every])), 4),
        "mean_iou": round(float(np.mean([best for best, _ in every])), 4),
        "recall_by_kind": {
            kind: round(float(np.mean([best > 0.5 for best, _ in some])), 4) for kind, some in sorted(hits.items())
        },
        "empty_pictures": len(false),
        "false_faces_a_picture": round(float(np.mean(false)), 4) if false else None,
        "pictures_per_s": round(len(every) / max(seconds, 1e-9), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, required=True, help="synthetic set of people that the model does not know")
    parser.add_argument("--empty", type=Path, help="synthetic set of clips that show nobody")
    parser.add_argument("--model", default=METHODS["lnet_anet"], help="model with the LNets")
    parser.add_argument("--cache", type=Path, default=Path("out/attribute-pictures"), help="cache for the frames")
    parser.add_argument("--most", type=int, default=1000, help="pictures of each sort at most, spread over the set")
    parser.add_argument("--json", action="store_true", help="print one line of JSON in place of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = open_pictures([options.set, *([options.empty] if options.empty else [])], options.cache)
    one = np.isin(every.groups["kind"], ["frontal", "turned", "occluded"])
    shown, empty = (_spread(every, which, options.most) for which in (one, every.empty))
    result = {
        "lnet": measure(shared_lnet_detector(options.model), shown, empty, grain=False),
        "centerface": measure(shared_detector(1), shown, empty, grain=True),
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, values in result.items():
        print(name)
        for key, value in values.items():
            print(f"  {key:24}{value}")


def _spread(pictures: Pictures, which: np.ndarray[Any, Any], most: int) -> Pictures:
    numbers = np.flatnonzero(which)
    kept = np.zeros(len(pictures), bool)
    kept[
        numbers[np.unique(np.linspace(0, len(numbers) - 1, min(most, len(numbers))).astype(int))]
        if len(numbers)
        else []
    ] = 1
    return pictures.some(kept)


if __name__ == "__main__":
    try:
        main()
    except StreamfxError as error:
        sys.exit(f"Error: {error}")
