"""Redacted films: how many faces leak, what is filled besides, the speed and the memory, beside deface with its defaults.

    python benchmarks/redaction.py [--set DIR] [--real DIR --yunet FILE] [--json]

Scenes of drawn clips (redaction_scenes.py) have exact truth. What `streamfx redact` filled is read from its finished
file. Of deface the detector and the fill are called, each frame by itself as it does, and its time leaves out encoding;
the result says so where something that deface needs is missing (redaction_deface.py). Each tool runs in a process of its
own, in turns, so that other work on the machine meets both alike.

With `--real`, a folder of real clips with a face each, YuNet, a detector that neither tool uses, says where the faces
are: in the clips as they are, and in scenes made of them (redaction_real.py).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from redaction_real import YuNet, real_clips, real_films
from redaction_scenes import HEIGHT, WIDTH, Scene, add_scene_options, judge, make_scenes, scenes_of
from redaction_tools import Deface, Run, Streamfx
from scipy.stats import binomtest

HEIGHTS_PX = [0, 14, 20, 28, 40, 60, 90, 135, 200, 320, 9999]
YAWS_DEG = [-1, 20, 45, 180]
BLURS = [-1, 0.001, 0.03, 9]
"""Borders of groups by the way that a face makes while the shutter is open, in heights of the face."""
BARE = 0.5
"""A face is bare where less than this part of its box is filled. What an object hides of a covered face is a part of the
box too, so a face of which all that shows is filled may count as a leak, but seldom as bare."""
DRAWS = 2_000
Tools = dict[str, Streamfx | Deface]


def shares(rows: pd.DataFrame) -> dict[str, Any]:
    """Leak rates of tracks and frames, all and by what makes a face hard.

    `interval` holds 95 %: Wilson's for tracks; for frames, which are alike within a track, by drawing tracks again.
    """
    tracks = rows.groupby("track").agg(
        leak=("leak", "any"),
        height=("height", "median"),
        yaw=("yaw", "max"),
        occluded=("occluded", "any"),
        skin=("skin", "first"),
        light=("light", "first"),
        blur=("blur", "max"),
    )
    return {
        "tracks": {**tracks_rate(tracks["leak"]), "rate": float(tracks["leak"].mean())},
        "frames": {**frames_rate(rows), "rate": float(rows["leak"].mean())},
        "tracks_bare": tracks_rate((rows["covered"] < BARE).groupby(rows["track"]).any()),
        "tracks_by": {name: rates(tracks, group) for name, group in groups(tracks).items()},
        "frames_by": {name: rates(rows, group) for name, group in groups(rows).items()},
    }


def groups(table: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """Name -> the group of each row."""
    small = np.where(table["height"] <= 20, "to 20 px", "over 20 px")
    covered = np.where(table["occluded"], "covered", "open")
    return {
        "height_px": pd.cut(table["height"], HEIGHTS_PX).astype(str),
        "yaw_deg": pd.cut(table["yaw"], YAWS_DEG).astype(str),
        "occluded": table["occluded"].astype(str),
        "skin": table["skin"],
        "light": table["light"],
        "blur_heights": pd.cut(table["blur"], BLURS).astype(str),
        "size_and_cover": pd.Series([f"{one}, {two}" for one, two in zip(small, covered, strict=True)], table.index),
    }


def rates(table: pd.DataFrame, group: pd.Series[Any]) -> dict[str, Any]:
    """The leaks of each group; of tracks with an interval."""
    found = {str(key): one for key, one in table.groupby(group, sort=True)}
    if "track" in table.columns:
        return {key: {"leaks": int(one["leak"].sum()), "of": len(one)} for key, one in found.items()}
    return {key: tracks_rate(one["leak"]) for key, one in found.items()}


def tracks_rate(leaks: pd.Series[Any]) -> dict[str, Any]:
    """Leaking tracks, all tracks, and the interval of the rate."""
    found = binomtest(int(leaks.sum()), len(leaks)).proportion_ci(method="wilson")
    return {"leaks": int(leaks.sum()), "of": len(leaks), "interval": [float(found.low), float(found.high)]}


def frames_rate(rows: pd.DataFrame) -> dict[str, Any]:
    """Leaking frames of faces, all of them, and the interval of the rate."""
    per_track = rows.groupby("track")["leak"].agg(["sum", "count"]).to_numpy(float)
    picks = np.random.default_rng(0).integers(0, len(per_track), (DRAWS, len(per_track)))
    sums = per_track[picks].sum(axis=1)
    interval = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975]).tolist()
    return {"leaks": int(rows["leak"].sum()), "of": len(rows), "interval": interval}


def on_scenes(scenes: Sequence[Scene], tools: Tools) -> dict[str, Any]:
    """The figures of each tool on scenes."""
    judged: dict[str, list[pd.DataFrame]] = {name: [] for name in tools}
    outside: dict[str, list[float]] = {name: [] for name in tools}
    took_s = dict.fromkeys(tools, 0.0)
    peak_mib = dict.fromkeys(tools, 0.0)
    for number, scene in enumerate(scenes):
        for name, tool in tools.items():
            run = tool.run(scene.path)
            rows, free = judge(number, scene, run.masks)
            judged[name].append(rows)
            outside[name] += free
            took_s[name] += run.took_s
            peak_mib[name] = max(peak_mib[name], run.peak_mib)
            told(f"scene {number + 1} of {len(scenes)}", name, run)
    return {
        "scenes": {"count": len(scenes), "frames": len(scenes[0].faces), "size": [WIDTH, HEIGHT]},
        **{
            name: {
                **shares(pd.concat(judged[name])),
                "filled_outside_faces": float(np.mean(outside[name])),
                "frames_per_s": len(outside[name]) / took_s[name],
                "peak_memory_mib": peak_mib[name],
            }
            for name in tools
        },
    }


def told(what: str, name: str, run: Run) -> None:
    """Say how far the measurement is."""
    print(f"{what}: {name} took {run.took_s:.1f} s and {run.peak_mib:.0f} MiB", file=sys.stderr, flush=True)


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Draw the scenes, run both tools on them and on the real clips, and return the figures."""
    machine = {"cpus": len(os.sched_getaffinity(0)), "load": os.getloadavg()}
    result: dict[str, Any] = {"machine": machine, "seeds": args.seed}
    tools: Tools = {"streamfx": Streamfx(folder / "redacted")}
    try:
        tools["deface"] = Deface(folder / "deface")
    except ImportError as error:
        result["deface"] = {"not_measured": f"deface 1.5's modules cannot be imported here: {error}"}
    if args.scenes:
        result |= on_scenes(make_scenes(args, folder), tools)
    if args.real:
        yunet = YuNet(args.yunet)
        result["real"] = {"films": real_films(args.real, yunet, tools)}
        if args.real_scenes:
            args.scenes = args.real_scenes
            scenes = scenes_of(real_clips(args.real, yunet), args, args.seed[0], folder, "real")
            result["real"]["scenes"] = on_scenes(scenes, tools)
    return result


def summary(result: dict[str, Any]) -> str:
    """The main numbers of scenes as text."""
    lines = []
    for tool in ("streamfx", "deface"):
        one = result.get(tool, {"not_measured": "no scenes"})
        lines.append(
            f"{tool}: {one['tracks']['leaks']} of {one['tracks']['of']} tracks leak, {one['frames']['rate']:.2%} of "
            f"{one['frames']['of']} face frames; {one['filled_outside_faces']:.2%} filled outside faces; "
            f"{one['frames_per_s']:.1f} frames/s; {one['peak_memory_mib']:.0f} MiB"
            if "tracks" in one
            else f"{tool}: {one['not_measured']}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_scene_options(parser, scenes=8)
    parser.add_argument("--real", type=Path, help="folder of real clips that show one face each")
    parser.add_argument("--yunet", type=Path, help="YuNet's ONNX file with free sides; --real needs it, and opencv")
    parser.add_argument("--real-scenes", type=int, default=4, help="scenes made of the real clips")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    if args.real and not args.yunet:
        parser.error("--real needs --yunet")
    with tempfile.TemporaryDirectory() as name:
        result = measure(args, Path(name))
    print(json.dumps(result, indent=1) if args.json else summary(result))


if __name__ == "__main__":
    main()
