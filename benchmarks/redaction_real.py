"""Redacted real films, which have no truth: faces are where YuNet sees them in the film as it was.

YuNet is a net of its own, while both tools look with CenterFace, so what it sees is not what they see. It is asked at a
high confidence: what it names is a face, but a face that it misses too is not counted. Its box is the face from chin to
forehead. Two questions are asked of each face in each frame: is less than 95 % of the box filled; and does YuNet see a
face there in the filled film.

What is filled solid cannot be told from what was dark before, so only pixels count that were light; for both tools.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from redaction_scenes import COVERED, Clip
from redaction_tools import Pixels, Run, decoded

CONFIDENCE = 0.8
"""From which YuNet's detections count, both in the film as it was and in the filled one."""
LONGEST_PX = 640
"""Longer side of the picture that YuNet sees; larger ones are shrunk."""
SAME = 0.3
"""Intersection over union from which two boxes are of the same face."""
LIGHT = 80
"""Least luma of a pixel that counts."""
SIDE_PX, AROUND = 384, 1.8
"""Side of a clip cut from a real film, and how much of its film it shows, in heights of the face in its first frame."""
SUFFIXES = (".mp4", ".mpg")


class YuNet:
    """YuNet by opencv. Raises ImportError where that is missing."""

    def __init__(self, file: Path):
        import cv2

        self._net: Any = cv2.FaceDetectorYN.create(str(file), "", (320, 320), CONFIDENCE)

    def faces(self, picture: Pixels) -> list[tuple[float, ...]]:
        """The boxes (x0, y0, x1, y1) of an RGB picture."""
        height, width = picture.shape[:2]
        scale = min(1.0, LONGEST_PX / max(height, width))
        seen = np.asarray(Image.fromarray(picture).resize((round(width * scale), round(height * scale))))
        self._net.setInputSize((seen.shape[1], seen.shape[0]))
        found = self._net.detect(np.ascontiguousarray(seen[..., ::-1]))[1]
        return [(x / scale, y / scale, (x + w) / scale, (y + h) / scale) for x, y, w, h in _boxes(found)]


def _boxes(found: Any) -> list[list[float]]:
    return [] if found is None else found[:, :4].tolist()


def films_in(directory: Path) -> list[Path]:
    """The films of a folder."""
    return sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES)


def real_films(directory: Path, yunet: YuNet, tools: dict[str, Any]) -> dict[str, Any]:
    """The figures of each tool on the films as they are."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in tools}
    outside: dict[str, list[float]] = {name: [] for name in tools}
    took_s, peak_mib = dict.fromkeys(tools, 0.0), dict.fromkeys(tools, 0.0)
    for film in films_in(directory):
        faces = [yunet.faces(picture) for picture in decoded(film)]
        for name, tool in tools.items():
            run = tool.run(film)
            took_s[name] += run.took_s
            peak_mib[name] = max(peak_mib[name], run.peak_mib)
            for found, free in compared(film, faces, run, yunet):
                rows[name] += [{"film": film.name, **row} for row in found]
                outside[name].append(free)
    return {
        "confidence": CONFIDENCE,
        **{
            name: {
                **real_shares(pd.DataFrame(rows[name])),
                "filled_outside_faces": float(np.nanmean(outside[name])),
                "frames": len(outside[name]),
                "frames_per_s": len(outside[name]) / took_s[name],
                "peak_memory_mib": peak_mib[name],
            }
            for name in tools
        },
    }


def compared(
    film: Path, faces: list[list[tuple[float, ...]]], run: Run, yunet: YuNet
) -> Iterator[tuple[list[dict[str, Any]], float]]:
    """For each frame, a row for each face, and the share filled of what shows none."""
    for boxes, before, after, mask in zip(faces, decoded(film), run.pictures, run.masks, strict=True):
        light = np.asarray(Image.fromarray(before).convert("L")) >= LIGHT
        free, again, rows = light.copy(), yunet.faces(after), []
        for box in boxes:
            x0, y0, x1, y1 = (max(0, round(edge)) for edge in box)
            counted = light[y0:y1, x0:x1]
            free[y0:y1, x0:x1] = False
            covered = float(mask[y0:y1, x0:x1][counted].mean()) if counted.any() else 1.0
            rows.append(
                {
                    "leak": covered < COVERED,
                    "covered": covered,
                    "counted": float(counted.mean()),
                    "seen_again": any(overlap(box, other) >= SAME for other in again),
                }
            )
        yield rows, float(mask[free].mean()) if free.any() else float("nan")


def real_shares(rows: pd.DataFrame) -> dict[str, Any]:
    """Leaks and faces seen again, in frames of faces and in films."""
    films = rows.groupby("film")[["leak", "seen_again"]].any()
    return {
        "faces": len(rows),
        "leaks": int(rows["leak"].sum()),
        "seen_again": int(rows["seen_again"].sum()),
        "films": len(films),
        "films_that_leak": int(films["leak"].sum()),
        "films_seen_again": int(films["seen_again"].sum()),
        "least_covered": float(rows["covered"].min()),
        "pixels_counted": float(rows["counted"].mean()),
    }


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    return both / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - both)


def real_clips(directory: Path, yunet: YuNet) -> list[Clip]:
    """Square clips around the first face of each film, where its first frame shows it, with YuNet's boxes as truth."""
    clips = []
    for film in films_in(directory):
        pictures, truth = [], {}
        square: tuple[int, int, int] | None = None
        for number, picture in enumerate(decoded(film)):
            faces = yunet.faces(picture)[:1]
            square = square or _square(picture, faces[0])
            left, top, side = square
            cut = Image.fromarray(picture).crop((left, top, left + side, top + side))
            pictures.append(np.asarray(cut.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)))
            truth[number] = pd.DataFrame([_row(face, square) for face in faces])
        clips.append((pictures, truth))
    return clips


def _square(picture: Pixels, face: tuple[float, ...]) -> tuple[int, int, int]:
    """Left, top and side of a square around a face that lies inside the picture."""
    height, width = picture.shape[:2]
    side = min(round(AROUND * (face[3] - face[1])), height, width)
    left, top = (face[0] + face[2] - side) / 2, (face[1] + face[3] - side) / 2
    return round(min(max(0, left), width - side)), round(min(max(0, top), height - side)), side


def _row(face: tuple[float, ...], square: tuple[int, int, int]) -> dict[str, Any]:
    """The truth of a face; all look at the camera, and nothing covers them."""
    left, top, side = square
    x0, y0, x1, y1 = (
        (edge - origin) * SIDE_PX / side for edge, origin in zip(face, (left, top, left, top), strict=True)
    )
    box = {"box_x0": x0, "box_y0": y0, "box_x1": x1, "box_y1": y1}
    return {"face": 0, **box, "yaw_deg": 0.0, "occluded": False, "skin": "unknown", "light": "unknown"}
