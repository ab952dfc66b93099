"""What surrounds a face: light, things in front of it, and the camera that sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from streamfx.synth.render import Light

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

LIGHTS = ("bright", "normal", "dim", "side")


SOURCES = {"window": 0.3, "lamp": 0.25, "outdoors": 0.2, "room": 0.17, "flash": 0.08}
"""What lights a face, and how often."""
_KELVIN = (2500.0, 3000.0, 4000.0, 5000.0, 6500.0, 8000.0, 11000.0)
_GLOW = np.array([(1, 0.36, 0.07), (1, 0.45, 0.14), (1, 0.62, 0.36), (1, 0.78, 0.61), (1, 0.95, 0.98), (0.77, 0.83, 1.0),
                  (0.54, 0.68, 1.0)])  # fmt: skip
"""Linear RGB of a glowing body at each of _KELVIN."""


def glow(kelvin: float) -> Floats:
    """Linear RGB of light of a colour temperature, of mean 1."""
    mired = [1e6 / warm for warm in _KELVIN]
    colour = np.array([np.interp(1e6 / kelvin, mired[::-1], _GLOW[::-1, channel]) for channel in range(3)])
    balanced: Floats = (colour / colour.mean()).astype(np.float32)
    return balanced


def draw_light(kind: str, rng: np.random.Generator, source: str = "room") -> Light:
    """A random light of a kind: `bright`, `normal`, `dim` or `side` (from one side), from one of SOURCES.

    The camera's white balance takes most of the key light's colour away; the fill keeps its difference to the key.
    """
    strength = {"bright": rng.uniform(1.0, 1.35), "normal": rng.uniform(0.72, 1.0), "dim": rng.uniform(0.26, 0.44),
                "side": rng.uniform(0.85, 1.15)}[kind]  # fmt: skip
    azimuth, height, wrap, around, warm, other = _arrangement(source, rng)
    if kind == "side":
        azimuth, around = float(rng.uniform(50, 85) * rng.choice([-1, 1])), around * 0.45
    # Balances are guessed: a little too warm or too cool, rarely much, and never quite free of green.
    balance = 1e6 / np.clip(1e6 / warm + rng.normal(0, 28), 90, 400)
    tint = np.array([1, 1 + float(np.clip(rng.normal(0, 0.02), -0.05, 0.04)), 1], np.float32)
    white = glow(float(balance)) / tint
    key = strength * (glow(warm) / white) ** 0.8 * rng.uniform(0.75, 1.05)
    second = (glow(other) / white) ** 0.7
    sky = around * strength * (0.5 * second + 0.5 * (glow(warm) / white) ** 0.8)
    fill = rng.uniform(0.05, 0.30) * strength * second
    return Light(
        key_from=_toward(math.radians(azimuth), math.radians(height)),
        key=_three(key),
        fill_from=_toward(
            -math.copysign(math.radians(rng.uniform(40, 100)), azimuth), math.radians(rng.uniform(-10, 30))
        ),
        fill=_three(fill),
        sky=_three(sky),
        ground=_three(sky * rng.uniform(0.25, 0.7)),
        wrap=wrap,
    )


def _arrangement(source: str, rng: np.random.Generator) -> tuple[float, float, float, float, float, float]:
    """Azimuth and height of the key light in degrees, its softness, the strength of the light all around as a share of
    the key, and the colour temperatures of the key and of the other lights."""
    lamps = float(rng.uniform(2600, 4200))
    if source == "window":
        side = float(rng.uniform(20, 60) * rng.choice([-1, 1]))
        return (
            side,
            float(rng.uniform(0, 30)),
            0.55,
            float(rng.uniform(0.25, 0.45)),
            float(rng.uniform(5500, 8500)),
            lamps,
        )
    if source == "lamp":
        other = float(rng.choice([lamps, 6500.0], p=[0.6, 0.4]))
        return float(rng.normal(0, 28)), float(rng.uniform(35, 65)), 0.30, float(rng.uniform(0.25, 0.45)), lamps, other
    if source == "outdoors":
        sun = rng.random() < 0.5
        high, soft = (rng.uniform(20, 60), 0.2) if sun else (rng.uniform(50, 80), 0.7)
        return (
            float(rng.normal(0, 40)),
            float(high),
            soft,
            float(rng.uniform(0.4, 0.7)),
            5600.0 if sun else 6800.0,
            9000.0,
        )
    if source == "flash":
        return float(rng.normal(0, 4)), float(rng.uniform(2, 12)), 0.15, float(rng.uniform(0.15, 0.3)), 5600.0, lamps
    return float(rng.normal(0, 30)), float(rng.uniform(15, 50)), 0.45, float(rng.uniform(0.35, 0.6)), lamps, lamps * 1.2


def exposed(light: Light, skin: float) -> Light:
    """The light as a camera takes it that measures the face: dark `skin` (its brightness, 0..1) is given more of it."""
    gain = float(np.clip((0.22 / max(skin, 0.01)) ** 0.32, 0.75, 1.9))
    key, fill, sky, ground = (
        _three(np.array(colour) * gain) for colour in (light.key, light.fill, light.sky, light.ground)
    )
    return replace(light, key=key, fill=fill, sky=sky, ground=ground)


def _toward(azimuth: float, height: float) -> tuple[float, float, float]:
    return (math.sin(azimuth) * math.cos(height), math.sin(height), math.cos(azimuth) * math.cos(height))


def _three(values: npt.NDArray[np.floating]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


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
    defocus: float = 0.0
    """Radius to which a point of the background is smeared, as a share of the picture's side."""
    vignette: float = 0.0
    """How much darker the corners are than the middle, 0..1."""
    grain: float = 0.0
    """Noise of colours, as a share of that of brightness."""


def draw_camera(rng: np.random.Generator) -> Camera:
    """A random camera, from clear to poor."""
    poor = rng.random() < 0.15
    wide_open = rng.random() < 0.55
    return Camera(
        blur_px=float(rng.uniform(0, 0.9) if rng.random() < 0.3 else 0),
        noise=float(rng.uniform(2, 8) if poor else rng.uniform(0, 3.5)),
        gain=float(rng.uniform(0.88, 1.15)),
        tint=_three(1 + 0.02 * rng.standard_normal(3)),
        gamma=float(rng.uniform(0.82, 1.2)),
        crf=int(rng.integers(28, 36) if poor else rng.integers(17, 28)),
        soften=float(rng.uniform(0.45, 0.7) if poor and rng.random() < 0.5 else 1.0),
        defocus=float(rng.uniform(0.01, 0.045) if wide_open else rng.uniform(0, 0.01)),
        vignette=float(rng.uniform(0.02, 0.4) if rng.random() < 0.7 else 0),
        grain=float(rng.uniform(0, 0.8)),
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
    if camera.vignette:
        seen *= _vignette(size[1], size[0], camera.vignette)
    if camera.noise:
        # Of light itself: less of it where it is dark, though a camera's curve lifts it there.
        level = (seen.mean(2, keepdims=True) / 255) ** 0.5
        seen += rng.standard_normal((*seen.shape[:2], 1), np.float32) * (camera.noise * (0.7 + 0.4 * level))
        if camera.grain:
            rough = rng.standard_normal((seen.shape[0] // 2 + 1, seen.shape[1] // 2 + 1, 2), np.float32)
            rough = rough.repeat(2, 0).repeat(2, 1)[: seen.shape[0], : seen.shape[1]] * (camera.noise * camera.grain)
            seen[..., 0] += rough[..., 0]
            seen[..., 2] += rough[..., 1]
    pixels_seen: Pixels = np.clip(seen, 0, 255).astype(np.uint8)
    return pixels_seen


@lru_cache(maxsize=4)
def _vignette(height: int, width: int, strength: float) -> Floats:
    """Brightness from the middle to the corners, [height, width, 1]."""
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    fallen: Floats = (1 - strength * ((x**2 + y**2) / 2) ** 1.5).astype(np.float32)[..., None]
    return fallen
