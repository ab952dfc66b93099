"""What surrounds a face: light, background, things in front of it, and the camera that sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from streamfx.synth.render import Light

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

LIGHTS = ("bright", "normal", "dim", "side")


def draw_light(kind: str, rng: np.random.Generator) -> Light:
    """A random light of a kind: `bright`, `normal`, `dim` or `side` (hard, from one side)."""
    strength = {"bright": rng.uniform(1.0, 1.35), "normal": rng.uniform(0.7, 1.0), "dim": rng.uniform(0.2, 0.4),
                "side": rng.uniform(0.8, 1.1)}[kind]  # fmt: skip
    azimuth = math.radians(rng.uniform(50, 85) * rng.choice([-1, 1]) if kind == "side" else rng.normal(0, 35))
    height = math.radians(rng.uniform(-5, 60))
    around = rng.uniform(0.08, 0.16) if kind == "side" else rng.uniform(0.22, 0.5)
    warm = 1 + 0.12 * rng.standard_normal(3)
    key = strength * np.clip(warm, 0.75, 1.25) * rng.uniform(0.6, 1.0)
    sky = around * strength * np.clip(1 + 0.1 * rng.standard_normal(3), 0.8, 1.2)
    fill = rng.uniform(0.02, 0.25) * strength * np.clip(1 + 0.2 * rng.standard_normal(3), 0.6, 1.4)
    return Light(
        key_from=_toward(azimuth, height),
        key=_three(key),
        fill_from=_toward(
            -math.copysign(math.radians(rng.uniform(40, 100)), azimuth), math.radians(rng.uniform(-10, 30))
        ),
        fill=_three(fill),
        sky=_three(sky),
        ground=_three(sky * rng.uniform(0.25, 0.7)),
    )


def _toward(azimuth: float, height: float) -> tuple[float, float, float]:
    return (math.sin(azimuth) * math.cos(height), math.sin(height), math.cos(azimuth) * math.cos(height))


def _three(values: npt.NDArray[np.floating]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def draw_background(size: int, brightness: float, rng: np.random.Generator) -> Pixels:
    """A blurred room of random shapes, uint8 RGB [1.25 size, 1.25 size, 3]; `brightness` 0..1 follows the light."""
    side = int(size * 1.25)
    palette = rng.uniform(0.1, 1, (6, 3)) ** 1.3 * (0.4 + 0.6 * brightness) * 255
    top, bottom = palette[0], palette[1]
    ramp = np.linspace(0, 1, side)[:, None, None]
    picture = Image.fromarray((top * (1 - ramp) + bottom * ramp + np.zeros((side, side, 3))).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(0, 14))):
        x, y, w, h = (float(value) for value in rng.uniform([0, 0, 0.05, 0.05], [1, 1, 0.6, 0.9]) * side)
        colour = tuple(int(value) for value in palette[int(rng.integers(2, 6))] * rng.uniform(0.5, 1.1))
        shape = pen.rectangle if rng.random() < 0.7 else pen.ellipse
        shape([x - w / 2, y - h / 2, x + w / 2, y + h / 2], fill=colour)
    picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 6))))
    grain = rng.normal(0, rng.uniform(0, 12), (side, side, 1))
    return np.clip(np.asarray(picture, np.float32) + grain, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Occluder:
    """A thing in front of the face: RGBA of the picture's size, placed anew in each frame."""

    picture: Image.Image
    covers: str
    """Part of the face: `mouth` | `eyes` | `side`."""


def draw_occluder(size: int, rng: np.random.Generator) -> Occluder:
    """A mask-, hand-, cup- or microphone-like blob of one texture."""
    covers = str(rng.choice(["mouth", "eyes", "side"]))
    width, height = {"mouth": (0.62, 0.42), "eyes": (0.85, 0.28), "side": (0.5, 1.0)}[covers]
    picture = Image.new("RGBA", (size, size))
    colour = tuple(int(value) for value in rng.uniform(10, 240, 3))
    w, h = width * size * rng.uniform(0.8, 1.2), height * size * rng.uniform(0.8, 1.2)
    box = [size / 2 - w / 2, size / 2 - h / 2, size / 2 + w / 2, size / 2 + h / 2]
    ImageDraw.Draw(picture).rounded_rectangle(box, radius=min(w, h) * rng.uniform(0.1, 0.5), fill=(*colour, 255))
    shade = np.asarray(picture, np.float32)
    ripple = 1 + 0.2 * np.sin(np.linspace(0, rng.uniform(2, 30), size))[:, None, None]
    shade = np.concatenate([shade[..., :3] * ripple, shade[..., 3:]], 2)
    turned = Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8)).rotate(float(rng.normal(0, 12)))
    return Occluder(turned, covers)


def put_occluder(
    frame: Image.Image, occluder: Occluder, box: tuple[float, float, float, float], wobble: Floats
) -> None:
    """Paste the occluder over its part of the face in `box` (pixels)."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    down = {"mouth": 0.75, "eyes": 0.38, "side": 0.5}[occluder.covers]
    across = {"mouth": 0.5, "eyes": 0.5, "side": 0.85}[occluder.covers]
    side = max(4, round(height))
    thing = occluder.picture.resize((side, side), Image.Resampling.BILINEAR)
    x = x0 + (across + float(wobble[0])) * width - side / 2
    y = y0 + (down + float(wobble[1])) * height - side / 2
    frame.paste(thing, (round(x), round(y)), thing)


@dataclass(frozen=True)
class Camera:
    """What a camera does to a picture: blur, noise, exposure, tint, compression."""

    blur_px: float
    noise: float
    gain: float
    tint: tuple[float, float, float]
    gamma: float
    crf: int
    soften: float
    """The picture is taken at this fraction of its size and scaled up."""


def draw_camera(rng: np.random.Generator) -> Camera:
    """A random camera, from clear to poor."""
    poor = rng.random() < 0.15
    return Camera(
        blur_px=float(rng.uniform(0, 0.9) if rng.random() < 0.3 else 0),
        noise=float(rng.uniform(2, 9) if poor else rng.uniform(0, 4)),
        gain=float(rng.uniform(0.85, 1.15)),
        tint=_three(1 + 0.05 * rng.standard_normal(3)),
        gamma=float(rng.uniform(0.8, 1.25)),
        crf=int(rng.integers(28, 36) if poor else rng.integers(17, 28)),
        soften=float(rng.uniform(0.45, 0.7) if poor and rng.random() < 0.5 else 1.0),
    )


def see(frame: Image.Image, camera: Camera, rng: np.random.Generator) -> Pixels:
    """The frame as the camera gives it, uint8 RGB."""
    size = frame.size
    if camera.soften < 1:
        small = (max(8, int(size[0] * camera.soften)), max(8, int(size[1] * camera.soften)))
        frame = frame.resize(small, Image.Resampling.BILINEAR).resize(size, Image.Resampling.BILINEAR)
    if camera.blur_px:
        frame = frame.filter(ImageFilter.GaussianBlur(camera.blur_px))
    table = np.clip((np.arange(256) / 255)[:, None] ** camera.gamma * camera.gain * np.array(camera.tint), 0, 1) * 255
    pixels = np.asarray(frame)
    seen = np.stack([table[:, channel].astype(np.float32)[pixels[..., channel]] for channel in range(3)], -1)
    if camera.noise:
        seen += rng.standard_normal((*seen.shape[:2], 1), np.float32) * camera.noise
    pixels_seen: Pixels = np.clip(seen, 0, 255).astype(np.uint8)
    return pixels_seen
