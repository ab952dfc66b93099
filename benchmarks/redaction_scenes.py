"""Scenes for the benchmarks of redaction: films with exact truth about each face in each frame.

Clips, shrunk to faces from 12 pixels up, move over a picture of 1280 x 720, come in over its borders or appear in its
middle; some are blurred by their motion. Clips are drawn ones, or real ones with one face each. All pixels of a scene
are lighter than a fill, so what `streamfx redact` filled is read from its finished file.

A face counts in frames that show at least half of its box. A frame leaks if less than 95 % of that part is covered, a
track if any of its frames does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
from PIL import Image
from redaction_tools import Mask, Pixels
from skimage import data

from streamfx.synth.output import read_set

Clip = tuple[list[Pixels], dict[int, pd.DataFrame]]
"""A square clip's pictures, and for each of its frames the truth: a row for each face."""
WIDTH, HEIGHT, FPS = 1280, 720, 25
DARKEST = 64
"""The least value of a scene's pixels."""
COVERED, VISIBLE = 0.95, 0.5
SIZES = (12, 16, 24, 32, 48, 72, 110, 160, 240, 400)
"""Heights of faces in the scenes, pixels; each as often as the others."""
GROUNDS = ("coffee", "chelsea", "brick", "grass")
KINDS = ("frontal", "turned", "several", "occluded")
SKINS = ((1, 3), (4, 6), (7, 10))
"""First and last tone of each group on the Monk scale, whose 1 is the lightest."""
SHUTTERS = (0.0, 0.5, 1.0)
"""For which part of a frame's time the shutter may be open; what moves meanwhile is blurred."""


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
    shutter: float = 0.0

    @property
    def side(self) -> int:
        """Side of the square, pixels."""
        return max(1, round(self.pictures[0].shape[0] * self.scale))

    @property
    def blur_px(self) -> float:
        """How far it moves while the shutter is open, pixels."""
        return self.shutter * float(np.hypot(self.step_x, self.step_y))

    def corner(self, frame: float) -> tuple[int, int]:
        """Left and top of the square in a frame of the scene, or between two."""
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


def read_clips(directory: Path) -> list[Clip]:
    """All clips of a drawn set: their pictures, and the truth of each frame."""
    _, clips, frames = read_set(directory)
    frames = with_looks(clips, frames)
    out = []
    for clip in clips["clip"]:
        with av.open(str(directory / "clips" / f"{clip}.mp4")) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        out.append((pictures, dict(iter(frames[frames["clip"] == clip].groupby("frame")))))
    return out


def with_looks(clips: pd.DataFrame, frames: pd.DataFrame) -> pd.DataFrame:
    """A set's frames with the skin of each face and the clip's light."""
    # Only the first face's person is in a clip's row; the others are first in clips of their own.
    tones = clips.dropna(subset="identity").drop_duplicates("identity").set_index("identity")["skin_tone"]
    lights = clips.set_index("clip")["light"]
    return frames.assign(skin=frames["identity"].map(tones).map(skin_of), light=frames["clip"].map(lights))


def skin_of(tone: float) -> str:
    """The group of SKINS of a tone on the Monk scale; `unknown` for no tone."""
    return next((f"{first}-{last}" for first, last in SKINS if first <= tone <= last), "unknown")


def plan_scene(clips: Sequence[Any], random: np.random.Generator, frames: int, sizes: Sequence[int]) -> list[Sprite]:
    """Sprites for faces of these heights, the largest first, that never cover each other; some may find no room."""
    placed: list[Sprite] = []
    (shutters,) = random.spawn(1)
    for size in sorted(sizes, reverse=True):
        pictures, truth = clips[int(random.integers(len(clips)))]
        heights = [row.box_y1 - row.box_y0 for rows in truth.values() for row in rows.itertuples() if row.face == 0]
        for _ in range(60):
            sprite = _way(pictures, truth, size / float(np.mean(heights)), size, random, frames)
            if not any(_meet(sprite, other) for other in placed):
                sprite.shutter = float(shutters.choice(SHUTTERS))
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
    """Add the sprite to a frame: the mean of the places it passes while the shutter is open, its own in their middle."""
    side = sprite.side
    small = np.asarray(
        Image.fromarray(sprite.pictures[sprite.clip_frame(number)]).resize((side, side), Image.Resampling.BICUBIC)
    )
    moments = number + sprite.shutter * (np.linspace(-0.5, 0.5, _places(sprite)) if sprite.blur_px else np.zeros(1))
    shown = [_shown(*sprite.corner(moment), side) for moment in moments]
    ways = [(there, here) for there, here in shown if picture[there].size]
    if not ways:
        return
    top, left = (min(there[axis].start for there, _ in ways) for axis in (0, 1))
    low, right = (max(there[axis].stop for there, _ in ways) for axis in (0, 1))
    ground = picture[top:low, left:right].copy()
    total = ground.astype(np.float32) * (len(shown) - len(ways))
    for (rows, columns), here in ways:
        moment = ground.copy()
        moment[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = small[here]
        total += moment
    picture[top:low, left:right] = np.round(total / len(shown)).astype(np.uint8)


def _places(sprite: Sprite) -> int:
    """So many that none is more than about a pixel from the next."""
    return int(np.ceil(sprite.blur_px)) + 1


def _shown(left: int, top: int, side: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of a square inside the frame, and the same inside the square."""
    x0, y0, x1, y1 = max(0, left), max(0, top), min(WIDTH, left + side), min(HEIGHT, top + side)
    x1, y1 = max(x0, x1), max(y0, y1)
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


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
                facts = {
                    "height": box[3] - box[1],
                    "yaw": abs(row.yaw_deg),
                    "occluded": bool(row.occluded),
                    "skin": row.skin,
                    "light": row.light,
                    "blur": sprite.blur_px / (box[3] - box[1]),
                }
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
            covered = float(part.mean())
            told = {"track": number * 10_000 + track, "frame": frame, "covered": covered, "leak": covered < COVERED}
            rows.append({**told, **facts})
        outside.append(float(mask[free].mean()))
    return pd.DataFrame(rows), outside


def make_clips(folder: Path, clips: int, seed: int) -> None:
    """Draw the clips that scenes are made of."""
    only = [word for kind in KINDS for word in ("--only", kind)]
    command = ["synth", "--identities", clips, "--clips", clips, "--seed", seed, "--seconds", 2, "--out", folder, *only]
    subprocess.run([sys.executable, "-m", "streamfx", *map(str, command)], check=True, stdout=sys.stderr)


def add_scene_options(parser: argparse.ArgumentParser, scenes: int) -> None:
    """The options of `make_scenes`; by default there are so many scenes."""
    parser.add_argument("--set", type=Path, action="append", help="finished set of 25 frames/s; default: a new one")
    parser.add_argument("--clips", type=int, default=16, help="clips of the set that is made for each seed")
    parser.add_argument("--scenes", type=int, default=scenes, help="scenes for each seed")
    parser.add_argument("--faces", type=int, default=8, help="faces of a scene; those that find no room are left out")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a scene")
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--sharp", action="store_true", help="blur nothing by its motion")


def make_scenes(args: argparse.Namespace, folder: Path) -> list[Scene]:
    """Draw the scenes that `add_scene_options` describes."""
    scenes = []
    for seed in args.seed:
        if not args.set:
            make_clips(folder / f"set-{seed}", args.clips, seed)
        clips = [clip for directory in args.set or [folder / f"set-{seed}"] for clip in read_clips(directory)]
        scenes += scenes_of(clips, args, seed, folder)
    return scenes


def scenes_of(
    clips: Sequence[Clip], args: argparse.Namespace, seed: int, folder: Path, name: str = "scene"
) -> list[Scene]:
    """The scenes of one seed, with these clips."""
    random = np.random.default_rng(seed)
    frames = round(args.seconds * FPS)
    scenes = []
    for number in range(args.scenes):
        picture = Image.fromarray(np.asarray(getattr(data, GROUNDS[number % len(GROUNDS)])())).convert("RGB")
        ground = np.asarray(picture.resize((WIDTH + frames, HEIGHT), Image.Resampling.BICUBIC))
        sizes = np.resize(np.roll(SIZES, -4 * number), args.faces).tolist()
        sprites = plan_scene(clips, random, frames, sizes)
        for sprite in sprites:
            sprite.shutter *= not args.sharp
        scenes.append(draw_scene(folder / f"{name}-{seed}-{number}.mp4", sprites, ground, frames))
    return scenes
