"""What it costs in area to let fewer faces leak: both tools of redaction.py at many confidences, as points of a curve.

    python benchmarks/redaction_curve.py --set DIR --picture docs/redaction-curve.png [--json]

Scenes and truth are those of redaction_scenes.py. Each scene is looked at once by each tool; then it is asked for a row of
confidences what would have been filled, without writing a film. For `streamfx redact` that is the confidence that a track
must have reached once, for deface that of a detection.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from redaction_scenes import HEIGHT, WIDTH, Scene, add_scene_options, judge, make_scenes
from redaction_tools import Deface, Mask, decoded

from streamfx.detection.also import film_detector
from streamfx.redaction import tracks
from streamfx.redaction.film import Film
from streamfx.redaction.masks import Masks
from streamfx.redaction.sightings import find_faces

CONFIDENCES = {
    "streamfx": (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    "deface": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6),
}
COLOURS = {"streamfx": (20, 90, 160), "deface": (190, 90, 20)}
Filled = Callable[[float], Iterator[Mask]]
"""Confidence -> what is filled in each frame of a scene."""


def by_streamfx(scene: Scene) -> Filled:
    """The masks of `streamfx redact`."""
    film = Film(scene.path)
    seen = find_faces(film.frames(), film.time_base, film_detector(()), 1)

    def filled(confidence: float) -> Iterator[Mask]:
        with patch.object(tracks, "SURE", confidence):
            found = tracks.link(seen, film.time_base)
        regions = Masks(found, WIDTH, HEIGHT).at(float(ticks * film.time_base) for ticks in seen.ticks)
        for number, places in enumerate(regions):
            mask = np.full((HEIGHT, WIDTH), number in seen.unsure)
            for x0, y0, x1, y1 in places:
                mask[max(0, int(y0)) : max(0, int(np.ceil(y1))), max(0, int(x0)) : max(0, int(np.ceil(x1)))] = True
            yield mask

    return filled


def by_deface(scene: Scene, tool: Deface) -> Filled:
    """The masks of deface."""
    from redaction_deface import DefaceNet

    net = DefaceNet()
    found = [net.detect(picture, min(CONFIDENCES["deface"])) for picture in decoded(scene.path)]

    def filled(confidence: float) -> Iterator[Mask]:
        for detections in found:
            yield tool.changed(detections[detections[:, 4] >= confidence], (HEIGHT, WIDTH, 3))

    return filled


def point(name: str, confidence: float, scenes: Sequence[Scene], fills: Sequence[Filled]) -> dict[str, Any]:
    """The leaks and the area of one tool at one confidence."""
    judged = [
        judge(number, scene, fill(confidence)) for number, (scene, fill) in enumerate(zip(scenes, fills, strict=True))
    ]
    rows = pd.concat([rows for rows, _ in judged])
    leaks = rows.groupby("track")["leak"].any()
    print(f"{name} at {confidence}: {leaks.sum()} of {len(leaks)} tracks leak", file=sys.stderr)
    return {
        "confidence": confidence,
        "tracks": {"leaks": int(leaks.sum()), "of": len(leaks)},
        "frames": {"leaks": int(rows["leak"].sum()), "of": len(rows)},
        "filled_outside_faces": float(np.mean([share for _, outside in judged for share in outside])),
    }


def draw(points: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """Area against the share of tracks that leak."""
    width, height, left, low = 720, 460, 80, 60
    picture = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    most = max(one["filled_outside_faces"] for line in points.values() for one in line) * 1.1

    def place(one: dict[str, Any]) -> tuple[float, float]:
        leaks = one["tracks"]["leaks"] / one["tracks"]["of"]
        return left + (width - left - 20) * one["filled_outside_faces"] / most, 20 + (height - low - 20) * leaks

    pen.line([(left, 20), (left, height - low), (width - 20, height - low)], fill="black")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = 20 + (height - low - 20) * share
        pen.text((left - 8, y), f"{share:.0%}", fill="black", font=font, anchor="rm")
        x = left + (width - left - 20) * share
        pen.text((x, height - low + 8), f"{most * share:.1%}", fill="black", font=font, anchor="mt")
    pen.text((width / 2, height - 12), "filled outside of faces", fill="black", font=font, anchor="ms")
    pen.text((left + 8, 24), "tracks that leak (fewer is higher)", fill="black", font=font)
    for number, (name, line) in enumerate(points.items()):
        places = [place(one) for one in line]
        pen.line(places, fill=COLOURS[name], width=2)
        for (x, y), one in zip(places, line, strict=True):
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=COLOURS[name])
            pen.text((x + 6, y + 4), f"{one['confidence']:g}", fill=COLOURS[name], font=font)
        pen.text((width - 140, height - low - 60 + 20 * number), name, fill=COLOURS[name], font=font)
    picture.save(file)


def main() -> None:
    """Measure, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_scene_options(parser, scenes=6)
    parser.add_argument("--picture", type=Path, help="file of the drawn curve")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scenes = make_scenes(args, Path(name))
        fills = {"streamfx": [by_streamfx(scene) for scene in scenes]}
        try:
            tool = Deface(Path(name) / "deface")
            fills["deface"] = [by_deface(scene, tool) for scene in scenes]
        except ImportError as error:
            print(f"deface 1.5's modules cannot be imported here, so it is left out: {error}", file=sys.stderr)
        points = {
            name: [point(name, confidence, scenes, found) for confidence in CONFIDENCES[name]]
            for name, found in fills.items()
        }
    if args.picture:
        draw(points, args.picture)
    result = {
        "machine": {"cpus": len(os.sched_getaffinity(0))},
        "scenes": args.scenes,
        "seeds": args.seed,
        "points": points,
    }
    print(json.dumps(result, indent=1) if args.json else json.dumps(points))


if __name__ == "__main__":
    main()
