"""Redacted films: how many faces leak, what is filled besides, and how fast, beside deface with its defaults.

Scenes have exact truth: drawn clips, shrunk to faces from 12 pixels up, move over a picture of 1280 x 720, come in over
its borders or appear in its middle. All pixels of a scene are lighter than a fill, so what `streamfx redact` filled is
read from its finished file. Of deface the detector and the fill are called, each frame by itself as it does, and its
time leaves out encoding; it needs opencv, and the result says so where that is missing.

A face counts in frames that show at least half of its box. A frame leaks if less than 95 % of that part is covered, a
track if any of its frames does.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from skimage import data

from streamfx.synth.output import read_set

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
WIDTH, HEIGHT, FPS = 1280, 720, 25
DARKEST, FILLED = 64, 36
"""The least value of a scene's pixels, and the value up to which a pixel counts as filled (a codec changes a few)."""
COVERED, VISIBLE = 0.95, 0.5
SIZES = (12, 16, 24, 32, 48, 72, 110, 160, 240, 400)
"""Heights of faces in the scenes, pixels; each as often as the others."""
GROUNDS = ("coffee", "chelsea", "brick", "grass")
KINDS = ("frontal", "turned", "several", "occluded")


@dataclass
class Sprite:
    """A drawn clip with its truth, and its way through a scene: the middle at the start, and pixels a frame."""

    pictures: list[Pixels]
    truth: dict[int, pd.DataFrame]
    scale: float
    x: float
    y: float
    step_x: float
    step_y: float
    first: int
    end: int

    @property
    def side(self) -> int:
        """Side of the square, pixels."""
        return max(1, round(self.pictures[0].shape[0] * self.scale))

    def corner(self, frame: int) -> tuple[int, int]:
        """Left and top of the square in a frame of the scene."""
        done = frame - self.first
        return round(self.x + self.step_x * done - self.side / 2), round(self.y + self.step_y * done - self.side / 2)

    def clip_frame(self, frame: int) -> int:
        """The clip's frame; it is played forward and backward in turns."""
        at = (frame - self.first) % max(1, 2 * len(self.pictures) - 2)
        return at if at < len(self.pictures) else 2 * len(self.pictures) - 2 - at


@dataclass
class Scene:
    """A film, and for each of its frames the faces: (track, box in pixels of the frame, facts about the frame)."""

    path: Path
    faces: list[list[tuple[int, tuple[float, float, float, float], dict[str, Any]]]] = field(default_factory=list)


def read_clips(directory: Path) -> list[tuple[list[Pixels], dict[int, pd.DataFrame]]]:
    """All clips of a set: their pictures, and the truth of each frame."""
    _, clips, frames = read_set(directory)
    out = []
    for clip in clips["clip"]:
        with av.open(str(directory / "clips" / f"{clip}.mp4")) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        out.append((pictures, dict(iter(frames[frames["clip"] == clip].groupby("frame")))))
    return out


def plan_scene(clips: Sequence[Any], random: np.random.Generator, frames: int, sizes: Sequence[int]) -> list[Sprite]:
    """Sprites for faces of these heights, the largest first, that never cover each other; some may find no room."""
    placed: list[Sprite] = []
    for size in sorted(sizes, reverse=True):
        pictures, truth = clips[random.integers(len(clips))]
        heights = [row.box_y1 - row.box_y0 for rows in truth.values() for row in rows.itertuples() if row.face == 0]
        for _ in range(60):
            sprite = _way(pictures, truth, size / float(np.mean(heights)), size, random, frames)
            if not any(_meet(sprite, other) for other in placed):
                placed.append(sprite)
                break
    return placed


def _way(pictures: Any, truth: Any, scale: float, size: int, random: np.random.Generator, frames: int) -> Sprite:
    """A straight way: through the picture from outside, or from one place inside to another, for some of the time."""
    speed = min(float(random.choice([0.0, 0.5, 1.5, 4.0])) * size, 300.0) / FPS
    angle = random.uniform(0, 2 * np.pi)
    step = speed * np.cos(angle), speed * np.sin(angle) / 3
    first = int(random.integers(0, frames // 2))
    end = int(random.integers(first + frames // 3, frames + 1))
    x, y = random.uniform(0, WIDTH), random.uniform(0, HEIGHT)
    if random.random() < 0.4 and speed:  # comes in over the left or the right border
        x = -scale * 100 if step[0] > 0 else WIDTH + scale * 100
    return Sprite(pictures, truth, scale, x, y, step[0], step[1], first, end)


def _meet(one: Sprite, other: Sprite) -> bool:
    for frame in range(max(one.first, other.first), min(one.end, other.end)):
        (ax, ay), (bx, by) = one.corner(frame), other.corner(frame)
        if ax < bx + other.side and bx < ax + one.side and ay < by + other.side and by < ay + one.side:
            return True
    return False


def draw_scene(path: Path, sprites: Sequence[Sprite], ground: Pixels, frames: int) -> Scene:
    """Write the film, lightened, with its truth."""
    scene = Scene(path)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "16"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            picture = ground[:, number : number + WIDTH].copy()
            scene.faces.append([])
            for index, sprite in enumerate(sprites):
                if sprite.first <= number < sprite.end:
                    _paste(picture, sprite, number)
                    scene.faces[-1] += _truth(sprite, index, number)
            light = DARKEST + picture.astype(np.uint16) * (255 - DARKEST) // 255
            out.mux(stream.encode(av.VideoFrame.from_ndarray(light.astype(np.uint8))))
        out.mux(stream.encode(None))
    return scene


def _paste(picture: Pixels, sprite: Sprite, number: int) -> None:
    (left, top), side = sprite.corner(number), sprite.side
    small = Image.fromarray(sprite.pictures[sprite.clip_frame(number)]).resize((side, side), Image.Resampling.BICUBIC)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(WIDTH, left + side), min(HEIGHT, top + side)
    if x0 < x1 and y0 < y1:
        picture[y0:y1, x0:x1] = np.asarray(small)[y0 - top : y1 - top, x0 - left : x1 - left]


def _truth(sprite: Sprite, index: int, number: int) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    rows = sprite.truth.get(sprite.clip_frame(number))
    left, top = sprite.corner(number)
    scale = sprite.side / sprite.pictures[0].shape[0]
    for row in rows.itertuples() if rows is not None else ():
        box = [row.box_x0 * scale + left, row.box_y0 * scale + top, row.box_x1 * scale + left, row.box_y1 * scale + top]
        shown = max(0, box[0]), max(0, box[1]), min(WIDTH, box[2]), min(HEIGHT, box[3])
        whole = (box[2] - box[0]) * (box[3] - box[1])
        if shown[0] < shown[2] and shown[1] < shown[3]:
            area = (shown[2] - shown[0]) * (shown[3] - shown[1])
            if area >= VISIBLE * whole:
                facts = {"height": box[3] - box[1], "yaw": abs(row.yaw_deg), "occluded": bool(row.occluded)}
                yield index * 100 + int(row.face), shown, facts


def judge(number: int, scene: Scene, masks: Iterator[Mask]) -> tuple[pd.DataFrame, list[float]]:
    """One row for each face in each frame, and for each frame the share filled of what shows no face."""
    rows, outside = [], []
    for frame, (faces, mask) in enumerate(zip(scene.faces, masks, strict=True)):
        free = np.ones(mask.shape, bool)
        for track, box, facts in faces:
            x0, y0, x1, y1 = (round(edge) for edge in box)
            part = mask[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
            free[y0:y1, x0:x1] = False
            leak = float(part.mean()) < COVERED
            rows.append({"track": number * 10_000 + track, "frame": frame, "leak": leak, **facts})
        outside.append(float(mask[free].mean()))
    return pd.DataFrame(rows), outside


def filled_in(path: Path) -> Iterator[Mask]:
    """What is filled in each frame of a redacted scene."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="gray") <= FILLED


class Streamfx:
    """`streamfx redact`, a process for each scene."""

    def __init__(self, folder: Path):
        self._folder = folder

    def run(self, scene: Scene) -> tuple[float, Iterator[Mask]]:
        """Seconds that one scene takes, the start of the process left out, and what is filled in each frame."""
        command = [sys.executable, "-m", "streamfx", "redact", scene.path, "--out", self._folder, "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        told = json.loads(done.stdout)
        return told["frames"] / told["frames_per_s"], filled_in(Path(told["out"]))


class Deface:
    """deface's detector and fill with its defaults, by its own modules. ImportError where they cannot be imported."""

    def __init__(self) -> None:
        from deface.centerface import CenterFace
        from deface.deface import anonymize_frame

        with contextlib.redirect_stdout(sys.stderr):  # it says which device it runs on
            self._centerface = CenterFace()
        fill = {"mask_scale": 1.3, "replacewith": "blur", "ellipse": True, "draw_scores": False, "replaceimg": None}
        self._fill = functools.partial(anonymize_frame, mosaicsize=20, **fill)
        self._noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)

    def run(self, scene: Scene) -> tuple[float, Iterator[Mask]]:
        """Seconds that decoding, detecting and filling take, and what is filled in each frame."""
        found, began = [], time.perf_counter()
        with av.open(str(scene.path)) as container:
            for frame in container.decode(video=0):
                picture = frame.to_ndarray(format="rgb24")
                detections = self.detect(picture, 0.2)
                self._fill(detections, picture)
                found.append(detections)
        return time.perf_counter() - began, map(self.changed, found)

    def detect(self, picture: Pixels, threshold: float) -> Any:
        """[n, 5]: boxes (x0, y0, x1, y1) and confidences."""
        return self._centerface(picture, threshold=threshold)[0]

    def changed(self, detections: Any) -> Mask:
        """The pixels that its fill changes."""
        picture = self._noise.copy()
        self._fill(detections, picture)
        return (picture != self._noise).any(axis=2)


def shares(rows: pd.DataFrame) -> dict[str, Any]:
    """Leak rates of tracks and frames, all and by what makes a face hard."""
    tracks = rows.groupby("track").agg(
        leak=("leak", "any"), height=("height", "median"), yaw=("yaw", "max"), occluded=("occluded", "any")
    )
    edges = [0, 14, 20, 28, 40, 60, 90, 135, 200, 320, 9999]
    groups: dict[str, Callable[[pd.DataFrame], pd.Series[Any]]] = {
        "height_px": lambda table: pd.cut(table["height"], edges).astype(str),
        "yaw_deg": lambda table: pd.cut(table["yaw"], [-1, 20, 45, 180]).astype(str),
        "occluded": lambda table: table["occluded"].astype(str),
    }

    def rates(table: pd.DataFrame, group: pd.Series[Any]) -> dict[str, Any]:
        found = table.groupby(group, sort=False)["leak"].agg(["sum", "count"])
        return {str(key): {"leaks": int(row["sum"]), "of": int(row["count"])} for key, row in found.iterrows()}

    return {
        "tracks": {"leaks": int(tracks["leak"].sum()), "of": len(tracks), "rate": float(tracks["leak"].mean())},
        "frames": {"leaks": int(rows["leak"].sum()), "of": len(rows), "rate": float(rows["leak"].mean())},
        "tracks_by": {name: rates(tracks, group(tracks)) for name, group in groups.items()},
        "frames_by": {name: rates(rows, group(rows)) for name, group in groups.items()},
    }


def result_of(judged: Sequence[tuple[float, pd.DataFrame, list[float]]]) -> dict[str, Any]:
    """The figures of one tool: of each scene its seconds, the faces' rows, and the shares filled outside of faces."""
    outside = [share for _, _, one in judged for share in one]
    return {
        **shares(pd.concat([rows for _, rows, _ in judged])),
        "filled_outside_faces": float(np.mean(outside)),
        "frames_per_s": len(outside) / sum(took_s for took_s, _, _ in judged),
    }


def make_clips(folder: Path, clips: int, seed: int) -> None:
    """Draw the clips that scenes are made of."""
    only = [word for kind in KINDS for word in ("--only", kind)]
    command = ["synth", "--identities", clips, "--clips", clips, "--seed", seed, "--seconds", 2, "--out", folder, *only]
    subprocess.run([sys.executable, "-m", "streamfx", *map(str, command)], check=True, stdout=sys.stderr)


def add_scene_options(parser: argparse.ArgumentParser, scenes: int) -> None:
    """The options of `make_scenes`; by default there are so many scenes."""
    parser.add_argument("--set", type=Path, action="append", help="finished set of 25 frames/s; default: a new one")
    parser.add_argument("--clips", type=int, default=16, help="clips of the set that is made")
    parser.add_argument("--scenes", type=int, default=scenes)
    parser.add_argument("--faces", type=int, default=8, help="faces of a scene; those that find no room are left out")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a scene")
    parser.add_argument("--seed", type=int, default=1)


def make_scenes(args: argparse.Namespace, folder: Path) -> list[Scene]:
    """Draw the scenes that `add_scene_options` describes."""
    if not args.set:
        make_clips(folder / "set", args.clips, args.seed)
    clips = [clip for directory in args.set or [folder / "set"] for clip in read_clips(directory)]
    random = np.random.default_rng(args.seed)
    frames = round(args.seconds * FPS)
    scenes = []
    for number in range(args.scenes):
        picture = Image.fromarray(np.asarray(getattr(data, GROUNDS[number % len(GROUNDS)])())).convert("RGB")
        ground = np.asarray(picture.resize((WIDTH + frames, HEIGHT), Image.Resampling.BICUBIC))
        sizes = np.resize(np.roll(SIZES, -4 * number), args.faces).tolist()
        sprites = plan_scene(clips, random, frames, sizes)
        scenes.append(draw_scene(folder / f"scene-{number}.mp4", sprites, ground, frames))
    return scenes


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Draw the scenes, run both tools on them, and return the figures."""
    scenes = make_scenes(args, folder)
    result: dict[str, Any] = {
        "machine": {"cpus": len(os.sched_getaffinity(0)), "load": os.getloadavg()},
        "scenes": {"count": len(scenes), "frames": len(scenes[0].faces), "size": [WIDTH, HEIGHT], "seed": args.seed},
    }
    tools: dict[str, Streamfx | Deface] = {"streamfx": Streamfx(folder / "redacted")}
    try:
        tools["deface"] = Deface()
    except ImportError as error:
        result["deface"] = {"not_measured": f"deface 1.5's modules cannot be imported here: {error}"}
    judged: dict[str, list[tuple[float, pd.DataFrame, list[float]]]] = {name: [] for name in tools}
    # In turns, so that other work on the machine meets both alike.
    for number, scene in enumerate(scenes):
        for name, tool in tools.items():
            took_s, masks = tool.run(scene)
            judged[name].append((took_s, *judge(number, scene, masks)))
    return result | {name: result_of(one) for name, one in judged.items()}


def summary(result: dict[str, Any]) -> str:
    """The main numbers as text."""
    lines = []
    for tool in ("streamfx", "deface"):
        one = result[tool]
        lines.append(
            f"{tool}: {one['tracks']['leaks']} of {one['tracks']['of']} tracks leak, {one['frames']['rate']:.2%} of "
            f"{one['frames']['of']} face frames; {one['filled_outside_faces']:.2%} filled outside faces; "
            f"{one['frames_per_s']:.1f} frames/s"
            if "tracks" in one
            else f"{tool}: {one['not_measured']}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_scene_options(parser, scenes=8)
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = measure(args, Path(name))
    print(json.dumps(result, indent=1) if args.json else summary(result))


if __name__ == "__main__":
    main()
