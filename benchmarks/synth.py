"""Synthetic faces: how fast they are made, how many CenterFace finds, and whether an independent net reads them.

Speed is that of `streamfx synth` into a new set at 256 x 256, including the start of its processes. The shares are
measured on a set of shorter clips, or on a finished one (--set): faces on the frontal, unoccluded clips of one person;
expressions on the frame at the middle of each clip's apex, by the expression net of npm's @vladmandic/face-api.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from streamfx.models.outside import fetch_face_api
from streamfx.nets.face_api import SIZE
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.pipeline import find_operator
from streamfx.records import MICROSECONDS, Frame, Segment
from streamfx.synth.output import read_set
from streamfx.train.scorer import offline_context

Pixels = npt.NDArray[np.uint8]
FULL = 0.9
"""Intensity at and above which an expression counts as fully shown."""
POOR_CRF = 30
"""CRF at and above which clips come from poor cameras, which also blur and add noise."""
CROP_SIDE, CROP_DOWN = 0.95, 0.08
"""The net's input square: its side as a multiple of the longer side of the face's box, and how far its middle is below
the box's middle as a share of the box's height. face-api's own detector draws tighter and lower boxes than ours,
without
the forehead."""


def pictures(directory: Path) -> Iterator[tuple[Any, Any, Pixels]]:
    """Each frontal clip of a finished set at its apex: the clip's row, the labelled face's row, and the picture."""
    _, clips, frames = read_set(directory)
    rows = dict(iter(frames[frames["face"] == 0].groupby("clip")))
    for clip in clips[(clips["kind"] == "frontal") & (clips["pose"] == "frontal")].itertuples():
        truth = rows[clip.clip]
        number = int((truth["time_s"] - clip.apex_time_s).abs().to_numpy().argmin())
        with av.open(str(directory / "clips" / f"{clip.clip}.mp4")) as container:
            shown = [frame for _, frame in zip(range(number + 1), container.decode(video=0), strict=False)]
        yield clip, next(truth.iloc[number : number + 1].itertuples()), shown[-1].to_ndarray(format="rgb24")


def found(directory: Path) -> list[bool]:
    """Whether the operator `faces` finds the face of each frontal clip at its true position."""
    kind: Any = find_operator("faces")
    faces = kind(kind.Config(detect_every=1), offline_context(MICROSECONDS))
    out = []
    for number, (_, truth, picture) in enumerate(pictures(directory)):
        frame = Frame(0, MICROSECONDS, 0, picture)
        tracked = faces.track(str(number), 0, Segment(0, MICROSECONDS, [frame], None, 1))
        faces.end_stream(str(number))
        out.append(any(_is_there(face.box, truth) for one in tracked for face in one.faces))
    return out


def _is_there(box: Any, truth: Any) -> bool:
    """Whether the crop's middle is in the true box and its size is between half and twice that of the true crop."""
    inside = truth.box_x0 < box.center_x < truth.box_x1 and truth.box_y0 < box.center_y < truth.box_y1
    longer = max(truth.box_x1 - truth.box_x0, truth.box_y1 - truth.box_y0)
    return inside and 0.5 < box.side / longer < 2


def read_expressions(directory: Path) -> pd.DataFrame:
    """The independent net's answer at each frontal clip's apex: rows of `meant`, `named`, `intensity` and `crf`."""
    net = fetch_face_api()
    rows, crops = [], []
    for clip, truth, picture in pictures(directory):
        width, height = truth.box_x1 - truth.box_x0, truth.box_y1 - truth.box_y0
        x, y = (truth.box_x0 + truth.box_x1) / 2, (truth.box_y0 + truth.box_y1) / 2 + CROP_DOWN * height
        half = CROP_SIDE * max(width, height) / 2
        whole = Image.fromarray(picture).crop((round(x - half), round(y - half), round(x + half), round(y + half)))
        crops.append(np.asarray(whole.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
        rows.append((clip.expression, float(clip.intensity), int(clip.crf)))
    logits = [net(torch.from_numpy(np.stack(crops[i : i + 32])))[1] for i in range(0, len(crops), 32)]
    named = [LABELS_7[i] for i in torch.cat(logits).argmax(1).tolist()]
    table = pd.DataFrame(rows, columns=["meant", "intensity", "crf"])
    return table.assign(named=named)


def make(directory: Path, clips: int, size: int, fps: float, seconds: float) -> float:
    """Seconds that `streamfx synth` takes to make a new set with three clips per person."""
    options = {
        "identities": max(1, clips // 3), "clips": clips, "seed": 1000, "out": directory, "size": size, "fps": fps,
        "seconds": seconds,
    }  # fmt: skip
    started = time.perf_counter()
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    subprocess.run([sys.executable, "-m", "streamfx", "synth", *words], check=True, stdout=sys.stderr)
    return time.perf_counter() - started


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure, and return the raw numbers."""
    result: dict[str, Any] = {"machine": {"cpus": len(os.sched_getaffinity(0)), "processor": platform.machine()}}
    if args.speed_clips:
        took_s = make(folder / "speed", args.speed_clips, 256, 25, 3)
        frames = args.speed_clips * 75
        result["speed"] = {"size": 256, "fps": 25, "frames": frames, "seconds": took_s, "frames_per_s": frames / took_s}
    directory = args.set or folder / "judged"
    if not args.set:
        make(directory, args.clips, 256, 8, 2)
    info, _, _ = read_set(directory)
    result["set"] = info.model_dump()
    seen = found(directory)
    result["found"] = {"faces": len(seen), "share": float(np.mean(seen))}
    judged = read_expressions(directory)
    right = judged["named"] == judged["meant"]
    full, clear = judged["intensity"] >= FULL, judged["crf"] < POOR_CRF
    result["named"] = {
        "clips": len(judged), "share": float(right.mean()),
        "clips_full": int(full.sum()), "share_full": float(right[full].mean()),
        "clips_clear": int(clear.sum()), "share_clear": float(right[clear].mean()),
        "clips_full_clear": int((full & clear).sum()), "share_full_clear": float(right[full & clear].mean()),
        "recall": {label: float(right[judged["meant"] == label].mean()) for label in LABELS_7},
        "recall_full": {label: float(right[full & (judged["meant"] == label)].mean()) for label in LABELS_7},
        "confusion": pd.crosstab(judged["meant"], judged["named"]).to_dict("index"),
    }  # fmt: skip
    return result


def summary(result: dict[str, Any]) -> str:
    """The main numbers as text."""
    speed, faces, named = result.get("speed"), result["found"], result["named"]
    first = f"{speed['frames_per_s']:.1f} frames/s at 256 x 256 on {result['machine']['cpus']} CPUs; " if speed else ""
    return (
        f"{first}{faces['share']:.1%} of {faces['faces']} frontal faces found; expression named on "
        f"{named['share']:.1%} of {named['clips']} apex frames, {named['share_full']:.1%} of {named['clips_full']} at "
        f"intensity {FULL} and over, {named['share_full_clear']:.1%} of {named['clips_full_clear']} where the "
        "camera is "
        "clear too"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path, help="finished set to measure; default: a new one")
    parser.add_argument("--clips", type=int, default=280, help="clips of the set that is made")
    parser.add_argument("--speed-clips", type=int, default=12, help="clips made to measure the speed; 0: not measured")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = measure(args, Path(name))
    print(json.dumps(result, indent=1) if args.json else summary(result))


if __name__ == "__main__":
    main()
